//! The driver with a scripted model: abandoned, late, large and important answers, and shared beginnings.

use std::cell::Cell;
use std::future::Future;
use std::task::{Context, Waker};

use crate::common::{Scripted, answering, bytes_of, driver, encode, favour, generate, limited, tokenizer};
use honelm_backend::block_on;
use honelm_engine::{AnswerId, Driver, DriverOptions, Event, Generation, Request, Update};

const PROMPT: [u32; 3] = [70, 71, 72];

#[test]
fn an_abandoned_answer_leaves_the_driver_as_it_was() {
    let t = tokenizer();
    let (mut runner, log) = answering(&t, 3, encode(&t, "Hello there."));
    runner.is_slow = true;
    let mut session = driver(runner);
    let mut context = Context::from_waker(Waker::noop());
    for polls in 1..4 {
        let request = Request::new(PROMPT.to_vec(), Generation::greedy(20));
        let cancel = request.cancel.clone();
        let mut on_update = |_: &Update| ();
        let mut answer = Box::pin(session.complete(request, &|| 0.0, &mut on_update));
        for _ in 0..polls {
            assert!(answer.as_mut().poll(&mut context).is_pending());
        }
        drop(answer);
        assert!(cancel.is_cancelled());
        let done = generate(&mut session, &PROMPT, &Generation::greedy(20)).expect("an answer");
        assert_eq!(done.text, "Hello there.", "after {polls} polls");
    }
    session.clear().expect("nothing to refuse");
    assert_eq!(log.memory.get(), (0, 0));
}

#[test]
fn a_late_answer_ends_with_what_it_has() {
    let t = tokenizer();
    let (runner, _) = answering(&t, 3, bytes_of(&t, "abcdefgh"));
    let mut session = driver(runner);
    let now = Cell::new(0.0);
    let request = Request { deadline: Some(4.0), ..Request::new(PROMPT.to_vec(), Generation::greedy(20)) };
    let mut on_update = |update: &Update| {
        if matches!(update, Update::Token { .. }) {
            now.set(now.get() + 1.0);
        }
    };
    let done = block_on(session.complete(request, &|| now.get(), &mut on_update)).expect("an answer");
    assert_eq!((done.text.as_str(), done.finish_reason.name()), ("abcd", "deadline"));
}

/// Steps the driver until it is idle, and returns the answers that ended, in this order, with their error codes.
fn run(driver: &mut Driver) -> Vec<(AnswerId, Result<String, &'static str>)> {
    let mut ended = Vec::new();
    while !driver.is_idle() {
        for (id, event) in block_on(driver.step(&|| 0.0)) {
            match event {
                Event::Update(_) => {}
                Event::Done(done) => ended.push((id, Ok(done.text))),
                Event::Failed(error) => ended.push((id, Err(error.code()))),
            }
        }
    }
    ended
}

#[test]
fn an_answer_that_does_not_fit_fails_alone() {
    let t = tokenizer();
    let (runner, log) = Scripted::new(300, 1000, |tokens| favour(300, 100 + tokens.len() as u32 % 100));
    // Room for 40 tokens; the second answer wants 55.
    let mut session = limited(runner, DriverOptions { cache_bytes: Some(40), ..DriverOptions::default() });
    let mut submit = |tokens: usize| {
        let request = Request::new(PROMPT.to_vec(), Generation::greedy(tokens));
        session.submit(request, 0.0).expect("a valid request")
    };
    let ids = [submit(20), submit(52), submit(20)];
    let ended = run(&mut session);
    let text = |id| ended.iter().find(|(of, _)| *of == id).map(|(_, result)| result.clone()).expect("it ended");
    assert_eq!(text(ids[1]), Err("cache-full"));
    let expected: Vec<u32> = (3..23).map(|i| 100 + i).collect();
    for id in [ids[0], ids[2]] {
        assert_eq!(text(id), Ok(t.decode(&expected, true)));
    }
    session.clear().expect("nothing to refuse");
    assert_eq!(log.memory.get(), (0, 0));
}

#[test]
fn higher_priorities_come_first_and_equal_ones_take_turns() {
    let (runner, log) = Scripted::new(300, 1000, |tokens| favour(300, 100 + tokens.len() as u32 % 100));
    let options = DriverOptions { answers: 2, prefill_rows: 10, ..DriverOptions::default() };
    let mut session = limited(runner, options);
    let mut submit = |prompt: std::ops::Range<u32>, priority| {
        let request = Request { priority, ..Request::new(prompt.collect(), Generation::greedy(1)) };
        session.submit(request, 0.0).expect("a valid request")
    };
    // A long prompt, then a short one that overtakes it, then one that displaces both.
    let ids = [submit(0..45, 0), submit(200..208, 0), submit(100..105, 1)];
    let order: Vec<AnswerId> = run(&mut session).iter().map(|(id, _)| *id).collect();
    assert_eq!(order, [ids[2], ids[1], ids[0]]);
    assert!(log.rows.borrow().iter().all(|&rows| rows <= 10));
}

#[test]
fn answers_with_the_same_beginning_share_it() {
    let (runner, log) = Scripted::new(300, 1000, |tokens| favour(300, 100 + tokens.len() as u32 % 100));
    let mut session = driver(runner);
    let system: Vec<u32> = (0..40).collect();
    let ask = |session: &mut Driver, user: u32| {
        let prompt = [&system[..], &[user; 5]].concat();
        session.submit(Request::new(prompt, Generation::greedy(30)), 0.0).expect("a valid request")
    };
    ask(&mut session, 200);
    // Admission, then the first prefill.
    for _ in 0..3 {
        drop(block_on(session.step(&|| 0.0)));
    }
    ask(&mut session, 201);
    ask(&mut session, 202);
    drop(block_on(session.step(&|| 0.0)));
    log.rows.borrow_mut().clear();
    drop(block_on(session.step(&|| 0.0)));
    assert_eq!(*log.rows.borrow(), [1 + 5 + 5], "one row of the first answer, five of each other");
    let whole = 3 * 45usize.next_multiple_of(4);
    assert!(log.memory.get().0 < whole - 2 * 36, "{} bytes", log.memory.get().0);
    assert_eq!(run(&mut session).len(), 3);
}
