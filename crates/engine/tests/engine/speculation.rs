//! Speculative decoding: the same answers in fewer steps.

use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::common::{Scripted, answering, driver, encode, favour, limited, tokenizer};
use crate::schedule::{TINY, load, tiny, tiny_of};
use honelm_backend::{block_on, uniform};
use honelm_engine::{
    Completion, Driver, DriverOptions, Event, FinishReason, Generation, Overflow, Request, Speculate, Update,
};
use honelm_model::Runner;
use honelm_text::Tokenizer;

pub const VOCABULARY: usize = 300;

/// Returns the settings of a driver with these drafts.
fn with(speculate: Speculate) -> DriverOptions {
    DriverOptions { speculate, prefixes: 0, ..DriverOptions::default() }
}

fn answer(driver: &mut Driver, prompt: &[u32], how: &Generation) -> Completion {
    block_on(driver.complete(Request::new(prompt.to_vec(), how.clone()), &|| 0.0, &mut |_| ())).expect("an answer")
}

/// Checks that two answers differ in nothing but the drafts and the time.
fn same(found: &Completion, plain: &Completion, what: &str) {
    assert_eq!(found.token_ids, plain.token_ids, "{what}");
    assert_eq!(found.text, plain.text, "{what}");
    assert_eq!(found.logprobs, plain.logprobs, "{what}");
    assert_eq!(found.finish_reason, plain.finish_reason, "{what}");
    assert_eq!(found.decoded_tokens, plain.decoded_tokens, "{what}");
    assert_eq!((plain.drafted_tokens, plain.accepted_tokens), (0, 0));
    assert!(found.accepted_tokens <= found.drafted_tokens, "{what}");
}

/// Returns logits that follow a period of `period` tokens, with some noise.
pub fn periodic(tokens: &[u32], period: u32, noise: f32) -> Vec<f32> {
    let next = 100 + (tokens.len() as u32 % period);
    let mut logits = favour(VOCABULARY, next);
    for (i, logit) in logits.iter_mut().enumerate() {
        *logit += noise * uniform(tokens.len() as u64, i as u64, u64::from(tokens[tokens.len() - 1]), 3);
    }
    logits
}

/// All kinds of settings that decide about a token or the end of an answer.
pub fn settings() -> Vec<Generation> {
    let t = tokenizer();
    let greedy = Generation::greedy(60);
    let stop_text = t.decode(&[103, 104, 105], true);
    vec![
        greedy.clone(),
        Generation { stop: vec![stop_text], ..greedy.clone() },
        Generation { stop_tokens: vec![108], ..greedy.clone() },
        Generation { logprobs: Some(2), ..greedy.clone() },
        Generation { repeat_penalty: 1.3, repeat_last_n: 8, ..greedy.clone() },
        Generation { frequency_penalty: 0.7, presence_penalty: 0.2, ..greedy.clone() },
        Generation { logit_bias: [(105, f32::NEG_INFINITY), (7, 19.0)].into(), ..greedy.clone() },
        Generation { max_tokens: 200, ..greedy.clone() },
        Generation { max_tokens: 200, overflow: Overflow::Shift { keep: 3 }, ..greedy.clone() },
        Generation { max_tokens: 1, ..greedy.clone() },
        Generation { max_tokens: 2, ..greedy },
        Generation { max_tokens: 60, seed: 5, ..Generation::default() },
        Generation {
            max_tokens: 60,
            temperature: 2.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            logprobs: Some(1),
            ..Generation::default()
        },
        Generation { max_tokens: 200, overflow: Overflow::Shift { keep: 0 }, seed: 8, ..Generation::default() },
    ]
}

#[test]
fn every_setting_gives_the_same_answer_with_drafts() {
    let prompt: Vec<u32> = (0..20).map(|i| 100 + i % 9).collect();
    for noise in [0.0, 15.0, 22.0] {
        let script = move |tokens: &[u32]| periodic(tokens, 9, noise);
        let load = || Scripted::new(VOCABULARY, 100, script).0;
        for (i, how) in settings().iter().enumerate() {
            let expected = answer(&mut limited(load(), with(Speculate::Off)), &prompt, how);
            let mut drafted = limited(load(), with(Speculate::Ngram));
            same(&answer(&mut drafted, &prompt, how), &expected, &format!("n-grams, noise {noise}, settings {i}"));
            for period in [9, 4] {
                let mut drafted = limited(load(), with(Speculate::Draft));
                let (draft, log) = Scripted::new(VOCABULARY, 64, move |tokens| periodic(tokens, period, noise));
                drafted.set_draft(Box::new(draft), tokenizer()).expect("a draft model");
                let what = format!("draft of period {period}, noise {noise}, settings {i}");
                same(&answer(&mut drafted, &prompt, how), &expected, &what);
                assert_eq!(log.memory.get(), (0, 0), "{what}");
            }
        }
    }
}

#[test]
fn repetitions_take_fewer_steps() {
    let prompt: Vec<u32> = (0..20).map(|i| 100 + i % 9).collect();
    let how = Generation::greedy(60);
    let (runner, log) = Scripted::new(VOCABULARY, 1000, |tokens| periodic(tokens, 9, 0.0));
    let mut session = driver(runner);
    let done = answer(&mut session, &prompt, &how);
    assert_eq!(done.token_ids.len(), 60);
    assert!(log.rows.borrow().len() < 20, "{:?}", log.rows.borrow());
    assert_eq!(session.speculation().accepted, done.accepted_tokens as u64);
    let counts = session.speculation();
    assert!(counts.depths.iter().all(|depth| depth.accepted <= depth.tried) && counts.depths[0].tried == counts.drafts);
    // The same request without drafts.
    let request = Request { speculate: Some(Speculate::Off), ..Request::new(prompt, how) };
    let plain = block_on(session.complete(request, &|| 0.0, &mut |_| ())).expect("an answer");
    assert_eq!((plain.token_ids, plain.drafted_tokens), (done.token_ids, 0));
}

/// Returns 32 prompts, of which some repeat themselves.
fn prompts() -> Vec<Vec<u32>> {
    let token = |n: u64, i: u64| 2 + (uniform(n, 1, i, 0) * 60.0) as u32;
    let prompt = |n: u64| {
        let part: Vec<u32> = (0..5 + n % 7).map(|i| token(n, i)).collect();
        part.iter().copied().cycle().take(part.len() * (1 + n as usize % 3)).collect()
    };
    (0..32).map(prompt).collect()
}

#[test]
fn no_draft_changes_an_answer_of_a_small_model() {
    let sampled = Generation { max_tokens: 24, temperature: 0.7, seed: 3, ..Generation::default() };
    for name in TINY {
        for how in [Generation::greedy(24), sampled.clone()] {
            let mut plain = limited(load(&tiny(name), 128), with(Speculate::Off));
            let expected: Vec<Completion> = prompts().iter().map(|prompt| answer(&mut plain, prompt, &how)).collect();
            let is_greedy = how.temperature == 0.0;
            // Tokens that the model does not have, and noise.
            let (broken, _) = Scripted::new(VOCABULARY, 128, |tokens| {
                let invalid = [64, 299, 1, 70][tokens.len() % 4];
                periodic(tokens, 5, if tokens.len() % 3 == 0 { f32::NAN } else { 1.0 })
                    .into_iter()
                    .enumerate()
                    .map(|(id, logit)| if id == invalid { 30.0 } else { logit })
                    .collect()
            });
            let drafts: [(&str, Option<Box<dyn Runner>>); 4] = [
                ("n-grams", None),
                ("the model itself", Some(Box::new(load(&tiny(name), 128)))),
                ("another model", Some(Box::new(load(&tiny_of(name, 4), 60)))),
                ("a broken model", Some(Box::new(broken))),
            ];
            for (draft, runner) in drafts {
                let how_drafted = if runner.is_some() { Speculate::Draft } else { Speculate::Ngram };
                let mut session = limited(load(&tiny(name), 128), with(how_drafted));
                if let Some(runner) = runner {
                    session.set_draft(runner, tokenizer()).expect("a draft model");
                }
                for (prompt, expected) in prompts().iter().zip(&expected) {
                    let what = format!("{name}, {draft}, temperature {}", how.temperature);
                    same(&answer(&mut session, prompt, &how), expected, &what);
                }
                let (steps, tokens) =
                    (session.counts().steps, expected.iter().map(|e| e.decoded_tokens).sum::<usize>());
                if draft == "the model itself" {
                    // It draws the same tokens, also sampled ones.
                    assert!(steps < tokens as u64 / 2, "{steps} steps for {tokens} tokens, greedy: {is_greedy}");
                }
            }
        }
    }
}

#[test]
fn a_draft_model_of_another_device_gives_the_same_answer() {
    let mut plain = limited(load(&tiny("llama-grouped"), 128), with(Speculate::Off));
    let mut session = limited(load(&tiny("llama-grouped"), 128), with(Speculate::Draft));
    let device = Rc::new(std::cell::RefCell::new(honelm_testing::Naive::new()));
    let checkpoint = tiny("llama-grouped");
    let options = honelm_model::LoadOptions { context: Some(128), ..honelm_model::LoadOptions::default() };
    let draft = honelm_model::Model::load(checkpoint.blueprint(), &checkpoint, device, &options).expect("it loads");
    session.set_draft(Box::new(draft), tokenizer()).expect("a draft model");
    let how = Generation::greedy(30);
    let expected = answer(&mut plain, &prompts()[3], &how);
    let found = answer(&mut session, &prompts()[3], &how);
    same(&found, &expected, "another device");
    assert!(found.accepted_tokens > 5, "{}", found.accepted_tokens);
}

#[test]
fn an_abandoned_step_with_drafts_leaves_the_driver_as_it_was() {
    let prompt: Vec<u32> = (0..20).map(|i| 100 + i % 9).collect();
    let how = Generation::greedy(40);
    let expected = answer(
        &mut limited(Scripted::new(VOCABULARY, 1000, |t| periodic(t, 9, 3.0)).0, with(Speculate::Off)),
        &prompt,
        &how,
    );
    for speculate in [Speculate::Ngram, Speculate::Draft] {
        let (mut runner, log) = Scripted::new(VOCABULARY, 1000, |tokens| periodic(tokens, 9, 3.0));
        let (mut draft, draft_log) = Scripted::new(VOCABULARY, 1000, |tokens| periodic(tokens, 9, 3.0));
        (runner.is_slow, draft.is_slow) = (true, true);
        let mut session = limited(runner, with(speculate));
        session.set_draft(Box::new(draft), tokenizer()).expect("a draft model");
        let id = session.submit(Request::new(prompt.clone(), how.clone()), 0.0).expect("a valid request");
        let mut context = Context::from_waker(Waker::noop());
        let mut done = None;
        for step in 0usize.. {
            // Every third step is given up after some polls, if it is not ready by then.
            let mut future = Box::pin(session.step(&|| 0.0));
            let polls = if step % 3 == 0 { step % 5 } else { usize::MAX };
            let ready = (0..polls).find_map(|_| match future.as_mut().poll(&mut context) {
                Poll::Ready(events) => Some(events),
                Poll::Pending => None,
            });
            for (of, event) in ready.unwrap_or_default() {
                assert_eq!(of, id);
                if let Event::Done(completion) = event {
                    done = Some(completion);
                }
            }
            drop(future);
            if done.is_some() {
                break;
            }
        }
        same(&done.expect("an answer"), &expected, speculate.name());
        session.clear().expect("nothing to refuse");
        assert_eq!((log.memory.get(), draft_log.memory.get()), ((0, 0), (0, 0)));
    }
}

#[test]
fn a_draft_model_gives_its_memory_to_the_answers() {
    let (runner, log) = Scripted::new(VOCABULARY, 200, |tokens| periodic(tokens, 50, 0.0));
    let (draft, draft_log) = Scripted::new(VOCABULARY, 200, |tokens| periodic(tokens, 50, 0.0));
    // Both together may hold 120 tokens; the answer alone needs 110.
    let options = DriverOptions { cache_bytes: Some(120), ..with(Speculate::Draft) };
    let mut session = limited(runner, options);
    session.set_draft(Box::new(draft), tokenizer()).expect("a draft model");
    let most = std::cell::Cell::new((0, 0));
    let request = Request::new(vec![7; 10], Generation::greedy(100));
    let mut on_update = |_: &Update| {
        let (own, of_draft) = (log.memory.get().0, draft_log.memory.get().0);
        most.set((most.get().0.max(own + of_draft), most.get().1.max(of_draft)));
    };
    let done = block_on(session.complete(request, &|| 0.0, &mut on_update)).expect("an answer");
    assert_eq!((done.token_ids.len(), done.finish_reason), (100, FinishReason::Length));
    assert!(done.accepted_tokens > 10, "{}", done.accepted_tokens);
    assert!(most.get().0 <= 120 && most.get().1 > 20, "{:?}", most.get());
    assert_eq!(draft_log.memory.get(), (0, 0));
}

#[test]
fn unsuitable_draft_models_are_refused() {
    let load = || Scripted::new(VOCABULARY, 100, |tokens| periodic(tokens, 9, 0.0)).0;
    let mut session = limited(load(), DriverOptions::default());
    let request = Request { speculate: Some(Speculate::Draft), ..Request::new(vec![1, 2], Generation::greedy(3)) };
    let error = session.submit(request, 0.0).expect_err("there is no draft model");
    assert_eq!(error.to_string(), "invalid speculate: found draft, expected a driver with a draft model");
    let short = Scripted::new(VOCABULARY, 8, |tokens| periodic(tokens, 9, 0.0)).0;
    let error = session.set_draft(Box::new(short), tokenizer()).expect_err("its context is too short");
    assert_eq!(error.code(), "invalid-draft");
    assert_eq!(error.to_string(), "the draft model scripted: found a context of 8 tokens, expected at least 16");
    // Without a change, everything goes on.
    assert_eq!(answer(&mut session, &[1, 2, 3], &Generation::greedy(5)).token_ids.len(), 5);
}

/// Returns the shipped tokenizer with fewer merges and other ids.
fn smaller_tokenizer() -> Tokenizer {
    let folder = honelm_testing::pocket_dir();
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    let mut json: serde_json::Value = serde_json::from_slice(&read("tokenizer.json")).expect("JSON");
    let merges: Vec<serde_json::Value> =
        json["model"]["merges"].as_array().expect("merges").iter().take(400).cloned().collect();
    let result = |merge: &serde_json::Value| match merge {
        serde_json::Value::String(pair) => pair.replacen(' ', "", 1),
        pair => pair.as_array().expect("a pair").iter().filter_map(serde_json::Value::as_str).collect(),
    };
    let made: std::collections::BTreeSet<String> = merges.iter().map(result).collect();
    let old = json["model"]["vocab"].as_object().expect("a vocabulary").clone();
    let is_kept = |token: &str| made.contains(token) || token.chars().count() == 1 || token.starts_with("<|");
    let mut ids: Vec<(u64, &String)> = old
        .iter()
        .filter(|(token, _)| is_kept(token))
        .map(|(token, id)| (id.as_u64().expect("an id"), token))
        .collect();
    ids.sort_unstable();
    json["model"]["vocab"] = ids
        .iter()
        .zip(0..)
        .map(|((_, token), id)| ((*token).clone(), id.into()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json["model"]["merges"] = merges.into();
    let bytes = serde_json::to_vec(&json).expect("JSON");
    Tokenizer::from_json(&bytes, Some(&read("tokenizer_config.json")), None).expect("a tokenizer")
}

#[test]
fn a_draft_model_with_another_vocabulary_drafts_through_text() {
    let (own, other) = (tokenizer(), Rc::new(smaller_tokenizer()));
    let prompt = encode(&own, "One day, a little dog went to the park.");
    let text = " He saw a big tree near the water, and he was very happy. Then he ran home to his mother.";
    let answer_tokens = encode(&own, text);
    let (size, of_draft) = (own.vocab_size(), other.vocab_size());
    assert!(of_draft < size / 2, "{of_draft}");
    let whole = other.encode_running(&format!("{}{text}", own.decode(&prompt, true))).expect("tokens");
    assert!(whole.len() > prompt.len() + answer_tokens.len() + 5, "the texts have different tokens");
    let load = || answering(&own, prompt.len(), answer_tokens.clone()).0;
    let how = Generation::greedy(80);
    let expected = answer(&mut limited(load(), with(Speculate::Off)), &prompt, &how);
    let mut session = limited(load(), with(Speculate::Draft));
    let (draft, _) =
        Scripted::new(of_draft, 500, move |tokens| favour(of_draft, whole.get(tokens.len()).copied().unwrap_or(0)));
    session.set_draft(Box::new(draft), Rc::clone(&other)).expect("a draft model");
    let found = answer(&mut session, &prompt, &how);
    same(&found, &expected, "another vocabulary");
    assert_eq!(found.text, text);
    assert!(found.accepted_tokens > 3, "{} of {}", found.accepted_tokens, found.drafted_tokens);
    // A draft model that lacks tokens of its own tokenizer.
    let (small, _) = Scripted::new(of_draft - 1, 500, move |_| favour(of_draft - 1, 9));
    let error = session.set_draft(Box::new(small), other).expect_err("its tokenizer is another model's");
    assert_eq!(error.code(), "invalid-draft");
}
