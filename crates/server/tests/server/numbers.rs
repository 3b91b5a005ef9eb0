//! Every whole number of every request, as the OpenAPI document lists them: values outside its range are refused with its
//! name, and values inside it never are.

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use serde_json::{Map, Value, json};

use crate::common::{Running, config, start};

/// A field with its range.
#[derive(Debug, Clone)]
struct Field {
    path: String,
    /// The names from the request to the field.
    names: Vec<String>,
    minimum: i64,
    maximum: i64,
}

/// Collects the whole numbers of a schema.
fn collect(schema: &Value, document: &Value, path: &str, names: &[String], into: &mut Vec<Field>) {
    if let Some(target) = schema["$ref"].as_str() {
        return collect(document.pointer(&target[1..]).unwrap(), document, path, names, into);
    }
    for part in schema["anyOf"].as_array().into_iter().flatten() {
        collect(part, document, path, names, into);
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    if kinds.contains(&json!("integer")) {
        let range =
            [&schema["minimum"], &schema["maximum"]].map(|end| end.as_i64().expect("a whole number has a range"));
        let [minimum, maximum] = range;
        into.push(Field { path: path.to_owned(), names: names.to_vec(), minimum, maximum });
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        collect(property, document, path, &[names, std::slice::from_ref(name)].concat(), into);
    }
}

fn fields() -> Vec<Field> {
    let document = honelm_server::document();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let schema = &methods["post"]["requestBody"]["content"]["application/json"]["schema"];
        collect(schema, &document, path, &[], &mut found);
    }
    found
}

/// Sends a request with this value of a field, for a model that does not exist. Returns the status and the message.
fn send(server: &Running, field: &Field, value: &Value) -> (u16, String) {
    let mut request = Map::new();
    request.insert("model".to_owned(), json!("no-such-model"));
    for (name, value) in
        [("messages", json!([{"role": "user", "content": "Hi"}])), ("input", json!("Hi")), ("prompt", json!("Hi"))]
    {
        request.insert(name.to_owned(), value);
    }
    request.insert("content".to_owned(), json!("Hi"));
    if field.path.starts_with("/v1/messages") {
        request.insert("max_tokens".to_owned(), json!(1));
    }
    let (last, outer) = field.names.split_last().unwrap();
    let mut at = &mut request;
    for name in outer {
        let object = at.entry(name.clone()).or_insert_with(|| json!({}));
        if !object.is_object() {
            *object = json!({});
        }
        at = object.as_object_mut().unwrap();
    }
    at.insert(last.clone(), value.clone());
    let (status, error) = server.post(&field.path, Value::Object(request));
    let message = error["error"]["message"].as_str().or(error["error"].as_str()).unwrap_or_default();
    (status.as_u16(), message.to_owned())
}

fn check(server: &Running, field: &Field, value: i128) -> Result<(), TestCaseError> {
    let Ok(json) = serde_json::from_str::<Value>(&value.to_string()) else { return Ok(()) };
    let (status, message) = send(server, field, &json);
    let range = format!("expected a whole number from {} to {}", field.minimum, field.maximum);
    let is_refused = message.starts_with(&format!("{}: found ", field.names.join("."))) && message.contains(&range);
    let is_in_range = (i128::from(field.minimum)..=i128::from(field.maximum)).contains(&value);
    prop_assert!(status < 500 && is_refused != is_in_range, "{field:?} {value}: {status} {message}");
    Ok(())
}

#[test]
fn every_whole_number_is_checked_at_both_ends() {
    let (server, fields) = (start(config()), fields());
    for name in ["max_tokens", "max_output_tokens", "num_predict", "top_logprobs", "dimensions", "n", "seed", "top_k"] {
        assert!(fields.iter().any(|field| field.names.last().is_some_and(|last| last == name)), "{name}");
    }
    for field in &fields {
        let ends = [field.minimum, field.maximum].map(i128::from);
        let extremes = [i64::MIN, i64::MAX].map(i128::from);
        for value in [ends[0] - 1, ends[0], ends[1], ends[1] + 1, extremes[0], extremes[1], i128::from(u64::MAX)] {
            check(&server, field, value).unwrap();
        }
        for wrong in [json!(1.5), json!("1"), json!([1]), json!({}), json!(true)] {
            let (status, message) = send(&server, field, &wrong);
            assert!(status == 400 && message.starts_with(&field.names.join(".")), "{field:?} {wrong}: {message}");
        }
    }
    let mut runner = TestRunner::new(Cases { cases: 200, failure_persistence: None, ..Cases::default() });
    let strategy = (0..fields.len(), prop_oneof![any::<i64>().prop_map(i128::from), (-3i128..40)]);
    runner.run(&strategy, |(field, value)| check(&server, &fields[field], value)).unwrap();
}
