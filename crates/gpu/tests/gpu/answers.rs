//! Answers of the driver on a GPU, with one and with several steps in flight.

use std::rc::Rc;
use std::time::Instant;

use honelm_backend::block_on;
use honelm_engine::{Completion, Counts, Driver, DriverOptions, Event, Generation, Request};
use honelm_gpu::Gpu;
use honelm_testing::pocket_dir;
use honelm_text::Tokenizer;

use crate::models::{load, on};
use crate::on_every_adapter;

fn driver(gpu: &Gpu, steps: Option<usize>) -> Driver {
    let tokenizer = Rc::new(Tokenizer::from_dir(&pocket_dir()).unwrap());
    let options = DriverOptions { steps_in_flight: steps, prefixes: 0, ..DriverOptions::default() };
    Driver::new(Box::new(load(&pocket_dir(), Some(256), on(gpu))), tokenizer, options)
}

fn requests(tokens: usize) -> Vec<Request> {
    let greedy = Generation::greedy(tokens);
    let sampled = Generation { max_tokens: tokens, temperature: 0.9, seed: 3, ..Generation::default() };
    let request = |prompt: &[u32], how: &Generation| Request::new(prompt.to_vec(), how.clone());
    vec![
        request(&[0, 400, 301, 512, 77], &greedy),
        request(&[0, 1234, 88, 3000, 41, 9, 700, 6001], &sampled),
        // An end that the host finds in a text.
        request(&[0, 400, 301], &Generation { stop: vec!["e".to_owned()], ..greedy }),
        // Logits that the host needs before the next step.
        request(&[0, 400, 301], &Generation { logprobs: Some(1), ..sampled }),
    ]
}

#[test]
fn several_steps_in_flight_give_the_same_answers() {
    on_every_adapter("several_steps_in_flight_give_the_same_answers", |gpu| {
        let answers = |steps: Option<usize>| -> (Vec<Completion>, Counts) {
            let mut driver = driver(gpu, steps);
            let complete = |request| block_on(driver.complete(request, &|| 0.0, &mut |_| ())).unwrap();
            (requests(24).into_iter().map(complete).collect(), driver.counts())
        };
        let (expected, one) = answers(Some(1));
        assert_eq!(one.waits, one.steps);
        for steps in [None, Some(4)] {
            let (found, counts) = answers(steps);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!((&found.token_ids, &found.text), (&expected.token_ids, &expected.text), "{steps:?}");
                assert_eq!((found.finish_reason, &found.logprobs), (expected.finish_reason, &expected.logprobs));
            }
            // Of every answer, the first token is drawn by the host; those with log-probabilities all are.
            assert!(counts.waits <= 3 * 2 + 24, "{counts:?}");
            assert!(counts.discarded <= 3 * 3, "{counts:?}");
        }
    });
}

#[test]
fn answers_side_by_side_are_those_of_one_step_after_another() {
    on_every_adapter("answers_side_by_side_are_those_of_one_step_after_another", |gpu| {
        let run = |steps: usize| -> Vec<(u64, Vec<u32>)> {
            let mut driver = driver(gpu, Some(steps));
            // Of one length, so that all steps have the same rows.
            let how = Generation { max_tokens: 16, temperature: 0.9, seed: 3, ..Generation::default() };
            for prompt in [[0, 400, 301, 512, 77], [0, 1234, 88, 3000, 41]] {
                driver.submit(Request::new(prompt.to_vec(), how.clone()), 0.0).unwrap();
            }
            let mut done = Vec::new();
            while !driver.is_idle() {
                for (id, event) in block_on(driver.step(&|| 0.0)) {
                    match event {
                        Event::Update(_) => {}
                        Event::Done(completion) => done.push((id.0, completion.token_ids)),
                        Event::Failed(error) => panic!("{error}"),
                    }
                }
            }
            done
        };
        assert_eq!(run(3), run(1));
    });
}

#[test]
#[ignore = "a measurement"]
fn speed_by_steps_in_flight() {
    on_every_adapter("speed_by_steps_in_flight", |gpu| {
        let mut rates: Vec<Vec<f64>> = vec![Vec::new(); 5];
        let mut waits = [0.0; 5];
        // In turns, so that all see the same machine.
        for _ in 0..5 {
            for steps in 1..=4 {
                let mut driver = driver(gpu, Some(steps));
                let mut complete = |tokens| {
                    let begin = Instant::now();
                    let clock = move || begin.elapsed().as_secs_f64();
                    let request = Request::new(vec![0, 400, 301, 512, 77], Generation::greedy(tokens));
                    block_on(driver.complete(request, &clock, &mut |_| ())).unwrap()
                };
                complete(8);
                let done = complete(64);
                rates[steps].push(done.decode_tokens_per_second().unwrap_or(0.0));
                let counts = driver.counts();
                waits[steps] = counts.waits as f64 / counts.steps as f64;
            }
        }
        for steps in 1..=4 {
            rates[steps].sort_by(f64::total_cmp);
            let (median, waits) = (rates[steps][2], waits[steps]);
            println!("{}: {steps} in flight: {median:.1} tokens/s, {waits:.2} waits a step", gpu.describe());
        }
    });
}
