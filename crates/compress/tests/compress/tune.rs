//! Tuning: what it lowers and what it keeps, resuming, texts that are too short.

use std::path::Path;

use honelm_blocks::{Encoding, WeightData};
use honelm_compress::{Calibration, CompressError, Compressed, Recipe, Scheme, TuneFigures, compress};
use honelm_model::{Checkpoint, Kind, Parameters, Slot};
use honelm_store::Journal;
use serde_json::json;

use crate::common::{backend, models};

/// Returns samples of tokens without a pattern.
fn calibration(samples: usize) -> Calibration {
    let text = (0..(samples * 16) as u32).map(|i| (i * i * 31 + i / 5 * 17) % 64).collect();
    Calibration::cut([text], samples, 16).unwrap()
}

/// Returns a recipe that rounds and then tunes.
fn recipe(settings: &[(&str, serde_json::Value)]) -> Recipe {
    let mut recipe = Recipe::rtn().tuned();
    let tune = &mut recipe.steps.last_mut().unwrap().settings;
    tune.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    recipe
}

fn run<'a>(
    checkpoint: &'a Checkpoint,
    scheme: &Scheme,
    work: &Path,
    report: &mut dyn FnMut(&honelm_compress::Progress) -> bool,
) -> Result<Compressed<'a>, CompressError> {
    let journal = Journal::new(&work.join("journal"), &scheme.describe());
    compress(checkpoint, scheme, Some(&calibration(24)), &journal, &mut backend(), 1, report)
}

fn codes(weight: &WeightData) -> Vec<u8> {
    match weight {
        WeightData::Groups(m) => m.codes.to_vec(),
        WeightData::Blocks(m) => {
            let numbers = honelm_train::number_fields(m.encoding);
            let blocks = m.bytes.chunks(m.encoding.block_bytes());
            let is_code = |i: &usize| numbers.iter().all(|at| *i != *at && *i != *at + 1);
            blocks.flat_map(|block| (0..block.len()).filter(is_code).map(|i| block[i])).collect()
        }
    }
}

#[test]
fn tuning_lowers_the_divergence_on_held_out_samples_and_keeps_the_codes() {
    let settings = [("steps", json!(32)), ("rate", json!(0.003)), ("every", json!(4))];
    for name in ["llama-biases-tied", "gpt2-tied", "gemma2-caps"] {
        let (_, checkpoint) = models().into_iter().find(|(other, _)| other == name).unwrap();
        let schemes: [&dyn Fn(Recipe) -> Scheme; 2] =
            [&|recipe| Scheme::gptq(3, 32, false, recipe), &|recipe| Scheme::pure(Encoding::Q4_1, recipe)];
        for scheme in schemes {
            let (plain, tuned) = (scheme(Recipe::rtn()), scheme(recipe(&settings)));
            let work = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            let before = run(&checkpoint, &plain, work[0].path(), &mut |_| true).unwrap();
            let after = run(&checkpoint, &tuned, work[1].path(), &mut |_| true).unwrap();
            assert_eq!(before.tuning().unwrap(), None);
            let figures: TuneFigures = after.tuning().unwrap().unwrap();
            println!("{name}: {figures:?}");
            assert!(figures.after < 0.95 * figures.before && figures.kept > 0, "{name}: {figures:?}");
            let tree = checkpoint.tree();
            let mut moved = [0, 0];
            for slot in tree.slots() {
                let [a, b] = [&before, &after].map(|model| model.parameter(slot).unwrap());
                let is_norm = tree.module(slot).unwrap().kind == Kind::Norm;
                assert!(is_norm || codes(&a.weight) == codes(&b.weight), "{name}: the codes of {slot:?}");
                moved[usize::from(is_norm)] += usize::from(a.weight.dequantize() != b.weight.dequantize());
            }
            assert!(moved.iter().all(|&count| count > 0), "{name}: matrices and norms that changed: {moved:?}");
        }
    }
}

#[test]
fn a_tuning_that_was_interrupted_ends_in_the_same_parameters() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let settings = [("steps", json!(7)), ("rate", json!(0.01)), ("every", json!(2))];
    let scheme = Scheme::gptq(3, 32, true, recipe(&settings));
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(&checkpoint, &scheme, whole.path(), &mut |_| true).unwrap();
    // Interrupted at the first step, after a measurement and between two.
    for steps in [0, 2, 5] {
        let mut report = |p: &honelm_compress::Progress| p.work != honelm_compress::TUNE || p.done < steps;
        let stopped = run(&checkpoint, &scheme, parts.path(), &mut report);
        assert!(matches!(stopped, Err(CompressError::Interrupted)));
        let journal = Journal::new(&parts.path().join("journal"), &scheme.describe());
        let unfinished = Compressed::new(&checkpoint, &scheme, journal);
        assert!(unfinished.parameter(Slot { layer: Some(0), module: "q" }).is_err());
    }
    run(&checkpoint, &scheme, parts.path(), &mut |_| true).unwrap();
    for entry in whole.path().join("journal").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let other = parts.path().join("journal").join(path.file_name().unwrap());
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&other).unwrap(), "{}", path.display());
    }
    // A finished tuning is not done again.
    let mut works = Vec::new();
    run(&checkpoint, &scheme, parts.path(), &mut |p| {
        works.push(p.work.clone());
        true
    })
    .unwrap();
    assert!(!works.iter().any(|work| work == honelm_compress::TUNE), "{works:?}");
}

#[test]
fn tuning_needs_a_text_of_two_samples() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let scheme = Scheme::gptq(4, 32, true, recipe(&[]));
    for (text, problem) in [(None, "needs a calibration text"), (Some(calibration(1)), "expected at least 2")] {
        let work = tempfile::tempdir().unwrap();
        let journal = Journal::new(work.path(), "key");
        let error =
            compress(&checkpoint, &scheme, text.as_ref(), &journal, &mut backend(), 1, &mut |_| true).unwrap_err();
        assert!(error.to_string().contains(problem), "{error}");
    }
}
