//! Conversion of sampling settings between GGUF metadata, as llama.cpp's converter writes them (`gguf-py`,
//! `metadata.py`), and the fields of generation_config.json.

use honelm_formats::gguf::{Gguf, Value};
use serde_json::{Map, Value as Json, json};

use crate::ModelError;

const PREFIX: &str = "general.sampling.";
/// HoneLM's own key for `stop_strings`; llama.cpp ignores it.
const STOP_STRINGS_KEY: &str = "honelm.generation.stop_strings";

/// The fields of generation_config.json that are floats, and their keys after [`PREFIX`].
const FLOATS: &[(&str, &str)] = &[
    ("temperature", "temp"),
    ("top_p", "top_p"),
    ("min_p", "min_p"),
    ("xtc_probability", "xtc_probability"),
    ("xtc_threshold", "xtc_threshold"),
    ("repetition_penalty", "penalty_repeat"),
    ("mirostat_tau", "mirostat_tau"),
    ("mirostat_eta", "mirostat_eta"),
];
/// The fields that are whole numbers, and their keys.
const INTEGERS: &[(&str, &str)] = &[("top_k", "top_k"), ("penalty_last_n", "penalty_last_n"), ("mirostat", "mirostat")];

/// Converts a generation_config.json to metadata; values of other types are left out.
pub(crate) fn write(generation: &Json) -> Vec<(String, Value)> {
    let stop_strings = match &generation["stop_strings"] {
        Json::String(text) => Some(vec![text.clone()]),
        Json::Array(list) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    // GGUF has no key for `do_sample`; a temperature means the same.
    let temperature = match (generation["do_sample"].as_bool(), generation["temperature"].as_f64()) {
        (Some(false), _) => Some(0.0),
        (Some(true), None) => Some(1.0),
        (_, given) => given,
    };
    let mut out: Vec<(String, Value)> = Vec::new();
    let mut put = |key: &str, value: Option<Value>| {
        let key = format!("{PREFIX}{key}");
        if let Some(value) = value
            && !out.iter().any(|(other, _)| *other == key)
        {
            out.push((key, value));
        }
    };
    put("sequence", generation["sequence"].as_str().map(Value::from));
    for (field, key) in INTEGERS {
        let number = generation[*field].as_i64().and_then(|n| i32::try_from(n).ok());
        put(key, number.map(Value::from));
    }
    // The converter prefers this name to `repetition_penalty`.
    put("penalty_repeat", generation["penalty_repeat"].as_f64().map(|x| Value::from(x as f32)));
    put("temp", temperature.map(|x| Value::from(x as f32)));
    for (field, key) in FLOATS {
        put(key, generation[*field].as_f64().map(|x| Value::from(x as f32)));
    }
    let stop_strings = stop_strings.filter(|texts| !texts.is_empty());
    out.extend(stop_strings.map(|texts| (STOP_STRINGS_KEY.to_owned(), Value::from(texts))));
    out
}

/// Converts a file's metadata to the fields of generation_config.json; `None` if there are none.
pub(crate) fn read(gguf: &Gguf) -> Result<Option<Json>, ModelError> {
    let mut fields = Map::new();
    for (field, key) in FLOATS {
        // The shortest decimal number that rounds to this f32 is the original one.
        if let Some(x) = gguf.get_f32(&format!("{PREFIX}{key}"))? {
            fields.insert((*field).to_owned(), json!(x.to_string().parse().unwrap_or(f64::from(x))));
        }
    }
    for (field, key) in INTEGERS {
        if let Some(n) = gguf.get_i32(&format!("{PREFIX}{key}"))? {
            fields.insert((*field).to_owned(), json!(n));
        }
    }
    if let Some(sequence) = gguf.get_str(&format!("{PREFIX}sequence"))? {
        fields.insert("sequence".to_owned(), json!(sequence));
    }
    if let Some(texts) = gguf.get_as::<&[String]>(STOP_STRINGS_KEY)? {
        fields.insert("stop_strings".to_owned(), json!(texts));
    }
    Ok(if fields.is_empty() { None } else { Some(Json::Object(fields)) })
}
