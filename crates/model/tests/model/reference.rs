//! Values of other implementations.

use std::path::PathBuf;

use honelm_backend::{Batch, Sampling, Want};
use honelm_model::{Checkpoint, Runner};

use crate::common::{TINY, changed, deviation, distance, golden, load, load_with, logits, step, tiny};

#[test]
fn logits_match_transformers() {
    for name in TINY {
        let (tokens, expected) = golden(&tiny(name));
        let scale = deviation(&expected);
        assert!(scale >= 1.0, "{name}: flat logits prove nothing");
        let found = logits(&mut load(&tiny(name)), &tokens, tokens.len());
        let error = distance(&found, &expected) / scale;
        eprintln!("{name}: {error:.2e} standard deviations");
        assert!(error <= 1e-4, "{name}: {error}");
    }
}

#[test]
fn both_generations_of_config_json_give_the_same_model() {
    let new = honelm_formats::read_json(tiny("rope-llama3").join("config-new.json")).unwrap().unwrap();
    let dir = changed("rope-llama3", |config| *config = new, |_| {});
    let (tokens, _) = golden(&tiny("rope-llama3"));
    let (a, b) = (logits(&mut load(dir.path()), &tokens, 8), logits(&mut load(&tiny("rope-llama3")), &tokens, 8));
    assert_eq!(a, b);
}

#[test]
fn cached_equals_uncached() {
    for name in TINY {
        let (tokens, expected) = golden(&tiny(name));
        let mut model = load(&tiny(name));
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
