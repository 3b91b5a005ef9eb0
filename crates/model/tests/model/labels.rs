//! Redundant and unknown information in a model's files (docs/authority.md).

use std::path::Path;

use honelm_formats::gguf::{Gguf, Value};
use honelm_formats::gptq::{CheckpointFormat, QuantizeConfig};
use honelm_formats::{TensorSource, read_json};
use honelm_model::export::{HuggingFace, gguf, huggingface};
use honelm_model::{Checkpoint, ModelError, OpenOptions, Parameters, Slot};
use serde_json::{Value as Json, json};

use crate::common::{changed, write_safetensors};
use crate::containers::{FORM, Grouped};
use crate::tiny::tiny;

fn opened(dir: &Path, allowed: &[&str]) -> Result<Checkpoint, ModelError> {
    let allow_unknown = allowed.iter().map(|&field| field.to_owned()).collect();
    Checkpoint::open_with(dir, &OpenOptions { allow_unknown })
}

fn with(field: &str, value: Json) -> tempfile::TempDir {
    changed("llama-grouped", |config| config[field] = value, |_| {})
}

#[test]
fn fields_that_change_nothing_pass() {
    for (field, value) in [
        ("finetuned", json!(true)),
        ("truncate", json!(false)),
        ("gradient_checkpointing", json!(false)),
        ("gradient_checkpointing", json!(true)),
        ("model_max_length", json!(4096)),
        ("auto_map", json!({})),
        ("pruned_heads", json!({})),
        ("resid_pdrop", json!(0.1)),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0, "finetuned": true, "truncate": false})),
    ] {
        let dir = with(field, value);
        let checkpoint = Checkpoint::open(dir.path()).unwrap_or_else(|error| panic!("{field}: {error}"));
        assert!(checkpoint.warnings().is_empty(), "{:?}", checkpoint.warnings());
    }
    // The same fields with values that matter.
    for (field, value) in [("auto_map", json!({"AutoModel": "own.Model"})), ("truncate", json!(true))] {
        assert_eq!(Checkpoint::open(with(field, value).path()).unwrap_err().code(), "unknown-field", "{field}");
    }
}

#[test]
fn a_disputed_field_gives_a_warning_and_changes_nothing() {
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32});
    let plain = Checkpoint::open(with("rope_scaling", yarn.clone()).path()).unwrap();
    let mut disputed = yarn;
    disputed["attn_factor"] = json!(0.878);
    let dir = with("rope_scaling", disputed);
    let found = Checkpoint::open(dir.path()).unwrap();
    let config = |checkpoint: &Checkpoint| checkpoint.blueprint().definition.config();
    assert_eq!(config(&found), config(&plain));
    assert!(plain.warnings().is_empty());
    let [warning] = found.warnings() else { panic!("{:?}", found.warnings()) };
    assert!(warning.contains("config.json: rope_scaling.attn_factor is 0.878") && warning.contains("it is ignored"));
}

#[test]
fn unknown_fields_are_ignored_if_the_name_in_the_error_is_allowed() {
    for (place, value, field) in [
        ("odd_factor", json!(1.5), "odd_factor"),
        ("rope_scaling", json!({"type": "linear", "factor": 2.0, "odd": [1]}), "rope_scaling.odd"),
    ] {
        let dir = with(place, value);
        let refusal = opened(dir.path(), &["other"]).unwrap_err();
        assert_eq!(refusal.code(), "unknown-field");
        assert!(refusal.to_string().contains(&format!("--allow-unknown {field} ")), "{refusal}");
        let found = opened(dir.path(), &["other", field]).unwrap();
        assert!(matches!(found.warnings(), [warning] if warning.contains(field)), "{:?}", found.warnings());
    }
    // Known fields are still read.
    let dir = with("num_key_value_heads", json!(3));
    assert_eq!(opened(dir.path(), &["num_key_value_heads"]).unwrap_err().code(), "invalid-field");
}

#[test]
fn unknown_settings_and_metadata_can_be_allowed_too() {
    let dir = gptq(CheckpointFormat::V1);
    edit(dir.path(), |settings| settings["odd"] = json!({"deep": 1}));
    let refusal = opened(dir.path(), &[]).unwrap_err();
    assert_eq!(refusal.code(), "unknown-quantization-setting");
    assert!(refusal.to_string().contains("--allow-unknown odd "), "{refusal}");
    assert_eq!(opened(dir.path(), &["odd"]).unwrap().warnings().len(), 1);

    let path = dir.path().join("model.gguf");
    let original = Checkpoint::open(tiny("llama-grouped")).unwrap();
    let metadata = vec![("llama.odd".to_owned(), Value::from(7u32))];
    gguf(&path, original.blueprint(), &original, metadata, &|_| None).unwrap();
    assert!(opened(&path, &[]).unwrap_err().to_string().contains("--allow-unknown llama.odd "));
    assert_eq!(opened(&path, &["llama.odd"]).unwrap().warnings().len(), 1);
    assert!(Gguf::open(&path).unwrap().contains("output.weight"));
}

/// Writes a symmetric GPTQ folder whose zero points are stored in `format`.
fn gptq(format: CheckpointFormat) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let original = Checkpoint::open(tiny("llama-grouped")).unwrap();
    let settings = json!({"bits": 4, "group_size": 32, "sym": true, "checkpoint_format": format.name()});
    let settings = QuantizeConfig::parse("test", &settings).unwrap();
    let options = HuggingFace { quantization: Some(&settings), copy: &[], max_shard_size: None };
    huggingface(dir.path(), &original, &Grouped(&original, FORM), &options).unwrap();
    dir
}

/// Changes the settings in both files.
fn edit(dir: &Path, edit: impl Fn(&mut Json)) {
    for (name, field) in [("quantize_config.json", None), ("config.json", Some("quantization_config"))] {
        let path = dir.join(name);
        let mut json = read_json(&path).unwrap().unwrap();
        match field {
            Some(field) => edit(&mut json[field]),
            None => edit(&mut json),
        }
        std::fs::write(path, json.to_string()).unwrap();
    }
}

fn values(checkpoint: &Checkpoint) -> Vec<f32> {
    let slot = Slot { layer: Some(1), module: "down" };
    checkpoint.parameter(slot).unwrap().weight.dequantize().data
}

#[test]
fn zero_points_decide_if_the_checkpoint_format_contradicts_them() {
    let expected = values(&Checkpoint::open(gptq(CheckpointFormat::V1).path()).unwrap());
    for (stored, label) in [(CheckpointFormat::V2, "gptq"), (CheckpointFormat::V1, "gptq_v2")] {
        let dir = gptq(stored);
        assert!(Checkpoint::open(dir.path()).unwrap().warnings().is_empty());
        edit(dir.path(), |settings| {
            settings["checkpoint_format"] = json!(label);
            settings["format"] = json!(label);
        });
        let found = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(values(&found), expected);
        let [warning] = found.warnings() else { panic!("{:?}", found.warnings()) };
        let said = ["quantize_config.json: ", &format!("checkpoint_format {label}"), stored.name(), "modules: 21"];
        assert!(said.iter().all(|part| warning.contains(part)), "{warning}");
    }
}

#[test]
fn labels_that_contradict_the_tensors_give_warnings() {
    let warnings = |dir: &Path| Checkpoint::open(dir).unwrap().warnings().to_vec();
    // The number type of the configuration.
    let dir = with("torch_dtype", json!("bfloat16"));
    assert!(matches!(&warnings(dir.path())[..], [one] if one.contains("torch_dtype is BF16") && one.contains("F32")));
    assert!(warnings(with("dtype", json!("torch.float32")).path()).is_empty());
    // Settings in two files.
    let dir = gptq(CheckpointFormat::V1);
    let path = dir.path().join("quantize_config.json");
    let mut own = read_json(&path).unwrap().unwrap();
    own["desc_act"] = json!(true);
    std::fs::write(path, own.to_string()).unwrap();
    assert!(
        matches!(&warnings(dir.path())[..], [one] if one.contains("desc_act is true") && one.contains("config.json"))
    );
}

#[test]
fn the_index_decides_which_shard_a_tensor_is_taken_from() {
    let dir = changed("llama-grouped", |_| {}, |_| {});
    let whole = dir.path().join("model.safetensors");
    let source = honelm_formats::safetensors::Safetensors::open(&whole).unwrap();
    let mut tensors: Vec<_> = source.names().iter().map(|name| source.get(name).unwrap()).collect();
    let expected = Checkpoint::open(dir.path()).map(|checkpoint| values(&checkpoint)).unwrap();
    write_safetensors(&dir.path().join("a.safetensors"), &tensors);
    // The other shard has the same names and other values.
    tensors.retain(|tensor| tensor.name.contains("layers.1.mlp"));
    tensors.iter_mut().for_each(|tensor| tensor.bytes = vec![0; tensor.bytes.len()].into());
    write_safetensors(&dir.path().join("b.safetensors"), &tensors);
    let names = source.names();
    let index = |other: &str| {
        let shard = |name: &&str| if name.contains("layers.1.mlp.down") { other } else { "a.safetensors" };
        let mut map: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), json!(shard(name)))).collect();
        map.insert("model.layers.1.mlp.up_proj.weight".to_owned(), json!("b.safetensors"));
        let index = json!({"weight_map": map}).to_string();
        std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    };
    std::fs::remove_file(whole).unwrap();
    index("a.safetensors");
    let found = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(values(&found), expected);
    assert!(matches!(found.warnings(), [one] if one.contains("3 tensors") && one.contains("the index names")));
    index("b.safetensors");
    assert!(values(&Checkpoint::open(dir.path()).unwrap()).iter().all(|&w| w == 0.0));
}
