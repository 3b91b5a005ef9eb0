//! Every instruction set gives the same tokens.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use honelm_backend::{CacheType, block_on};
use honelm_cpu::{Compute, CpuBackend, CpuOptions, Isa};
use honelm_engine::{Driver, DriverOptions, Generation, Request};
use honelm_model::{Checkpoint, LoadOptions, Model};
use honelm_text::{EncodeOptions, Tokenizer};

const PROMPTS: &str = include_str!("../data/prompts.txt");
const TOKENS: usize = 64;
/// The smallest difference of the two largest logits at which rounding cannot change the token.
const MARGIN: f32 = 1e-3;

fn shipped() -> PathBuf {
    honelm::locate(None, None).expect("the shipped model")
}

/// Returns the greedy tokens of a model after each prompt, and the smallest top-2 margin among them.
fn write(path: &Path, isa: Isa, max_tokens: usize, prompts: &[&str]) -> Vec<(Vec<u32>, f32)> {
    let checkpoint = Checkpoint::open(path).expect("a model");
    let tokenizer = Rc::new(Tokenizer::from_dir(path).expect("a tokenizer"));
    let backend = CpuBackend::new(CpuOptions { threads: None, compute: Compute::F32, isa: Some(isa) });
    let options = LoadOptions { cache_type: CacheType::F32, ..LoadOptions::default() };
    let device = Rc::new(RefCell::new(backend));
    let model = Model::load(checkpoint.blueprint(), &checkpoint, device, &options).expect("loaded");
    let mut driver = Driver::new(Box::new(model), Rc::clone(&tokenizer), DriverOptions::default());
    let settings = Generation {
        max_tokens,
        stop_tokens: tokenizer.eos_ids().to_vec(),
        ignore_eos: true,
        logprobs: Some(2),
        temperature: 0.0,
        ..Generation::default()
    };
    let answer = |prompt: &&str| {
        let ids = tokenizer.encode(prompt, EncodeOptions { add_special: true, parse_special: false }).expect("ids");
        let done = block_on(driver.complete(Request::new(ids, settings.clone()), &|| 0.0, &mut |_| ()));
        let done = done.expect("an answer");
        let margins = done.logprobs.iter().map(|p| p.top[0].1 - p.top[1].1);
        (done.token_ids, margins.fold(f32::INFINITY, f32::min))
    };
    prompts.iter().map(answer).collect()
}

/// Compares a few prompts. `cargo xtask prove tokens` compares all of them at full length.
#[test]
fn greedy_tokens_are_the_same_on_every_instruction_set() {
    const SHORT: usize = 24;
    let prompts: Vec<&str> = PROMPTS.lines().step_by(6).collect();
    let available = Isa::available();
    let reference = write(&shipped(), available[0], SHORT, &prompts);
    let clear = reference.iter().filter(|(tokens, margin)| tokens.len() == SHORT && *margin >= MARGIN).count();
    assert!(clear >= 4, "only {clear} of {} prompts have clear margins", prompts.len());
    for &isa in &available[1..] {
        let written = write(&shipped(), isa, SHORT, &prompts);
        for ((prompt, (expected, margin)), (found, _)) in prompts.iter().zip(&reference).zip(written) {
            if *margin >= MARGIN {
                assert_eq!(*expected, found, "{prompt:?} on {}, margin {margin}", isa.name());
            }
        }
    }
}

/// Prints the tokens that other devices must give.
#[test]
#[ignore = "long proof: cargo xtask prove tokens"]
fn greedy_tokens_of_a_model() {
    let path = std::env::var_os("HONELM_PROOF_MODEL").map_or_else(shipped, PathBuf::from);
    let tokens = std::env::var("HONELM_PROOF_TOKENS").map_or(TOKENS, |tokens| tokens.parse().expect("a number"));
    let prompts: Vec<&str> = PROMPTS.lines().collect();
    let written = write(&path, Isa::detect(), tokens, &prompts);
    let answer = |(prompt, (token_ids, margin)): (&&str, &(Vec<u32>, f32))| serde_json::json!({"prompt": prompt, "token_ids": token_ids, "margin": margin});
    let answers: Vec<serde_json::Value> = prompts.iter().zip(&written).map(answer).collect();
    println!("proof: {}", serde_json::Value::from(answers));
}
