//! Real models and vocabularies, from the folder named by HONELM_TEST_DATA.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::test_data;
use honelm_formats::gguf::Gguf;
use honelm_formats::safetensors::Safetensors;
use honelm_formats::{FileKind, TensorSource, identify, map_file};

fn ggufs(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "gguf"))
        .collect();
    found.sort();
    found
}

#[test]
fn opens_the_vocabularies_of_llama_cpp() {
    let Some(root) = test_data("opens_the_vocabularies_of_llama_cpp") else { return };
    let files = ggufs(&root.join("data/vocab"));
    assert!(files.len() >= 4);
    for path in files {
        assert_eq!(identify("f", &map_file(&path).unwrap().bytes().unwrap()[..16]).unwrap(), FileKind::Gguf);
        let gguf = Gguf::open(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(gguf.names().is_empty());
        let tokens = gguf.require::<&[String]>("tokenizer.ggml.tokens").unwrap();
        assert!(tokens.len() > 30_000, "{}: {} tokens", path.display(), tokens.len());
        assert_eq!(gguf.get_array_i32("tokenizer.ggml.token_type").unwrap().unwrap().len(), tokens.len());
        assert!(gguf.get_str("tokenizer.ggml.model").unwrap().is_some());
    }
}

#[test]
fn opens_a_trained_gguf() {
    let Some(root) = test_data("opens_a_trained_gguf") else { return };
    let files = ggufs(&root.join("data/stories260k"));
    assert!(!files.is_empty());
    for path in files {
        let gguf = Gguf::open(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(gguf.get_str("general.architecture").unwrap(), Some("llama"));
        assert_eq!(gguf.get_u32("llama.block_count").unwrap(), Some(5));
        assert!(gguf.tensors().count() > 40);
        for name in gguf.names() {
            gguf.matrix(name).unwrap().check_finite().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn opens_published_folders() {
    let Some(root) = test_data("opens_published_folders") else { return };
    let mut opened = 0;
    for entry in fs::read_dir(root.join("models")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let model = Safetensors::open(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(model.contains("model.embed_tokens.weight"));
        for name in model.names() {
            let tensor = model.get(name).unwrap();
            assert_eq!(tensor.element.size_of(&tensor.shape), Some(tensor.bytes.len() as u64));
        }
        opened += 1;
    }
    assert!(opened >= 2);
}
