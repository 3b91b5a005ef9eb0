//! Many answers at once: each has the bits that it has alone, whatever happens to its neighbours.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use crate::common::tokenizer;
use crate::constrained::compile;
use honelm_backend::{block_on, uniform};
use honelm_blocks::Encoding;
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_engine::{
    AnswerId, Cancel, Completion, Counts, Driver, DriverOptions, Event, FinishReason, Generation, Overflow, Request,
    Speculate,
};
use honelm_grammar::{Constraint, Grammar};
use honelm_model::{CacheUse, Checkpoint, LoadOptions, Model, Runner};

/// Small models of the `model` crate, with and without sliding windows.
pub const TINY: [&str; 2] = ["llama-grouped", "llama-window"];
const CONTEXT: usize = 128;

/// Returns a model of random weights in the shape of a small one.
pub fn tiny(name: &str) -> Checkpoint {
    tiny_of(name, 3)
}

/// Returns the same with other weights.
pub fn tiny_of(name: &str, seed: u64) -> Checkpoint {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/tiny").join(name);
    let config = std::fs::read(folder.join("config.json")).expect("a file");
    let config = serde_json::from_slice(&config).expect("JSON");
    Checkpoint::made_up(name, &config, Encoding::Q8_0, seed).expect("a model")
}

pub fn load(checkpoint: &Checkpoint, context: usize) -> Model {
    let backend = CpuBackend::new(CpuOptions { threads: Some(1), compute: Compute::Fast, isa: None });
    let options = LoadOptions { context: Some(context), ..LoadOptions::default() };
    let device = Rc::new(RefCell::new(backend));
    Model::load(checkpoint.blueprint(), checkpoint, device, &options).expect("it loads")
}

/// A sequence of pseudo-random numbers.
struct Random(u64, Cell<u64>);

impl Random {
    /// Returns a number from `range`.
    fn pick(&self, range: std::ops::Range<usize>) -> usize {
        self.1.set(self.1.get() + 1);
        range.start + (uniform(self.0, 77, self.1.get(), 0) * range.len() as f32) as usize
    }

    fn chance(&self, percent: usize) -> bool {
        self.pick(0..100) < percent
    }

    fn tokens(&self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.pick(2..64) as u32).collect()
    }
}

/// Compiles grammars for the first 64 tokens, which are single characters. The last one wants a character that is not among
/// them, so its answers fail.
fn grammars() -> Vec<Grammar> {
    let regexes = ["[!-X]{3,20}", "([A-F]{2}-[0-9]{2};)+", "(YES|NO|[0-9]{1,9})", "[A-N]{2,9}[a-z]"];
    regexes.iter().map(|regex| compile(&Constraint::Regex((*regex).to_owned()))).collect()
}

/// Draws a request whose prompt may begin as others do.
fn request(random: &Random, bases: &[Vec<u32>], grammars: &[Grammar]) -> Request {
    let mut prompt = bases[random.pick(0..bases.len())].clone();
    prompt.truncate(random.pick(1..prompt.len() + 1));
    let tail = random.pick(0..50);
    prompt.extend(random.tokens(tail));
    let mut how = Generation { max_tokens: random.pick(0..24), seed: 9, stream: 1, ..Generation::default() };
    if random.chance(50) {
        how.temperature = 0.0;
    }
    if random.chance(40) {
        how.logprobs = Some(3);
    }
    if random.chance(20) {
        how.repeat_penalty = 1.2;
    }
    if random.chance(15) {
        how.overflow = Overflow::Shift { keep: 3 };
        how.max_tokens = 60;
    }
    let grammar = random.chance(35).then(|| grammars[random.pick(0..grammars.len())].matcher());
    Request { priority: random.pick(0..3) as i32 - 1, ..Request::new(prompt, how).with_grammar(grammar) }
}

/// Checks an answer.
pub fn check(found: &Completion, alone: &Completion, what: &str) {
    let tokens = found.token_ids.len();
    let is_cut = matches!(found.finish_reason, FinishReason::Cancelled | FinishReason::Deadline);
    let expected = if is_cut { tokens } else { alone.token_ids.len() };
    assert_eq!(found.token_ids, alone.token_ids[..expected], "{what}");
    // Log-probabilities have the bits of the logits.
    assert_eq!(found.logprobs, alone.logprobs[..alone.logprobs.len().min(expected)], "{what}");
    if !is_cut {
        assert_eq!((found.finish_reason, &found.text), (alone.finish_reason, &alone.text), "{what}");
    }
}

/// Checks an answer that may fail.
fn check_outcome(found: &Outcome, alone: &Outcome, what: &str) {
    match (found, alone) {
        (Ok(found), Ok(alone)) => check(found, alone, what),
        (Err(found), Err(alone)) => assert_eq!(found, alone, "{what}"),
        (Ok(found), Err(_)) => {
            assert!(
                matches!(found.finish_reason, FinishReason::Cancelled | FinishReason::Deadline),
                "{what}: {found:?}"
            );
        }
        (Err(error), Ok(_)) => panic!("{what}: {error}"),
    }
}

/// An answer, or the error that ended it.
type Outcome = Result<Completion, String>;

/// Runs one schedule of answers with drafts, cancels, deadlines and shortage of memory at random moments. Returns the counts, the
/// number of accepted draft tokens and the number of answers that failed.
fn run_schedule(model: &str, seed: u64, grammars: &[Grammar]) -> (Counts, u64, usize) {
    let random = Random(seed, Cell::new(0));
    let bases: Vec<Vec<u32>> = (0..3).map(|_| random.tokens(40)).collect();
    let requests: Vec<Request> = (0..random.pick(2..17)).map(|_| request(&random, &bases, grammars)).collect();
    let runner = load(&tiny(model), CONTEXT);
    let least = runner.sequence_bytes(CONTEXT);
    let options = DriverOptions {
        answers: random.pick(1..9),
        prefill_rows: random.pick(1..60),
        prefill_rows_beside: random.pick(1..30),
        prefixes: random.pick(0..6),
        cache_bytes: Some(least * random.pick(100..300) / 100),
        speculate: Speculate::ALL[random.pick(0..4)],
        steps_in_flight: Some(random.pick(1..6)),
        survives_loss: false,
    };
    let is_drafted = options.speculate == Speculate::Draft || random.chance(50);
    let mut driver = Driver::new(Box::new(runner), tokenizer(), options);
    if is_drafted {
        // The same model, or one with other weights, and often a shorter context.
        let draft = load(&tiny_of(TINY[random.pick(0..2)], 3 + random.pick(0..2) as u64), random.pick(20..CONTEXT + 1));
        driver.set_draft(Box::new(draft), tokenizer()).expect("a draft model");
    }
    let mut alone = Driver::new(
        Box::new(load(&tiny(model), CONTEXT)),
        tokenizer(),
        DriverOptions { prefixes: 0, prefill_rows: 1, speculate: Speculate::Off, ..DriverOptions::default() },
    );
    let now = Cell::new(0.0);
    let clock = || now.get();
    let mut begun: BTreeMap<AnswerId, (usize, Cancel)> = BTreeMap::new();
    let mut done: BTreeMap<AnswerId, Outcome> = BTreeMap::new();
    let mut next = 0;
    while next < requests.len() || !driver.is_idle() {
        now.set(now.get() + 1.0);
        while next < requests.len() && (driver.is_idle() || random.chance(30)) {
            let mut request = requests[next].clone();
            if random.chance(15) {
                request.deadline = Some(now.get() + random.pick(0..40) as f64);
            }
            let cancel = request.cancel.clone();
            begun.insert(driver.submit(request, now.get()).expect("a valid request"), (next, cancel));
            next += 1;
        }
        if random.chance(4)
            && let Some((_, cancel)) = begun.values().nth(random.pick(0..begun.len()))
        {
            cancel.cancel();
        }
        for (id, event) in block_on(driver.step(&clock)) {
            let outcome = match event {
                Event::Update(_) => {
                    assert!(begun.contains_key(&id) && !done.contains_key(&id));
                    continue;
                }
                Event::Done(completion) => Ok(completion),
                Event::Failed(error) => Err(error.to_string()),
            };
            assert!(done.insert(id, outcome).is_none(), "seed {seed}: done twice");
        }
        assert!(now.get() < 20_000.0, "seed {seed}: the answers never end");
    }
    assert_eq!(done.len(), requests.len(), "seed {seed}");
    let failed = done.values().filter(|outcome| outcome.is_err()).count();
    for (id, outcome) in done {
        let mut request = requests[begun[&id].0].clone();
        request.cancel = Cancel::new();
        let expected = block_on(alone.complete(request, &|| 0.0, &mut |_| ())).map_err(|error| error.to_string());
        check_outcome(&outcome, &expected, &format!("{model}, seed {seed}, answer {}", id.0));
    }
    let counts = driver.counts();
    let accepted = driver.speculation().accepted;
    assert!(driver.draft_failure().is_none(), "seed {seed}");
    assert_eq!(driver.draft_cache_use().map_or(0, |left| left.sequences), 0, "seed {seed}: a draft is left");
    let left = driver.runner().expect("open sequences can be closed").cache_use();
    assert_eq!(left, CacheUse { held: 0, limit: None, sequences: 0 }, "seed {seed}: something is left");
    (counts, accepted, failed)
}

#[test]
fn random_schedules_change_no_bit_and_leave_nothing_open() {
    let (mut total, mut drafted, mut failed) = (Counts::default(), 0, 0);
    let grammars = grammars();
    for seed in 0..40 {
        let (counts, accepted, failures) = run_schedule(TINY[seed as usize % 2], seed, &grammars);
        drafted += accepted;
        total.preempted += counts.preempted;
        total.evicted += counts.evicted;
        failed += failures;
    }
    assert!(drafted > 200, "{drafted} draft tokens were accepted");
    assert!(total.preempted > 20 && total.evicted > 20, "memory was never short: {total:?}");
    assert!(failed > 10, "{failed} answers failed");
}

#[test]
#[ignore = "long proof: cargo xtask prove schedules"]
fn many_random_schedules() {
    let wanted = std::env::var("HONELM_PROOF_SCHEDULES").map_or(1000, |count| count.parse().expect("a number"));
    let (mut total, mut drafted, mut failed) = (Counts::default(), 0, 0);
    let grammars = grammars();
    for seed in 0..wanted {
        let (counts, accepted, failures) = run_schedule(TINY[seed as usize % 2], 1000 + seed, &grammars);
        drafted += accepted;
        failed += failures;
        total.preempted += counts.preempted;
        total.evicted += counts.evicted;
        total.steps += counts.steps;
    }
    let Counts { steps, preempted, evicted, .. } = total;
    println!(
        "proof: {}",
        serde_json::json!({
            "schedules": wanted, "steps": steps, "preempted": preempted, "evicted": evicted, "accepted": drafted, "failed": failed
        })
    );
}

#[test]
fn sixteen_answers_at_once_equal_themselves_alone() {
    let t = tokenizer();
    let checkpoint = Checkpoint::open(honelm_testing::pocket_dir()).expect("the shipped model");
    let load = || load(&checkpoint, 256);
    let requests: Vec<Request> = (0..16u64)
        .map(|i| {
            let text =
                ["Once upon a time", "The old house stood", "Tell me a story about a dog.", "She"][i as usize % 4];
            let prompt = [vec![t.bos().expect("a BOS")], crate::common::encode(&t, &format!("{text} {i}"))].concat();
            let temperature = if i % 2 == 0 { 0.0 } else { 0.9 };
            let logprobs = if i % 3 == 0 { Some(2) } else { None };
            Request::new(prompt, Generation { max_tokens: 10, temperature, seed: i, logprobs, ..Generation::default() })
        })
        .collect();
    let mut driver = Driver::new(
        Box::new(load()),
        tokenizer(),
        DriverOptions { prefill_rows_beside: 7, cache_bytes: Some(64 << 20), ..DriverOptions::default() },
    );
    let ids: Vec<AnswerId> =
        requests.iter().map(|request| driver.submit(request.clone(), 0.0).expect("valid")).collect();
    let mut done = BTreeMap::new();
    while !driver.is_idle() {
        for (id, event) in block_on(driver.step(&|| 0.0)) {
            match event {
                Event::Update(_) => {}
                Event::Done(completion) => drop(done.insert(id, completion)),
                Event::Failed(error) => panic!("{error}"),
            }
        }
    }
    let counts = driver.counts();
    assert!(counts.steps < 60, "the answers share their steps: {counts:?}");
    let mut alone = Driver::new(
        Box::new(load()),
        tokenizer(),
        DriverOptions { prefixes: 0, speculate: Speculate::Off, ..DriverOptions::default() },
    );
    for (id, request) in ids.iter().zip(requests) {
        let expected = block_on(alone.complete(request, &|| 0.0, &mut |_| ())).expect("an answer");
        check(&done[id], &expected, &format!("answer {}", id.0));
    }
}

/// Returns the tokens per second of `answers` answers of `tokens` tokens each.
fn tokens_per_second(checkpoint: &Checkpoint, answers: u64, tokens: usize) -> f64 {
    let backend = CpuBackend::new(CpuOptions { threads: None, compute: Compute::Fast, isa: None });
    let options = LoadOptions { context: Some(256), ..LoadOptions::default() };
    let device = Rc::new(RefCell::new(backend));
    let model = Model::load(checkpoint.blueprint(), checkpoint, device, &options).expect("it loads");
    let options = DriverOptions { cache_bytes: Some(1 << 30), speculate: Speculate::Off, ..DriverOptions::default() };
    let mut driver = Driver::new(Box::new(model), tokenizer(), options);
    for seed in 0..answers {
        let how = Generation { max_tokens: tokens, seed, ..Generation::default() }.without_ends();
        driver.submit(Request::new((0..8).map(|i| i + 10 * seed as u32).collect(), how), 0.0).expect("valid");
    }
    // The prompts are not timed.
    while driver.counts().rows < 8 * answers {
        drop(block_on(driver.step(&|| 0.0)));
    }
    let begin = std::time::Instant::now();
    while !driver.is_idle() {
        drop(block_on(driver.step(&|| 0.0)));
    }
    answers as f64 * (tokens - 1) as f64 / begin.elapsed().as_secs_f64()
}

#[test]
#[ignore = "long proof: cargo xtask prove schedules"]
fn eight_answers_against_one() {
    let Some(data) = honelm_testing::test_data() else { honelm_testing::skip!("eight_answers_against_one") };
    let checkpoint = Checkpoint::open(data.join("models/reference")).expect("a model");
    let mut rates = [Vec::new(), Vec::new()];
    // In turns, so that both see the same machine.
    for _ in 0..5 {
        rates[0].push(tokens_per_second(&checkpoint, 1, 24));
        rates[1].push(tokens_per_second(&checkpoint, 8, 24));
    }
    rates.iter_mut().for_each(|rates| rates.sort_by(f64::total_cmp));
    let [one, eight] = rates.map(|rates| rates[rates.len() / 2]);
    println!("proof: {}", serde_json::json!({"one": one, "eight": eight}));
}
