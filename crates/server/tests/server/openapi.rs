//! The OpenAPI document.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::common::{config, start};

/// Collects the paths of all routes from the sources.
fn routes(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routes(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            for route in source.split(".route(").skip(1) {
                let quoted = route.trim_start().strip_prefix('"').expect("routes are written as literals");
                into.insert(quoted[..quoted.find('"').unwrap()].replace("{*", "{"));
            }
        }
    }
}

/// Checks that every reference has a target.
fn check_references(value: &Value, document: &Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get("$ref") {
                assert!(document.pointer(target.strip_prefix('#').unwrap()).is_some(), "{target}");
            }
            map.values().for_each(|value| check_references(value, document));
        }
        Value::Array(list) => list.iter().for_each(|value| check_references(value, document)),
        _ => {}
    }
}

#[test]
fn every_route_is_in_the_document() {
    let mut written = BTreeSet::new();
    routes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut written);
    let document = honelm_server::document();
    let documented: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(documented, written);
    check_references(&document, &document);
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].to_string()), "{method} {path}");
            assert!(operation["responses"]["200"]["content"].as_object().is_some_and(|content| !content.is_empty()));
        }
    }
    let settings = &document["components"]["schemas"]["CreateResponse"]["properties"];
    assert!(settings["max_output_tokens"]["description"].is_string() && settings.get("unknown").is_none());
}

#[test]
fn the_document_is_served() {
    let server = start(config());
    assert_eq!(server.get("/openapi.json").1, honelm_server::document());
}
