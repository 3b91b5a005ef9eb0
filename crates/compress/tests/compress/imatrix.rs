//! Importance matrices: observed inputs of every architecture, and rounding by them.

use honelm_blocks::Encoding;
use honelm_compress::{CompressError, Importance, Recipe, Scheme, input_squares};
use honelm_formats::imatrix::Imatrix;
use honelm_model::{Checkpoint, Parameters, Slot};

use crate::common::{backend, calibration, compressed, models};

fn imatrix(checkpoint: &Checkpoint) -> Imatrix {
    let entries = input_squares(checkpoint, &calibration(), &mut backend(), &mut |_| true).unwrap();
    Imatrix { entries, ..Imatrix::default() }
}

#[test]
fn every_linear_module_has_an_entry_of_its_width() {
    for (name, checkpoint) in models() {
        let (tree, found) = (checkpoint.tree(), imatrix(&checkpoint));
        let output = Slot { layer: None, module: tree.output_matrix().name };
        let linear = |slot: &Slot| slot.layer.is_some() && tree.module(*slot).unwrap().is_linear();
        let slots: Vec<Slot> = tree.slots().filter(linear).chain([output]).collect();
        assert_eq!(found.entries.len(), slots.len(), "{name}");
        for slot in slots {
            let entry = &found.entries[&format!("{}.weight", tree.gguf_name(slot).unwrap())];
            assert_eq!(entry.sums.len(), tree.module(slot).unwrap().shape[1], "{name} {slot:?}");
            assert_eq!(entry.counts, [48.0], "{name} {slot:?}");
            assert!(entry.sums.iter().any(|&sum| sum > 0.0), "{name} {slot:?}");
        }
        Importance::new(tree, &found, "im").unwrap();
    }
}

#[test]
fn the_first_layer_sees_the_normed_embeddings() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let parameter = |layer, module| checkpoint.parameter(Slot { layer, module }).unwrap().weight.dequantize();
    let table = parameter(None, checkpoint.tree().embedding().name);
    let gain = parameter(Some(0), "attn_norm");
    let mut sums = vec![0.0f64; table.cols];
    for token in calibration().samples.concat() {
        let x = table.row(token as usize);
        let scale = (x.iter().map(|v| f64::from(v * v)).sum::<f64>() / x.len() as f64 + 1e-5).sqrt();
        for ((sum, &v), &g) in sums.iter_mut().zip(x).zip(&gain.data) {
            *sum += (f64::from(v) / scale * f64::from(g)).powi(2);
        }
    }
    for (found, expected) in imatrix(&checkpoint).entries["blk.0.attn_q.weight"].sums.iter().zip(&sums) {
        assert!((f64::from(*found) / expected - 1.0).abs() < 1e-2, "{found} {expected}");
    }
}

#[test]
fn importances_lower_the_error_that_they_weight() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let (tree, mut found) = (checkpoint.tree(), imatrix(&checkpoint));
    // Make the first column of each weight matter most.
    for entry in found.entries.values_mut() {
        entry.sums.iter_mut().enumerate().for_each(|(i, sum)| *sum = if i == 0 { 1e4 } else { 1.0 });
    }
    let slot = Slot { layer: Some(0), module: "down" };
    let exact = checkpoint.parameter(slot).unwrap().weight.dequantize();
    let error = |importance| {
        let scheme = Scheme::gguf(Encoding::Q4_0, Recipe::rtn()).with_importance(importance);
        let work = tempfile::tempdir().unwrap();
        let w = compressed(&checkpoint, &scheme, work.path()).parameter(slot).unwrap().weight.dequantize();
        (0..w.rows).map(|r| (w.row(r)[0] - exact.row(r)[0]).powi(2)).sum::<f32>()
    };
    let importance = Importance::new(tree, &found, "im").unwrap();
    let (with, without) = (error(Some(importance)), error(None));
    assert!(with < without * 0.5, "{with} {without}");
}

#[test]
fn an_imatrix_of_another_model_is_named_and_other_recipes_are_refused() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let (tree, found) = (checkpoint.tree(), imatrix(&checkpoint));
    let name = "blk.0.ffn_down.weight";
    let mut missing = found.clone();
    missing.entries.remove(name);
    let mut narrow = found.clone();
    narrow.entries.get_mut(name).unwrap().sums.pop();
    for (bad, problem) in [(missing, "has no entry"), (narrow, "columns, expected")] {
        let error = Importance::new(tree, &bad, "im.gguf").unwrap_err();
        assert_eq!(error.code(), "imatrix-of-another-model");
        let text = error.to_string();
        assert!(text.starts_with(&format!("im.gguf: {name}: ")) && text.contains(problem), "{text}");
    }
    let importance = Importance::new(tree, &found, "im.gguf").unwrap();
    let scheme = Scheme::gguf(Encoding::Q4_0, Recipe::gptq()).with_importance(Some(importance));
    assert_ne!(scheme.describe(), Scheme::gguf(Encoding::Q4_0, Recipe::gptq()).describe());
    let work = tempfile::tempdir().unwrap();
    let error = crate::common::try_compressed(&checkpoint, &scheme, work.path()).unwrap_err();
    assert!(matches!(&error, CompressError::Unsupported(problem) if problem.contains("gptq")), "{error}");
}
