//! The gradients of whole models, of every architecture, against finite differences along random directions.

use std::collections::BTreeMap;
use std::path::Path;

use honelm_blocks::{BlockMatrix, Encoding};
use honelm_cpu::{Compute, CpuBackend, CpuOptions, Pool};
use honelm_model::{Checkpoint, Kind, ModelError, Parameter, Parameters, Slot};
use honelm_tensor::Matrix;

use honelm_train::{TrainError, Trainer, WeightGradient, cross_entropy};

/// Parameters in memory.
#[derive(Clone)]
struct Values(BTreeMap<Slot, (Matrix, Option<Vec<f32>>)>);

impl Parameters for Values {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let (weight, bias) = &self.0[&slot];
        let weight = BlockMatrix::quantize(weight, Encoding::F32, None).expect("finite values").into();
        Ok(Parameter { weight, bias: bias.clone() })
    }
}

impl Values {
    /// Reads a model's made-up weights, wide enough that attention and activations are far from linear.
    fn new(checkpoint: &Checkpoint) -> Self {
        let values = checkpoint.tree().slots().map(|slot| {
            let Parameter { weight, bias } = checkpoint.parameter(slot).unwrap();
            let kind = checkpoint.tree().module(slot).unwrap().kind;
            let mut weight = weight.dequantize();
            if kind != Kind::Norm {
                weight.data.iter_mut().for_each(|w| *w *= 10.0);
            }
            (slot, (weight, bias))
        });
        Self(values.collect())
    }

    /// Adds `step` times a random direction to the values of a slot, and returns the direction's product with `gradient`.
    fn shift(&mut self, slot: Slot, step: f32, gradient: &WeightGradient) -> f64 {
        let (weight, bias) = self.0.get_mut(&slot).unwrap();
        let direction = |i: usize| honelm_testing::gaussian(5, i as u64);
        let mut product = 0.0;
        for (i, (w, g)) in weight.data.iter_mut().zip(&gradient.weight.data).enumerate() {
            *w += step * direction(i);
            product += f64::from(direction(i)) * f64::from(*g);
        }
        for (i, (b, g)) in bias.iter_mut().flatten().zip(gradient.bias.iter().flatten()).enumerate() {
            *b += step * direction(i + 7);
            product += f64::from(direction(i + 7)) * f64::from(*g);
        }
        product
    }
}

/// Returns a model of each decoder architecture, and others that compute something else.
fn models() -> Vec<(String, Checkpoint)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/data/tiny");
    let names = [
        "gemma2-caps",
        "gemma3-types",
        "gpt2-tied",
        "granite-multipliers",
        "llama-biases-tied",
        "llama-grouped",
        "mistral-window",
        "opt-after",
        "opt-before",
        "phi3-longrope",
        "qwen2-windows",
        "qwen3-norms",
        "smollm3-nope",
    ];
    let open = |name: &str| {
        let config = serde_json::from_slice(&std::fs::read(data.join(name).join("config.json")).unwrap()).unwrap();
        (name.to_owned(), Checkpoint::made_up(name, &config, Encoding::F32, 3).unwrap())
    };
    names.into_iter().map(open).collect()
}

fn backend(threads: usize) -> CpuBackend {
    CpuBackend::new(CpuOptions { threads: Some(threads), compute: Compute::F32, isa: None })
}

/// Returns the mean cross entropy of two texts and the gradients of the slots that are wanted.
fn loss(
    checkpoint: &Checkpoint,
    values: &Values,
    threads: usize,
    wanted: &dyn Fn(Slot) -> bool,
) -> Result<(f64, BTreeMap<Slot, WeightGradient>), TrainError> {
    let (mut backend, pool) = (backend(threads), Pool::new(Some(threads)));
    let text = |len: u32| -> Vec<u32> { (0..len).map(|i| (i * i * 7 + len) % 64).collect() };
    let texts = [text(11), text(6)];
    let targets: Vec<Option<u32>> =
        texts.iter().flat_map(|text| text[1..].iter().map(|t| Some(*t)).chain([None])).collect();
    let count = targets.iter().flatten().count() as f32;
    let mut trainer = Trainer::new(checkpoint.blueprint(), 16, &mut backend, &pool)?;
    let mut gradients: BTreeMap<Slot, WeightGradient> = BTreeMap::new();
    let sum = trainer.gradients(
        values,
        &texts,
        wanted,
        &mut |rows, logits, _| Ok(cross_entropy(&pool, &targets[rows], logits, 1.0 / count)),
        &mut |slot, gradient| match gradients.get_mut(&slot) {
            Some(sum) => sum.add(&gradient),
            None => drop(gradients.insert(slot, gradient)),
        },
    )?;
    Ok((sum / f64::from(count), gradients))
}

#[test]
fn gradients_of_every_architecture_are_those_of_finite_differences() {
    for (name, checkpoint) in models() {
        let values = Values::new(&checkpoint);
        let (_, gradients) = loss(&checkpoint, &values, 1, &|_| true).unwrap();
        // One layer of each module, and everything outside of the layers.
        let slots = checkpoint.tree().slots().filter(|slot| slot.layer.is_none_or(|i| i == 1));
        let mut worst = (0.0f64, "");
        for slot in slots.filter(|slot| checkpoint.tree().module(*slot).unwrap().kind != Kind::TokenTypes) {
            let gradient = &gradients[&slot];
            let norm = gradient.weight.data.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            assert!(norm > 1e-5, "{name}, {slot:?}: the gradient is {norm}");
            let at = |step: f32| {
                let mut moved = values.clone();
                let product = moved.shift(slot, step, gradient);
                (loss(&checkpoint, &moved, 1, &|_| false).unwrap().0, product)
            };
            // A step along which the loss changes by a few thousandths, far more than the rounding of f32 moves it.
            // ReLU has kinks, across which a finite difference is another slope: a shorter step crosses fewer.
            let (change, share) = if name.starts_with("opt") { (3e-4, 0.1) } else { (3e-3, 5e-3) };
            let step = (change / norm).min(5e-2) as f32;
            let differences = [1.0, 2.0].map(|n: f32| at(n * step).0 - at(-n * step).0);
            let found = (8.0 * differences[0] - differences[1]) / (12.0 * f64::from(step));
            let product = at(0.0).1;
            let error = (found - product).abs() / norm;
            let tolerance = share + 1e-5 / (f64::from(step) * norm);
            assert!(error < tolerance, "{name}, {slot:?}: {product} along a direction, expected {found}, norm {norm}");
            if error > worst.0 {
                worst = (error, slot.module);
            }
        }
        println!("{name:20} worst error {:.1e} of the gradient's norm ({})", worst.0, worst.1);
    }
}

#[test]
fn gradients_do_not_depend_on_the_number_of_threads() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-grouped").unwrap();
    let values = Values::new(&checkpoint);
    let [one, three] = [1, 3].map(|threads| loss(&checkpoint, &values, threads, &|_| true).unwrap());
    assert_eq!(one, three);
}

#[test]
fn losses_that_are_not_finite_and_texts_without_tokens_are_errors() {
    let (_, checkpoint) = models().into_iter().find(|(name, _)| name == "llama-grouped").unwrap();
    let mut values = Values::new(&checkpoint);
    let norm = Slot { layer: None, module: "norm" };
    values.0.get_mut(&norm).unwrap().0.data.fill(3e38);
    let error = loss(&checkpoint, &values, 1, &|_| true).unwrap_err();
    assert_eq!(error.code(), "training-not-finite", "{error}");
    let (mut backend, pool) = (backend(1), Pool::new(Some(1)));
    let mut trainer = Trainer::new(checkpoint.blueprint(), 16, &mut backend, &pool).unwrap();
    let mut gradients = |texts: &[Vec<u32>]| {
        trainer
            .gradients(
                &checkpoint,
                texts,
                &|_| false,
                &mut |_, logits, _| Ok(cross_entropy(&pool, &[None], logits, 1.0)),
                &mut |_, _| {},
            )
            .unwrap_err()
    };
    assert_eq!(gradients(&[]).code(), "no-training-tokens");
    assert_eq!(gradients(&[vec![64]]).code(), "unknown-token");
    assert_eq!(gradients(&[vec![0; 17]]).code(), "context-full");
}
