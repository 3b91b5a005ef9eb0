//! What is written is read back as the same model.

use std::path::Path;

use honelm_blocks::{Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_formats::gguf::Gguf;
use honelm_formats::gptq::QuantizeConfig;
use honelm_formats::{TensorSource, read_json};
use honelm_model::export::{HuggingFace, gguf, huggingface};
use honelm_model::{Checkpoint, Kind, ModelError, Parameter, Parameters, RopeScaling, Slot};
use honelm_tensor::AlignedVec;
use serde_json::json;

use crate::common::{TINY, changed, golden, load, load_with, logits, tiny};

fn to_gguf(checkpoint: &Checkpoint, path: &Path, encoding: Option<Encoding>) -> Result<(), ModelError> {
    gguf(path, checkpoint.blueprint(), checkpoint, Vec::new(), &|_| encoding)
}

#[test]
fn a_gguf_file_gives_the_same_bits_as_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    for name in TINY {
        let path = dir.path().join("model.gguf");
        to_gguf(&Checkpoint::open(tiny(name)).unwrap(), &path, None).unwrap();
        let (tokens, _) = golden(&tiny(name));
        assert_eq!(logits(&mut load(&path), &tokens, 16), logits(&mut load(&tiny(name)), &tokens, 16), "{name}");
    }
}

#[test]
fn a_gguf_file_says_what_llama_cpp_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let checkpoint = Checkpoint::open(tiny("biases-tied")).unwrap();
    let tokenizer = vec![("tokenizer.ggml.model".to_owned(), "gpt2".into())];
    let q8 = |slot: Slot| Some(if slot.block.is_some() { Encoding::Q8_0 } else { Encoding::F16 });
    gguf(&path, checkpoint.blueprint(), &checkpoint, tokenizer, &q8).unwrap();
    let file = Gguf::open(&path).unwrap();
    let number = |key: &str| file.get_u32(key).unwrap().unwrap();
    assert_eq!(file.get_str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(file.get_str("tokenizer.ggml.model").unwrap(), Some("gpt2"));
    assert_eq!((number("general.file_type"), number("general.quantization_version")), (7, 2));
    assert_eq!((number("llama.block_count"), number("llama.attention.head_count_kv")), (3, 2));
    assert_eq!((number("llama.attention.key_length"), number("llama.rope.dimension_count")), (16, 16));
    assert_eq!(file.get_f32("llama.rope.freq_base").unwrap(), Some(10_000.0));
    let element = |name: &str| file.info(name).unwrap().element.to_string();
    assert_eq!(element("blk.1.attn_q.weight"), "Q8_0");
    assert_eq!((element("token_embd.weight"), element("blk.1.attn_norm.weight")), ("F16".into(), "F32".into()));
    assert_eq!(file.info("blk.1.attn_q.bias").unwrap().shape, [64]);
    // Rows of q in GGUF's order: HF row 1 (of head 0, first half) is row 2, row 8 (second half) is row 1.
    let (stored, own) = (file.matrix("blk.0.attn_q.weight").unwrap(), checkpoint.parameter(slot(0, "q")).unwrap());
    for (hf, ours) in [(0, 0), (1, 2), (8, 1), (9, 3), (16, 16)] {
        let (mut a, mut b) = (vec![0.0; 64], vec![0.0; 64]);
        stored.dequantize_row(ours, &mut a);
        own.weight.dequantize_row(hf, &mut b);
        let mut bytes = vec![0; 2 * 34];
        Encoding::Q8_0.quantize_row(&b, None, &mut bytes).unwrap();
        Encoding::Q8_0.dequantize_row(&bytes, &mut b);
        assert_eq!(a, b, "row {hf}");
    }
}

fn slot(block: usize, module: &'static str) -> Slot {
    Slot { block: Some(block), module }
}

#[test]
fn a_folder_written_from_gguf_gives_the_same_bits() {
    for name in ["grouped", "biases-tied", "window", "head-dim"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        to_gguf(&Checkpoint::open(tiny(name)).unwrap(), &path, None).unwrap();
        let again = dir.path().join("folder");
        std::fs::create_dir(&again).unwrap();
        let from = Checkpoint::open(&path).unwrap();
        huggingface(&again, &from, &from, &HuggingFace::default()).unwrap();
        let (tokens, _) = golden(&tiny(name));
        assert_eq!(logits(&mut load(&again), &tokens, 16), logits(&mut load(&tiny(name)), &tokens, 16), "{name}");
        let config = read_json(again.join("config.json")).unwrap().unwrap();
        assert_eq!(
            (&config["torch_dtype"], &config["num_hidden_layers"]),
            (&json!("float32"), &json!(3 - u8::from(name == "head-dim")))
        );
    }
}

#[test]
fn rope_scaling_survives_gguf() {
    let dir = tempfile::tempdir().unwrap();
    // As published: the parameters are found again, so that config.json can be written.
    let published = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    for (scaling, folder) in [(published, true), (json!({"type": "linear", "factor": 4.0}), true)] {
        let set = |config: &mut serde_json::Value| config["rope_scaling"] = scaling.clone();
        let source = changed("grouped", set, |_| {});
        let path = dir.path().join("model.gguf");
        let original = Checkpoint::open(source.path()).unwrap();
        to_gguf(&original, &path, None).unwrap();
        let again = Checkpoint::open(&path).unwrap();
        assert_eq!(again.blueprint().definition.rope(), original.blueprint().definition.rope());
        let written = huggingface(dir.path(), &again, &again, &HuggingFace::default());
        assert_eq!(written.is_ok(), folder);
    }
    // An unpublished one stays what the file has, and has no name in config.json.
    let path = dir.path().join("model.gguf");
    to_gguf(&Checkpoint::open(tiny("rope-llama3")).unwrap(), &path, None).unwrap();
    let again = Checkpoint::open(&path).unwrap();
    assert!(matches!(again.blueprint().definition.rope().scaling, RopeScaling::Divisors(_)));
    let error = huggingface(dir.path(), &again, &again, &HuggingFace::default()).unwrap_err();
    assert_eq!(error.code(), "not-exportable");
}

/// A checkpoint with every linear layer of its blocks in groups of 32 with 4 bits.
pub struct Grouped<'a>(pub &'a Checkpoint);

impl Parameters for Grouped<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let mut parameter = self.0.parameter(slot)?;
        let module = self.0.tree().module(slot).unwrap();
        if slot.block.is_none() || !matches!(module.kind, Kind::Linear { .. }) {
            return Ok(parameter);
        }
        let w = parameter.weight.dequantize();
        let (mut codes, mut scales) = (AlignedVec::zeroed(w.data.len()), Vec::new());
        for (codes, values) in codes.chunks_mut(32).zip(w.data.chunks(32)) {
            let scale = ScaleType::F16.round(values.iter().fold(0f32, |m, x| m.max(x.abs())) / 7.0);
            scales.push(scale);
            for (code, x) in codes.iter_mut().zip(values) {
                *code = ((x / scale).round().clamp(-8.0, 7.0) + 8.0) as u8;
            }
        }
        let groups = GroupMatrix {
            rows: w.rows,
            cols: w.cols,
            bits: 4,
            group_size: 32,
            scale_type: ScaleType::F16,
            codes,
            scales,
            zeros: Zeros::Constant(8),
            order: None,
        };
        parameter.weight = WeightData::Groups(groups.validated().unwrap());
        Ok(parameter)
    }
}

#[test]
fn a_gptq_folder_gives_the_same_bits_as_its_weights() {
    for name in ["grouped", "biases-tied"] {
        let dir = tempfile::tempdir().unwrap();
        let original = Checkpoint::open(tiny(name)).unwrap();
        let settings = json!({"bits": 4, "group_size": 32, "sym": true, "desc_act": false});
        let settings = QuantizeConfig::parse("test", &settings).unwrap();
        let copy = [tiny(name).join("logits.safetensors")];
        let options = HuggingFace { quantize_config: Some(&settings), copy: &copy, max_shard_size: None };
        let params = Grouped(&original);
        huggingface(dir.path(), &original, &params, &options).unwrap();
        assert!(dir.path().join("logits.safetensors").exists());
        let config = read_json(dir.path().join("config.json")).unwrap().unwrap();
        assert_eq!(config["quantization_config"]["quant_method"], json!("gptq"));
        let again = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(again.tensor_name(slot(0, "q")).unwrap(), "model.layers.0.self_attn.q_proj.qweight");
        assert_eq!(again.parameter(slot(0, "q")).unwrap().weight.encoding_name(), "int4 g32");
        let (tokens, _) = golden(&tiny(name));
        let (a, b) =
            (logits(&mut load_with(&original, &params), &tokens, 16), logits(&mut load(dir.path()), &tokens, 16));
        assert_eq!(a, b, "{name}");
        // GGUF has no integer groups; F32 holds their values, and F16 does not hold all of them.
        let path = dir.path().join("model.gguf");
        let write = |encoding| gguf(&path, original.blueprint(), &params, Vec::new(), &|_| encoding);
        assert_eq!(write(None).unwrap_err().code(), "not-exportable");
        assert!(!path.exists(), "nothing is written where writing is refused");
        write(Some(Encoding::F32)).unwrap();
        assert_eq!(logits(&mut load(&path), &tokens, 16), a, "{name}");
    }
}

#[test]
fn a_shard_index_is_followed() {
    use honelm_formats::safetensors::Safetensors;
    let whole = Safetensors::open(tiny("grouped")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(tiny("grouped").join("config.json"), dir.path().join("config.json")).unwrap();
    let mut map = serde_json::Map::new();
    let names = whole.names();
    for (i, part) in names.chunks(names.len().div_ceil(3)).enumerate() {
        let file = format!("model-{i}-of-3.safetensors");
        let tensors: Vec<_> = part.iter().map(|name| whole.get(name).unwrap()).collect();
        crate::common::write_safetensors(&dir.path().join(&file), &tensors);
        map.extend(part.iter().map(|name| ((*name).to_owned(), json!(file))));
    }
    std::fs::write(dir.path().join("model.safetensors.index.json"), json!({"weight_map": map}).to_string()).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.files().len(), 4);
    assert!(checkpoint.file_bytes().unwrap() > 400_000);
    let (tokens, _) = golden(&tiny("grouped"));
    assert_eq!(logits(&mut load(dir.path()), &tokens, 16), logits(&mut load(&tiny("grouped")), &tokens, 16));
}
