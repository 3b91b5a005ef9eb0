//! Generation with a scripted model.

use std::cell::Cell;

use crate::common::{Scripted, answering, bytes_of, cancellable, driver, encode, favour, generate, limited, tokenizer};
use honelm_backend::{CacheKind, block_on, uniform};
use honelm_engine::{Cancel, Driver, DriverOptions, FinishReason, Generation, Overflow, Request, Speculate, Update};

const PROMPT: [u32; 3] = [70, 71, 72];

#[test]
fn an_answer_ends_before_the_end_token() {
    let t = tokenizer();
    let answer = encode(&t, "Hello there.");
    let (runner, log) = answering(&t, 3, answer.clone());
    let mut session = driver(runner);
    let done = generate(&mut session, &PROMPT, &Generation::greedy(100)).expect("an answer");
    assert_eq!(done.text, "Hello there.");
    assert_eq!(done.token_ids, answer);
    assert_eq!(done.finish_reason.name(), "stop");
    assert_eq!((done.prompt_tokens, done.completion_tokens()), (3, answer.len()));
    // The first token is drawn from logits here, the others on the device.
    assert_eq!((log.logits.get(), log.sampled.get()), (1, answer.len()));
}

#[test]
fn an_answer_ends_at_the_token_limit() {
    let t = tokenizer();
    let answer = encode(&t, "Hello there.");
    for limit in 0..answer.len() {
        let (runner, _) = answering(&t, 3, answer.clone());
        let mut session = driver(runner);
        let done = generate(&mut session, &PROMPT, &Generation::greedy(limit)).expect("an answer");
        assert_eq!((done.token_ids, done.finish_reason.name()), (answer[..limit].to_vec(), "length"));
    }
}

#[test]
fn stop_texts_that_span_tokens_are_never_emitted() {
    let t = tokenizer();
    for answer in [encode(&t, "one two STOP three"), bytes_of(&t, "one two STOP three")] {
        let (runner, _) = answering(&t, 3, answer);
        let mut session = driver(runner);
        let how = Generation { stop: vec!["STOP".into(), "never".into()], ..Generation::greedy(100) };
        let done = generate(&mut session, &PROMPT, &how).expect("an answer");
        assert_eq!((done.text.as_str(), done.finish_reason), ("one two ", FinishReason::Stop));
    }
    // The beginning of an incomplete stop text is returned.
    let (runner, _) = answering(&t, 3, bytes_of(&t, "one STO"));
    let mut session = driver(runner);
    let how = Generation { stop: vec!["STOP".into()], ..Generation::greedy(100) };
    assert_eq!(generate(&mut session, &PROMPT, &how).expect("an answer").text, "one STO");
}

#[test]
fn stop_tokens_and_the_texts_of_special_tokens_end_the_answer() {
    let t = tokenizer();
    let user = t.id_of("<|user|>").expect("a chat token");
    let answer = [encode(&t, "ab"), vec![user], encode(&t, "cd")].concat();
    for how in [
        Generation { stop_tokens: vec![user], ..Generation::greedy(100) },
        Generation { stop: vec!["<|user|>".into()], ..Generation::greedy(100) },
    ] {
        let (runner, _) = answering(&t, 3, answer.clone());
        let mut session = driver(runner);
        let done = generate(&mut session, &PROMPT, &how).expect("an answer");
        assert_eq!((done.text.as_str(), done.finish_reason), ("ab", FinishReason::Stop));
    }
    // By default, a special token has no text.
    let (runner, _) = answering(&t, 3, answer);
    let mut session = driver(runner);
    assert_eq!(generate(&mut session, &PROMPT, &Generation::greedy(100)).expect("an answer").text, "abcd");
}

#[test]
fn characters_are_never_split() {
    let t = tokenizer();
    let text = "aé€😀!";
    let answer = bytes_of(&t, text);
    let (runner, _) = answering(&t, 3, answer.clone());
    let mut session = driver(runner);
    let mut pieces = Vec::new();
    let done = cancellable(&mut session, &PROMPT, &Generation::greedy(100), &Cancel::new(), &mut |update| {
        if let Update::Token { delta, .. } = update {
            pieces.push(delta.text.clone());
        }
    });
    let done = done.expect("an answer");
    assert_eq!(done.text, text);
    assert_eq!(pieces, ["a", "", "é", "", "", "€", "", "", "", "😀", "!"]);
    // An answer that ends within a character ends with the replacement character.
    let (runner, _) = answering(&t, 3, answer);
    let mut session = driver(runner);
    assert_eq!(generate(&mut session, &PROMPT, &Generation::greedy(4)).expect("an answer").text, "aé\u{fffd}");
}

#[test]
fn ignoring_end_tokens_bans_them() {
    let t = tokenizer();
    let (runner, _) = answering(&t, 3, encode(&t, "Hi"));
    let mut session = driver(runner);
    let how = Generation { ignore_eos: true, ..Generation::greedy(20) };
    let done = generate(&mut session, &PROMPT, &how).expect("an answer");
    assert_eq!((done.completion_tokens(), done.finish_reason), (20, FinishReason::Length));
    assert!(done.token_ids.iter().all(|id| !t.eos_ids().contains(id)));
}

/// Returns a session whose logits depend only on the position, and are spread so that draws differ.
fn spread(context: usize) -> Driver {
    let (runner, _) =
        Scripted::new(300, context, |tokens| (0..300).map(|id| 6.0 * uniform(1, id, tokens.len() as u64, 0)).collect());
    driver(runner)
}

#[test]
fn the_same_seed_gives_the_same_tokens_wherever_they_are_drawn() {
    let how = |seed, stream| Generation { max_tokens: 40, seed, stream, stop_tokens: vec![], ..Generation::default() };
    let draw = |how: &Generation| generate(&mut spread(1000), &PROMPT, how).expect("an answer").token_ids;
    let first = draw(&how(1, 0));
    assert_eq!(first, draw(&how(1, 0)));
    assert_ne!(first, draw(&how(2, 0)));
    assert_ne!(first, draw(&how(1, 1)));
    // Log-probabilities need the logits, so all tokens are drawn here instead of on the device.
    assert_eq!(first, draw(&Generation { logprobs: Some(0), ..how(1, 0) }));
    assert_ne!(first, draw(&Generation { temperature: 0.0, ..how(1, 0) }));
}

#[test]
fn penalties_and_bias_change_the_choice() {
    // Token 100 is favoured over 101 over 102, always; the prompt ends with 101.
    let session = || {
        let (runner, _) = Scripted::new(300, 1000, |_| {
            let mut logits = vec![-4.0; 300];
            logits[100..103].copy_from_slice(&[3.0, 2.5, 2.0]);
            logits
        });
        driver(runner)
    };
    let draw = |how: Generation| generate(&mut session(), &[70, 101], &how).expect("an answer").token_ids;
    let base = || Generation::greedy(4);
    assert_eq!(draw(base()), [100, 100, 100, 100]);
    // 101 was seen in the prompt: 2.5 / 1.4 = 1.79. Then 100 falls to 2.14, still above 2.0; with 1.6 to 1.875.
    assert_eq!(draw(Generation { repeat_penalty: 1.4, ..base() }), [100, 100, 100, 100]);
    assert_eq!(draw(Generation { repeat_penalty: 1.6, ..base() }), [100, 102, 100, 100]);
    // With a range of one token, only the last token is penalised.
    assert_eq!(draw(Generation { repeat_penalty: 2.0, repeat_last_n: 1, ..base() }), [100, 101, 100, 101]);
    assert_eq!(draw(Generation { repeat_penalty: 2.0, repeat_last_n: 0, ..base() }), [100, 100, 100, 100]);
    // Frequency and presence penalties apply only to the answer.
    assert_eq!(draw(Generation { frequency_penalty: 0.3, ..base() }), [100, 100, 101, 100]);
    assert_eq!(draw(Generation { presence_penalty: 0.7, ..base() }), [100, 101, 100, 100]);
    let bias = [(100, f32::NEG_INFINITY), (102, 1.0)].into();
    assert_eq!(draw(Generation { logit_bias: bias, ..base() }), [102, 102, 102, 102]);
}

#[test]
fn log_probabilities_are_those_before_penalties() {
    let (runner, _) = Scripted::new(300, 1000, |_| {
        let mut logits = vec![f32::NEG_INFINITY; 300];
        logits[100..103].copy_from_slice(&[4f32.ln(), 3f32.ln(), 1f32.ln()]);
        logits
    });
    let mut session = driver(runner);
    let how = Generation { logprobs: Some(2), logit_bias: [(101, 9.0)].into(), ..Generation::greedy(2) };
    let done = generate(&mut session, &PROMPT, &how).expect("an answer");
    assert_eq!(done.token_ids, [101, 101]);
    assert_eq!(done.logprobs.len(), 2);
    for found in done.logprobs {
        assert_eq!(found.id, 101);
        assert!((found.logprob - 0.375f32.ln()).abs() < 1e-5);
        assert_eq!(found.top.iter().map(|t| t.0).collect::<Vec<_>>(), [100, 101]);
        assert!((found.top[0].1 - 0.5f32.ln()).abs() < 1e-5);
    }
}

#[test]
fn a_common_prefix_is_not_computed_again() {
    let t = tokenizer();
    let (runner, log) = answering(&t, 3, encode(&t, "abc"));
    let mut session = driver(runner);
    let how = Generation::greedy(2);
    let first = generate(&mut session, &PROMPT, &how).expect("an answer");
    assert_eq!(first.cached_tokens, 0);
    // The last token of an answer was drawn, not computed.
    assert_eq!(session.cached_prefix(&[&PROMPT[..], &first.token_ids].concat()), 4);
    log.rows.borrow_mut().clear();

    let next = [&PROMPT[..2], &[99, 98]].concat();
    let second = generate(&mut session, &next, &Generation::greedy(1)).expect("an answer");
    assert_eq!((second.cached_tokens, log.rows.borrow().clone()), (2, vec![2]));
    // For the same prompt, only the last token is computed.
    let third = generate(&mut session, &next, &Generation::greedy(1)).expect("an answer");
    assert_eq!((third.cached_tokens, third.token_ids), (3, second.token_ids));
    assert_eq!(log.rows.borrow().clone(), [2, 1]);
    session.clear().expect("nothing to refuse");
    assert_eq!((session.cached_prefix(&PROMPT), log.memory.get()), (0, (0, 0)));
}

#[test]
fn a_prefix_whose_window_pages_are_gone_is_computed_again() {
    let (runner, log) = Scripted::with_cache(300, 1000, CacheKind::Window(4), |_| favour(300, 100));
    let mut session = driver(runner);
    let long: Vec<u32> = (0..50).collect();
    generate(&mut session, &long, &Generation::greedy(1)).expect("an answer");
    let other = [&long[..20], &[99]].concat();
    let done = generate(&mut session, &other, &Generation::greedy(1)).expect("an answer");
    assert_eq!(done.cached_tokens, 0);
    assert_eq!(*log.tokens.borrow(), other);
}

#[test]
fn steps_of_a_wide_model_have_few_rows() {
    let t = tokenizer();
    let vocabulary = t.vocab_size();
    let (mut runner, log) = Scripted::new(vocabulary, 64, move |_| vec![0.0; vocabulary]);
    runner.step_rows = 16;
    let mut session = driver(runner);
    let prompt: Vec<u32> = (0..40).collect();
    generate(&mut session, &prompt, &Generation::greedy(1)).expect("an answer");
    assert_eq!(*log.rows.borrow(), [16, 16, 8]);
}

#[test]
fn a_long_prompt_is_prefilled_in_steps_that_can_be_cancelled() {
    let t = tokenizer();
    let prompt: Vec<u32> = (0..100).collect();
    let session = || {
        let (runner, log) = answering(&t, 100, encode(&t, "abc"));
        (limited(runner, DriverOptions { prefill_rows: 32, ..DriverOptions::default() }), log)
    };
    let (mut whole, log) = session();
    let mut heard = Vec::new();
    let done = cancellable(&mut whole, &prompt, &Generation::greedy(1), &Cancel::new(), &mut |update| {
        if let Update::Prefill { done, total } = update {
            heard.push((*done, *total));
        }
    });
    let done = done.expect("an answer");
    assert_eq!(done.completion_tokens(), 1);
    assert_eq!(*log.rows.borrow(), [32, 32, 32, 4]);
    assert_eq!(heard, [(0, 100), (32, 100), (64, 100), (96, 100), (100, 100)]);

    let (mut cut, log) = session();
    let cancel = Cancel::new();
    let done = cancellable(&mut cut, &prompt, &Generation::greedy(1), &cancel, &mut |update| {
        if matches!(update, Update::Prefill { done: 64.., .. }) {
            cancel.cancel();
        }
    });
    let done = done.expect("no answer, but no error");
    assert_eq!((done.finish_reason.name(), done.completion_tokens()), ("cancelled", 0));
    assert_eq!((log.rows.borrow().clone(), cut.cached_prefix(&prompt)), (vec![32, 32], 64));
    // The finished steps stay cached.
    let done = generate(&mut cut, &prompt, &Generation::greedy(1)).expect("an answer");
    assert_eq!((done.cached_tokens, done.text.as_str()), (64, &t.decode(&done.token_ids, true)[..]));
}

#[test]
fn a_cancelled_answer_keeps_its_beginning() {
    let t = tokenizer();
    let (runner, _) = answering(&t, 3, bytes_of(&t, "abcdef"));
    let mut session = driver(runner);
    let (cancel, mut tokens) = (Cancel::new(), 0);
    let done = cancellable(&mut session, &PROMPT, &Generation::greedy(100), &cancel, &mut |update| {
        tokens += usize::from(matches!(update, Update::Token { .. }));
        if tokens == 3 {
            cancel.cancel();
        }
    });
    let done = done.expect("an answer");
    assert_eq!((done.text.as_str(), done.finish_reason), ("abc", FinishReason::Cancelled));
}

#[test]
fn a_full_context_ends_the_answer() {
    let (runner, _) = Scripted::new(300, 10, |_| favour(300, 100));
    let mut session = driver(runner);
    let done = generate(&mut session, &PROMPT, &Generation::greedy(100)).expect("an answer");
    // Seven more tokens fit; an eighth is drawn after them.
    assert_eq!((done.completion_tokens(), done.finish_reason.name()), (8, "context"));
    let full: Vec<u32> = (0..10).collect();
    let done = generate(&mut session, &full, &Generation::greedy(100)).expect("a prompt that just fits");
    assert_eq!(done.completion_tokens(), 1);
    let error = generate(&mut session, &[&full[..], &[1]].concat(), &Generation::greedy(1)).expect_err("too long");
    assert_eq!(error.to_string(), "the prompt is too long: found 11 tokens, the context holds 10");
    assert_eq!(error.code(), "prompt-too-long");
}

#[test]
fn a_shift_keeps_the_start_and_the_newer_half() {
    let (runner, log) = Scripted::new(300, 10, |tokens| favour(300, 100 + tokens[tokens.len() - 1] % 100));
    let mut session = limited(runner, DriverOptions { speculate: Speculate::Off, ..DriverOptions::default() });
    let how = Generation { overflow: Overflow::Shift { keep: 2 }, ..Generation::greedy(9) };
    let next = |id: u32| 100 + id % 100;
    let prompt = [5, 6, 7];
    let done = generate(&mut session, &prompt, &how).expect("an answer");
    assert_eq!(done.finish_reason, FinishReason::Length);
    let mut expected = Vec::new();
    for _ in 0..9 {
        expected.push(next(expected.last().copied().unwrap_or(7)));
    }
    assert_eq!(done.token_ids, expected);
    // 3 + 8 tokens are one too many: 2 stay, the older 5 of the other 9 go.
    let all = [&prompt[..], &expected[..8]].concat();
    assert_eq!(*log.tokens.borrow(), [&all[..2], &all[7..]].concat());
    assert_eq!(*log.rows.borrow(), [3, 1, 1, 1, 1, 1, 1, 1, 4]);

    let (runner, _) = Scripted::new(300, 10, |_| favour(300, 100));
    let mut session = driver(runner);
    let done = generate(&mut session, &prompt, &Generation { max_tokens: 100, ..how.clone() }).expect("an answer");
    assert_eq!(done.completion_tokens(), 100);

    // A prompt of 95 tokens is halved until it fits: 93 others, 46, 23, 11, 5.
    let long: Vec<u32> = (0..95).collect();
    let done = generate(&mut session, &long, &Generation { max_tokens: 1, ..how }).expect("a prompt that is shifted");
    assert_eq!(done.prompt_tokens, 7);
    assert_eq!(session.cached_prefix(&[0, 1, 90, 91, 92, 93, 94]), 7);
}

#[test]
fn draws_after_a_shift_do_not_repeat_earlier_ones() {
    // All tokens are equally likely, so a token identifies its draw.
    let (runner, _) = Scripted::new(300, 8, |_| vec![0.0; 300]);
    let mut session = driver(runner);
    let how = Generation {
        max_tokens: 40,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        overflow: Overflow::Shift { keep: 1 },
        ignore_eos: true,
        ..Generation::default()
    };
    let drawn = generate(&mut session, &PROMPT, &how).expect("an answer").token_ids;
    let pairs: Vec<_> = drawn.windows(2).collect();
    let repeated = (0..pairs.len()).filter(|&i| pairs[..i].contains(&pairs[i])).count();
    assert_eq!(repeated, 0, "{drawn:?}");
}

#[test]
fn invalid_settings_are_refused_by_name() {
    let base = || Generation::greedy(5);
    let nan = f32::NAN;
    let cases = [
        (Generation { temperature: nan, ..base() }, "temperature"),
        (Generation { temperature: -1.0, ..base() }, "temperature"),
        (Generation { top_p: 1.5, ..base() }, "top_p"),
        (Generation { min_p: -0.1, ..base() }, "min_p"),
        (Generation { repeat_penalty: 0.0, ..base() }, "repeat_penalty"),
        (Generation { frequency_penalty: nan, ..base() }, "frequency_penalty"),
        (Generation { presence_penalty: f32::INFINITY, ..base() }, "presence_penalty"),
        (Generation { logit_bias: [(300, 1.0)].into(), ..base() }, "logit_bias"),
        (Generation { logit_bias: [(3, nan)].into(), ..base() }, "logit_bias"),
        (Generation { stop: vec![String::new()], ..base() }, "stop"),
        (Generation { overflow: Overflow::Shift { keep: 7 }, ..base() }, "keep"),
        (Generation { overflow: Overflow::Shift { keep: usize::MAX }, ..base() }, "keep"),
    ];
    let (runner, log) = Scripted::new(300, 10, |_| favour(300, 100));
    let mut session = driver(runner);
    for (how, name) in cases {
        let error = generate(&mut session, &PROMPT, &how).expect_err(name);
        assert_eq!(error.code(), "invalid-setting");
        assert!(error.to_string().starts_with(&format!("invalid {name}: ")), "{error}");
    }
    assert_eq!(generate(&mut session, &[], &base()).expect_err("empty").code(), "empty-prompt");
    assert!(log.rows.borrow().is_empty(), "nothing was computed");
    assert_eq!(generate(&mut session, &PROMPT, &base()).expect("an answer").completion_tokens(), 5);
}

#[test]
fn logits_that_are_not_numbers_are_an_error() {
    for value in [f32::NAN, f32::INFINITY] {
        let (runner, _) = Scripted::new(300, 10, move |_| {
            let mut logits = favour(300, 100);
            logits[7] = value;
            logits
        });
        let mut session = driver(runner);
        let error = generate(&mut session, &PROMPT, &Generation::greedy(5)).expect_err("broken");
        assert_eq!(error.code(), "not-finite-logits");
        assert!(error.to_string().contains("token 7 after position 2"), "{error}");
    }
}

#[test]
fn speeds_come_from_the_callers_clock() {
    let t = tokenizer();
    let (runner, _) = answering(&t, 3, bytes_of(&t, "abcdefgh"));
    let mut session = driver(runner);
    let now = Cell::new(10.0);
    let mut on_update = |update: &Update| match update {
        Update::Prefill { done: 0, .. } => now.set(12.0),
        _ => now.set(12.5),
    };
    let request = |how: Generation| Request::new(PROMPT.to_vec(), how);
    let done = block_on(session.complete(request(Generation::greedy(6)), &|| now.get(), &mut on_update));
    let done = done.expect("an answer");
    assert_eq!((done.first_token_seconds, done.decode_seconds), (2.0, 0.5));
    assert_eq!(done.prefill_tokens_per_second(), Some(1.5));
    assert_eq!(done.decode_tokens_per_second(), Some(10.0));

    // If no token is requested, nothing is computed or measured.
    let done = block_on(session.complete(request(Generation::greedy(0)), &|| 7.0, &mut |_| ()));
    let done = done.expect("no answer");
    assert_eq!((done.first_token_seconds, done.prefill_tokens_per_second()), (0.0, None));
}
