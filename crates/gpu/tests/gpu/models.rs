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

fn load(path: &Path, context: Option<usize>, device: Device) -> Model {
    let checkpoint = Checkpoint::open(path).unwrap();
    let options = LoadOptions { context, cache_type: CacheType::F32, ..LoadOptions::default() };
    Model::load(checkpoint.blueprint(), &checkpoint, device, &options).unwrap()
}

/// As users run: with subgroups where there are some. The plain variants have the table of operators.
fn on(gpu: &Gpu) -> Rc<RefCell<GpuBackend>> {
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
            // All at once, by tiles; token by token; in steps between.
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

/// Greedy tokens after `prompt`, several in flight: a token is sampled on the device and goes into the next step unseen.
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

/// Greedy tokens and, for each, by how much it was the most likely.
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
fn the_shipped_model_writes_what_it_writes_on_the_cpu() {
    let mut cpu = load(&pocket_dir(), Some(256), device());
    let prompts: [&[u32]; 3] = [&[0, 400, 301, 512, 77], &[0, 1234, 88, 3000, 41, 9, 700, 6001], &[0]];
    let expected = prompts.map(|prompt| greedy_with_margins(&mut cpu, prompt, 48));
    on_every_adapter("the_shipped_model_writes_what_it_writes_on_the_cpu", |gpu| {
        let mut model = load(&pocket_dir(), Some(256), on(gpu));
        for (prompt, expected) in prompts.iter().zip(&expected) {
            let found = greedy_unseen(&mut model, prompt, expected.len());
            // Where two tokens are all but equally likely, rounding may choose.
            let sure = expected.iter().take_while(|(_, margin)| *margin >= 1e-3).count();
            assert!(sure >= 16, "only {sure} tokens are sure");
            let tokens: Vec<u32> = expected.iter().map(|(token, _)| *token).collect();
            assert_eq!(found[..sure], tokens[..sure]);
        }
    });
}

/// Dispatches of a layer for one token; beside the layers there are the embedding, the last norm, the output layer and the sampling.
fn dispatches_a_layer(gpu: &Gpu, dir: &Path) -> f64 {
    let backend = on(gpu);
    let mut model = load(dir, Some(32), backend.clone());
    greedy_unseen(&mut model, &[0, 5, 9], 3);
    (backend.borrow().dispatches() as f64 - 4.0) / model.facts().layers as f64
}

#[test]
fn a_token_takes_few_dispatches_a_layer() {
    on_every_adapter("a_token_takes_few_dispatches_a_layer", |gpu| {
        let pocket = dispatches_a_layer(gpu, &pocket_dir());
        eprintln!("pocket: {pocket:.1} dispatches a layer");
        assert!(pocket <= 8.0, "{pocket}");
        for &name in MODELS {
            let each = dispatches_a_layer(gpu, &tiny(name));
            eprintln!("{name}: {each:.1} dispatches a layer");
            // Layer norms, norms behind the branches, factors of a branch and matrices that are cut apart are dispatches of their own.
            let most = if name.starts_with("llama") || name.starts_with("mistral") { 8.0 } else { 16.0 };
            assert!(each <= most, "{name}: {each}");
        }
    });
}
