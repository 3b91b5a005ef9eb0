//! Greedy tokens that are the same on another machine, to the last bit of the arithmetic.

use std::cell::RefCell;
use std::rc::Rc;

use honelm_backend::{Batch, CacheType, SequenceId, Want, block_on};
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_model::{Checkpoint, LoadOptions, Model, Runner};
use honelm_testing::pocket_dir;

use crate::rounded::Rounded;

/// Returns the most likely next token of each sequence, after `rows` of it, other than `ends`.
fn next(model: &mut Model, rows: &[(SequenceId, &[u32])], ends: &[u32]) -> Vec<u32> {
    let mut batch = Batch::default();
    for (id, tokens) in rows {
        batch.extend(*id, tokens, Want::LOGITS);
    }
    let ticket = model.step(&batch).unwrap();
    let logits = block_on(model.read(ticket)).unwrap().logits;
    let best = |row: &[f32]| {
        let tokens = (0..row.len() as u32).filter(|token| !ends.contains(token));
        tokens.max_by(|&a, &b| row[a as usize].total_cmp(&row[b as usize]).then(b.cmp(&a))).unwrap()
    };
    logits.iter_rows().map(best).collect()
}

/// Returns `count` greedy tokens after each prompt, none of which ends the answer; all prompts share the steps.
fn answers(model: &mut Model, prompts: &[&[u32]], ends: &[u32], count: usize) -> Vec<Vec<u32>> {
    let ids: Vec<SequenceId> = prompts.iter().map(|_| model.open()).collect();
    let first: Vec<_> = ids.iter().copied().zip(prompts.iter().copied()).collect();
    let mut answers: Vec<Vec<u32>> = next(model, &first, ends).into_iter().map(|token| vec![token]).collect();
    while answers[0].len() < count {
        let last: Vec<_> = ids.iter().copied().zip(answers.iter().map(|answer| &answer[answer.len() - 1..])).collect();
        let tokens = next(model, &last, ends);
        answers.iter_mut().zip(tokens).for_each(|(answer, token)| answer.push(token));
    }
    ids.into_iter().for_each(|id| model.close(id).unwrap());
    answers
}

/// Compares with the tokens that the engine's test of instruction sets wrote on another machine, one prompt at a time:
/// `HONELM_PROOF_ANSWERS` is its file. Here, all prompts share the steps, and then the first ones are alone.
#[test]
#[ignore = "needs the answers of another machine: bash crates/cpu/tests/aarch64.sh"]
fn greedy_tokens_are_those_of_another_machine() {
    let path = std::env::var_os("HONELM_PROOF_ANSWERS").expect("HONELM_PROOF_ANSWERS");
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let tokens = |key: &str| -> Vec<Vec<u32>> {
        let ids = |answer: &serde_json::Value| serde_json::from_value(answer[key].clone()).unwrap();
        written.as_array().unwrap().iter().map(ids).collect()
    };
    let (prompts, expected, ends) = (tokens("prompt_ids"), tokens("token_ids"), tokens("ends"));
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let count = expected[0].len();

    let checkpoint = Checkpoint::open(pocket_dir()).unwrap();
    let options = CpuOptions { threads: None, compute: Compute::Fast, isa: None };
    let device = Rc::new(RefCell::new(CpuBackend::new(options)));
    let options = LoadOptions { cache_type: CacheType::F32, ..LoadOptions::default() };
    let mut model = Model::load(checkpoint.blueprint(), &Rounded(&checkpoint), device, &options).unwrap();

    let found = answers(&mut model, &prompts, &ends[0], count);
    assert_eq!(found, expected, "all prompts together");
    assert!(prompts.len() > 2 && count >= 8 && !ends[0].is_empty(), "{} prompts of {count} tokens", prompts.len());
    let alone = answers(&mut model, &prompts[..1], &ends[0], 8);
    assert_eq!(alone[0], expected[0][..8], "one prompt");
}
