//! Two steps of a distillation of tiny models, against PyTorch's (crates/train/tests/scripts/make_distil.py).

use honelm_blocks::Encoding;
use honelm_cpu::{Compute, CpuBackend, CpuOptions, Pool};
use honelm_formats::read_json;
use honelm_model::{Checkpoint, HfForm, Parameters};
use honelm_train::{AdamW, Fall, Fit, Floats, LayerPairs, MemorySaves, Objective, Schedule, Settings};
use serde_json::Value as Json;

use crate::steps::{close, floats, place};
use crate::tiny::tiny;

fn settings(golden: &Json) -> Settings {
    let number = |name: &str| golden["loss"][name].as_f64().unwrap() as f32;
    let adam: AdamW = serde_json::from_value(golden["adam"].clone()).unwrap();
    let pairs = serde_json::from_value(serde_json::json!([golden["loss"]["pair"]])).unwrap();
    Settings {
        steps: 2,
        samples: 1,
        adam,
        schedule: Schedule { fall: Fall::Constant, warmup: 0, steps: 2, floor: 1.0 },
        clip: golden["clip"].as_f64().unwrap(),
        every: 1,
        patience: 2,
        objective: Objective {
            alpha: number("alpha"),
            temperature: number("temperature"),
            layers: Some(LayerPairs { weight: number("weight"), pairs }),
        },
        shuffle: None,
    }
}

#[test]
fn two_steps_of_a_distillation_are_those_of_pytorch() {
    let golden = read_json(concat!(env!("CARGO_MANIFEST_DIR"), "/../train/tests/data/distil.json")).unwrap().unwrap();
    let teacher = Checkpoint::open(tiny(golden["teacher"].as_str().unwrap())).unwrap();
    let settings = settings(&golden);
    for (name, expected) in golden["models"].as_object().unwrap() {
        let student = Checkpoint::open(tiny(name)).unwrap();
        let samples = [floats(&expected["tokens"]).iter().map(|t| *t as u32).collect::<Vec<u32>>()];
        let mut model = Floats::new(student.blueprint(), &student, Encoding::F32);
        let mut backend = CpuBackend::new(CpuOptions { threads: Some(1), compute: Compute::F32, isa: None });
        let (pool, saves) = (Pool::new(Some(1)), MemorySaves::default());
        let fit = Fit {
            student: student.blueprint(),
            teacher: teacher.blueprint(),
            weights: &teacher,
            settings: &settings,
            samples: [&samples, &samples],
            stored: None,
            saves: &saves,
            pool: &pool,
        };
        let fitted = fit.run(&mut model, &mut backend, &mut |_| true).unwrap();
        assert_eq!((fitted.kept.step, fitted.stopped), (2, None), "{name}");
        let training = floats(&expected["training"]);
        for (step, found) in fitted.curve.iter().enumerate() {
            let what = |field: &str| format!("{name}: {field} after step {step}");
            for (field, found) in [("divergence", found.divergence), ("nll", found.nll)] {
                let wanted = expected["measured"][step][field].as_f64().unwrap();
                close(found, wanted, 1e-4 * wanted, &what(field));
            }
            if let Some(loss) = found.training {
                close(loss, training[step - 1], 1e-4 * training[step - 1], &what("the loss"));
            }
        }
        let tree = student.tree();
        let mut seen = 0;
        for slot in tree.slots() {
            let module = tree.module(slot).unwrap();
            let parameter = model.parameter(slot).unwrap();
            let parts = [parameter.weight.dequantize().data, parameter.bias.unwrap_or_default()];
            for (part, suffix) in ["weight", "bias"].into_iter().enumerate() {
                let hf = format!("{}.{suffix}", tree.hf_name(slot).unwrap());
                let Some(expected) = expected["values"].get(&hf) else { continue };
                seen += 1;
                let less = if module.hf_form == HfForm::MinusOne { 1.0 } else { 0.0 };
                for (n, value) in floats(expected).into_iter().enumerate() {
                    let i = (n * 7919 + n * n) % parts[part].len();
                    let i = if part == 0 { place(module, i) } else { i };
                    close(f64::from(parts[part][i]) - less, value, 2e-4, &format!("{name}: {hf}, place {n}"));
                }
            }
        }
        assert_eq!(seen, expected["values"].as_object().unwrap().len(), "{name}: parameters that were compared");
    }
}
