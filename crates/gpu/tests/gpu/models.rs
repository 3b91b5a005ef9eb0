use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use honelm_backend::{Batch, CacheType, Parent, Sampling, Token, Want, block_on};
use honelm_gpu::{Gpu, GpuBackend, Variants};
use honelm_model::{Checkpoint, Device, LoadOptions, Model, Runner};
use honelm_testing::pocket_dir;

use crate::common::{deviation, device, distance, golden, logits};
use crate::on_every_adapter;
use crate::tiny::{MODELS, context, tiny};

/// Returns `true` for a model that generates text, which an encoder does not.
fn generates(name: &str) -> bool {
    !["bert-", "roberta-"].iter().any(|family| name.starts_with(family))
}

pub fn load(path: &Path, context: Option<usize>, device: Device) -> Model {
    let checkpoint = Checkpoint::open(path).unwrap();
    let options = LoadOptions { context, cache_type: CacheType::F32, ..LoadOptions::default() };
    Model::load(checkpoint.blueprint(), &checkpoint, device, &options).unwrap()
}

/// Returns a back end with the variants of users: with subgroups if available. The operator tests cover the other variants.
pub fn on(gpu: &Gpu) -> Rc<RefCell<GpuBackend>> {
    gpu.use_variants(Variants { subgroups: gpu.report().subgroups.is_some(), ..Variants::default() });
    Rc::new(RefCell::new(GpuBackend::new(gpu).unwrap()))
}

#[test]
fn every_architecture_gives_the_logits_of_the_cpu() {
    on_every_adapter("every_architecture_gives_the_logits_of_the_cpu", |gpu| {
        let mut wrong = Vec::new();
        for &name in MODELS {
            let (tokens, expected) = golden(&tiny(name));
            let scale = deviation(&expected);
            let cpu = logits(&mut load(&tiny(name), context(name), device()), &tokens, tokens.len());
            let mut model = load(&tiny(name), context(name), on(gpu));
            // All rows at once (by tiles), token by token, and in steps of three.
            for rows in [tokens.len(), 1, 3] {
                let found = logits(&mut model, &tokens, rows);
                let error = distance(&found, &cpu) / scale;
                if error.is_nan() || error > 1e-4 {
                    wrong.push((name, rows, error));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

/// Returns the greedy tokens after `prompt`, with several in flight: a token is sampled on the device and used by the next step
/// before the host has read it.
fn greedy_unseen(model: &mut Model, prompt: &[u32], count: usize) -> Vec<u32> {
    let want = Want { sample: Some(Sampling::GREEDY), ..Want::NOTHING };
    let id = model.open();
    let mut batch = Batch::default();
    batch.extend(id, prompt, want);
    let mut row = prompt.len() as u32 - 1;
    let mut tickets = vec![model.step(&batch).unwrap()];
    let mut tokens = Vec::new();
    for _ in 1..count {
        let mut batch = Batch::default();
        batch.push(id, Token::Sampled(*tickets.last().unwrap(), row), Parent::Previous, want);
        row = 0;
        tickets.push(model.step(&batch).unwrap());
        if tickets.len() > 8 {
            tokens.extend(block_on(model.read(tickets.remove(0))).unwrap().sampled);
        }
    }
    tokens.extend(tickets.into_iter().flat_map(|ticket| block_on(model.read(ticket)).unwrap().sampled));
    model.close(id).unwrap();
    tokens
}

/// Returns the greedy tokens, each with its margin over the second most likely token.
fn greedy_with_margins(model: &mut Model, prompt: &[u32], count: usize) -> Vec<(u32, f32)> {
    let id = model.open();
    let (mut next, mut out) = (prompt.to_vec(), Vec::new());
    for _ in 0..count {
        let mut batch = Batch::default();
        batch.extend(id, &next, Want::LOGITS);
        let ticket = model.step(&batch).unwrap();
        let logits = block_on(model.read(ticket)).unwrap().logits.data;
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        out.push((order[0] as u32, logits[order[0]] - logits[order[1]]));
        next = vec![order[0] as u32];
    }
    model.close(id).unwrap();
    out
}

#[test]
fn the_shipped_model_generates_the_same_tokens_as_on_the_cpu() {
    let mut cpu = load(&pocket_dir(), Some(256), device());
    let prompts: [&[u32]; 3] = [&[0, 400, 301, 512, 77], &[0, 1234, 88, 3000, 41, 9, 700, 6001], &[0]];
    let expected = prompts.map(|prompt| greedy_with_margins(&mut cpu, prompt, 48));
    on_every_adapter("the_shipped_model_generates_the_same_tokens_as_on_the_cpu", |gpu| {
        let mut model = load(&pocket_dir(), Some(256), on(gpu));
        for (prompt, expected) in prompts.iter().zip(&expected) {
            let found = greedy_unseen(&mut model, prompt, expected.len());
            // If two tokens are almost equally likely, rounding may decide.
            let sure = expected.iter().take_while(|(_, margin)| *margin >= 1e-3).count();
            assert!(sure >= 16, "only {sure} tokens are sure");
            let tokens: Vec<u32> = expected.iter().map(|(token, _)| *token).collect();
            assert_eq!(found[..sure], tokens[..sure]);
        }
    });
}

/// Returns the dispatches per layer for one token. The embedding, the last norm, the output layer and the sampling are not counted.
fn dispatches_per_layer(gpu: &Gpu, dir: &Path) -> f64 {
    let backend = on(gpu);
    let mut model = load(dir, Some(32), backend.clone());
    greedy_unseen(&mut model, &[0, 5, 9], 3);
    (backend.borrow().dispatches() as f64 - 4.0) / model.facts().layers as f64
}

#[test]
fn a_token_takes_few_dispatches_per_layer() {
    on_every_adapter("a_token_takes_few_dispatches_per_layer", |gpu| {
        let pocket = dispatches_per_layer(gpu, &pocket_dir());
        eprintln!("pocket: {pocket:.1} dispatches per layer");
        assert!(pocket <= 8.0, "{pocket}");
        for &name in MODELS.iter().filter(|name| generates(name)) {
            let each = dispatches_per_layer(gpu, &tiny(name));
            eprintln!("{name}: {each:.1} dispatches per layer");
            // Layer norms, norms after the branches, factors of a branch and split matrices need dispatches of their own.
            let most = if name.starts_with("llama") || name.starts_with("mistral") { 8.0 } else { 16.0 };
            assert!(each <= most, "{name}: {each}");
        }
    });
}
