//! The same tokens on every instruction set.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;

use honelm_backend::CacheType;
use honelm_cpu::{Compute, CpuBackend, CpuOptions, Isa};
use honelm_engine::{Generation, Session};
use honelm_model::{Checkpoint, LoadOptions, Model};
use honelm_text::{EncodeOptions, Tokenizer};

const PROMPTS: &str = include_str!("data/prompts.txt");
const TOKENS: usize = 64;
/// Smallest difference of the two largest logits at which rounding cannot change the token.
const MARGIN: f32 = 1e-3;

/// Greedy tokens after each prompt, and the smallest top-2 margin on the way.
fn write(isa: Isa, prompts: &[&str]) -> Vec<(Vec<u32>, f32)> {
    let path = honelm::locate(None, None).expect("the shipped model");
    let checkpoint = Checkpoint::open(&path).expect("a model");
    let tokenizer = Tokenizer::from_dir(&path).expect("a tokenizer");
    let backend = CpuBackend::new(CpuOptions { threads: None, compute: Compute::F32, isa: Some(isa) });
    let options = LoadOptions { cache_type: CacheType::F32, ..LoadOptions::default() };
    let device = Rc::new(RefCell::new(backend));
    let model = Model::load(checkpoint.blueprint(), &checkpoint, device, &options).expect("loaded");
    let mut session = Session::new(Box::new(model));
    let settings = Generation {
        max_tokens: TOKENS,
        stop_tokens: tokenizer.eos_ids().to_vec(),
        ignore_eos: true,
        logprobs: Some(2),
        temperature: 0.0,
        ..Generation::default()
    };
    let answer = |prompt: &&str| {
        let ids = tokenizer.encode(prompt, EncodeOptions { add_special: true, parse_special: false }).expect("ids");
        let tell = &mut |_: honelm_engine::Update<'_>| ControlFlow::Continue(());
        let done = session.generate(&tokenizer, &ids, &settings, &|| 0.0, tell).expect("an answer");
        let margins = done.logprobs.iter().map(|p| p.top[0].1 - p.top[1].1);
        (done.token_ids, margins.fold(f32::INFINITY, f32::min))
    };
    prompts.iter().map(answer).collect()
}

#[test]
fn greedy_tokens_are_the_same_on_every_instruction_set() {
    let prompts: Vec<&str> = PROMPTS.lines().collect();
    assert_eq!(prompts.len(), 32);
    let available = Isa::available();
    let reference = write(available[0], &prompts);
    let clear = reference.iter().filter(|(tokens, margin)| tokens.len() == TOKENS && *margin >= MARGIN).count();
    assert!(clear >= 20, "only {clear} prompts have clear margins");
    eprintln!("{clear} of 32 prompts compared on {:?}", available.iter().map(|isa| isa.name()).collect::<Vec<_>>());
    for &isa in &available[1..] {
        for ((prompt, (expected, margin)), (found, _)) in prompts.iter().zip(&reference).zip(write(isa, &prompts)) {
            if *margin >= MARGIN {
                assert_eq!(*expected, found, "{prompt:?} on {}, margin {margin}", isa.name());
            }
        }
    }
}
