//! The likelihoods of given answers by the driver, compared with sums over the model's own distributions.

use honelm_backend::{CacheKind, block_on};
use honelm_engine::{
    AnswerId, Cancel, Completion, Driver, DriverOptions, EngineError, Event, FinishReason, Generation, Likelihood,
    Request,
};

use crate::common::{Scripted, driver, limited, tokenizer};

/// Returns logits that depend on all tokens of a text.
fn logits(vocabulary: usize, tokens: &[u32]) -> Vec<f32> {
    let seed = tokens.iter().fold(7u32, |seed, token| seed.wrapping_mul(31).wrapping_add(*token));
    let one = |i: u32| (seed ^ i.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b) >> 22;
    (0..vocabulary as u32).map(|i| one(i) as f32 / 200.0).collect()
}

fn model(context: usize, kind: CacheKind) -> Scripted {
    let vocabulary = tokenizer().vocab_size();
    Scripted::with_cache(vocabulary, context, kind, move |tokens| logits(vocabulary, tokens)).0
}

/// Computes the likelihood of an answer to a prompt, token by token.
fn expected(prompt: &[u32], answer: &[u32]) -> Likelihood {
    let tokenizer = tokenizer();
    let share = |text: &[u32], wanted: &[u32]| {
        let logits = logits(tokenizer.vocab_size(), text);
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        wanted.iter().map(|&id| f64::from(logits[id as usize]).exp() / total).sum::<f64>().ln()
    };
    let mut text = prompt.to_vec();
    let mut log = 0.0;
    for &token in answer {
        log += share(&text, &[token]);
        text.push(token);
    }
    Likelihood { log: log + share(&text, tokenizer.eos_ids()), tokens: answer.len() + 1 }
}

fn answers() -> Vec<Vec<u32>> {
    let mut all = vec![vec![20], vec![21, 22, 23], vec![21, 22], vec![21, 24, 23], vec![20]];
    // More tokens than a step reads.
    all.extend((0..12).map(|i| (0..20).map(|j| 30 + i * 20 + j).collect()));
    all
}

fn check(prompt: &[u32], answers: &[Vec<u32>], done: &Completion) {
    assert_eq!((done.finish_reason, done.token_ids.len(), done.text.as_str()), (FinishReason::Stop, 0, ""));
    let found = done.likelihoods.as_ref().expect("likelihoods");
    assert_eq!(found.len(), answers.len());
    for (found, answer) in found.iter().zip(answers) {
        let expected = expected(prompt, answer);
        let is_close = (found.log - expected.log).abs() < 1e-4 * answer.len() as f64;
        assert!(is_close && found.tokens == expected.tokens, "{answer:?}: {found:?} {expected:?}");
    }
}

fn finish(driver: &mut Driver, ids: &[AnswerId]) -> Vec<Completion> {
    let mut done: Vec<Option<Completion>> = vec![None; ids.len()];
    while !driver.is_idle() {
        for (id, event) in block_on(driver.step(&|| 0.0)) {
            match event {
                Event::Done(completion) => done[ids.iter().position(|of| *of == id).expect("an id")] = Some(completion),
                Event::Failed(error) => panic!("{error}"),
                Event::Update(_) => {}
            }
        }
    }
    done.into_iter().map(|done| done.expect("an end")).collect()
}

#[test]
fn likelihoods_are_those_of_the_model_beside_other_answers_and_in_any_steps() {
    let prompts: Vec<Vec<u32>> = [(0..40).collect(), (0..30).chain(60..61).collect(), vec![9]].into();
    let alone = block_on(driver(model(200, CacheKind::Full)).complete(
        Request::new(prompts[0].clone(), Generation { ignore_eos: true, ..Generation::greedy(9) }),
        &|| 0.0,
        &mut |_| (),
    ));
    let alone = alone.expect("an answer").token_ids;
    for (kind, rows, in_flight, slow) in [
        (CacheKind::Full, usize::MAX, 1, false),
        (CacheKind::Full, 24, 1, false),
        (CacheKind::Full, 70, 3, true),
        (CacheKind::Window(64), 100, 2, true),
    ] {
        let mut model = model(200, kind);
        (model.step_rows, model.steps_in_flight, model.is_slow) = (rows, in_flight, slow);
        let options = DriverOptions { prefill_rows: 16, prefill_rows_beside: 5, ..DriverOptions::default() };
        let mut driver = limited(model, options);
        let how = Generation { ignore_eos: true, ..Generation::greedy(9) };
        let mut ids = vec![driver.submit(Request::new(prompts[0].clone(), how), 0.0).expect("a request")];
        for prompt in &prompts {
            let request = Request::likelihoods(prompt.clone(), answers());
            ids.push(driver.submit(request, 0.0).expect("a request"));
        }
        let done = finish(&mut driver, &ids);
        assert_eq!(done[0].token_ids, alone);
        prompts.iter().zip(&done[1..]).for_each(|(prompt, done)| check(prompt, &answers(), done));
        // The prompt stays cached for the next request.
        let next = driver.submit(Request::likelihoods(prompts[0].clone(), answers()), 0.0).expect("a request");
        let next = finish(&mut driver, &[next]);
        check(&prompts[0], &answers(), &next[0]);
        assert_eq!(next[0].cached_tokens, prompts[0].len() - 1);
    }
}

#[test]
fn likelihoods_survive_a_shortage_of_memory() {
    // Both prompts fit, but not with the tokens of their answers, so one is set back.
    let options = DriverOptions { cache_bytes: Some(70), ..DriverOptions::default() };
    let mut driver = limited(model(100, CacheKind::Full), options);
    let prompts: [Vec<u32>; 2] = [(0..30).collect(), (100..130).collect()];
    let submit = |prompt: &Vec<u32>| Request::likelihoods(prompt.clone(), answers()[..5].to_vec());
    let ids: Vec<AnswerId> =
        prompts.iter().map(|prompt| driver.submit(submit(prompt), 0.0).expect("a request")).collect();
    let done = finish(&mut driver, &ids);
    prompts.iter().zip(&done).for_each(|(prompt, done)| check(prompt, &answers()[..5], done));
}

#[test]
fn a_cancelled_or_late_request_ends_without_likelihoods() {
    let mut driver = driver(model(200, CacheKind::Full));
    let request = || Request::likelihoods((0..40).collect(), answers());
    let cancel = Cancel::new();
    cancel.cancel();
    let done = block_on(driver.complete(request().with_cancel(&cancel), &|| 0.0, &mut |_| ())).expect("an end");
    assert_eq!((done.finish_reason, done.likelihoods), (FinishReason::Cancelled, None));
    let late = Request { deadline: Some(1.0), ..request() };
    let done = block_on(driver.complete(late, &|| 2.0, &mut |_| ())).expect("an end");
    assert_eq!((done.finish_reason, done.likelihoods), (FinishReason::Deadline, None));
    // The driver can be used again.
    let done = block_on(driver.complete(request(), &|| 0.0, &mut |_| ())).expect("an end");
    check(&(0..40).collect::<Vec<u32>>(), &answers(), &done);
}

#[test]
fn answers_that_cannot_be_read_are_refused() {
    let mut driver = driver(model(60, CacheKind::Full));
    let vocabulary = tokenizer().vocab_size() as u32;
    for (prompt, answers, code) in [
        (10, vec![], "invalid-setting"),
        (10, vec![vec![1], vec![]], "invalid-setting"),
        (10, vec![vec![vocabulary]], "unknown-token"),
        (60, vec![vec![1]], "prompt-too-long"),
        (61, vec![vec![1]], "prompt-too-long"),
        (0, vec![vec![1]], "empty-prompt"),
    ] {
        let error = driver.submit(Request::likelihoods(vec![3; prompt], answers), 0.0).expect_err(code);
        assert_eq!(error.code(), code, "{error}");
    }
    let broken = Scripted::new(vocabulary as usize, 60, move |_| vec![f32::NAN; vocabulary as usize]).0;
    let request = Request::likelihoods(vec![3], vec![vec![1]]);
    let outcome = block_on(limited(broken, DriverOptions::default()).complete(request, &|| 0.0, &mut |_| ()));
    assert!(matches!(outcome, Err(EngineError::NotFinite { position: 0, .. })));
}
