//! Comparison with the original: from saved states, and side by side.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use honelm_backend::{CacheType, block_on};
use honelm_blocks::Encoding;
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_eval::{
    Baseline, Chunk, Comparison, EvalError, PieceError, Pieces, Protocol, compare, compare_beside, figures, score,
};
use honelm_model::{Checkpoint, LoadOptions, Loader, Model, Runner};
use serde_json::json;

fn model(cache_type: CacheType) -> Model {
    let checkpoint = Checkpoint::open(honelm::locate(None, None).expect("the shipped model")).expect("opened");
    let options = CpuOptions { threads: Some(1), compute: Compute::F32, ..CpuOptions::default() };
    let device = Rc::new(RefCell::new(CpuBackend::new(options)));
    let mut loader = Loader::new(checkpoint.blueprint());
    while loader.advance(&checkpoint, &mut *device.borrow_mut()).expect("a weight") {}
    loader.finish(device, &LoadOptions { cache_type, ..LoadOptions::default() }).expect("loaded")
}

fn chunks() -> Vec<Chunk> {
    let tokenizer =
        honelm::open_tokenizer(&honelm::locate(None, None).expect("the shipped model")).expect("a tokenizer");
    let text = "The old man went down to the river in the morning, and the boy went with him. ".repeat(8);
    let tokens = tokenizer.encode_running(&text).expect("tokens");
    let mut chunks = Protocol::LlamaCpp(48).chunks(&tokens, tokenizer.leading_bos(), 512).expect("chunks");
    chunks.truncate(2);
    chunks
}

#[test]
fn a_model_beside_its_original_scores_as_it_does_alone() {
    let (mut base, mut rough, chunks) = (model(CacheType::F32), model(CacheType::Q8_0), chunks());
    let mut heard = Vec::new();
    let mut progress = |so_far: &Comparison| {
        heard.push(so_far.kl.len());
        true
    };
    let found = block_on(compare_beside(&mut base, &mut rough, &chunks, 10, &mut progress)).expect("compared");
    assert_eq!(heard, [0, 1, 2]);
    for (runner, beside) in [(&mut base, &found.base), (&mut rough, &found.scores)] {
        let alone = score(runner, &chunks, &mut |_| Ok(()), &mut |_| true).expect("scored");
        for (a, b) in alone.nll.iter().flatten().zip(beside.nll.iter().flatten()) {
            assert!((a - b).abs() < 1e-3, "{a} {b}");
        }
        assert_eq!(alone.nll.iter().flatten().count(), beside.nll.iter().flatten().count());
    }
    let figures = figures(&found);
    assert!(figures.kl_divergence > 0.0 && figures.kl_divergence < 1e-2, "{}", figures.kl_divergence);
    assert_eq!(figures.clear_positions_changed, 0);
    assert!(figures.clear_positions > 20, "{}", figures.clear_positions);
}

#[test]
fn it_can_be_stopped() {
    let (mut a, mut b) = (model(CacheType::F32), model(CacheType::F32));
    let stopped = block_on(compare_beside(&mut a, &mut b, &chunks(), 64, &mut |so_far| so_far.kl.is_empty()));
    assert!(matches!(stopped, Err(EvalError::Interrupted)), "{stopped:?}");
}

/// Prints the planned memory of a comparison and of a calibration.
#[test]
#[ignore = "long proof: cargo xtask prove memory"]
fn the_plan_of_a_comparison_and_a_calibration() {
    let open = |name: &str| {
        let path = std::env::var_os(name).map(std::path::PathBuf::from);
        let path = path.unwrap_or_else(|| honelm::locate(None, None).expect("the shipped model"));
        Checkpoint::open(path).expect("opened")
    };
    let (model, base) = (open("HONELM_PROOF_MODEL"), open("HONELM_PROOF_BASE"));
    let blocks = std::env::var("HONELM_PROOF_SAMPLES").map_or(256, |blocks| blocks.parse().expect("a number"));
    let how = honelm_plan::Evaluation { chunk: 512, cache_type: CacheType::F16, compute: Compute::Fast };
    let eval = honelm_plan::plan_eval(&model, Some(&base), &how).expect("a plan");
    let how = honelm_plan::Compression {
        samples: blocks,
        length: 512,
        step_rows: honelm_compress::STEP_ROWS,
        kept_bytes: honelm_compress::KEPT_BYTES as u64,
        originals: true,
    };
    let calibration = honelm_plan::plan_compression(&model, &how).expect("a plan");
    let figures = serde_json::json!({"eval_bytes": eval.peak_bytes, "calibration_bytes": calibration.peak_bytes});
    println!("proof: {figures}");
}

/// Pieces in memory.
#[derive(Debug, Clone, Default)]
struct Memory(Rc<RefCell<BTreeMap<usize, Vec<u8>>>>);

impl Pieces for Memory {
    fn get(&self, piece: usize) -> Result<Option<Vec<u8>>, PieceError> {
        Ok(self.0.borrow().get(&piece).cloned())
    }

    fn put(&self, piece: usize, contents: &[u8]) -> Result<(), PieceError> {
        self.0.borrow_mut().insert(piece, contents.to_vec());
        Ok(())
    }
}

/// Returns a model of one layer whose states are so wide that few of them fill a piece.
fn wide_model() -> Model {
    let config = json!({
        "model_type": "llama", "vocab_size": 32, "hidden_size": 4096, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": true
    });
    let made = Checkpoint::made_up("wide", &config, Encoding::F16, 3).expect("a model");
    let options = CpuOptions { threads: Some(1), compute: Compute::F32, ..CpuOptions::default() };
    let device = Rc::new(RefCell::new(CpuBackend::new(options)));
    Model::load(made.blueprint(), &made, device, &LoadOptions::default()).expect("loaded")
}

#[test]
fn scoring_that_is_killed_loses_only_the_current_piece() {
    let mut model = wide_model();
    let width = model.facts().width;
    let tokens: Vec<u32> = (0..7 * 96).map(|i| i * i % 31).collect();
    let chunks = Protocol::Gptq(96).chunks(&tokens, None, 128).expect("chunks");
    assert_eq!(chunks.len(), 7);
    let measured = |memory: &Memory, model: &mut Model, most: usize| {
        let mut baseline = Baseline::resume(&chunks, width, Box::new(memory.clone())).expect("readable");
        let mut heard = Vec::new();
        let done = baseline.complete(model, &chunks, &mut |done| {
            heard.push(done);
            done < most
        });
        (baseline, done, heard)
    };
    let (whole, killed) = (Memory::default(), Memory::default());
    let (baseline, done, heard) = measured(&whole, &mut model, usize::MAX);
    done.expect("scored");
    assert!(baseline.is_complete());
    assert_eq!(heard.first().zip(heard.last()), Some((&0, &7)));
    let pieces = whole.0.borrow().len();
    assert!(pieces >= 2, "{pieces}");
    let (half, done, _) = measured(&killed, &mut model, 4);
    assert!(matches!(done, Err(EvalError::Interrupted)) && !half.is_complete());
    assert_eq!(killed.0.borrow().len(), 1);
    // Saved pieces are not scored again, damaged ones are.
    let (resumed, done, heard) = measured(&killed, &mut model, usize::MAX);
    done.expect("scored");
    assert!(heard[0] > 0, "{heard:?}");
    assert_eq!((&resumed.scores, &*killed.0.borrow()), (&baseline.scores, &*whole.0.borrow()));
    killed.0.borrow_mut().insert(0, vec![0; 10]);
    let (again, done, heard) = measured(&killed, &mut model, usize::MAX);
    done.expect("scored");
    assert!(heard[0] == 0 && !heard.contains(&7), "{heard:?}");
    assert_eq!((&again.scores, &*killed.0.borrow()), (&baseline.scores, &*whole.0.borrow()));
}

#[test]
fn states_that_are_lost_during_a_comparison_are_an_error() {
    let (mut model, memory) = (wide_model(), Memory::default());
    let width = model.facts().width;
    let tokens: Vec<u32> = (0..5 * 96).map(|i| i * i % 31).collect();
    let chunks = Protocol::Gptq(96).chunks(&tokens, None, 128).expect("chunks");
    let mut baseline = Baseline::resume(&chunks, width, Box::new(memory.clone())).expect("readable");
    baseline.complete(&mut model, &chunks, &mut |_| true).expect("scored");
    let mut logits = wide_model();
    let mut compared = |model: &mut Model| {
        let mut base = |hidden: &honelm_tensor::Matrix| Ok(logits.logits(hidden)?);
        compare(model, &chunks, &baseline, &mut base, &mut |_| Ok(true))
    };
    let found = compared(&mut model).expect("compared");
    assert_eq!((found.scores.nll.len(), found.same_top), (5, 5 * 95));
    assert!(found.kl.iter().flatten().all(|&kl| kl < 1e-6));
    let last = *memory.0.borrow().keys().next_back().expect("pieces");
    memory.0.borrow_mut().remove(&last);
    let error = compared(&mut model).expect_err("lost");
    assert!(matches!(error, EvalError::StatesLost { piece, .. } if piece == last), "{error}");
    assert_eq!(error.code(), "states-lost");
}
