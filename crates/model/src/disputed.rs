//! Fields that implementations interpret differently. They are accepted with a warning that gives the interpretation.

use honelm_blocks::Encoding;
use serde_json::{Map, Value as Json};

use crate::StoredEncoding;

/// A field of config.json.
struct Disputed {
    field: &'static str,
    /// The objects that can contain the field; empty for the configuration itself.
    inside: &'static [&'static str],
    /// Returns `true` if implementations differ for this object.
    differ: fn(&Map<String, Json>) -> bool,
    /// The interpretations, and the chosen one.
    readings: &'static str,
}

const ROPE: &[&str] = &["rope_scaling", "rope_parameters"];

const DISPUTED: &[Disputed] = &[
    Disputed {
        field: "attn_factor",
        inside: ROPE,
        differ: |rope| rope["attn_factor"].as_f64() != Some(1.0),
        readings: "transformers ignores it, llama.cpp multiplies sine and cosine by it; it is ignored",
    },
    Disputed { field: "rope_type", inside: ROPE, differ: |rope| rope["rope_type"] == "dynamic", readings: DYNAMIC },
    Disputed {
        field: "type",
        inside: ROPE,
        differ: |rope| rope["type"] == "dynamic" && !rope.contains_key("rope_type"),
        readings: DYNAMIC,
    },
    Disputed {
        field: "sliding_window",
        inside: &[],
        differ: |config| config.get("model_type").is_some_and(|kind| kind == "llama"),
        readings: "transformers ignores it in llama models; it is applied as in mistral models",
    },
];

const DYNAMIC: &str = "transformers changes the frequencies while a sequence grows, llama.cpp has no such scaling; the \
                       frequencies of the whole context are used from the start";

/// Returns a warning for each disputed field of `config`, which is in `file`.
pub(crate) fn warnings(file: &str, config: &Json) -> Vec<String> {
    let mut found = Vec::new();
    let of = |name: &'static str| {
        config.get(name).and_then(Json::as_object).map(|object| (format!("{name}."), name, object))
    };
    let own = config.as_object().map(|object| (String::new(), "", object));
    for (path, name, object) in own.into_iter().chain(ROPE.iter().filter_map(|name| of(name))) {
        for disputed in DISPUTED.iter().filter(|disputed| match disputed.inside {
            [] => name.is_empty(),
            inside => inside.contains(&name),
        }) {
            let value = object.get(disputed.field).filter(|value| !value.is_null());
            if let Some(value) = value.filter(|_| (disputed.differ)(object)) {
                let (field, value) = (disputed.field, crate::fields::shortened(value));
                found.push(format!("{file}: {path}{field} is {value}: {}", disputed.readings));
            }
        }
    }
    // The language model of a model with several parts.
    match config.get("text_config") {
        Some(text) => found.into_iter().chain(warnings(file, text)).collect(),
        None => found,
    }
}

/// Returns the warning about a number type in the configuration that differs from the embedding's.
pub(crate) fn number_type(file: &str, config: &Json, stored: Option<StoredEncoding>) -> Option<String> {
    let text = config.get("text_config").unwrap_or(&Json::Null);
    let names = ["dtype", "torch_dtype"];
    let (field, said) = names
        .iter()
        .flat_map(|&name| [(name, config), (name, text)])
        .find_map(|(n, c)| Some((n, c.get(n)?.as_str()?)))?;
    let expected = match said.trim_start_matches("torch.") {
        "float16" => Encoding::F16,
        "bfloat16" => Encoding::BF16,
        "float32" => Encoding::F32,
        _ => return None,
    };
    match stored {
        Some(StoredEncoding::Blocks(found)) if found.is_float() && found != expected => Some(format!(
            "{file}: {field} is {expected}, but the embedding is stored as {found}; the stored type is used"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_warning_gives_the_interpretation_of_each_disputed_field() {
        let rope = json!({"rope_type": "yarn", "factor": 4.0, "attn_factor": 0.878});
        let told = warnings("config.json", &json!({"model_type": "qwen3", "rope_scaling": rope, "sliding_window": 9}));
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with("config.json: rope_scaling.attn_factor is 0.878: transformers ignores it"),
            "{told:?}"
        );
        let text = json!({"rope_parameters": {"type": "dynamic"}, "model_type": "llama", "sliding_window": 9});
        assert_eq!(warnings("config.json", &json!({"text_config": text})).len(), 2);
        for plain in
            [json!({"rope_scaling": {"attn_factor": 1.0, "type": "linear"}}), json!({"sliding_window": 9}), json!(3)]
        {
            assert!(warnings("config.json", &plain).is_empty(), "{plain}");
        }
    }
}
