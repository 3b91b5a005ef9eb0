//! Sampling settings from `generation_config.json`, and their defaults.

use honelm_model::ModelError;
use serde_json::Value;

use crate::{EngineError, Generation};

/// Returns the settings for models without any of their own.
fn ours() -> Generation {
    Generation { temperature: 0.7, top_k: 40, top_p: 0.95, min_p: 0.05, ..Generation::default() }
}

/// Returns transformers' defaults, which apply if a file has only some of the settings.
fn theirs() -> Generation {
    Generation { temperature: 1.0, top_k: 50, top_p: 1.0, min_p: 0.0, ..Generation::default() }
}

/// Reads the settings of a `generation_config.json`, or those of a GGUF file in the same form; errors name it as `file`.
/// `do_sample: false` means greedy; `stop_strings` end the answer.
///
/// # Errors
/// [`ModelError::InvalidField`] for an invalid setting.
pub fn sampling_defaults(file: &str, config: Option<&Value>) -> Result<Generation, EngineError> {
    let Some(config) = config else { return Ok(ours()) };
    let wrong = |field: &str, expected: &str| {
        let (found, expected) = (config[field].to_string(), expected.to_owned());
        EngineError::Model(ModelError::InvalidField { file: file.to_owned(), field: field.to_owned(), found, expected })
    };
    let number = |field: &str, expected: &str, holds: fn(f64) -> bool| match &config[field] {
        Value::Null => Ok(None),
        value => match value.as_f64().filter(|&x| holds(x)) {
            Some(x) => Ok(Some(x as f32)),
            None => Err(wrong(field, expected)),
        },
    };
    let sample = match &config["do_sample"] {
        Value::Null => None,
        Value::Bool(sample) => Some(*sample),
        _ => return Err(wrong("do_sample", "true or false")),
    };
    let temperature = number("temperature", "a number of at least 0", |x| (0.0..1e6).contains(&x))?;
    let top_k = number("top_k", "a whole number", |x| x >= 0.0 && x.fract() == 0.0 && x < 4e9)?;
    let top_p = number("top_p", "a number above 0, at most 1", |x| x > 0.0 && x <= 1.0)?;
    let min_p = number("min_p", "a number from 0 to 1", |x| (0.0..=1.0).contains(&x))?;
    let stop = match &config["stop_strings"] {
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    let stop = stop.filter(|texts| texts.iter().all(|text| !text.is_empty()));
    let stop = stop.ok_or_else(|| wrong("stop_strings", "a text or a list of texts of at least one character"))?;
    let penalty = number("repetition_penalty", "a number above 0", |x| x > 0.0 && x < 1e6)?;

    let says_something = sample.is_some() || [temperature, top_k, top_p, min_p].iter().any(Option::is_some);
    let mut settings = if says_something { theirs() } else { ours() };
    settings.temperature = temperature.unwrap_or(settings.temperature);
    settings.top_k = top_k.map_or(settings.top_k, |k| k as u32);
    settings.top_p = top_p.unwrap_or(settings.top_p);
    settings.min_p = min_p.unwrap_or(settings.min_p);
    if sample == Some(false) {
        settings.temperature = 0.0;
    }
    settings.repeat_penalty = penalty.unwrap_or(settings.repeat_penalty);
    settings.stop = stop;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: Value) -> Result<Generation, EngineError> {
        sampling_defaults("model", Some(&config))
    }

    #[test]
    fn a_file_without_sampling_settings_leaves_the_defaults() {
        let ids_only = read(json!({"eos_token_id": [1, 5]})).expect("fine");
        assert_eq!(ids_only, sampling_defaults("model", None).expect("fine"));
        assert!(ids_only.temperature > 0.0);
    }

    #[test]
    fn the_settings_of_the_file_are_used() {
        let found = read(json!({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.1}));
        let found = found.expect("fine");
        assert_eq!((found.temperature, found.top_p, found.top_k), (0.6, 0.9, 50));
        assert_eq!(found.repeat_penalty, 1.1);
        assert_eq!(read(json!({"do_sample": false, "temperature": 0.6})).expect("fine").temperature, 0.0);
    }

    #[test]
    fn stop_strings_end_the_answer_and_are_not_sampling_settings() {
        for (given, expected) in [
            (json!("END"), vec!["END"]),
            (json!(["a", "b"]), vec!["a", "b"]),
            (json!(null), vec![]),
            (json!([]), vec![]),
        ] {
            let found = read(json!({"stop_strings": given})).expect("fine");
            assert_eq!(found, Generation { stop: expected.into_iter().map(str::to_owned).collect(), ..ours() });
        }
        let own = read(json!({"stop_strings": ["END"]})).expect("fine").without_ends();
        assert!(own.ignore_eos && own.stop.is_empty());
    }

    #[test]
    fn invalid_settings_are_refused_by_name() {
        for (config, field) in [
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"temperature": -1}), "temperature"),
            (json!({"top_p": 0}), "top_p"),
            (json!({"top_k": 1.5}), "top_k"),
            (json!({"do_sample": 1}), "do_sample"),
            (json!({"stop_strings": 1}), "stop_strings"),
            (json!({"stop_strings": ["a", ""]}), "stop_strings"),
            (json!({"stop_strings": ["a", 1]}), "stop_strings"),
        ] {
            let error = read(config).expect_err("refused");
            assert!(error.to_string().contains(field), "{error}");
            assert_eq!(error.code(), "invalid-field");
        }
    }
}
