//! What is written is read back as the same model.

use std::path::Path;

use honelm_blocks::{Encoding, GroupMatrix, ScaleType, WeightData, Zeros};
use honelm_formats::gguf::Gguf;
use honelm_formats::gptq::QuantizeConfig;
use honelm_formats::{TensorSource, read_json};
use honelm_model::export::{HuggingFace, gguf, huggingface};
use honelm_model::{Checkpoint, Kind, ModelError, Parameter, Parameters, Runner, Slot};
use honelm_tensor::AlignedVec;
use serde_json::json;

use crate::common::{changed, deviation, distance, golden, load, load_with, logits};
use crate::tiny::{MODELS, tiny};

fn to_gguf(checkpoint: &Checkpoint, path: &Path, encoding: Option<Encoding>) -> Result<(), ModelError> {
    gguf(path, checkpoint.blueprint(), checkpoint, Vec::new(), &|_| encoding)
}

#[test]
fn files_written_from_each_other_give_the_same_logits() {
    for &name in MODELS {
        let dir = tempfile::tempdir().unwrap();
        let (path, folder) = (dir.path().join("model.gguf"), dir.path().join("folder"));
        let original = Checkpoint::open(tiny(name)).unwrap();
        match to_gguf(&original, &path, None) {
            // GGUF has no name for dynamic scaling.
            Err(error) if name == "llama-dynamic" => {
                assert_eq!(error.code(), "not-exportable");
                continue;
            }
            written => written.unwrap(),
        }
        let (tokens, _) = golden(&tiny(name));
        let expected = logits(&mut load(&tiny(name)), &tokens, 16);
        assert_eq!(logits(&mut load(&path), &tokens, 16), expected, "{name}");
        let from = Checkpoint::open(&path).unwrap();
        if name == "llama-rope-llama3" {
            // Its divisors are not those of a published model: config.json has no name for them.
            let error = huggingface(dir.path(), &from, &from, &HuggingFace::default()).unwrap_err();
            assert_eq!(error.code(), "not-exportable");
            continue;
        }
        std::fs::create_dir(&folder).unwrap();
        huggingface(&folder, &from, &from, &HuggingFace::default()).unwrap();
        let again = logits(&mut load(&folder), &tokens, 16);
        // Gains that are stored less 1 are rounded on the way.
        let rounded = name.starts_with("gemma");
        let close = distance(&again, &expected) <= 1e-4 * deviation(&expected);
        assert!(again == expected || (rounded && close), "{name}: {}", distance(&again, &expected));
        let config = read_json(folder.join("config.json")).unwrap().unwrap();
        assert_eq!(config["torch_dtype"], json!("float32"), "{name}");
    }
}

#[test]
fn a_gguf_file_says_what_llama_cpp_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let checkpoint = Checkpoint::open(tiny("llama-biases-tied")).unwrap();
    let tokenizer = vec![("tokenizer.ggml.model".to_owned(), "gpt2".into())];
    let q8 = |slot: Slot| Some(if slot.layer.is_some() { Encoding::Q8_0 } else { Encoding::F16 });
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

fn slot(layer: usize, module: &'static str) -> Slot {
    Slot { layer: Some(layer), module }
}

#[test]
fn rope_scaling_survives_gguf() {
    let dir = tempfile::tempdir().unwrap();
    // As published: the parameters are found again, so that config.json can be written.
    let published = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    for (scaling, folder) in [(published, true), (json!({"type": "linear", "factor": 4.0}), true)] {
        let set = |config: &mut serde_json::Value| config["rope_scaling"] = scaling.clone();
        let source = changed("llama-grouped", set, |_| {});
        let path = dir.path().join("model.gguf");
        let original = Checkpoint::open(source.path()).unwrap();
        to_gguf(&original, &path, None).unwrap();
        let again = Checkpoint::open(&path).unwrap();
        let config = |checkpoint: &Checkpoint| checkpoint.blueprint().definition.config();
        assert_eq!(config(&again), config(&original));
        let written = huggingface(dir.path(), &again, &again, &HuggingFace::default());
        assert_eq!(written.is_ok(), folder);
    }
    // An unpublished one stays what the file has, and has no name in config.json.
    let path = dir.path().join("model.gguf");
    to_gguf(&Checkpoint::open(tiny("llama-rope-llama3")).unwrap(), &path, None).unwrap();
    let again = Checkpoint::open(&path).unwrap();
    assert_eq!(again.blueprint().definition.config()["rope_scaling"]["rope_type"], json!("divisors"));
    let error = huggingface(dir.path(), &again, &again, &HuggingFace::default()).unwrap_err();
    assert_eq!(error.code(), "not-exportable");
}

/// A checkpoint with every linear layer of its layers in groups of 32 with 4 bits.
pub struct Grouped<'a>(pub &'a Checkpoint);

impl Parameters for Grouped<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let mut parameter = self.0.parameter(slot)?;
        let module = self.0.tree().module(slot).unwrap();
        if slot.layer.is_none() || module.kind != Kind::Linear {
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
    for name in ["llama-grouped", "llama-biases-tied"] {
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
    let whole = Safetensors::open(tiny("llama-grouped")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(tiny("llama-grouped").join("config.json"), dir.path().join("config.json")).unwrap();
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
    let (tokens, _) = golden(&tiny("llama-grouped"));
    assert_eq!(logits(&mut load(dir.path()), &tokens, 16), logits(&mut load(&tiny("llama-grouped")), &tokens, 16));
}

#[test]
fn a_model_with_an_image_tower_gives_the_logits_of_its_text_part() {
    use honelm_formats::safetensors::Safetensors;
    let (tokens, _) = golden(&tiny("gemma3-types"));
    let expected = logits(&mut load(&tiny("gemma3-types")), &tokens, 16);
    for prefix in ["language_model.model.", "model.language_model."] {
        let dir = tempfile::tempdir().unwrap();
        let mut text = read_json(tiny("gemma3-types").join("config.json")).unwrap().unwrap();
        text.as_object_mut().unwrap().remove("tie_word_embeddings");
        let config = json!({"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 4},
            "mm_tokens_per_image": 256, "image_token_index": 63});
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let source = Safetensors::open(tiny("gemma3-types")).unwrap();
        let mut tensors: Vec<_> = source.names().iter().map(|name| source.get(name).unwrap()).collect();
        for tensor in &mut tensors {
            tensor.name = tensor.name.replacen("model.", prefix, 1);
        }
        let mut image = tensors[0].clone();
        image.name = "vision_tower.vision_model.post_layernorm.weight".to_owned();
        tensors.push(image);
        crate::common::write_safetensors(&dir.path().join("model.safetensors"), &tensors);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.ignored_tensors().len(), 1);
        assert_eq!(logits(&mut load_with(&checkpoint, &checkpoint), &tokens, 16), expected, "{prefix}");
        // Written again it is the text model.
        let again = tempfile::tempdir().unwrap();
        huggingface(again.path(), &checkpoint, &checkpoint, &HuggingFace::default()).unwrap();
        let config = read_json(again.path().join("config.json")).unwrap().unwrap();
        assert_eq!((&config["model_type"], config.get("vision_config")), (&json!("gemma3_text"), None));
        assert_eq!(Checkpoint::open(again.path()).unwrap().facts().architecture, "gemma3_text");
    }
}

/// Files to run in other implementations (`tests/scripts/compare.py`), in `tiny-written` beside the tiny models.
#[test]
#[ignore = "writes files for other implementations"]
fn writes_files_to_compare() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny-written");
    std::fs::create_dir_all(&dir).unwrap();
    for &name in MODELS {
        let checkpoint = Checkpoint::open(tiny(name)).unwrap();
        let tokenizer = vec![("tokenizer.ggml.model".to_owned(), "no_vocab".into())];
        let path = dir.join(format!("{name}.gguf"));
        if let Err(error) = gguf(&path, checkpoint.blueprint(), &checkpoint, tokenizer, &|_| None) {
            eprintln!("{name}: {error}");
            continue;
        }
        let (tokens, _) = golden(&tiny(name));
        let ours = logits(&mut load(&path), &tokens, 16);
        let values: Vec<f64> = ours.data.iter().map(|&x| f64::from(x)).collect();
        let context = load(&path).context();
        let json = json!({"tokens": tokens, "logits": values, "context": context});
        std::fs::write(path.with_extension("json"), json.to_string()).unwrap();
        let (folder, from) = (dir.join(name), Checkpoint::open(&path).unwrap());
        std::fs::create_dir_all(&folder).unwrap();
        if let Err(error) = huggingface(&folder, &from, &from, &HuggingFace::default()) {
            eprintln!("{name}: {error}");
        }
    }
}
