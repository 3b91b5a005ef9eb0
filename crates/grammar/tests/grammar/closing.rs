//! Object schemas that say nothing of further properties.

use honelm_grammar::Constraint;
use serde_json::{Value, json};

use crate::common::{compile, matches};
use crate::judge::accepts;

/// A schema, texts of its closed form, and texts of the schema that are not.
type Case = (Value, &'static [&'static str], &'static [&'static str]);

fn check(cases: Vec<Case>) {
    for (schema, accepted, refused) in cases {
        let grammar = compile(&Constraint::JsonSchema(schema.clone())).unwrap_or_else(|e| panic!("{schema}: {e}"));
        for text in accepted {
            assert!(matches(&grammar, text), "{schema}: {text}");
            let value: Value = serde_json::from_str(text).expect("JSON");
            if !["patternProperties", "minProperties"].iter().any(|keyword| schema.to_string().contains(keyword)) {
                assert!(accepts(&schema, &schema, &value), "{schema}: {text}");
            }
        }
        for text in refused {
            assert!(!matches(&grammar, text), "{schema}: {text}");
        }
    }
}

#[test]
fn declared_properties_alone_are_allowed() {
    let int = || json!({"type": "integer"});
    let object = || json!({"type": "object", "properties": {"a": int()}});
    check(vec![
        (object(), &["{}", "{\"a\": 1}"], &["{\"b\": 1}", "{\"a\": 1, \"b\": 2}"]),
        (json!({"type": "object", "properties": {}}), &["{}"], &["{\"b\": 1}"]),
        (json!({"type": "object"}), &["{}", "{\"b\": 1}"], &["1"]),
        (
            json!({"type": "object", "properties": {"a": int()}, "additionalProperties": true}),
            &["{\"a\": 1}", "{\"b\": [2]}", "{\"a\": 1, \"b\": {}}"],
            &["{\"a\": true}"],
        ),
        (
            json!({"type": "object", "properties": {"a": int()}, "additionalProperties": object()}),
            &["{\"b\": {\"a\": 1}}"],
            &["{\"b\": {\"c\": 1}}"],
        ),
        (json!({"type": "array", "items": object()}), &["[]", "[{\"a\": 1}]"], &["[{\"b\": 1}]"]),
        (
            json!({"type": "object", "properties": {"a": int()}, "required": ["x"]}),
            &["{\"x\": []}", "{\"a\": 1, \"x\": 2}"],
            &["{\"a\": 1}", "{\"x\": 1, \"y\": 2}"],
        ),
        (
            json!({"type": "object", "properties": {"a": int()}, "patternProperties": {"^x_[a-z]$": int()}}),
            &["{\"a\": 1}", "{\"x_b\": 1}"],
            &["{\"b\": 1}", "{\"x_b\": {}}"],
        ),
        // It cannot be met with the declared properties alone.
        (
            json!({"type": "object", "properties": {"a": int()}, "required": ["a"], "minProperties": 2}),
            &["{\"a\": 1, \"b\": 2}"],
            &["{\"a\": 1}"],
        ),
    ]);
}

#[test]
fn joined_schemas_declare_together() {
    let of =
        |name: &str, kind: &str| json!({"type": "object", "properties": {name: {"type": kind}}, "required": [name]});
    let both = json!({"allOf": [of("a", "integer"), of("b", "boolean")]});
    let base = json!({
        "$defs": {"base": of("a", "integer"), "more": {"allOf": [{"$ref": "#/$defs/base"}, of("b", "boolean")]}},
        "type": "array", "prefixItems": [{"$ref": "#/$defs/base"}, {"$ref": "#/$defs/more"}], "minItems": 2, "maxItems": 2
    });
    let single = json!({"$defs": {"base": of("a", "integer")}, "allOf": [{"$ref": "#/$defs/base"}]});
    let siblings =
        json!({"$defs": {"base": of("a", "integer")}, "$ref": "#/$defs/base", "properties": {"b": {"type": "null"}}});
    let said = json!({"allOf": [of("a", "integer"), {"additionalProperties": true}]});
    check(vec![
        (both, &["{\"a\": 1, \"b\": true}"], &["{\"a\": 1}", "{\"a\": 1, \"b\": true, \"c\": 1}"]),
        (
            base,
            &["[{\"a\": 1}, {\"a\": 2, \"b\": true}]"],
            &["[{\"a\": 1, \"b\": true}, {\"a\": 2, \"b\": true}]", "[{\"a\": 1}, {\"a\": 2, \"b\": true, \"c\": 1}]"],
        ),
        (single, &["{\"a\": 1}"], &["{\"a\": 1, \"b\": 1}"]),
        (siblings, &["{\"a\": 1}", "{\"a\": 1, \"b\": null}"], &["{\"a\": 1, \"c\": 1}"]),
        (said, &["{\"a\": 1, \"c\": 2}"], &["{\"c\": 2}"]),
    ]);
}

#[test]
fn cases_are_closed_one_by_one() {
    let of = |kind: &str, name: &str| json!({"type": "object", "properties": {"kind": {"const": kind}, name: {"type": "integer"}}, "required": ["kind"]});
    let one = json!({"oneOf": [of("x", "a"), of("y", "b")]});
    let around = json!({
        "type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
        "anyOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"required": ["b"]}]
    });
    let maybe = json!({"$defs": {"x": of("x", "a")}, "anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}]});
    check(vec![
        (
            one,
            &["{\"kind\": \"x\", \"a\": 1}", "{\"kind\": \"y\"}"],
            &["{\"kind\": \"x\", \"b\": 1}", "{\"kind\": \"y\", \"c\": 1}"],
        ),
        (
            around,
            &["{\"id\": 1, \"a\": 2}", "{\"id\": 1, \"b\": \"x\"}"],
            &["{\"id\": 1}", "{\"id\": 1, \"a\": 2, \"c\": 3}"],
        ),
        (maybe, &["null", "{\"kind\": \"x\"}"], &["{\"kind\": \"x\", \"b\": 1}"]),
    ]);
    // Open cases that do not exclude each other are refused, though their closed forms do.
    let overlapping = json!({"oneOf": [
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}
    ]});
    assert_eq!(compile(&Constraint::JsonSchema(overlapping)).expect_err("refused").code(), "schema-not-compiled");
}

#[test]
fn recursive_schemas_close_at_every_depth() {
    let node = json!({
        "type": "object",
        "properties": {
            "v": {"type": "integer"},
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            "all": {"type": "array", "items": {"allOf": [{"$ref": "#/$defs/node"}]}}
        },
        "required": ["v"]
    });
    let root = json!({"type": "object", "properties": {"v": {"type": "integer"}, "left": {"$ref": "#"}}});
    let joined = json!({
        "$defs": {
            "named": {"type": "object", "properties": {"name": {"type": "string"}}},
            "node": {"allOf": [{"$ref": "#/$defs/named"}, {"properties": {"child": {"$ref": "#/$defs/node"}}}]}
        },
        "$ref": "#/$defs/node"
    });
    check(vec![
        (
            json!({"$defs": {"node": node}, "$ref": "#/$defs/node"}),
            &["{\"v\": 1}", "{\"v\": 1, \"next\": {\"v\": 2, \"next\": null}}", "{\"v\": 1, \"all\": [{\"v\": 2}]}"],
            &[
                "{\"v\": 1, \"w\": 1}",
                "{\"v\": 1, \"next\": {\"v\": 2, \"w\": 1}}",
                "{\"v\": 1, \"all\": [{\"v\": 2, \"w\": 1}]}",
            ],
        ),
        (
            root,
            &["{\"v\": 1, \"left\": {\"left\": {}}}"],
            &["{\"right\": {}}", "{\"v\": 1, \"left\": {\"left\": {\"right\": 1}}}"],
        ),
        (joined, &["{\"name\": \"a\", \"child\": {\"name\": \"b\"}}"], &["{\"name\": \"a\", \"child\": {\"nam\": 1}}"]),
    ]);
}
