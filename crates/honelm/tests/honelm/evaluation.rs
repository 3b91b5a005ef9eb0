//! Two ways to compare a model with its original find the same.

use std::cell::RefCell;
use std::rc::Rc;

use honelm_backend::{CacheType, block_on};
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_eval::{Comparison, EvalError, Protocol, Window, compare_beside, figures, score};
use honelm_model::{Checkpoint, LoadOptions, Loader, Model};

fn model(cache_type: CacheType) -> Model {
    let checkpoint = Checkpoint::open(honelm::locate(None, None).expect("the shipped model")).expect("opened");
    let options = CpuOptions { threads: Some(1), compute: Compute::F32, ..CpuOptions::default() };
    let device = Rc::new(RefCell::new(CpuBackend::new(options)));
    let mut loader = Loader::new(checkpoint.blueprint());
    while loader.advance(&checkpoint, &mut *device.borrow_mut()).expect("a weight") {}
    loader.finish(device, &LoadOptions { cache_type, ..LoadOptions::default() }).expect("loaded")
}

fn windows() -> Vec<Window> {
    let tokenizer =
        honelm::open_tokenizer(&honelm::locate(None, None).expect("the shipped model")).expect("a tokenizer");
    let text = "The old man went down to the river in the morning, and the boy went with him. ".repeat(8);
    let tokens = tokenizer.encode_running(&text).expect("tokens");
    let mut windows = Protocol::LlamaCpp(48).windows(&tokens, tokenizer.leading_bos(), 512).expect("windows");
    windows.truncate(2);
    windows
}

#[test]
fn a_model_beside_its_original_scores_as_it_does_alone() {
    let (mut base, mut rough, windows) = (model(CacheType::F32), model(CacheType::Q8_0), windows());
    let mut heard = Vec::new();
    let mut progress = |so_far: &Comparison| {
        heard.push(so_far.kl.len());
        true
    };
    let found = block_on(compare_beside(&mut base, &mut rough, &windows, 10, &mut progress)).expect("compared");
    assert_eq!(heard, [0, 1, 2]);
    for (runner, beside) in [(&mut base, &found.base), (&mut rough, &found.scores)] {
        let alone = score(runner, &windows, &mut |_| Ok(()), &mut |_| true).expect("scored");
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
    let stopped = block_on(compare_beside(&mut a, &mut b, &windows(), 64, &mut |so_far| so_far.kl.is_empty()));
    assert!(matches!(stopped, Err(EvalError::Interrupted)), "{stopped:?}");
}

/// Prints what is planned of a model beside its original, and of its calibration.
#[test]
#[ignore = "long proof: cargo xtask prove memory"]
fn the_plan_of_a_comparison_and_a_calibration() {
    let open = |name: &str| {
        let path = std::env::var_os(name).map(std::path::PathBuf::from);
        let path = path.unwrap_or_else(|| honelm::locate(None, None).expect("the shipped model"));
        Checkpoint::open(path).expect("opened")
    };
    let (model, base) = (open("HONELM_PROOF_MODEL"), open("HONELM_PROOF_BASE"));
    let blocks = std::env::var("HONELM_PROOF_BLOCKS").map_or(256, |blocks| blocks.parse().expect("a number"));
    let how = honelm_plan::Evaluation { window: 512, cache_type: CacheType::F16, compute: Compute::Fast };
    let eval = honelm_plan::plan_eval(&model, Some(&base), &how).expect("a plan");
    let how = honelm_plan::Calibration { blocks, length: 512, step_rows: honelm_compress::STEP_ROWS };
    let calibration = honelm_plan::plan_calibration(&model, &how).expect("a plan");
    let figures = serde_json::json!({"eval_bytes": eval.peak_bytes, "calibration_bytes": calibration.peak_bytes});
    println!("proof: {figures}");
}
