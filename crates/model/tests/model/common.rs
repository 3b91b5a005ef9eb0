use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use honelm_backend::{Batch, CacheType, SequenceId, Want, block_on};
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_formats::safetensors::{Safetensors, Writer};
use honelm_formats::{RawTensor, TensorSource, read_json};
use honelm_model::{Checkpoint, Device, LoadOptions, Model, Parameters, Runner};
use honelm_tensor::Matrix;
use serde_json::Value as Json;

use crate::tiny::tiny;

pub fn cpu() -> CpuBackend {
    CpuBackend::new(CpuOptions { threads: Some(1), compute: Compute::F32, isa: None })
}

pub fn device() -> Device {
    Rc::new(RefCell::new(cpu()))
}

pub fn load_with(checkpoint: &Checkpoint, params: &dyn Parameters) -> Model {
    load_for(None, checkpoint, params)
}

/// Loads a model for sessions of up to `context` tokens.
pub fn load_for(context: Option<usize>, checkpoint: &Checkpoint, params: &dyn Parameters) -> Model {
    let options = LoadOptions { context, cache_type: CacheType::F32, ..LoadOptions::default() };
    Model::load(checkpoint.blueprint(), params, device(), &options).unwrap()
}

pub fn load(path: &Path) -> Model {
    let checkpoint = Checkpoint::open(path).unwrap();
    load_with(&checkpoint, &checkpoint)
}

/// Runs a batch and waits for it.
pub fn step(model: &mut Model, batch: &Batch) -> honelm_model::StepOutput {
    let ticket = model.step(batch).unwrap();
    block_on(model.read(ticket)).unwrap()
}

/// Computes the logits of every token of a new sequence, in steps of `chunk` rows. // [T, V]
/// Of an encoder, returns the final hidden states, in one step. // [T, D]
pub fn logits(model: &mut Model, tokens: &[u32], chunk: usize) -> Matrix {
    let id = model.open();
    let out = if model.facts().encoder { hidden(model, id, tokens) } else { logits_of(model, id, tokens, chunk) };
    model.close(id).unwrap();
    out
}

fn hidden(model: &mut Model, id: SequenceId, tokens: &[u32]) -> Matrix {
    let mut batch = Batch::default();
    batch.extend(id, tokens, Want::HIDDEN);
    batch.want.fill(Want::HIDDEN);
    step(model, &batch).hidden
}

pub fn logits_of(model: &mut Model, id: SequenceId, tokens: &[u32], chunk: usize) -> Matrix {
    let (mut data, mut cols) = (Vec::new(), 0);
    for part in tokens.chunks(chunk) {
        let mut batch = Batch::default();
        batch.extend(id, part, Want::LOGITS);
        batch.want.fill(Want::LOGITS);
        let out = step(model, &batch).logits;
        cols = out.cols;
        data.extend(out.data);
    }
    Matrix::new(tokens.len(), cols, data)
}

/// Reads tokens and the logits that transformers computes for them; of an encoder, the final hidden states. // `[T]`, [T, V]
pub fn golden(folder: &Path) -> (Vec<u32>, Matrix) {
    let file = Safetensors::open(folder.join("logits.safetensors")).unwrap();
    let tokens = file.integers("tokens").unwrap().iter().map(|&t| t as u32).collect();
    let logits = file.matrix("logits").unwrap();
    (tokens, honelm_blocks::WeightData::from(logits).dequantize())
}

pub fn deviation(x: &Matrix) -> f32 {
    let n = x.data.len() as f64;
    let mean = x.data.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    ((x.data.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n) as f32).sqrt()
}

pub fn distance(a: &Matrix, b: &Matrix) -> f32 {
    assert_eq!((a.rows, a.cols), (b.rows, b.cols));
    a.data
        .iter()
        .zip(&b.data)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst: f32, d| if d.is_nan() { d } else { worst.max(d) })
}

/// Copies the checkpoint `name` to a new folder, with its configuration and tensors changed.
pub fn changed(
    name: &str,
    config: impl FnOnce(&mut Json),
    tensors: impl FnOnce(&mut Vec<RawTensor>),
) -> tempfile::TempDir {
    let from = tiny(name);
    let dir = tempfile::tempdir().unwrap();
    let mut json = read_json(from.join("config.json")).unwrap().unwrap();
    config(&mut json);
    std::fs::write(dir.path().join("config.json"), json.to_string()).unwrap();
    let source = Safetensors::open(from.join("model.safetensors")).unwrap();
    let mut all: Vec<RawTensor> = source.names().iter().map(|name| source.get(name).unwrap()).collect();
    tensors(&mut all);
    write_safetensors(&dir.path().join("model.safetensors"), &all);
    dir
}

pub fn write_safetensors(path: &Path, tensors: &[RawTensor]) {
    let mut writer = Writer::new();
    for tensor in tensors {
        writer.tensor(&tensor.name, &tensor.shape, tensor.element.clone()).unwrap();
    }
    let mut file = std::fs::File::create(path).unwrap();
    writer
        .write_to::<_, honelm_formats::FormatError>(&mut file, "test", |info, sink| {
            let tensor = tensors.iter().find(|t| t.name == info.name).unwrap();
            sink.write(&tensor.bytes)
        })
        .unwrap();
}
