//! Tiny models whose weights are made here, from the same integers as in `tests/scripts/make_tiny_models.py`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use honelm_blocks::Encoding;
use honelm_formats::{ElementType, RawTensor, read_json};
use honelm_model::{Checkpoint, HfForm, Kind, Tree};

use crate::common::write_safetensors;

/// The folders of tests/data/tiny, by feature.
pub const MODELS: &[&str] = &[
    "bert-types",
    "bert-wide",
    "gemma2-caps",
    "gemma2-scalar",
    "gemma3-pattern",
    "gemma3-types",
    "gpt2-tied",
    "gpt2-wide",
    "granite-biases",
    "granite-multipliers",
    "llama-biases-tied",
    "llama-dynamic",
    "llama-grouped",
    "llama-head-dim",
    "llama-linear",
    "llama-rope-llama3",
    "llama-window",
    "llama-yarn",
    "ministral-mixed",
    "mistral-nemo",
    "mistral-window",
    "opt-after",
    "opt-before",
    "phi3-longrope",
    "phi3-window",
    "qwen2-tied",
    "qwen2-windows",
    "qwen3-biases-windows",
    "qwen3-norms",
    "roberta-biases",
    "roberta-padded",
    "smollm3-biases",
    "smollm3-nope",
];

/// The session's limit under which a model was run, where its frequencies depend on it.
pub fn context(name: &str) -> Option<usize> {
    (name == "llama-dynamic").then_some(40)
}

/// A tiny model's folder, with its weights made.
pub fn tiny(name: &str) -> PathBuf {
    static MADE: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny").join(name);
    let mut made = MADE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if made.get_or_insert_default().insert(name.to_owned()) {
        // Tests of other crates take this file in, too.
        let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/data/tiny")).join(name);
        let config = read_json(data.join("config.json")).unwrap().unwrap();
        let checkpoint = Checkpoint::made_up(name, &config, Encoding::F32, 0).unwrap();
        std::fs::create_dir_all(&dir).unwrap();
        for file in ["config.json", "logits.safetensors"] {
            std::fs::copy(data.join(file), dir.join(file)).unwrap();
        }
        let gains_less_one = config["model_type"].as_str().unwrap().starts_with("gemma");
        write_safetensors(&dir.join("model.safetensors"), &weights(checkpoint.tree(), gains_less_one));
    }
    dir
}

/// Every parameter by its name and in its shape as Hugging Face has them.
fn weights(tree: &Tree, gains_less_one: bool) -> Vec<RawTensor> {
    let mut all = Vec::new();
    for slot in tree.slots() {
        let (module, name) = (tree.module(slot).unwrap(), tree.hf_name(slot).unwrap());
        let mut shape = module.stored_shape().to_vec();
        match module.hf_form {
            HfForm::Transposed => shape.reverse(),
            HfForm::Padded(rows) => shape[0] += rows,
            HfForm::Same | HfForm::MinusOne => {}
        }
        let scale = match module.kind {
            Kind::Norm => (0.5, if gains_less_one { 0.0 } else { 1.0 }),
            Kind::Embedding | Kind::Positions | Kind::TokenTypes => (0.5, 0.0),
            Kind::Linear => {
                let wide = ["q_proj", "k_proj", "qkv_proj", "c_attn", "self.query", "self.key"];
                let wide = wide.iter().any(|part| name.contains(part));
                (if wide { 2.5 } else { 2.0 } / (module.shape[1] as f64).sqrt(), 0.0)
            }
        };
        all.push(parameter(format!("{name}.weight"), shape, scale));
        if module.bias {
            all.push(parameter(format!("{name}.bias"), vec![module.bias_len()], (0.5, 0.0)));
        }
    }
    all
}

/// Multiples of 1 / 32768 in [-1, 1), keyed by the name, times `scale` plus `base`.
fn parameter(name: String, shape: Vec<usize>, (scale, base): (f64, f32)) -> RawTensor {
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let value = |i: u64| {
        let z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        let uniform = ((z >> 48) as f32 - 32768.0) / 32768.0;
        uniform * scale as f32 + base
    };
    let count: usize = shape.iter().product();
    let bytes: Vec<u8> = (1..=count as u64).flat_map(|i| value(i).to_le_bytes()).collect();
    RawTensor { name, element: ElementType::Weights(Encoding::F32), shape, bytes: bytes.into() }
}
