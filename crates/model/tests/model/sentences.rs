//! A published sentence model, all-MiniLM-L6-v2, compared with transformers.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use honelm_blocks::Encoding;
use honelm_cpu::{Compute, CpuBackend, CpuOptions};
use honelm_formats::read_json;
use honelm_model::export::{embedding_metadata, gguf};
use honelm_model::{Checkpoint, EmbeddingSettings, LoadOptions, Model, Pooling};

use crate::common::logits;

/// Loads a model with the back end of users.
fn load(path: &Path, compute: Compute) -> Model {
    let checkpoint = Checkpoint::open(path).unwrap();
    assert_eq!(checkpoint.embedding(), Some(EmbeddingSettings { pooling: Pooling::Mean, normalised: true }));
    let device = Rc::new(RefCell::new(CpuBackend::new(CpuOptions { threads: None, compute, isa: None })));
    Model::load(checkpoint.blueprint(), &checkpoint, device, &LoadOptions::default()).unwrap()
}

/// Returns the lowest cosine between the means of the hidden states and the vectors of transformers.
fn lowest(model: &mut Model) -> f64 {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../honelm/tests/data/minilm.json");
    let golden = read_json(path).unwrap().unwrap();
    let cosines = golden.as_array().unwrap().iter().map(|row| {
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        let expected: Vec<f64> = serde_json::from_value(row["vector"].clone()).unwrap();
        let states = logits(model, &ids, ids.len());
        let sum = |i: usize| states.iter_rows().map(|row| f64::from(row[i])).sum::<f64>();
        let found: Vec<f64> = (0..states.cols).map(sum).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt()
    });
    cosines.fold(1.0, f64::min)
}

#[test]
fn a_sentence_model_gives_the_vectors_of_transformers() {
    let folder = std::env::var_os("HONELM_TEST_DATA").map(PathBuf::from).unwrap_or_default();
    let folder = folder.join("models/all-MiniLM-L6-v2");
    if !folder.join("model.safetensors").is_file() {
        eprintln!("SKIPPED a_sentence_model_gives_the_vectors_of_transformers: needs models/all-MiniLM-L6-v2");
        return;
    }
    let exact = lowest(&mut load(&folder, Compute::F32));
    let mut fast_model = load(&folder, Compute::Fast);
    let fast = lowest(&mut fast_model);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("minilm.gguf");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    gguf(&path, checkpoint.blueprint(), &checkpoint, embedding_metadata(&checkpoint), &|_| Some(Encoding::Q8_0))
        .unwrap();
    let mut rounded_model = load(&path, Compute::Fast);
    let rounded = lowest(&mut rounded_model);
    let differences = [exact, fast, rounded].map(|cosine| 1.0 - cosine);
    eprintln!(
        "1 - lowest cosine: {:.1e} in f32, {:.1e} fast, {:.1e} in Q8_0",
        differences[0], differences[1], differences[2]
    );
    let text: Vec<u32> = (0..32).map(|i| 2000 + 17 * i).collect();
    for (name, model) in [("F32", &mut fast_model), ("Q8_0", &mut rounded_model)] {
        let times = (0..20).map(|_| {
            let begin = Instant::now();
            logits(model, &text, 32);
            begin.elapsed().as_secs_f64() * 1e3
        });
        eprintln!("{name}: {:.2} ms for 32 tokens", times.fold(f64::INFINITY, f64::min));
    }
    assert!(exact > 1.0 - 1e-6 && fast > 1.0 - 1e-4 && rounded > 0.999, "{differences:?}");
}
