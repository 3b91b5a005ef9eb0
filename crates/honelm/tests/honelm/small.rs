//! A small random model, and texts for it.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use honelm::{DeviceChoice, Encoding, RunOptions};
use honelm_model::{Checkpoint, export};
use serde_json::json;

/// Returns a temporary folder, in memory if possible, because saving work waits for the disk.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

/// Returns the characters that stand for bytes in a byte-level vocabulary.
fn byte_characters() -> Vec<char> {
    let shown = |b: &u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut hidden = 256..;
    (0..256).filter_map(|b| if shown(&b) { Some(b) } else { hidden.next() }).filter_map(char::from_u32).collect()
}

/// Writes a model of two layers with random weights and a tokenizer with one token per byte.
pub fn small_model(dir: &Path) -> PathBuf {
    let folder = dir.join("model");
    if folder.exists() {
        return folder;
    }
    let config = json!({
        "model_type": "llama", "vocab_size": 258, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "hidden_act": "silu",
        "bos_token_id": 256, "eos_token_id": 257
    });
    let made = Checkpoint::made_up("small", &config, Encoding::F16, 7).unwrap();
    fs::create_dir(&folder).unwrap();
    export::huggingface(&folder, &made, &made, &export::HuggingFace::default()).unwrap();
    let vocab: serde_json::Map<_, _> =
        byte_characters().into_iter().enumerate().map(|(id, c)| (c.to_string(), json!(id))).collect();
    let special = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true
        })
    };
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special(256, "<s>"), special(257, "</s>")],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": { "type": "BPE", "vocab": vocab, "merges": [] }
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let settings = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>" });
    fs::write(folder.join("tokenizer_config.json"), settings.to_string()).unwrap();
    folder
}

pub fn run_options() -> RunOptions {
    RunOptions { device: DeviceChoice::Cpu, threads: Some(1), ..RunOptions::default() }
}

/// Writes a text of `length` random letters, which depend on `seed`.
pub fn write_text(path: &Path, length: usize, seed: u64) -> PathBuf {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    fs::write(path, (0..length).map(|_| next()).collect::<String>()).unwrap();
    path.to_owned()
}

/// Flips one bit of a file, at a position that depends on `seed`.
pub fn flip_a_bit(path: &Path, seed: usize) {
    let mut bytes = fs::read(path).unwrap();
    if let Some(at) = (seed * 7919 + 13).checked_rem(bytes.len()) {
        bytes[at] ^= 1 << (seed % 8);
    }
    fs::write(path, bytes).unwrap();
}
