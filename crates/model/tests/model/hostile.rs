//! Broken, contradictory and unsupported files.

use std::path::Path;

use honelm_blocks::Encoding;
use honelm_formats::gguf::{Value, Writer};
use honelm_formats::{ElementType, FormatError, RawTensor};
use honelm_model::{Checkpoint, ModelError, Parameters};
use serde_json::{Value as Json, json};

use crate::common::changed;
use crate::tiny::tiny;

fn open(dir: &Path) -> ModelError {
    match Checkpoint::open(dir) {
        Ok(checkpoint) => checkpoint
            .tree()
            .slots()
            .find_map(|slot| checkpoint.parameter(slot).err())
            .expect("the checkpoint must be refused"),
        Err(error) => error,
    }
}

/// Opens `name` with one field set and expects `code` and a message that names the field.
fn with_field(field: &str, value: Json, code: &str) {
    let dir = changed("llama-grouped", |config| config[field] = value.clone(), |_| {});
    let error = open(dir.path());
    assert_eq!(error.code(), code, "{field} = {value}: {error}");
    assert!(error.to_string().contains(field), "{field}: {error}");
    assert!(error.to_string().contains("config.json"), "the file is not named: {error}");
}

#[test]
fn fields_that_change_the_result_are_refused_by_name() {
    with_field("hidden_act", json!("gelu"), "invalid-field");
    with_field("pretraining_tp", json!(2), "invalid-field");
    with_field("partial_rotary_factor", json!(0.5), "invalid-field");
    with_field("attention_multiplier", json!(0.1), "unknown-field");
    with_field("rope_scaling", json!({"rope_type": "proportional", "factor": 4.0}), "invalid-field");
    with_field("model_type", json!(5), "invalid-field");
    with_field("rope_interleaved", json!(true), "invalid-field");
    with_field("auto_map", json!({"AutoModelForCausalLM": "modeling.Own"}), "unknown-field");
    let dir = changed("llama-grouped", |config| config["quantization_config"] = json!({"quant_method": "hqq"}), |_| {});
    let error = open(dir.path());
    assert_eq!(error.code(), "unsupported-quantization");
    assert!(error.to_string().contains("hqq"), "{error}");
}

#[test]
fn contradictory_configurations_are_refused() {
    with_field("num_hidden_layers", json!(0), "invalid-field");
    with_field("num_hidden_layers", json!(4_000_000_000u64), "invalid-field");
    with_field("hidden_size", json!(1u64 << 62), "invalid-field");
    with_field("vocab_size", json!(-5), "invalid-field");
    with_field("intermediate_size", json!(0.5), "invalid-field");
    with_field("num_key_value_heads", json!(3), "invalid-field");
    with_field("num_key_value_heads", json!(8), "invalid-field");
    with_field("head_dim", json!(15), "invalid-field");
    with_field("head_dim", json!(1 << 19), "invalid-field");
    with_field("rms_norm_eps", json!("small"), "invalid-field");
    with_field("max_position_embeddings", Json::Null, "missing-field");
    with_field("sliding_window", json!(0), "invalid-field");
    with_field("tie_word_embeddings", json!("yes"), "invalid-field");
    let dir = changed("llama-grouped", |config| *config = json!([1, 2]), |_| {});
    assert_eq!(open(dir.path()).code(), "invalid-field");
}

#[test]
fn sizes_beyond_the_file_are_found_before_anything_is_allocated() {
    // The largest model within the limits would need more than 2^60 bytes.
    let dir = changed(
        "llama-grouped",
        |config| {
            config["num_hidden_layers"] = json!(4096);
            config["hidden_size"] = json!(1 << 20);
            config["intermediate_size"] = json!(1 << 20);
            config["vocab_size"] = json!(1 << 24);
        },
        |_| {},
    );
    assert_eq!(open(dir.path()).code(), "shape-mismatch");
    let dir = changed("llama-grouped", |config| config["num_hidden_layers"] = json!(4096), |_| {});
    let error = open(dir.path());
    assert_eq!(error.code(), "missing-tensor");
    assert!(error.to_string().contains("model.layers.3."), "{error}");
}

#[test]
fn unknown_architectures_are_named() {
    let dir = changed("llama-grouped", |config| config["model_type"] = json!("mamba"), |_| {});
    let error = open(dir.path());
    assert_eq!(error.code(), "unknown-architecture");
    assert!(error.to_string().contains("mamba") && error.to_string().contains("llama"), "{error}");
    let dir = changed("llama-grouped", |config| config["model_type"] = Json::Null, |_| {});
    assert_eq!(open(dir.path()).code(), "missing-field");
}

fn index(tensors: &[RawTensor], name: &str) -> usize {
    tensors.iter().position(|t| t.name == name).unwrap()
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let dir = changed("llama-grouped", |_| {}, |tensors| drop(tensors.remove(index(tensors, name))));
    let error = open(dir.path());
    assert_eq!(error.code(), "missing-tensor");
    assert!(error.to_string().contains(name) && error.to_string().contains("[96, 64]"), "{error}");
    let dir = changed(
        "llama-grouped",
        |_| {},
        |tensors| {
            let i = index(tensors, name);
            tensors[i].shape = vec![64, 96];
        },
    );
    let error = open(dir.path());
    assert_eq!(error.code(), "shape-mismatch");
    assert!(error.to_string().contains("[64, 96]") && error.to_string().contains("model.safetensors"), "{error}");
    let dir = changed(
        "llama-grouped",
        |_| {},
        |tensors| {
            let i = index(tensors, name);
            tensors[i].element = ElementType::Integer(honelm_formats::IntegerType::I32);
        },
    );
    assert_eq!(open(dir.path()).code(), "unexpected-element-type");
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    for (name, bits) in [
        ("model.layers.2.self_attn.v_proj.weight", f32::NAN.to_bits()),
        ("model.norm.weight", f32::INFINITY.to_bits()),
        ("model.layers.0.self_attn.q_proj.bias", f32::NEG_INFINITY.to_bits()),
    ] {
        let dir = changed(
            "llama-biases-tied",
            |_| {},
            |tensors| {
                let i = index(tensors, name);
                let mut bytes = tensors[i].bytes.to_vec();
                bytes[20..24].copy_from_slice(&bits.to_le_bytes());
                tensors[i].bytes = bytes.into();
            },
        );
        let error = open(dir.path());
        assert_eq!(error.code(), "weight-not-finite");
        assert!(error.to_string().contains(name), "{error}");
    }
}

fn extra(name: &str, values: &[f32], shape: &[usize]) -> RawTensor {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let element = ElementType::Weights(Encoding::F32);
    RawTensor { name: name.to_owned(), element, shape: shape.to_vec(), bytes: bytes.into() }
}

#[test]
fn tensors_that_would_change_the_result_are_refused_and_others_are_not() {
    let with = |name: &str, value: f32| {
        let dir = changed("llama-grouped", |_| {}, |tensors| tensors.push(extra(name, &[value; 64], &[64])));
        Checkpoint::open(dir.path()).map(|c| c.ignored_tensors().to_vec()).map_err(|error| error.code())
    };
    assert_eq!(with("model.layers.0.self_attn.q_proj.bias", 0.5), Err("unexpected-tensor"));
    assert_eq!(with("model.layers.0.self_attn.q_norm.weight", 1.0), Err("unexpected-tensor"));
    assert_eq!(with("model.layers.3.self_attn.q_proj.weight", 1.0), Err("unexpected-tensor"));
    for harmless in ["model.layers.0.self_attn.rotary_emb.inv_freq", "value_head.weight"] {
        assert_eq!(with(harmless, 1.0), Ok(vec![harmless.to_owned()]));
    }
    // Quantisers write biases that are zero.
    assert!(with("model.layers.0.self_attn.q_proj.bias", 0.0).is_ok());
}

#[test]
fn a_stored_tied_output_must_equal_the_embedding() {
    let copied = |change: bool| {
        let dir = changed(
            "llama-window",
            |_| {},
            |tensors| {
                let mut output = tensors[index(tensors, "model.embed_tokens.weight")].clone();
                output.name = "lm_head.weight".to_owned();
                if change {
                    let mut bytes = output.bytes.to_vec();
                    bytes[0] ^= 1;
                    output.bytes = bytes.into();
                }
                tensors.push(output);
            },
        );
        Checkpoint::open(dir.path()).map(drop).map_err(|error| error.code())
    };
    assert_eq!(copied(false), Ok(()));
    assert_eq!(copied(true), Err("tied-output-differs"));
}

#[test]
fn paths_without_a_model_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(dir.path()).code(), "not-a-model");
    assert_eq!(open(&dir.path().join("nothing.gguf")).code(), "file-not-found");
    let file = dir.path().join("x.gguf");
    std::fs::write(&file, b"").unwrap();
    assert_eq!(open(&file).code(), "empty-file");
    std::fs::write(&file, b"hello, this is no model").unwrap();
    assert_eq!(open(&file).code(), "not-a-model");
    std::fs::write(dir.path().join("config.json"), "{").unwrap();
    assert_eq!(open(dir.path()).code(), "invalid-json");
    std::fs::copy(tiny("llama-grouped").join("config.json"), dir.path().join("config.json")).unwrap();
    assert_eq!(open(dir.path()).code(), "no-weights");
}

/// Opens a GGUF file with only metadata, some of them changed.
fn metadata_only(change: impl FnOnce(&mut Vec<(&'static str, Value)>)) -> ModelError {
    let mut metadata: Vec<(&'static str, Value)> = vec![
        ("general.architecture", "llama".into()),
        ("llama.block_count", 1u32.into()),
        ("llama.context_length", 64u32.into()),
        ("llama.embedding_length", 8u32.into()),
        ("llama.feed_forward_length", 8u32.into()),
        ("llama.attention.head_count", 2u32.into()),
        ("llama.rope.dimension_count", 4u32.into()),
        ("llama.attention.layer_norm_rms_epsilon", 1e-5f32.into()),
    ];
    change(&mut metadata);
    let mut writer = Writer::new();
    for (key, value) in metadata {
        writer.metadata(key, value).unwrap();
    }
    writer.tensor("token_embd.weight", &[4, 8], Encoding::F32).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let mut file = std::fs::File::create(&path).unwrap();
    writer
        .write_to::<_, FormatError>(&mut file, "test", |tensor, sink| sink.write(&vec![0; tensor.size as usize]))
        .unwrap();
    open(&path)
}

#[test]
fn gguf_metadata_are_read_strictly() {
    let set = |key: &'static str, value: Value| {
        metadata_only(|metadata| {
            metadata.retain(|(name, _)| *name != key);
            metadata.push((key, value));
        })
    };
    let refused = |key: &'static str, value: Value, code: &str| {
        let error = set(key, value);
        assert_eq!(error.code(), code, "{key}: {error}");
        assert!(error.to_string().contains(key.trim_start_matches("llama.")), "{key}: {error}");
    };
    // Without changes, only the norm of layer 0 is missing.
    assert_eq!(metadata_only(|_| {}).code(), "missing-tensor");
    refused("llama.expert_count", 8u32.into(), "invalid-field");
    refused("llama.attention.causal", false.into(), "invalid-field");
    refused("llama.attn_logit_softcapping", 50f32.into(), "unknown-field");
    refused("llama.logit_scale", 0.5f32.into(), "unknown-field");
    refused("llama.rope.scaling.type", "longrope".into(), "invalid-field");
    refused("llama.rope.scaling.attn_factor", 1.5f32.into(), "invalid-field");
    refused("llama.rope.dimension_count", 3u32.into(), "invalid-field");
    refused("llama.attention.value_length", 6u32.into(), "invalid-field");
    refused("llama.block_count", "many".into(), "wrong-value-type");
    assert_eq!(set("llama.block_count", u32::MAX.into()).code(), "invalid-field");
    assert_eq!(set("general.architecture", "mamba".into()).code(), "unknown-architecture");
    assert_eq!(metadata_only(|metadata| drop(metadata.remove(0))).code(), "missing-key");
    assert_eq!(set("llama.expert_count", 0u32.into()).code(), "missing-tensor");
}
