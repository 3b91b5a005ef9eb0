//! Values of other implementations.

use std::path::PathBuf;

use honelm_backend::{Batch, Sampling, Want};
use honelm_model::{Checkpoint, Model, Runner};

use crate::common::{changed, deviation, distance, golden, load, load_for, load_with, logits, step};
use crate::tiny::{MODELS, context, tiny};

/// A tiny model as its golden logits were made.
fn loaded(name: &str) -> Model {
    let checkpoint = Checkpoint::open(tiny(name)).unwrap();
    load_for(context(name), &checkpoint, &checkpoint)
}

#[test]
fn logits_match_transformers() {
    let mut wrong = Vec::new();
    for &name in MODELS {
        let (tokens, expected) = golden(&tiny(name));
        let scale = deviation(&expected);
        assert!(scale >= 1.0, "{name}: flat logits prove nothing");
        let found = logits(&mut loaded(name), &tokens, tokens.len());
        let error = distance(&found, &expected) / scale;
        eprintln!("{name}: {error:.2e} standard deviations");
        if error.is_nan() || error > 1e-4 {
            wrong.push((name, error));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_architecture_has_two_tiny_models() {
    let types: Vec<String> = MODELS
        .iter()
        .map(|name| honelm_formats::read_json(tiny(name).join("config.json")).unwrap().unwrap())
        .map(|config| config["model_type"].as_str().unwrap().to_owned())
        .collect();
    for (architecture, _) in honelm_model::architectures() {
        // Ministral is Mistral with windows in some layers, and Gemma 3 with images is read as its text part.
        let needed = match architecture {
            "gemma3" => 0,
            "ministral" => 1,
            _ => 2,
        };
        assert!(types.iter().filter(|name| *name == architecture).count() >= needed, "{architecture}");
    }
}

#[test]
fn both_generations_of_config_json_give_the_same_model() {
    let new = |config: &mut serde_json::Value| {
        let mut rope = config["rope_scaling"].take();
        rope["rope_theta"] = config["rope_theta"].take();
        config["rope_parameters"] = rope;
        config["dtype"] = config["torch_dtype"].take();
    };
    for name in ["llama-rope-llama3", "phi3-longrope"] {
        let dir = changed(name, new, |_| {});
        let (tokens, _) = golden(&tiny(name));
        assert_eq!(logits(&mut load(dir.path()), &tokens, 8), logits(&mut load(&tiny(name)), &tokens, 8), "{name}");
    }
}

#[test]
fn cached_equals_uncached() {
    for &name in MODELS {
        let (tokens, expected) = golden(&tiny(name));
        let mut model = loaded(name);
        let whole = logits(&mut model, &tokens, tokens.len());
        let single = logits(&mut model, &tokens, 1);
        assert!(distance(&whole, &single) <= 1e-4 * deviation(&expected), "{name}");
        // Steps of up to 16 rows: bit for bit.
        for chunk in [2, 3, 7, 15, 16] {
            assert_eq!(logits(&mut model, &tokens, chunk), single, "{name} in steps of {chunk}");
        }
    }
}

/// The 200 greedy tokens of the 260K-parameter stories model, as llama2.c writes them.
#[test]
fn stories260k_writes_its_story() {
    let Some(folder) = std::env::var_os("HONELM_TEST_DATA").map(PathBuf::from) else {
        eprintln!("SKIPPED stories260k_writes_its_story: needs HONELM_TEST_DATA");
        return;
    };
    let folder = folder.join("data/stories260k");
    let checkpoint = Checkpoint::open(folder.join("stories260K.gguf")).unwrap();
    let mut model = load_with(&checkpoint, &checkpoint);
    let pieces = checkpoint.gguf().unwrap().get_array_str("tokenizer.ggml.tokens").unwrap().unwrap();
    let greedy = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0, stream: 0 };
    let want = Want { sample: Some(greedy), ..Want::NOTHING };
    let (id, mut token, mut bytes) = (model.open(), 1, Vec::new());
    for _ in 0..200 {
        let mut batch = Batch::default();
        batch.extend(id, &[token], want);
        token = step(&mut model, &batch).sampled[0];
        let piece = &pieces[token as usize];
        match piece.strip_prefix("<0x").and_then(|rest| u8::from_str_radix(rest.trim_end_matches('>'), 16).ok()) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(piece.replace('\u{2581}', " ").bytes()),
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    let expected = std::fs::read_to_string(folder.join("expected-greedy.txt")).unwrap();
    assert_eq!(text.trim(), expected.trim());
}
