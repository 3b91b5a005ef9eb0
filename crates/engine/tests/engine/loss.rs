//! Lost devices: answers go on with another one.

use honelm_backend::block_on;
use honelm_engine::{
    Cancel, Completion, Driver, DriverOptions, EngineError, FinishReason, Generation, Request, Speculate, Update,
};

use crate::common::{Scripted, limited};
use crate::flights::{VOCABULARY, mixed};

const PROMPT: [u32; 5] = [5, 6, 7, 8, 9];

/// Returns a runner whose device is lost after this many steps.
fn runner(steps_in_flight: usize, lost_after: Option<u64>) -> Scripted {
    let (mut runner, _) = Scripted::new(VOCABULARY, 64, mixed);
    (runner.steps_in_flight, runner.lost_after) = (steps_in_flight, lost_after);
    runner
}

fn options(survives_loss: bool) -> DriverOptions {
    DriverOptions { survives_loss, speculate: Speculate::Off, ..DriverOptions::default() }
}

fn code(lost: Result<Completion, EngineError>) -> &'static str {
    lost.expect_err("the device is lost").code()
}

/// Answers with a device that is lost after `steps` steps, and goes on with another one. Returns the answer and the tokens that
/// were told.
fn with_loss(in_flight: usize, steps: u64, how: &Generation) -> (Completion, Vec<u32>) {
    let mut driver = limited(runner(in_flight, Some(steps)), options(true));
    let id = driver.submit(Request::new(PROMPT.to_vec(), how.clone()), 0.0).expect("submitted");
    let mut told = Vec::new();
    let mut hear = |update: &Update| {
        if let Update::Token { id, .. } = update {
            told.push(*id);
        }
    };
    assert_eq!(code(block_on(driver.finish(id, &|| 0.0, &mut hear))), "device-lost");
    assert!(driver.lost().is_some() && !driver.is_idle());
    assert_eq!(code(block_on(driver.finish(id, &|| 0.0, &mut hear))), "device-lost", "nothing runs on a lost device");
    driver.replace(Box::new(runner(in_flight, None)));
    let done = block_on(driver.finish(id, &|| 0.0, &mut hear)).expect("an answer");
    assert!(driver.lost().is_none() && driver.is_idle());
    (done, told)
}

#[test]
fn an_answer_goes_on_as_if_nothing_had_happened() {
    let how = Generation { max_tokens: 20, seed: 3, ..Generation::default() };
    for how in [Generation { temperature: 0.0, ..how.clone() }, Generation { repeat_penalty: 1.2, ..how.clone() }, how]
    {
        let request = Request::new(PROMPT.to_vec(), how.clone());
        let undisturbed = block_on(limited(runner(1, None), options(false)).complete(request, &|| 0.0, &mut |_| ()));
        let undisturbed = undisturbed.expect("an answer");
        let tokens = undisturbed.token_ids.len() as u64;
        assert!(tokens > 4, "{tokens} tokens");
        for in_flight in [1, 3] {
            for steps in [0, 1, tokens / 2, tokens - 1] {
                let (done, told) = with_loss(in_flight, steps, &how);
                assert_eq!(done.token_ids, undisturbed.token_ids, "lost after {steps} steps, {in_flight} in flight");
                assert_eq!(told, done.token_ids, "each token is told once");
                assert_eq!(done.text, undisturbed.text);
            }
        }
    }
}

#[test]
fn a_cancelled_answer_ends_without_a_device() {
    let mut driver = limited(runner(1, Some(4)), options(true));
    let cancel = Cancel::new();
    let how = Generation { max_tokens: 20, temperature: 0.0, ..Generation::default() };
    let request = Request::new(PROMPT.to_vec(), how).with_cancel(&cancel);
    let id = driver.submit(request, 0.0).expect("submitted");
    assert_eq!(code(block_on(driver.finish(id, &|| 0.0, &mut |_| ()))), "device-lost");
    cancel.cancel();
    let done = block_on(driver.finish(id, &|| 0.0, &mut |_| ())).expect("an answer");
    assert_eq!((done.finish_reason, done.token_ids.len()), (FinishReason::Cancelled, 4));
    assert!(driver.is_idle());
}

#[test]
fn without_a_way_out_answers_fail() {
    let mut driver: Driver = limited(runner(1, Some(2)), options(false));
    let request = Request::new(PROMPT.to_vec(), Generation::greedy(8));
    assert_eq!(code(block_on(driver.complete(request, &|| 0.0, &mut |_| ()))), "device-lost");
    assert!(driver.is_idle() && driver.lost().is_none());
}
