//! Several steps in flight: the answers of one step after another, with fewer waits.

use std::cell::Cell;
use std::rc::Rc;

use crate::common::{Log, Scripted, favour, limited, tokenizer};
use crate::schedule::{check, load, tiny};
use honelm_backend::{block_on, uniform};
use honelm_engine::{
    Completion, Counts, Driver, DriverOptions, Event, FinishReason, Generation, Overflow, Request, Speculate, Update,
};

pub const VOCABULARY: usize = 300;

/// Returns logits that depend on the newest three tokens.
pub fn mixed(tokens: &[u32]) -> Vec<f32> {
    let newest = tokens.iter().rev().take(3).fold(7u64, |key, &token| key.wrapping_mul(1009) + u64::from(token));
    (0..VOCABULARY as u64).map(|id| 6.0 * uniform(key_of(newest), 3, id, 1)).collect()
}

fn key_of(newest: u64) -> u64 {
    newest % 100_003
}

fn options(steps: usize) -> DriverOptions {
    DriverOptions { steps_in_flight: Some(steps), speculate: Speculate::Off, ..DriverOptions::default() }
}

fn scripted(steps: usize, script: impl Fn(&[u32]) -> Vec<f32> + 'static) -> (Driver, Rc<Log>) {
    let (mut runner, log) = Scripted::new(VOCABULARY, 64, script);
    runner.is_slow = true;
    (limited(runner, options(steps)), log)
}

fn answer(driver: &mut Driver, prompt: &[u32], how: &Generation) -> Completion {
    let request = Request::new(prompt.to_vec(), how.clone());
    block_on(driver.complete(request, &|| 0.0, &mut |_| ())).expect("an answer")
}

/// Settings of which some let the device draw, and some need the logits of each step.
fn settings() -> Vec<Generation> {
    let how = Generation { max_tokens: 30, seed: 5, ..Generation::default() };
    vec![
        Generation { temperature: 0.0, ..how.clone() },
        Generation { temperature: 0.9, top_k: 20, top_p: 0.9, ..how.clone() },
        Generation { temperature: 1.3, min_p: 0.05, top_p: 1.0, top_k: 0, ..how.clone() },
        Generation { max_tokens: 1, ..how.clone() },
        Generation { max_tokens: 2, ..how.clone() },
        Generation { max_tokens: 100, ..how.clone() },
        Generation { max_tokens: 100, overflow: Overflow::Shift { keep: 5 }, ..how.clone() },
        Generation { stop_tokens: (0..25).collect(), max_tokens: 100, ..how.clone() },
        Generation { stop: vec!["e".to_owned(), "a".to_owned()], max_tokens: 100, ..how.clone() },
        Generation { logprobs: Some(2), ..how.clone() },
        Generation { repeat_penalty: 1.3, ..how },
    ]
}

#[test]
fn an_answer_is_that_of_one_step_after_another() {
    for steps in 2..=8 {
        for (i, how) in settings().iter().enumerate() {
            let (mut ahead, log) = scripted(steps, mixed);
            let (mut alone, _) = scripted(1, mixed);
            // The second turn continues what the first has left.
            let mut prompt = vec![70, 71, 72, 73];
            for turn in 0..2 {
                let (found, expected) = (answer(&mut ahead, &prompt, how), answer(&mut alone, &prompt, how));
                check(&found, &expected, &format!("{steps} steps, settings {i}, turn {turn}"));
                assert_eq!(found.cached_tokens, expected.cached_tokens, "{steps} steps, settings {i}, turn {turn}");
                prompt.extend(&found.token_ids[..found.token_ids.len().min(20)]);
                prompt.push(90);
            }
            ahead.clear().expect("nothing to refuse");
            assert_eq!(log.memory.get(), (0, 0), "{steps} steps, settings {i}");
        }
    }
}

#[test]
fn the_device_waits_only_at_the_first_tokens() {
    let run = |steps: usize| -> (Counts, usize) {
        let (mut driver, log) = scripted(steps, |tokens| favour(VOCABULARY, 100 + tokens.len() as u32 % 50));
        let done = answer(&mut driver, &[70, 71, 72], &Generation::greedy(40));
        assert_eq!((done.token_ids.len(), done.finish_reason), (40, FinishReason::Length));
        (driver.counts(), log.unseen.get())
    };
    let (one, unseen) = run(1);
    assert_eq!((one.steps, one.waits, one.discarded, unseen), (40, 40, 0, 0));
    for steps in 2..=4 {
        // The logits of the prompt are checked by the host.
        let (counts, unseen) = run(steps);
        assert_eq!((counts.steps, counts.waits, counts.discarded, unseen), (40, 2, 0, 38), "{steps} steps");
    }
}

#[test]
fn what_follows_an_end_is_discarded() {
    let t = tokenizer();
    let end = t.eos_ids()[0];
    let ending = move |tokens: &[u32]| {
        let next = if tokens.len() < 13 { 100 + tokens.len() as u32 } else { end };
        favour(VOCABULARY.max(end as usize + 1), next)
    };
    for steps in 1..=4 {
        let (mut runner, log) = Scripted::new(VOCABULARY.max(end as usize + 1), 64, ending);
        runner.is_slow = true;
        let mut driver = limited(runner, options(steps));
        let done = answer(&mut driver, &[70, 71, 72], &Generation::greedy(40));
        assert_eq!((done.token_ids.len(), done.finish_reason), (10, FinishReason::Stop));
        // The prefix holds exactly the tokens whose outputs were taken.
        let prefix: Vec<u32> = [70, 71, 72].into_iter().chain(103..113).collect();
        assert_eq!(driver.prefixes(), std::slice::from_ref(&prefix));
        log.rows.borrow_mut().clear();
        let again = answer(&mut driver, &[&prefix[..], &[80]].concat(), &Generation::greedy(1));
        assert_eq!((again.cached_tokens, log.rows.borrow()[0]), (13, 1), "{steps} steps");
        let discarded = driver.counts().discarded as usize;
        assert_eq!(discarded, steps - 1, "{steps} steps");
    }
}

#[test]
fn a_cancelled_answer_and_its_neighbour_lose_nothing() {
    for steps in 2..=4 {
        let (mut driver, log) = scripted(steps, mixed);
        let (mut alone, _) = scripted(1, mixed);
        let how = Generation { max_tokens: 30, temperature: 0.8, seed: 3, ..Generation::default() };
        let requests = [[70, 71, 72], [80, 81, 82]].map(|prompt| Request::new(prompt.to_vec(), how.clone()));
        let ids = requests.each_ref().map(|request| driver.submit(request.clone(), 0.0).expect("a valid request"));
        let heard = Cell::new(0);
        let mut done = Vec::new();
        while !driver.is_idle() {
            for (id, event) in block_on(driver.step(&|| 0.0)) {
                match event {
                    Event::Update(Update::Token { .. }) if id == ids[0] => heard.set(heard.get() + 1),
                    Event::Update(_) => {}
                    Event::Done(completion) => done.push((id, completion)),
                    Event::Failed(error) => panic!("{error}"),
                }
            }
            if heard.get() == 9 {
                requests[0].cancel.cancel();
            }
        }
        assert_eq!((done[0].0, done[0].1.token_ids.len()), (ids[0], 9));
        for (id, found) in &done {
            let at = usize::from(*id == ids[1]);
            let expected = answer(&mut alone, &requests[at].prompt, &how);
            check(found, &expected, &format!("{steps} steps, answer {at}"));
        }
        driver.clear().expect("nothing to refuse");
        assert_eq!(log.memory.get(), (0, 0));
    }
}

#[test]
fn a_small_model_draws_the_same_tokens_unseen() {
    for name in crate::schedule::TINY {
        let mut alone = Driver::new(Box::new(load(&tiny(name), 64)), tokenizer(), options(1));
        for steps in [2, 3, 8] {
            let mut ahead = Driver::new(Box::new(load(&tiny(name), 64)), tokenizer(), options(steps));
            for how in settings() {
                let prompt: Vec<u32> = (2..22).collect();
                check(&answer(&mut ahead, &prompt, &how), &answer(&mut alone, &prompt, &how), name);
            }
            assert!(ahead.counts().waits < alone.counts().waits / 2);
        }
    }
}
