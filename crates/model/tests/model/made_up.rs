//! Files with generated weights, for measurements of memory.

use std::path::{Path, PathBuf};

use honelm_blocks::Encoding;
use honelm_formats::gguf::Value;
use honelm_model::Checkpoint;
use honelm_model::export::gguf;
use serde_json::{Value as Json, json};

/// The shape of a Llama of 397 MB in Q8_0.
const LARGE: &str = "400mb";

fn config(shape: &str) -> Json {
    if shape != LARGE {
        return Checkpoint::synthetic(shape, Encoding::F16, 1).unwrap().config_json().clone();
    }
    json!({
        "model_type": "llama",
        "vocab_size": 8192,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": true,
        "rope_theta": 10_000.0,
    })
}

/// Returns a byte-level vocabulary of `size` tokens: the bytes, one merge, words that occur in no text, BOS and EOS.
fn tokenizer(size: usize) -> Vec<(String, Value)> {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    const UNUSED: i32 = 5;
    let printable = |b: &u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut others = 256..;
    let byte = |b: u8| if printable(&b) { char::from(b) } else { char::from_u32(others.next().unwrap()).unwrap() };
    let mut tokens: Vec<String> = (0..=255).map(byte).map(String::from).collect();
    tokens.push("th".to_owned());
    let mut types = vec![NORMAL; tokens.len()];
    tokens.extend((tokens.len()..size - 2).map(|i| format!("<unused{i}>")));
    types.resize(tokens.len(), UNUSED);
    tokens.extend(["<|bos|>", "<|eos|>"].map(String::from));
    types.extend([CONTROL; 2]);
    let (bos, eos) = (size as u32 - 2, size as u32 - 1);
    let pairs: [(&str, Value); 8] = [
        ("model", "gpt2".into()),
        ("pre", "gpt-2".into()),
        ("tokens", tokens.into()),
        ("token_type", types.into()),
        ("merges", vec!["t h".to_owned()].into()),
        ("bos_token_id", bos.into()),
        ("eos_token_id", eos.into()),
        ("add_bos_token", true.into()),
    ];
    pairs.into_iter().map(|(key, value)| (format!("tokenizer.ggml.{key}"), value)).collect()
}

fn write(path: &Path, shape: &str, layers: Option<usize>, encoding: Encoding) {
    let mut config = config(shape);
    if let Some(layers) = layers {
        config["num_hidden_layers"] = json!(layers);
    }
    let checkpoint = Checkpoint::made_up(shape, &config, encoding, 1).unwrap();
    let vocabulary = tokenizer(checkpoint.facts().vocabulary);
    gguf(path, checkpoint.blueprint(), &checkpoint, vocabulary, &|_| None).unwrap();
}

#[test]
#[ignore = "long proof: cargo xtask prove memory"]
fn a_made_up_model_is_written() {
    let variable = |name: &str| std::env::var(format!("HONELM_PROOF_{name}")).ok();
    let shape = variable("SHAPE").unwrap_or_else(|| LARGE.to_owned());
    let layers = variable("LAYERS").map(|layers| layers.parse().unwrap());
    let encoding = Encoding::from_name(&variable("ENCODING").unwrap_or_else(|| "q8_0".to_owned())).unwrap();
    let out =
        variable("OUT").map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("made-up.gguf"), PathBuf::from);
    write(&out, &shape, layers, encoding);
    println!("proof: {}", json!({"path": out, "bytes": std::fs::metadata(&out).unwrap().len()}));
}
