//! Broken, contradictory and unsupported configurations of every architecture.

use std::path::Path;

use honelm_backend::CacheType;
use honelm_blocks::Encoding;
use honelm_formats::gguf::{Array, Gguf, Value, Writer};
use honelm_formats::{ElementType, FormatError, TensorSource, read_json};
use honelm_model::{Checkpoint, ModelError, OpenOptions, export};
use serde_json::{Value as Json, json};

use crate::tiny::{MODELS, tiny};

fn config(name: &str) -> Json {
    read_json(tiny(name).join("config.json")).unwrap().unwrap()
}

fn parse(config: &Json) -> Result<Checkpoint, ModelError> {
    Checkpoint::made_up("config.json", config, Encoding::F32, 0)
}

#[test]
fn unknown_fields_and_activations_are_refused_by_name_everywhere() {
    for &name in MODELS {
        let mut json = config(name);
        json["surprise_factor"] = json!(1.5);
        let error = parse(&json).unwrap_err();
        assert_eq!((error.code(), error.to_string().contains("surprise_factor")), ("unknown-field", true), "{name}");
        for field in ["hidden_act", "hidden_activation", "activation_function"] {
            let mut json = config(name);
            if json.get(field).is_some() {
                json[field] = json!("quick_gelu");
                let error = parse(&json).unwrap_err();
                assert_eq!(
                    (error.code(), error.to_string().contains(field)),
                    ("invalid-field", true),
                    "{name}: {error}"
                );
            }
        }
        for field in ["rope_scaling", "rope_parameters"] {
            let mut json = config(name);
            if json["model_type"] != "gemma3_text" && json.get(field).is_some() {
                json[field] = json!({"rope_type": "spiral", "factor": 2.0});
                let error = parse(&json).unwrap_err();
                assert!(error.to_string().contains("spiral"), "{name}: {error}");
            }
        }
    }
}

/// Calls `check` with every configuration in which one value, at any depth, is replaced by one of `values`.
fn spoilt(json: &Json, values: &[Json], check: &mut dyn FnMut(&Json)) {
    fn places(json: &Json, path: &str, out: &mut Vec<String>) {
        let Some(object) = json.as_object() else { return };
        for (name, value) in object {
            let path = format!("{path}/{name}");
            places(value, &path, out);
            out.push(path);
        }
    }
    let mut paths = Vec::new();
    places(json, "", &mut paths);
    for path in &paths {
        for value in values {
            let mut changed = json.clone();
            *changed.pointer_mut(path).unwrap() = value.clone();
            check(&changed);
        }
    }
}

#[test]
fn a_configuration_is_refused_or_survives_a_round_trip() {
    let values = [
        Json::Null,
        json!(0),
        json!(-1),
        json!(1),
        json!(3),
        json!(0.3),
        json!(1e300),
        json!(1e-300),
        json!(1u64 << 62),
        json!(true),
        json!("x"),
        json!([]),
        json!([1, "full_attention", null]),
        json!({}),
    ];
    let mut accepted = 0;
    for &name in MODELS {
        spoilt(&config(name), &values, &mut |json| {
            let Ok(checkpoint) = parse(json) else { return };
            accepted += 1;
            let blueprint = checkpoint.blueprint();
            assert_eq!(blueprint.cache_spec(CacheType::F32).layers.len(), blueprint.facts.layers);
            let own = Json::Object(blueprint.definition.config());
            let again = parse(&own).unwrap_or_else(|error| panic!("{name}: {json}\n{own}\n{error}"));
            assert_eq!(Json::Object(again.blueprint().definition.config()), own, "{name}: {json}");
        });
    }
    assert!(accepted > 500, "{accepted} accepted");
}

/// Writes a tiny model as a GGUF file.
fn written(name: &str, dir: &Path) -> Gguf {
    let path = dir.join("model.gguf");
    let checkpoint = Checkpoint::open(tiny(name)).unwrap();
    export::gguf(&path, checkpoint.blueprint(), &checkpoint, Vec::new(), &|_| None).unwrap();
    Gguf::open(&path).unwrap()
}

/// Opens the same file with one value replaced, or one key left out.
fn with_value(file: &Gguf, key: &str, value: Option<&Value>) -> Result<Checkpoint, ModelError> {
    let mut writer = Writer::new();
    for (name, own) in file.metadata.iter() {
        match value {
            Some(value) if name == key => drop(writer.metadata(name, value.clone()).unwrap()),
            None if name == key => {}
            _ => drop(writer.metadata(name, own.clone()).unwrap()),
        }
    }
    for tensor in file.tensors() {
        let ElementType::Weights(encoding) = tensor.element else { panic!("no weights") };
        writer.tensor(&tensor.name, &tensor.shape, encoding).unwrap();
    }
    let mut bytes = Vec::new();
    let copy = writer
        .write_to::<_, FormatError>(&mut bytes, "test", |tensor, sink| sink.write(&file.get(&tensor.name)?.bytes));
    copy.unwrap();
    Checkpoint::from_gguf(Gguf::parse(bytes, "model.gguf").unwrap(), Path::new("model.gguf"), &OpenOptions::default())
}

#[test]
fn hostile_gguf_settings_are_refused_or_harmless() {
    let values = [
        Value::U32(0),
        Value::U32(u32::MAX),
        Value::I32(-1),
        Value::F32(f32::NAN),
        Value::F32(-1e30),
        Value::Bool(false),
        Value::Array(Array::Bool(vec![true; 3])),
        Value::Array(Array::F32(vec![])),
    ];
    for name in [
        "gemma2-scalar",
        "gemma3-types",
        "gpt2-wide",
        "granite-multipliers",
        "llama-yarn",
        "ministral-mixed",
        "opt-after",
        "phi3-longrope",
        "smollm3-biases",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = written(name, dir.path());
        let prefix = format!("{}.", file.get_str("general.architecture").unwrap().unwrap());
        let keys: Vec<String> =
            file.metadata.iter().map(|(key, _)| key.to_owned()).filter(|key| key.starts_with(&prefix)).collect();
        assert!(keys.len() >= 6, "{name}: {keys:?}");
        for key in &keys {
            let error = with_value(&file, key, Some(&"x".into())).unwrap_err();
            assert!(error.to_string().contains(key.as_str()), "{name}: {key}: {error}");
            for value in &values {
                // There is no panic, and no allocation of a size that the value gives.
                drop(with_value(&file, key, Some(value)));
            }
            drop(with_value(&file, key, None));
        }
    }
}
