//! Pruning: what is removed, what is restored, every architecture, resuming, settings that cannot be met.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use honelm_blocks::{BlockMatrix, Encoding, WeightData};
use honelm_compress::{
    Calibration, CompressError, Kept, Pattern, Prune, Pruned, SparseMethod, Sparsity, UnitImportance, prune,
};
use honelm_model::{Checkpoint, ModelError, Module, Parameter, Parameters, Slot, export};
use honelm_store::Journal;

use crate::common::{backend, hidden, models};

fn calibration(samples: usize) -> Calibration {
    let text = (0..(samples * 16) as u32).map(|i| (i * i * 31 + i / 5 * 17) % 64).collect();
    Calibration::cut([text], samples, 16).unwrap()
}

fn model(name: &str) -> Rc<Checkpoint> {
    Rc::new(models().into_iter().find(|(other, _)| other == name).unwrap().1)
}

fn half() -> Prune {
    Prune { heads: 0.5, ffn: 0.34, ..Prune::default() }
}

fn run(checkpoint: &Rc<Checkpoint>, settings: &Prune, work: &Path) -> Result<Pruned, CompressError> {
    run_until(checkpoint, settings, work, usize::MAX).0
}

/// Prunes until report number `stop`. The second value is the number of reports.
fn run_until(
    checkpoint: &Rc<Checkpoint>,
    settings: &Prune,
    work: &Path,
    stop: usize,
) -> (Result<Pruned, CompressError>, usize) {
    let journal = Journal::new(&work.join("journal"), &format!("{settings:?}"));
    let (mut backend, mut told) = (backend(), 0);
    let done = prune(checkpoint, settings, &calibration(24), &journal, (&mut backend, 1), &mut |_| {
        told += 1;
        told <= stop
    });
    (done, told)
}

/// A model with zeros in place of what was removed.
struct Masked<'a> {
    base: &'a Checkpoint,
    kept: &'a [Kept],
}

impl Parameters for Masked<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let mut parameter = self.base.parameter(slot)?;
        let module = self.base.tree().module(slot).unwrap();
        if let (Some(i), Some(channels)) = (slot.layer, module.computed_by.first()) {
            let units = if channels.head_width > 1 { &self.kept[i].heads } else { &self.kept[i].neurons };
            parameter.weight =
                with_zeros(&parameter.weight, |_, column| !units.contains(&(column / channels.head_width)));
        }
        Ok(parameter)
    }
}

/// Returns a matrix with zeros at some rows and columns.
fn with_zeros(weight: &WeightData, is_zero: impl Fn(usize, usize) -> bool) -> WeightData {
    let mut w = weight.dequantize();
    for r in 0..w.rows {
        for (c, x) in w.row_mut(r).iter_mut().enumerate() {
            *x = if is_zero(r, c) { 0.0 } else { *x };
        }
    }
    BlockMatrix::quantize(&w, Encoding::F32, None).unwrap().into()
}

fn assert_close(a: &[f32], b: &[f32], limit: f32, name: &str) {
    let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let apart = a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(a.len() == b.len() && apart <= limit * largest, "{name}: {apart} of {largest}");
}

/// Writes a model to both containers, and checks that both have its weights.
fn assert_written(model: &Checkpoint, name: &str) {
    let work = tempfile::tempdir().unwrap();
    let (folder, file) = (work.path().join("folder"), work.path().join("model.gguf"));
    std::fs::create_dir(&folder).unwrap();
    export::huggingface(&folder, model, model, &export::HuggingFace::default()).unwrap();
    let mut read = vec![Checkpoint::open(&folder).unwrap()];
    if name != "llama-dynamic" {
        export::gguf(&file, model.blueprint(), model, Vec::new(), &|_| None).unwrap();
        read.push(Checkpoint::open(&file).unwrap());
    }
    for read in read {
        assert_eq!(read.sizes(), model.sizes(), "{name}");
        assert_close(&hidden(model, model), &hidden(&read, &read), 1e-6, name);
    }
}

#[test]
fn every_architecture_is_pruned_or_says_why_not() {
    let mut without_heads = BTreeSet::new();
    for (name, checkpoint) in models() {
        let (checkpoint, work) = (Rc::new(checkpoint), tempfile::tempdir().unwrap());
        let mut settings = half();
        if let Err(error) = settings.plan(&checkpoint) {
            assert_eq!(error.code(), "not-resizable", "{name}");
            without_heads.insert(checkpoint.facts().architecture);
            settings.heads = 0.0;
        }
        let pruned = run(&checkpoint, &settings, work.path()).unwrap();
        let (found, old) = (pruned.cut.sizes(), checkpoint.sizes());
        let heads = if settings.heads > 0.0 { old.heads / 2 } else { old.heads };
        assert_eq!((found.heads, found.ffn, found.layers), (heads, old.ffn / 3 * 2 / 32 * 32, old.layers), "{name}");
        // What was cut computes what the original does without the units.
        let masked = Masked { base: &checkpoint, kept: &pruned.kept };
        assert_close(&hidden(&checkpoint, &masked), &hidden(&pruned.cut, &pruned.cut), 1e-5, &name);
        let restored = pruned.restored.as_ref().unwrap();
        for layer in &pruned.figures.layers {
            for units in [layer.heads, layer.neurons].into_iter().flatten() {
                assert!(units.error_after_restoration <= units.error_after_cutting, "{name}: {units:?}");
            }
        }
        assert_eq!(pruned.figures.kl_after_cutting.is_some(), !checkpoint.facts().encoder, "{name}");
        assert_written(restored, &name);
    }
    assert_eq!(without_heads, BTreeSet::from(["bert", "gpt2", "opt", "roberta"]));
}

#[test]
fn units_of_zeros_are_removed_without_a_trace() {
    /// A model in which the group 1 of heads and every third neuron add nothing.
    struct Zeros(Rc<Checkpoint>);
    impl Parameters for Zeros {
        fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
            let mut parameter = self.0.parameter(slot)?;
            let width =
                self.0.tree().module(slot).and_then(|module: &Module| module.computed_by.first()).map(|c| c.head_width);
            match width {
                Some(1) => parameter.weight = with_zeros(&parameter.weight, |_, column| column % 3 == 1),
                Some(width) => parameter.weight = with_zeros(&parameter.weight, |_, column| column / width >= 2),
                None => {}
            }
            Ok(parameter)
        }
    }
    for importance in UnitImportance::ALL {
        for restore in [true, false] {
            let base = model("qwen3-biases-windows");
            let zeros = Rc::new(base.resized(&base.sizes(), Rc::new(Zeros(Rc::clone(&base)))).unwrap());
            let work = tempfile::tempdir().unwrap();
            let pruned = run(&zeros, &Prune { importance, restore, ..half() }, work.path()).unwrap();
            for kept in &pruned.kept {
                assert_eq!(kept.heads, [0, 1], "{importance}");
                assert!(kept.neurons.iter().all(|neuron| neuron % 3 != 1), "{importance}: {kept:?}");
            }
            let model = pruned.checkpoint();
            assert_close(&hidden(&zeros, &*zeros), &hidden(model, model), 1e-6, importance.name());
            assert!(pruned.figures.kl_after_cutting.unwrap().abs() < 1e-6);
        }
    }
}

#[test]
fn restoration_recovers_a_part_of_the_divergence() {
    let checkpoint = model("llama-biases-tied");
    let work = tempfile::tempdir().unwrap();
    let pruned = run(&checkpoint, &half(), work.path()).unwrap();
    let (cut, restored) = (pruned.figures.kl_after_cutting.unwrap(), pruned.figures.kl_after_restoration.unwrap());
    assert!(restored < cut, "{cut} {restored}");
}

#[test]
fn layers_are_removed_with_their_windows() {
    let checkpoint = model("ministral-mixed");
    let work = tempfile::tempdir().unwrap();
    let settings = Prune { heads: 0.0, ffn: 0.0, layers: 1, protect: [0, 0], ..Prune::default() };
    let pruned = run(&checkpoint, &settings, work.path()).unwrap();
    let [removed] = pruned.figures.layers_removed[..] else { panic!("{:?}", pruned.figures) };
    let left: Vec<usize> = (0..3).filter(|&i| i != removed).collect();
    for (new, old) in left.into_iter().enumerate() {
        let cache = |checkpoint: &Checkpoint, i| checkpoint.blueprint().definition.cache(i);
        assert_eq!(cache(&pruned.cut, new), cache(&checkpoint, old));
    }
    assert_written(pruned.checkpoint(), "ministral-mixed");
}

#[test]
fn an_interrupted_run_ends_in_the_same_weights() {
    let checkpoint = model("llama-biases-tied");
    let settings = Prune { layers: 1, protect: [0, 0], importance: UnitImportance::Taylor, ..half() };
    let weights = |pruned: &Pruned| -> Vec<(Vec<f32>, Option<Vec<f32>>)> {
        let model = pruned.checkpoint();
        let parameter = |slot| model.parameter(slot).unwrap();
        model.tree().slots().map(parameter).map(|p| (p.weight.dequantize().data, p.bias)).collect()
    };
    let whole = tempfile::tempdir().unwrap();
    let (done, reports) = run_until(&checkpoint, &settings, whole.path(), usize::MAX);
    let expected = weights(&done.unwrap());
    for stop in 0..reports {
        let work = tempfile::tempdir().unwrap();
        let stopped = run_until(&checkpoint, &settings, work.path(), stop).0;
        assert!(matches!(stopped, Err(CompressError::Interrupted)), "{stop}");
        assert_eq!(weights(&run(&checkpoint, &settings, work.path()).unwrap()), expected, "{stop}");
    }
    // A finished run is taken from the journal.
    assert_eq!(weights(&run(&checkpoint, &settings, whole.path()).unwrap()), expected);
}

#[test]
fn settings_that_cannot_be_met_are_named() {
    let checkpoint = model("llama-biases-tied");
    let work = tempfile::tempdir().unwrap();
    let nothing = Prune { heads: 0.0, ffn: 0.0, ..Prune::default() };
    for (settings, said) in [
        (Prune { heads: 0.9, ..nothing.clone() }, "no head would remain of 4"),
        (Prune { heads: 0.1, ..nothing.clone() }, "nearest possible share is 0.5"),
        (Prune { ffn: 0.99, ..nothing.clone() }, "no neuron would remain of 96"),
        (Prune { ffn: 0.01, ..nothing.clone() }, "nearest possible share is 0.3333"),
        (Prune { ffn: f64::NAN, ..nothing.clone() }, "ffn NaN: expected a share"),
        (Prune { layers: 3, ..nothing.clone() }, "expected fewer than the model's 3"),
        (
            Prune {
                sparsity: Some(Sparsity { pattern: Pattern::Share(1.0), method: SparseMethod::Wanda }),
                ..nothing.clone()
            },
            "sparsity 1: expected a share",
        ),
        (
            Prune { sparsity: Some(Sparsity { pattern: Pattern::TwoOfFour, method: SparseMethod::Wanda }), ..half() },
            "expected one of the two",
        ),
        (nothing.clone(), "expected something to remove"),
    ] {
        let error = match run(&checkpoint, &settings, work.path()) {
            Err(error) => error.to_string(),
            Ok(_) => "nothing".to_owned(),
        };
        assert!(error.contains(said), "{settings:?}: {error}");
    }
    let deep = model("gemma3-pattern");
    let error = run(&deep, &Prune { layers: 5, protect: [2, 1], ..nothing }, work.path()).err().unwrap();
    assert!(error.to_string().contains("layers 5: 4 of 7 can be removed"), "{error}");
    let journal = Journal::new(&work.path().join("journal"), "short");
    let short = prune(&checkpoint, &half(), &calibration(1), &journal, (&mut backend(), 1), &mut |_| true);
    assert!(short.err().unwrap().to_string().contains("found 1 calibration sample, expected at least 2"));
    // Transformers opens this architecture only with heads that divide the width.
    let wide = model("gemma2-caps");
    assert!(half().plan(&wide).unwrap().0.check_heads().is_ok());
}

#[test]
fn single_weights_become_zeros_in_every_architecture() {
    for (name, checkpoint) in models() {
        let (checkpoint, work) = (Rc::new(checkpoint), tempfile::tempdir().unwrap());
        for (pattern, method) in
            [(Pattern::Share(0.5), SparseMethod::Wanda), (Pattern::TwoOfFour, SparseMethod::SparseGpt)]
        {
            let settings =
                Prune { heads: 0.0, ffn: 0.0, sparsity: Some(Sparsity { pattern, method }), ..Prune::default() };
            let pruned = run(&checkpoint, &settings, work.path()).unwrap();
            let model = pruned.checkpoint();
            assert_eq!(model.sizes(), checkpoint.sizes());
            for slot in model.tree().slots().filter(|slot| slot.layer.is_some()) {
                let (is_linear, w) = (
                    model.tree().module(slot).unwrap().is_linear(),
                    model.parameter(slot).unwrap().weight.dequantize(),
                );
                let zeros = w.data.iter().filter(|x| **x == 0.0).count();
                assert_eq!(zeros, if is_linear { w.data.len() / 2 } else { 0 }, "{name} {slot:?}");
            }
            assert_written(model, &name);
        }
    }
}
