//! Sampling settings in GGUF metadata, from and to the fields of generation_config.json, as llama.cpp's converter
//! writes them (`gguf-py`, `metadata.py`).

use honelm_formats::gguf::{Gguf, Value};
use serde_json::{Map, Value as Json, json};

use crate::ModelError;

const PREFIX: &str = "general.sampling.";
/// Our own key for `stop_strings`; llama.cpp passes over it.
const STOP_STRINGS_KEY: &str = "honelm.generation.stop_strings";

/// Fields of generation_config.json and keys behind [`PREFIX`] that hold floats.
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
/// The same for whole numbers.
const INTEGERS: &[(&str, &str)] = &[("top_k", "top_k"), ("penalty_last_n", "penalty_last_n"), ("mirostat", "mirostat")];

/// The metadata of a generation_config.json; values of other types are left out.
pub(crate) fn write(generation: &Json) -> Vec<(String, Value)> {
    let stop_strings = match &generation["stop_strings"] {
        Json::String(text) => Some(vec![text.clone()]),
        Json::Array(list) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    // GGUF has no key for `do_sample`: a temperature says the same.
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
    // The name that the converter prefers.
    put("penalty_repeat", generation["penalty_repeat"].as_f64().map(|x| Value::from(x as f32)));
    put("temp", temperature.map(|x| Value::from(x as f32)));
    for (field, key) in FLOATS {
        put(key, generation[*field].as_f64().map(|x| Value::from(x as f32)));
    }
    let stop_strings = stop_strings.filter(|texts| !texts.is_empty());
    out.extend(stop_strings.map(|texts| (STOP_STRINGS_KEY.to_owned(), Value::from(texts))));
    out
}

/// The fields of generation_config.json that a file's metadata say; `None` where they say nothing.
pub(crate) fn read(gguf: &Gguf) -> Result<Option<Json>, ModelError> {
    let mut fields = Map::new();
    for (field, key) in FLOATS {
        // The shortest decimal number that is this f32: what the original said.
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
