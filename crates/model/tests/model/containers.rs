//! Written files are read back as the same model.

use std::path::Path;

use honelm_blocks::{Encoding, Fit, Grid, IntGroups, ScaleType};
use honelm_formats::gguf::Gguf;
use honelm_formats::{TensorSource, read_json};
use honelm_model::export::{Container, GroupForm, HuggingFace, gguf, huggingface};
use honelm_model::{Checkpoint, Kind, ModelError, Parameter, Parameters, Runner, Slot};
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
            // GGUF has no key for dynamic scaling.
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
            // Its divisors are not those of a published model, and config.json has no field for them.
            let error = huggingface(dir.path(), &from, &from, &HuggingFace::default()).unwrap_err();
            assert_eq!(error.code(), "not-exportable");
            continue;
        }
        std::fs::create_dir(&folder).unwrap();
        huggingface(&folder, &from, &from, &HuggingFace::default()).unwrap();
        let again = logits(&mut load(&folder), &tokens, 16);
        // A GGUF file of RoBERTa is one of BERT.
        let is_bert = Checkpoint::open(&folder).unwrap().facts().architecture == "bert";
        assert_eq!(is_bert, original.facts().encoder, "{name}");
        // Gains that are stored minus 1 are rounded.
        let rounded = name.starts_with("gemma");
        let close = distance(&again, &expected) <= 1e-4 * deviation(&expected);
        assert!(again == expected || (rounded && close), "{name}: {}", distance(&again, &expected));
        let config = read_json(folder.join("config.json")).unwrap().unwrap();
        assert_eq!(config["torch_dtype"], json!("float32"), "{name}");
    }
}

#[test]
fn a_gguf_file_has_the_keys_that_llama_cpp_reads() {
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
    // The parameters of published models are recovered, so that config.json can be written.
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
    // Other divisors are kept as they are, and config.json has no field for them.
    let path = dir.path().join("model.gguf");
    to_gguf(&Checkpoint::open(tiny("llama-rope-llama3")).unwrap(), &path, None).unwrap();
    let again = Checkpoint::open(&path).unwrap();
    assert_eq!(again.blueprint().definition.config()["rope_scaling"]["rope_type"], json!("divisors"));
    let error = huggingface(dir.path(), &again, &again, &HuggingFace::default()).unwrap_err();
    assert_eq!(error.code(), "not-exportable");
}

/// The form that most of these tests use.
pub const FORM: GroupForm = GroupForm { bits: 4, group_size: 32, symmetric: true };

/// A checkpoint with every linear module of its layers rounded to integer groups.
pub struct Grouped<'a>(pub &'a Checkpoint, pub GroupForm);

impl Parameters for Grouped<'_> {
    fn parameter(&self, slot: Slot) -> Result<Parameter, ModelError> {
        let mut parameter = self.0.parameter(slot)?;
        let module = self.0.tree().module(slot).unwrap();
        if slot.layer.is_none() || module.kind != Kind::Linear {
            return Ok(parameter);
        }
        let GroupForm { bits, group_size, symmetric } = self.1;
        let grid = IntGroups { bits, group_size, symmetric, scale_type: ScaleType::F16, fit: Fit::MinMax };
        let w = parameter.weight.dequantize();
        let (mut params, mut codes) = (Vec::new(), Vec::new());
        for values in w.data.chunks(group_size) {
            let fitted = grid.fit_plain(values);
            params.push(fitted);
            codes.extend(values.iter().map(|&x| grid.round(fitted, x)));
        }
        parameter.weight = grid.pack(w.rows, w.cols, &params, &codes).unwrap();
        Ok(parameter)
    }
}

/// Writes the folder of a container.
fn write_folder(dir: &Path, container: &Container, params: &Grouped<'_>) {
    let format = container.format(params.0.tree(), params, params.1).unwrap();
    let options = HuggingFace { quantization: Some(&*format), ..HuggingFace::default() };
    huggingface(dir, params.0, params, &options).unwrap();
    let config = read_json(dir.join("config.json")).unwrap().unwrap();
    for &field in format.config_fields() {
        assert!(config[field].is_object(), "{container}: {field}");
    }
}

#[test]
fn the_folder_of_every_container_gives_the_same_bits_as_its_weights() {
    for name in ["llama-grouped", "llama-biases-tied"] {
        let original = Checkpoint::open(tiny(name)).unwrap();
        let (tokens, _) = golden(&tiny(name));
        for (container, groups) in Container::folders() {
            for form in groups
                .bits
                .iter()
                .flat_map(|&bits| [true, false].map(|symmetric| GroupForm { bits, symmetric, ..FORM }))
            {
                let dir = tempfile::tempdir().unwrap();
                let params = Grouped(&original, form);
                write_folder(dir.path(), container, &params);
                let again = Checkpoint::open(dir.path()).unwrap();
                assert_eq!(again.quantized_format(), Some(container.name));
                let found = again.parameter(slot(0, "q")).unwrap().weight.encoding_name();
                assert_eq!(found, format!("int{} g32", form.bits), "{container}");
                assert!(again.ignored_tensors().is_empty());
                let expected = logits(&mut load_with(&original, &params), &tokens, 16);
                let found = logits(&mut load(dir.path()), &tokens, 16);
                // MLX rounds the biases that stand for zero points.
                let close = distance(&found, &expected) <= 2e-2 * deviation(&expected);
                let rounded = container.name == "mlx" && !form.symmetric;
                assert!(
                    found == expected || rounded && close,
                    "{name} {container} {form:?}: {}",
                    distance(&found, &expected) / deviation(&expected)
                );
            }
        }
    }
}

#[test]
fn files_to_copy_appear_beside_the_weights() {
    let (dir, original) = (tempfile::tempdir().unwrap(), Checkpoint::open(tiny("llama-grouped")).unwrap());
    let copy = [tiny("llama-grouped").join("logits.safetensors")];
    let options = HuggingFace { copy: &copy, ..HuggingFace::default() };
    huggingface(dir.path(), &original, &original, &options).unwrap();
    assert!(dir.path().join("logits.safetensors").exists());
}

#[test]
fn a_folder_that_misses_a_tensor_or_has_an_unknown_one_is_refused_by_name() {
    use honelm_formats::safetensors::Safetensors;
    for (container, _) in Container::folders() {
        let dir = tempfile::tempdir().unwrap();
        let original = Checkpoint::open(tiny("llama-grouped")).unwrap();
        write_folder(dir.path(), container, &Grouped(&original, FORM));
        let file = dir.path().join("model.safetensors");
        let whole = std::fs::read(&file).unwrap();
        let source = Safetensors::parse(whole, "whole").unwrap();
        let tensors: Vec<_> = source.names().iter().map(|name| source.get(name).unwrap()).collect();
        let own = |name: &str| name.starts_with("model.layers.1.mlp.up_proj.");
        // Outside of the layers too, where nothing is quantised.
        for left_out in ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"] {
            let rest: Vec<_> = tensors.iter().filter(|tensor| tensor.name != left_out).cloned().collect();
            if rest.len() == tensors.len() {
                continue;
            }
            crate::common::write_safetensors(&file, &rest);
            let error = Checkpoint::open(dir.path()).unwrap_err();
            assert!(error.code() == "missing-tensor" && error.to_string().contains(left_out), "{container}: {error}");
        }
        let mut optional = 0;
        for left_out in tensors.iter().filter(|tensor| own(&tensor.name)) {
            let rest: Vec<_> = tensors.iter().filter(|tensor| tensor.name != left_out.name).cloned().collect();
            crate::common::write_safetensors(&file, &rest);
            match Checkpoint::open(dir.path()) {
                // GPTQ's column groups are neighbouring columns where none are given.
                Ok(_) if left_out.name.ends_with(".g_idx") => optional += 1,
                Ok(_) => panic!("{container}: {} is missing", left_out.name),
                Err(error) => assert!(error.to_string().contains("model.layers.1.mlp.up_proj"), "{container}: {error}"),
            }
        }
        assert_eq!(optional, usize::from(container.name == "gptq"));
        let mut more = tensors.clone();
        let codes = tensors.iter().find(|tensor| own(&tensor.name)).unwrap();
        more.push(honelm_formats::RawTensor { name: "model.layers.1.mlp.odd_proj.weight".to_owned(), ..codes.clone() });
        crate::common::write_safetensors(&file, &more);
        let error = Checkpoint::open(dir.path()).unwrap_err();
        assert_eq!(error.code(), "unexpected-tensor");
        assert!(error.to_string().contains("model.layers.1.mlp.odd_proj.weight"), "{error}");
    }
}

/// Writes the tensors of a GGUF file that `keeps` names, and another one.
fn write_some(source: &Gguf, path: &Path, keeps: impl Fn(&str) -> bool, other: Option<&str>) {
    let mut writer = honelm_formats::gguf::Writer::new();
    for (key, value) in source.metadata.iter() {
        writer.metadata(key, value.clone()).unwrap();
    }
    let names: Vec<&str> = source.names().into_iter().filter(|name| keeps(name)).collect();
    for name in &names {
        writer.tensor(*name, &source.info(name).unwrap().shape, Encoding::F32).unwrap();
    }
    if let Some(name) = other {
        writer.tensor(name, &[4], Encoding::F32).unwrap();
    }
    let contents = |name: &str| source.get(name).map_or_else(|_| vec![0; 16], |tensor| tensor.bytes.to_vec());
    let mut file = std::fs::File::create(path).unwrap();
    writer
        .write_to::<_, honelm_formats::FormatError>(&mut file, "test", |tensor, sink| {
            sink.write(&contents(&tensor.name))
        })
        .unwrap();
}

#[test]
fn a_gguf_file_that_misses_a_tensor_or_has_an_unknown_one_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, path) = (dir.path().join("whole.gguf"), dir.path().join("model.gguf"));
    to_gguf(&Checkpoint::open(tiny("llama-grouped")).unwrap(), &whole, Some(Encoding::F32)).unwrap();
    let source = Gguf::open(&whole).unwrap();
    write_some(&source, &path, |_| true, None);
    Checkpoint::open(&path).unwrap();
    // By GGUF's convention, the embedding is the output layer of a file without one.
    for left_out in source.names().into_iter().filter(|name| *name != "output.weight") {
        write_some(&source, &path, |name| name != left_out, None);
        let error = Checkpoint::open(&path).unwrap_err();
        assert_eq!(error.code(), "missing-tensor", "{left_out}: {error}");
        assert!(error.to_string().contains(left_out), "{left_out}: {error}");
    }
    for odd in ["blk.1.ffn_odd.weight", "odd.weight"] {
        write_some(&source, &path, |_| true, Some(odd));
        let error = Checkpoint::open(&path).unwrap_err();
        assert_eq!(error.code(), "unexpected-tensor", "{error}");
        assert!(error.to_string().contains(odd), "{error}");
    }
}

#[test]
fn gguf_holds_the_values_of_integer_groups_only_in_f32() {
    for name in ["llama-grouped", "llama-biases-tied"] {
        let dir = tempfile::tempdir().unwrap();
        let original = Checkpoint::open(tiny(name)).unwrap();
        let params = Grouped(&original, FORM);
        let path = dir.path().join("model.gguf");
        let write = |encoding| gguf(&path, original.blueprint(), &params, Vec::new(), &|_| encoding);
        assert_eq!(write(None).unwrap_err().code(), "not-exportable");
        assert!(!path.exists(), "nothing is written where writing is refused");
        write(Some(Encoding::F32)).unwrap();
        let (tokens, _) = golden(&tiny(name));
        let expected = logits(&mut load_with(&original, &params), &tokens, 16);
        assert_eq!(logits(&mut load(&path), &tokens, 16), expected, "{name}");
    }
}

#[test]
fn models_that_a_container_cannot_hold_are_refused_before_any_work() {
    let small = Checkpoint::open(tiny("llama-grouped")).unwrap();
    let gpt2 = Checkpoint::open(tiny("gpt2-tied")).unwrap();
    for (container, _) in Container::folders() {
        assert!(container.check_model(small.tree(), FORM).is_ok(), "{container}");
        let odd = container.check_model(small.tree(), GroupForm { bits: 7, ..FORM }).unwrap_err();
        assert_eq!(odd.code(), "not-exportable", "{container}");
        // The tiny model has 64 columns.
        let wide = container.check_model(small.tree(), GroupForm { group_size: 128, ..FORM });
        assert_eq!(wide.is_ok(), container.name == "gptq", "{container}");
        let transposed = container.check_model(gpt2.tree(), FORM);
        assert_eq!(transposed.is_ok(), container.name == "gptq", "{container}");
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
fn norms_may_have_the_names_of_tensorflow() {
    let (tokens, _) = golden(&tiny("bert-types"));
    let expected = logits(&mut load(&tiny("bert-types")), &tokens, tokens.len());
    let older = |tensors: &mut Vec<honelm_formats::RawTensor>| {
        for tensor in tensors.iter_mut().filter(|tensor| tensor.name.contains("LayerNorm.")) {
            tensor.name = tensor.name.replace(".weight", ".gamma").replace(".bias", ".beta");
        }
    };
    let dir = changed("bert-types", |_| (), older);
    assert_eq!(logits(&mut load(dir.path()), &tokens, tokens.len()), expected);
    // A norm with both names is ambiguous.
    let both = |tensors: &mut Vec<honelm_formats::RawTensor>| {
        let mut copy: Vec<_> = tensors.iter().filter(|tensor| tensor.name.contains("LayerNorm.")).cloned().collect();
        older(&mut copy);
        tensors.extend(copy);
    };
    let error = Checkpoint::open(changed("bert-types", |_| (), both).path()).unwrap_err();
    assert!(error.code() == "unexpected-tensor" && error.to_string().contains("LayerNorm."), "{error}");
    // No other module has such names.
    let table = |tensors: &mut Vec<honelm_formats::RawTensor>| {
        let tensor = tensors.iter_mut().find(|tensor| tensor.name.ends_with("word_embeddings.weight")).unwrap();
        tensor.name = tensor.name.replace(".weight", ".gamma");
    };
    let error = Checkpoint::open(changed("bert-types", |_| (), table).path()).unwrap_err();
    assert_eq!(error.code(), "missing-tensor", "{error}");
}

#[test]
fn a_multimodal_model_gives_the_logits_of_its_language_model() {
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
        // It is written as the language model.
        let again = tempfile::tempdir().unwrap();
        huggingface(again.path(), &checkpoint, &checkpoint, &HuggingFace::default()).unwrap();
        let config = read_json(again.path().join("config.json")).unwrap().unwrap();
        assert_eq!((&config["model_type"], config.get("vision_config")), (&json!("gemma3_text"), None));
        assert_eq!(Checkpoint::open(again.path()).unwrap().facts().architecture, "gemma3_text");
    }
}

/// Writes files for other implementations (`tests/scripts/compare.py`) to `tiny-written` beside the tiny models.
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
    // Folders of integer groups, with the logits of their weights (`tests/scripts/compare_containers.py`).
    let original = Checkpoint::open(tiny("llama-grouped")).unwrap();
    let (tokens, _) = golden(&tiny("llama-grouped"));
    for (container, groups) in Container::folders() {
        for form in
            groups.bits.iter().flat_map(|&bits| [true, false].map(|symmetric| GroupForm { bits, symmetric, ..FORM }))
        {
            let kind = if form.symmetric { "symmetric" } else { "asymmetric" };
            let folder = dir.join(format!("{container}-{}-{kind}", form.bits));
            std::fs::create_dir_all(&folder).unwrap();
            write_folder(&folder, container, &Grouped(&original, form));
            let values = logits(&mut load(&folder), &tokens, 16).data;
            let json = json!({"container": container.name, "tokens": tokens, "logits": values});
            std::fs::write(folder.with_extension("json"), json.to_string()).unwrap();
        }
    }
}
