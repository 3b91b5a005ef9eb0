//! The methods on whole models: exactness, hostile values, recipes.

use std::path::Path;

use honelm_blocks::{BlockMatrix, Encoding, ScaleType};
use honelm_compress::{Calibration, CompressError, GroupNumbers, Recipe, Scheme, Target, compress};
use honelm_model::{Checkpoint, Kind, ModelError, OutputLayer, Parameter, Parameters, Slot, export};
use honelm_store::Journal;
use honelm_tensor::Matrix;

use crate::common::{backend, calibration, compressed, hidden, models, try_compressed};

/// Returns the relative distance of two models' hidden states.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|v| v * v).sum::<f32>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut a.iter().copied())
}

#[test]
fn awq_scales_do_not_change_what_any_architecture_computes() {
    // Rounding to F16 changes little, so that a scale in the wrong place shows.
    let scheme = Scheme::gguf(Encoding::F16, Recipe::of(&["awq", "rtn"]));
    for (name, checkpoint) in models() {
        let work = tempfile::tempdir().unwrap();
        let made = compressed(&checkpoint, &scheme, work.path());
        let found = distance(&hidden(&checkpoint, &checkpoint), &hidden(&checkpoint, &made));
        assert!(found < 4e-3, "{name}: {found}");
        let tree = checkpoint.tree();
        let mut moved = 0;
        for slot in tree.slots().filter(|slot| tree.module(*slot).unwrap().kind == Kind::Norm) {
            let (a, b) = (checkpoint.parameter(slot).unwrap(), made.parameter(slot).unwrap());
            moved += usize::from(a.weight.dequantize() != b.weight.dequantize());
        }
        let norms = tree.layers.iter().flatten().filter(|m| m.is_linear()).filter_map(|m| m.scaled_by);
        let has_norms = norms.into_iter().any(|c| c.module.ends_with("norm"));
        assert_eq!(moved > 0, has_norms, "{name}: {moved} norms");
    }
}

#[test]
fn a_resumed_run_ends_in_the_same_parameters() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let groups = recipes().map(|recipe| Scheme::gptq(4, 32, false, recipe));
    let blocks = recipes().map(|recipe| with_tables(Scheme::gguf(Encoding::Q5_0, recipe), Encoding::Q4_0));
    for (i, scheme) in groups.into_iter().chain(blocks).enumerate() {
        // Interrupted in the second layer, or before the tables.
        let layers = 1 + i % checkpoint.tree().layers.len();
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        compressed(&checkpoint, &scheme, whole.path());
        let journal = Journal::new(&parts.path().join("journal"), &scheme.describe());
        let stopped =
            compress(&checkpoint, &scheme, Some(&calibration()), &journal, &mut backend(), 1, &mut |p| p.done < layers);
        assert!(matches!(stopped, Err(CompressError::Interrupted)));
        compressed(&checkpoint, &scheme, parts.path());
        for entry in whole.path().join("journal").read_dir().unwrap() {
            let path = entry.unwrap().path();
            let other = parts.path().join("journal").join(path.file_name().unwrap());
            assert!(std::fs::read(&path).unwrap() == std::fs::read(&other).unwrap(), "{}", path.display());
        }
    }
}

/// Returns the scheme with embedding and output layer in `encoding`.
fn with_tables(mut scheme: Scheme, encoding: Encoding) -> Scheme {
    (scheme.embedding, scheme.output) = (Target::Block(encoding), Target::Block(encoding));
    scheme
}

#[test]
fn the_output_layer_is_rounded_for_the_states_that_reach_it() {
    for (name, checkpoint) in models().into_iter().filter(|(name, _)| name.starts_with("llama-") || name == "gpt2") {
        // The squared error of the logits on the calibration text.
        let error = |recipe| {
            let work = tempfile::tempdir().unwrap();
            let mut scheme = with_tables(Scheme::gguf(Encoding::Q8_0, recipe), Encoding::Q4_0);
            scheme.linear = Target::Keep;
            let made = compressed(&checkpoint, &scheme, work.path());
            let states = Matrix::new(16, checkpoint.facts().width, hidden(&checkpoint, &checkpoint));
            let logits = |params: &dyn Parameters| {
                let mut backend = backend();
                let output = OutputLayer::load(checkpoint.blueprint(), params, &mut backend).unwrap();
                let states = output.finish(&states, &mut backend).unwrap();
                output.logits(&states, &mut backend).unwrap()
            };
            let (expected, found) = (logits(&checkpoint), logits(&made));
            found.data.iter().zip(&expected.data).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        let (plain, fed_back) = (error(Recipe::rtn()), error(Recipe::gptq()));
        assert!(fed_back < 0.8 * plain, "{name}: {fed_back} {plain}");
    }
}

#[test]
fn a_recipe_that_rounds_nothing_or_lacks_its_text_is_refused() {
    let (_, checkpoint) = models().into_iter().next().unwrap();
    let work = tempfile::tempdir().unwrap();
    let error =
        try_compressed(&checkpoint, &Scheme::gptq(4, 32, false, Recipe::of(&["awq"])), work.path()).unwrap_err();
    assert!(
        error.to_string().contains("expected one in int4 g32") || error.to_string().contains("expected int4 g32"),
        "{error}"
    );
    let scheme = Scheme::gptq(4, 32, false, Recipe::gptq());
    let journal = Journal::new(&work.path().join("journal"), "key");
    let error = compress(&checkpoint, &scheme, None, &journal, &mut backend(), 1, &mut |_| true).unwrap_err();
    assert!(error.to_string().contains("calibration text"), "{error}");
}

#[test]
fn one_token_of_calibration_is_enough_for_every_method() {
    // H has rank 1: only damping makes it positive definite.
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let one = Calibration { samples: vec![vec![3]] };
    for recipe in recipes() {
        let scheme = Scheme::gptq(4, 32, false, recipe);
        let work = tempfile::tempdir().unwrap();
        let journal = Journal::new(work.path(), "key");
        let made = compress(&checkpoint, &scheme, Some(&one), &journal, &mut backend(), 1, &mut |_| true).unwrap();
        for slot in checkpoint.tree().slots() {
            made.parameter(slot).unwrap().weight.check_finite().unwrap();
        }
    }
}

/// A model whose values of some slots are changed.
struct Changed<'a, F: Fn(Slot, &mut [f32])>(&'a Checkpoint, F);

impl<F: Fn(Slot, &mut [f32])> Parameters for Changed<'_, F> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let Parameter { weight, bias } = self.0.parameter(slot)?;
        let mut values = weight.dequantize();
        self.1(slot, &mut values.data);
        let bytes: Vec<u8> = values.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        let weight = BlockMatrix::new(Encoding::F32, values.rows, values.cols, bytes.into()).unwrap();
        Ok(Parameter { weight: weight.into(), bias })
    }
}

/// Writes the llama model with changed values, and opens it.
fn changed(folder: &Path, change: impl Fn(Slot, &mut [f32])) -> Checkpoint {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    let options = export::HuggingFace { quantization: None, copy: &[], max_shard_size: None };
    export::huggingface(folder, &checkpoint, &Changed(&checkpoint, change), &options).unwrap();
    Checkpoint::open(folder).unwrap()
}

/// Every method, the ones that need no calibration text first.
fn recipes() -> [Recipe; 4] {
    [Recipe::rtn(), Recipe::gptq(), Recipe::awq(), Recipe::of(&["awq", "asymmetric", "gptq"])]
}

#[test]
fn weights_that_are_not_finite_are_named_and_finished_layers_stay() {
    for value in [f32::NAN, f32::INFINITY] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = changed(folder.path(), |slot, values| {
            if slot == (Slot { layer: Some(1), module: "up" }) {
                values[5] = value;
            }
        });
        for recipe in recipes() {
            let work = tempfile::tempdir().unwrap();
            let error = try_compressed(&checkpoint, &Scheme::gptq(4, 32, false, recipe), work.path()).unwrap_err();
            assert!(error.to_string().contains("layers.1.mlp.up_proj"), "{error}");
            let kept: Vec<_> =
                work.path().join("journal").read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
            assert_eq!(kept, ["layer-0000"]);
        }
    }
}

#[test]
fn inputs_that_overflow_are_an_error_that_names_the_layer() {
    for gain in [f32::MAX, 1e17] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = changed(folder.path(), |slot, values| {
            if slot == (Slot { layer: Some(1), module: "mlp_norm" }) {
                values.fill(gain);
            }
        });
        for recipe in &recipes()[1..] {
            let work = tempfile::tempdir().unwrap();
            let scheme = Scheme::gptq(4, 32, false, recipe.clone());
            let error = try_compressed(&checkpoint, &scheme, work.path()).unwrap_err();
            assert_eq!(error.code(), "inputs-not-finite", "{error}");
            assert!(error.to_string().contains("layer 1, "), "{error}");
            assert!(work.path().join("journal/layer-0000").exists());
        }
    }
}

#[test]
fn weights_beyond_the_range_of_the_scales_are_named_and_larger_number_types_hold_them() {
    let folder = tempfile::tempdir().unwrap();
    let up = Slot { layer: Some(1), module: "up" };
    let checkpoint = changed(folder.path(), |slot, values| {
        if slot == up {
            values.iter_mut().for_each(|x| *x *= 1e9);
        }
    });
    for recipe in [Recipe::awq(), Recipe::gptq(), Recipe::rtn()] {
        let is_awq = recipe == Recipe::awq();
        let scheme = Scheme::gptq(4, 32, false, recipe);
        let work = tempfile::tempdir().unwrap();
        let journal = Journal::new(work.path(), "key");
        let mut warnings = Vec::new();
        let error = compress(&checkpoint, &scheme, Some(&calibration()), &journal, &mut backend(), 1, &mut |p| {
            warnings.extend(p.warning.clone());
            true
        });
        let error = error.unwrap_err();
        assert_eq!(error.code(), "scale-overflow", "{error}");
        assert!(error.to_string().contains("layers.1.mlp.up_proj"), "{error}");
        let no_ratio = warnings.iter().any(|w| w.contains("no ratio has a finite error"));
        assert_eq!(no_ratio, is_awq, "{warnings:?}");
        let numbers = GroupNumbers { scale_type: ScaleType::BF16, has_bias: false };
        let made = compressed(&checkpoint, &scheme.with_numbers(numbers), work.path());
        made.parameter(up).unwrap().weight.check_finite().unwrap();
    }
}

#[test]
fn groups_that_do_not_divide_the_rows_end_in_a_shorter_one() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-biases-tied").unwrap();
    for recipe in recipes() {
        for group_size in [48, 0] {
            let work = tempfile::tempdir().unwrap();
            let scheme = Scheme::gptq(8, group_size, false, recipe.clone());
            let made = compressed(&checkpoint, &scheme, work.path());
            let found = distance(&hidden(&checkpoint, &checkpoint), &hidden(&checkpoint, &made));
            assert!(found < 0.1, "{group_size}: {found}");
        }
    }
}

#[test]
fn matrices_and_inputs_of_zeros_stay_zero() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = changed(folder.path(), |slot, values| {
        // No input reaches gate and up of layer 0; q of layer 1 has a row of zeros.
        match (slot.layer, slot.module) {
            (Some(0), "mlp_norm") | (Some(1), "k") => values.fill(0.0),
            (Some(1), "q") => values[..16].fill(0.0),
            _ => {}
        }
    });
    for recipe in recipes() {
        let groups = Scheme::gptq(4, 32, false, recipe.clone());
        for scheme in [groups, Scheme::gguf(Encoding::Q4_0, recipe.clone()), Scheme::gguf(Encoding::IQ4NL, recipe)] {
            let work = tempfile::tempdir().unwrap();
            let made = compressed(&checkpoint, &scheme, work.path());
            for slot in checkpoint.tree().slots() {
                made.parameter(slot).unwrap().weight.check_finite().unwrap();
            }
            let k = made.parameter(Slot { layer: Some(1), module: "k" }).unwrap().weight.dequantize();
            assert!(k.data.iter().all(|&x| x == 0.0));
        }
    }
}
