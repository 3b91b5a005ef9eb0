//! Answers that pause and go on, with drafts from outside: the same answers as in one piece.

use honelm_backend::block_on;
use honelm_engine::{Completion, Driver, DriverOptions, EngineError, FinishReason, Generation, Request, Speculate};

use crate::common::{Scripted, answering, bytes_of, driver, limited, tokenizer};
use crate::schedule::{TINY, load, tiny};
use crate::speculation::{VOCABULARY, periodic, settings};

/// Returns the draft of a round: its number, the tokens so far, and the tokens that follow.
type Drafts = fn(usize, &[u32]) -> Vec<u32>;

const DRAFTS: [Drafts; 5] = [
    |_, _| Vec::new(),
    |_, rest| rest[..rest.len().min(5)].to_vec(),
    |_, _| vec![1, 1, 1],
    |round, rest| rest.iter().take(6).enumerate().map(|(i, &id)| if i == round % 5 { 9 } else { id }).collect(),
    // Longer than the answer, with a token that the model does not have.
    |_, rest| rest.iter().copied().chain([7, 4_000_000, 7]).collect(),
];

fn run(driver: &mut Driver, request: Request) -> Result<(Completion, String), EngineError> {
    let mut heard = String::new();
    let done = block_on(driver.complete(request, &|| 0.0, &mut |update| heard.push_str(update.text())))?;
    Ok((done, heard))
}

/// Generates an answer in rounds. Returns the last completion with the text of all rounds, and the number of rounds.
fn in_rounds(
    driver: &mut Driver,
    request: &Request,
    whole: &Completion,
    drafts: Drafts,
) -> (Completion, String, usize) {
    let (mut begun, mut text, mut accepted) = (Vec::new(), String::new(), 0);
    for round in 0.. {
        let draft = drafts(round, &whole.token_ids[begun.len().min(whole.token_ids.len())..]);
        let request = Request { begun: begun.clone(), draft, pause: Some(1), ..request.clone() };
        let (mut done, heard) = run(driver, request).expect("a round");
        text.push_str(&heard);
        accepted += done.accepted_tokens;
        assert!(done.token_ids.starts_with(&begun), "tokens stay");
        assert_eq!(done.prompt_tokens, whole.prompt_tokens);
        if done.finish_reason != FinishReason::Paused {
            done.accepted_tokens = accepted;
            return (done, text, round + 1);
        }
        assert!(done.token_ids.len() > begun.len(), "each round writes a token");
        begun = done.token_ids;
    }
    unreachable!("the answer ends")
}

fn same(found: &(Completion, String, usize), whole: &(Completion, String), what: &str) {
    assert_eq!(found.0.token_ids, whole.0.token_ids, "{what}");
    assert_eq!(found.0.finish_reason, whole.0.finish_reason, "{what}");
    assert_eq!(found.0.text, whole.0.text, "{what}");
    assert_eq!(found.1, whole.1, "{what}: the updates");
}

#[test]
fn every_setting_gives_the_same_answer_in_rounds() {
    let prompt: Vec<u32> = (0..20).map(|i| 100 + i % 9).collect();
    let options = || DriverOptions { speculate: Speculate::Off, ..DriverOptions::default() };
    for (noise, in_flight) in [(0.0, 1), (22.0, 1), (15.0, 3)] {
        let load = || {
            let mut runner = Scripted::new(VOCABULARY, 100, move |tokens| periodic(tokens, 9, noise)).0;
            runner.steps_in_flight = in_flight;
            runner
        };
        for (i, how) in settings().into_iter().enumerate() {
            let request = Request::new(prompt.clone(), how);
            let whole = run(&mut limited(load(), options()), request.clone()).expect("an answer");
            for (j, drafts) in DRAFTS.into_iter().enumerate() {
                let found = in_rounds(&mut limited(load(), options()), &request, &whole.0, drafts);
                same(&found, &whole, &format!("noise {noise}, settings {i}, drafts {j}, {in_flight} in flight"));
            }
        }
    }
}

#[test]
fn small_models_give_the_same_answer_in_rounds() {
    let sampled = Generation { max_tokens: 24, temperature: 0.9, seed: 3, ..Generation::default() };
    for name in TINY {
        let checkpoint = tiny(name);
        for how in [Generation::greedy(24), sampled.clone()] {
            let request = Request::new((2..40).collect(), how);
            let whole = run(&mut driver(load(&checkpoint, 128)), request.clone()).expect("an answer");
            let mut rounds = driver(load(&checkpoint, 128));
            for (j, drafts) in DRAFTS.into_iter().enumerate() {
                same(&in_rounds(&mut rounds, &request, &whole.0, drafts), &whole, &format!("{name}, drafts {j}"));
            }
        }
    }
}

#[test]
fn a_right_draft_is_verified_in_one_step() {
    let prompt: Vec<u32> = (0..20).map(|i| 100 + i % 9).collect();
    let (runner, log) = Scripted::new(VOCABULARY, 100, |tokens| periodic(tokens, 9, 0.0));
    let mut session = limited(runner, DriverOptions { speculate: Speculate::Off, ..DriverOptions::default() });
    let request = Request::new(prompt, Generation::greedy(24));
    let (whole, _) = run(&mut session, request.clone()).expect("an answer");
    log.rows.borrow_mut().clear();
    let (done, _, rounds) = in_rounds(&mut session, &request, &whole, DRAFTS[1]);
    assert_eq!((rounds, done.accepted_tokens, done.cached_tokens), (4, 20, 20));
    // The prompt is cached. The last draft is as long as the answer needs.
    assert_eq!(*log.rows.borrow(), [6, 6, 6, 6]);
    assert_eq!((session.speculation().drafts, session.speculation().accepted), (4, 20));
    assert_eq!(log.memory.get().1, session.prefixes().len(), "no sequence is left");
}

#[test]
fn characters_and_stop_texts_span_rounds() {
    let t = tokenizer();
    let tokens = bytes_of(&t, "h\u{e9}llo END of it");
    let (runner, _) = answering(&t, 3, tokens);
    let mut session = driver(runner);
    let how = Generation { stop: vec!["END".to_owned()], ..Generation::greedy(60) };
    let request = Request::new(vec![5, 6, 7], how);
    let whole = run(&mut session, request.clone()).expect("an answer");
    assert_eq!((whole.1.as_str(), whole.0.finish_reason), ("h\u{e9}llo ", FinishReason::Stop));
    for drafts in DRAFTS {
        let found = in_rounds(&mut session, &request, &whole.0, drafts);
        same(&found, &whole, "split characters");
    }
    // Without the stop text, the answer ends by its end token.
    let request = Request { how: Generation { stop: Vec::new(), ..request.how.clone() }, ..request };
    let (whole, _) = run(&mut session, request.clone()).expect("an answer");
    let last = whole.token_ids.clone();
    for begun in [last.iter().copied().chain([t.eos_ids()[0]]).collect(), vec![4_000_000], last.repeat(80)] {
        let request = Request { begun, ..request.clone() };
        assert!(run(&mut session, request).is_err());
    }
}
