//! A validator of JSON schemas for the keywords of the tests, written from the specification (Draft 2020-12).

use serde_json::Value;

/// Returns `true` if a schema accepts a value.
pub fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(keywords) = schema else { return schema.as_bool() == Some(true) };
    let all = |list: &Value, value: &Value| each(list).all(|schema| accepts(root, schema, value));
    keywords.iter().all(|(keyword, of)| match keyword.as_str() {
        "$defs" => true,
        "$ref" => {
            let target = root.pointer(of.as_str().expect("a reference").trim_start_matches('#'));
            accepts(root, target.expect("a target"), value)
        }
        "type" if of.is_array() => each(of).any(|name| is_of_type(name, value)),
        "type" => is_of_type(of, value),
        "enum" => each(of).any(|one| one == value),
        "const" => of == value,
        "anyOf" => each(of).any(|schema| accepts(root, schema, value)),
        "oneOf" => each(of).filter(|schema| accepts(root, schema, value)).count() == 1,
        "allOf" => all(of, value),
        "minimum" => value.as_f64().is_none_or(|n| n >= number(of)),
        "maximum" => value.as_f64().is_none_or(|n| n <= number(of)),
        "exclusiveMinimum" => value.as_f64().is_none_or(|n| n > number(of)),
        "multipleOf" => value.as_f64().is_none_or(|n| n % number(of) == 0.0),
        "minLength" => value.as_str().is_none_or(|text| text.chars().count() as f64 >= number(of)),
        "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as f64 <= number(of)),
        "pattern" => value.as_str().is_none_or(|text| fits(of.as_str().expect("a pattern"), text)),
        "format" => value.as_str().is_none_or(|text| fits(of.as_str().expect("a format"), text)),
        "minItems" => value.as_array().is_none_or(|list| list.len() as f64 >= number(of)),
        "maxItems" => value.as_array().is_none_or(|list| list.len() as f64 <= number(of)),
        "maxProperties" => value.as_object().is_none_or(|map| map.len() as f64 <= number(of)),
        "prefixItems" => {
            value.as_array().is_none_or(|list| each(of).zip(list).all(|(schema, value)| accepts(root, schema, value)))
        }
        "items" => value.as_array().is_none_or(|list| {
            let first = schema["prefixItems"].as_array().map_or(0, Vec::len);
            list.iter().skip(first).all(|value| accepts(root, of, value))
        }),
        "required" => {
            value.as_object().is_none_or(|map| each(of).all(|name| map.contains_key(name.as_str().unwrap_or(""))))
        }
        "properties" => value.as_object().is_none_or(|map| {
            map.iter().all(|(name, value)| of.get(name).is_none_or(|schema| accepts(root, schema, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|map| {
            let others = map.iter().filter(|(name, _)| schema["properties"].get(name).is_none());
            others.into_iter().all(|(_, value)| accepts(root, of, value))
        }),
        other => panic!("the keyword {other}"),
    })
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn number(of: &Value) -> f64 {
    of.as_f64().expect("a number")
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other}"),
    }
}

/// Returns `true` if a text has a pattern or format of the tests. `A`, `0` and `x` stand for a capital, a digit and a
/// hexadecimal digit.
fn fits(pattern: &str, text: &str) -> bool {
    let shape = |shape: &str| {
        shape.len() == text.len()
            && shape.bytes().zip(text.bytes()).all(|(want, byte)| match want {
                b'A' => byte.is_ascii_uppercase(),
                b'0' => byte.is_ascii_digit(),
                b'x' => byte.is_ascii_hexdigit(),
                other => byte == other,
            })
    };
    match pattern {
        "^[A-Z]{2}-[0-9]{3}$" => shape("AA-000"),
        "date" => {
            let part = |range: std::ops::Range<usize>| text[range].parse::<u32>().unwrap_or(0);
            shape("0000-00-00") && (1..=12).contains(&part(5..7)) && (1..=31).contains(&part(8..10))
        }
        "uuid" => shape("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
        "^https://[a-z]{1,8}\\.org$" => {
            let host = text.strip_prefix("https://").and_then(|rest| rest.strip_suffix(".org")).unwrap_or_default();
            (1..=8).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_lowercase())
        }
        other => panic!("the pattern {other}"),
    }
}
