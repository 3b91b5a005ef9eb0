//! Every instruction set gives the same tokens.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use honelm_backend::{CacheType, block_on};
use honelm_cpu::{Compute, CpuBackend, CpuOptions, Isa};
use honelm_engine::{Driver, DriverOptions, Generation, Request};
use honelm_model::{Checkpoint, LoadOptions, Model, Parameters};
use honelm_testing::pocket_dir;
use honelm_text::{EncodeOptions, Tokenizer};

use crate::rounded::Rounded;

const PROMPTS: &str = include_str!("../../../honelm/tests/data/prompts.txt");
const TOKENS: usize = 64;
/// The smallest difference of the two largest logits at which rounding cannot change the token.
const MARGIN: f32 = 1e-3;

/// The greedy tokens of an answer.
struct Written {
    prompt_ids: Vec<u32>,
    token_ids: Vec<u32>,
    /// The smallest difference of the two largest logits.
    margin: f32,
}

/// Writes the greedy tokens of a model after each prompt. On the fast path the weights are encoded, for products of 8-bit
/// integers.
fn write(path: &Path, isa: Isa, compute: Compute, max_tokens: usize, prompts: &[&str]) -> Vec<Written> {
    let checkpoint = Checkpoint::open(path).expect("a model");
    let tokenizer = Rc::new(Tokenizer::from_dir(path).expect("a tokenizer"));
    let device = Rc::new(RefCell::new(CpuBackend::new(CpuOptions { threads: None, compute, isa: Some(isa) })));
    let options = LoadOptions { cache_type: CacheType::F32, ..LoadOptions::default() };
    let rounded = Rounded(&checkpoint);
    let parameters: &dyn Parameters = if compute == Compute::Fast { &rounded } else { &checkpoint };
    let model = Model::load(checkpoint.blueprint(), parameters, device, &options).expect("loaded");
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
        let request = Request::new(ids.clone(), settings.clone());
        let done = block_on(driver.complete(request, &|| 0.0, &mut |_| ())).expect("an answer");
        let margins = done.logprobs.iter().map(|p| p.top[0].1 - p.top[1].1);
        Written { prompt_ids: ids, token_ids: done.token_ids, margin: margins.fold(f32::INFINITY, f32::min) }
    };
    prompts.iter().map(answer).collect()
}

/// Compares a few prompts. `cargo xtask prove tokens` compares all of them at full length.
#[test]
fn greedy_tokens_are_the_same_on_every_instruction_set() {
    const SHORT: usize = 24;
    let prompts: Vec<&str> = PROMPTS.lines().step_by(6).collect();
    let available = Isa::available();
    let reference = write(&pocket_dir(), available[0], Compute::F32, SHORT, &prompts);
    let clear = reference.iter().filter(|w| w.token_ids.len() == SHORT && w.margin >= MARGIN).count();
    assert!(clear >= 4, "only {clear} of {} prompts have clear margins", prompts.len());
    for &isa in &available[1..] {
        let written = write(&pocket_dir(), isa, Compute::F32, SHORT, &prompts);
        for ((prompt, expected), found) in prompts.iter().zip(&reference).zip(written) {
            if expected.margin >= MARGIN {
                let margin = expected.margin;
                assert_eq!(expected.token_ids, found.token_ids, "{prompt:?} on {}, margin {margin}", isa.name());
            }
        }
    }
}

/// Prints the tokens that other devices must give. With `HONELM_PROOF_COMPUTE=fast` the weights are encoded.
#[test]
#[ignore = "long proof: cargo xtask prove tokens, crates/cpu/tests/aarch64.sh"]
fn greedy_tokens_of_a_model() {
    let path = std::env::var_os("HONELM_PROOF_MODEL").map_or_else(pocket_dir, PathBuf::from);
    let tokens = std::env::var("HONELM_PROOF_TOKENS").map_or(TOKENS, |tokens| tokens.parse().expect("a number"));
    let compute = match std::env::var("HONELM_PROOF_COMPUTE").as_deref() {
        Ok("fast") => Compute::Fast,
        _ => Compute::F32,
    };
    let prompts: Vec<&str> = PROMPTS.lines().collect();
    let written = write(&path, Isa::detect(), compute, tokens, &prompts);
    let ends = Tokenizer::from_dir(&path).expect("a tokenizer").eos_ids().to_vec();
    let answer = |(prompt, w): (&&str, &Written)| {
        serde_json::json!({
            "prompt": prompt, "prompt_ids": w.prompt_ids, "token_ids": w.token_ids, "ends": ends, "margin": w.margin,
        })
    };
    let answers: Vec<serde_json::Value> = prompts.iter().zip(&written).map(answer).collect();
    println!("proof: {}", serde_json::Value::from(answers));
}
