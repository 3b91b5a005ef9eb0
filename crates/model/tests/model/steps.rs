//! Two AdamW steps of tiny models, against PyTorch's (crates/train/tests/scripts/make_steps.py).

use std::collections::BTreeMap;
use std::path::Path;

use honelm_blocks::{BlockMatrix, Encoding};
use honelm_cpu::{Compute, CpuBackend, CpuOptions, Pool};
use honelm_formats::read_json;
use honelm_model::{Checkpoint, HfForm, ModelError, Module, Parameter, Parameters, Slot};
use honelm_tensor::Matrix;
use honelm_train::{AdamW, Moments, Trainer, WeightGradient, clip, cross_entropy, norm};
use serde_json::Value as Json;

use crate::tiny::tiny;

/// A weight and its bias.
struct Trained {
    values: [Vec<f32>; 2],
    moments: [Moments; 2],
    shape: [usize; 2],
    has_bias: bool,
}

struct Model {
    checkpoint: Checkpoint,
    trained: BTreeMap<Slot, Trained>,
}

impl Parameters for Model {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let Trained { values: [weight, bias], shape: [rows, cols], has_bias, .. } = &self.trained[&slot];
        let matrix = Matrix::new(*rows, *cols, weight.clone());
        let weight = BlockMatrix::quantize(&matrix, Encoding::F32, None).expect("finite values").into();
        Ok(Parameter { weight, bias: has_bias.then(|| bias.clone()) })
    }
}

impl Model {
    fn open(path: &Path) -> Self {
        let checkpoint = Checkpoint::open(path).unwrap();
        let trained = checkpoint.tree().slots().map(|slot| {
            let Parameter { weight, bias } = checkpoint.parameter(slot).unwrap();
            let has_bias = bias.is_some();
            let (shape, values) =
                ([weight.rows(), weight.cols()], [weight.dequantize().data, bias.unwrap_or_default()]);
            let moments = values.each_ref().map(|values| Moments::zeros(values.len()));
            (slot, Trained { values, moments, shape, has_bias })
        });
        let trained = trained.collect();
        Self { checkpoint, trained }
    }

    /// Returns the mean cross entropy of a text, and all gradients.
    fn gradients(&self, tokens: &[u32]) -> (f64, BTreeMap<Slot, [Vec<f32>; 2]>) {
        let mut backend = CpuBackend::new(CpuOptions { threads: Some(1), compute: Compute::F32, isa: None });
        let pool = Pool::new(Some(1));
        let mut trainer = Trainer::new(self.checkpoint.blueprint(), tokens.len(), &mut backend, &pool).unwrap();
        let targets: Vec<Option<u32>> = tokens[1..].iter().map(|t| Some(*t)).chain([None]).collect();
        let count = (tokens.len() - 1) as f32;
        let mut gradients: BTreeMap<Slot, WeightGradient> = BTreeMap::new();
        let sum = trainer.gradients(
            self,
            &[tokens.to_vec()],
            &|_| true,
            &mut |rows, logits, _| Ok(cross_entropy(&pool, &targets[rows], logits, 1.0 / count)),
            &mut |slot, gradient| match gradients.get_mut(&slot) {
                Some(sum) => sum.add(&gradient),
                None => drop(gradients.insert(slot, gradient)),
            },
        );
        let gradients = gradients.into_iter().map(|(slot, g)| (slot, [g.weight.data, g.bias.unwrap_or_default()]));
        (sum.unwrap() / f64::from(count), gradients.collect())
    }

    /// Takes a step. A gain that the model stores less 1 decays as it is stored.
    fn step(&mut self, number: u32, adam: &AdamW, gradients: &BTreeMap<Slot, [Vec<f32>; 2]>) {
        for (slot, trained) in &mut self.trained {
            let less = match self.checkpoint.tree().module(*slot).unwrap().hf_form {
                HfForm::MinusOne => 1.0,
                _ => 0.0,
            };
            for (part, gradients) in gradients[slot].iter().enumerate() {
                let values = &mut trained.values[part];
                values.iter_mut().for_each(|x| *x -= less);
                adam.step(number, 1.0, values, gradients, &mut trained.moments[part]);
                values.iter_mut().for_each(|x| *x += less);
            }
        }
    }
}

/// Returns the place in a weight of value `i` of the tensor that Hugging Face stores.
pub fn place(module: &Module, i: usize) -> usize {
    let [out, inputs] = module.shape;
    match module.hf_form {
        HfForm::Transposed => i % out * inputs + i / out,
        _ => i,
    }
}

pub fn floats(json: &Json) -> Vec<f64> {
    json.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

pub fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance, "{what}: found {found}, expected {expected}");
}

#[test]
fn two_training_steps_are_those_of_pytorch() {
    let golden = read_json(concat!(env!("CARGO_MANIFEST_DIR"), "/../train/tests/data/steps.json")).unwrap().unwrap();
    let adam: AdamW = serde_json::from_value(golden["adam"].clone()).unwrap();
    for (name, golden_model) in golden["models"].as_object().unwrap() {
        let mut model = Model::open(&tiny(name));
        let tokens: Vec<u32> = floats(&golden_model["tokens"]).iter().map(|t| *t as u32).collect();
        let losses = floats(&golden_model["losses"]);
        let mut first = BTreeMap::new();
        for number in 1..=2u32 {
            let (loss, mut gradients) = model.gradients(&tokens);
            close(loss, losses[number as usize - 1], 2e-5 * loss, &format!("{name}: the loss before step {number}"));
            let found = norm(gradients.values().flatten().map(Vec::as_slice));
            if number == 1 {
                let expected = golden_model["norm"].as_f64().unwrap();
                close(found, expected, 1e-4 * expected, &format!("{name}: the norm of the gradients"));
                first.clone_from(&gradients);
            }
            let limit = golden["clip"].as_f64().unwrap();
            clip(gradients.values_mut().flatten().map(Vec::as_mut_slice), found, limit);
            model.step(number, &adam, &gradients);
        }
        close(model.gradients(&tokens).0, losses[2], 1e-4 * losses[2], &format!("{name}: the loss after both steps"));
        let mut worst = 0.0f64;
        let expected = golden_model["parameters"].as_object().unwrap();
        let mut seen = 0;
        for slot in model.checkpoint.tree().slots() {
            let module = model.checkpoint.tree().module(slot).unwrap();
            for (part, suffix) in ["weight", "bias"].into_iter().enumerate() {
                let hf = format!("{}.{suffix}", model.checkpoint.tree().hf_name(slot).unwrap());
                let Some(expected) = expected.get(&hf) else {
                    assert!(part == 1 && !module.bias, "{name}: {hf} is not in the golden file");
                    continue;
                };
                seen += 1;
                let (values, gradients) = (&model.trained[&slot].values[part], &first[&slot][part]);
                let less = if module.hf_form == HfForm::MinusOne { 1.0 } else { 0.0 };
                let largest = gradients.iter().fold(0.0f64, |most, g| most.max(f64::from(g.abs())));
                let pairs = floats(&expected["gradient"]).into_iter().zip(floats(&expected["value"]));
                for (n, (gradient, value)) in pairs.enumerate() {
                    let i = (n * 7919 + n * n) % values.len();
                    let i = if part == 0 { place(module, i) } else { i };
                    let (found, what) = (f64::from(gradients[i]), format!("{name}: {hf}, place {n}"));
                    close(found, gradient, 1e-3 * largest, &what);
                    worst = worst.max((found - gradient).abs() / largest);
                    close(f64::from(values[i]) - less, value, 2e-4, &what);
                }
            }
        }
        assert_eq!(seen, expected.len(), "{name}: parameters that were compared");
        println!("{name:20} worst relative error of a gradient {worst:.1e}");
    }
}
