//! Grammars that cannot be compiled or met, or that loop.

use honelm_grammar::{Constraint, Grammar, Limits};
use serde_json::{Value, json};

use crate::common::{POCKET, compile};

#[test]
fn bad_schemas_are_refused_with_their_place() {
    let cases = [
        (json!(3), "bad-schema", "schema#: found 3, expected a schema"),
        (json!({"type": "text"}), "bad-schema", "schema#/type: found \"text\", expected a type of JSON"),
        (json!({"properties": {"a/b": {"type": []}}}), "bad-schema", "schema#/properties/a~1b/type: found []"),
        (json!({"items": {"contains": {}}}), "bad-schema", "schema#/items/contains: found the keyword \"contains\""),
        (json!({"typ": "string"}), "bad-schema", "schema#/typ: found the keyword \"typ\""),
        (json!({"type": "string", "nullable": true}), "bad-schema", "schema#/nullable: found the keyword"),
        (json!({"type": "array", "uniqueItems": true}), "bad-schema", "schema#/uniqueItems: found the keyword"),
        (json!({"x-guidance": {"lenient": true}}), "bad-schema", "schema#/x-guidance: found the keyword"),
        (json!({"anyOf": []}), "bad-schema", "schema#/anyOf: found [], expected a list with at least one schema"),
        (json!({"enum": []}), "bad-schema", "schema#/enum: found []"),
        (json!({"minLength": -1}), "bad-schema", "schema#/minLength: found -1, expected a whole number"),
        (json!({"multipleOf": 0}), "bad-schema", "schema#/multipleOf: found 0, expected a number above 0"),
        (json!({"required": "a"}), "bad-schema", "schema#/required: found \"a\", expected a list of names"),
        (json!({"$ref": "#/$defs/a"}), "bad-schema", "schema#/$ref: found \"#/$defs/a\", expected a reference"),
        (json!({"$ref": "http://x/y"}), "bad-schema", "schema#/$ref: found \"http://x/y\""),
        (json!({"$ref": "#"}), "bad-schema", "schema#: found {\"$ref\":\"#\"}, expected a schema that does not refer"),
        (
            json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
            "bad-schema",
            "schema#: found ",
        ),
        (json!({"type": "string", "pattern": "("}), "schema-not-compiled", "schema#: "),
        (
            json!({"properties": {"a": {"items": {"type": "string", "format": "color"}}}}),
            "schema-not-compiled",
            "schema#/properties/a/items: ",
        ),
        (json!({"type": "string", "enum": [1]}), "schema-not-compiled", "schema#: "),
        (json!({"type": "object", "properties": {"a": false}, "required": ["a"]}), "schema-not-compiled", "schema#"),
        (json!({"type": "integer", "minimum": 5, "maximum": 3}), "schema-not-compiled", "schema#: "),
        (false.into(), "schema-not-compiled", "schema#: "),
    ];
    for (schema, code, message) in cases {
        match compile(&Constraint::JsonSchema(schema.clone())) {
            Err(error) => {
                assert_eq!(error.code(), code, "{schema}: {error}");
                assert!(error.to_string().starts_with(message), "{schema}: {error}");
            }
            Ok(_) => panic!("{schema} compiles"),
        }
    }
    // Keywords that do nothing are allowed.
    let ignored =
        json!({"title": "A", "x-order": 1, "uniqueItems": false, "$schema": "s", "examples": [1], "type": "array"});
    assert!(compile(&Constraint::JsonSchema(ignored)).is_ok());
}

#[test]
fn bad_grammars_are_refused() {
    let text = str::to_owned;
    let cases = [
        (Constraint::Regex(text("(a")), "regex: "),
        (Constraint::Regex(text("a(?=b)")), "regex: "),
        (Constraint::Lark(text("start: a")), "lark: "),
        (Constraint::Lark(text("")), "lark: "),
        (Constraint::Lark(text("start: \"a")), "lark: "),
        (Constraint::Choice(vec![]), "choice: it has no strings"),
        (Constraint::Choice(vec![text("a"), text("")]), "choice: string 1 is empty"),
        (Constraint::Gbnf(text("a ::= \"x\"")), "gbnf: there is no rule \"root\""),
        (Constraint::Gbnf(text("root ::= a")), "gbnf: the rule \"root\" uses \"a\", which is not defined"),
        (Constraint::Gbnf(text("root ::= \"a\"\nroot ::= \"b\"")), "gbnf: line 2: the rule \"root\" again"),
        (Constraint::Gbnf(text("# x\nroot = \"a\"")), "gbnf: line 2: found '=', expected \"::=\""),
        (Constraint::Gbnf(text("root ::= [z-a]")), "gbnf: line 1: the range 'z' to 'a' is empty"),
        (Constraint::Gbnf(text("root ::= \"a\"{3,1}")), "gbnf: line 1: found '{', expected {n}"),
        (Constraint::Gbnf(text("root ::= (\"a\"")), "gbnf: line 1: found the end, expected \")\""),
        (
            Constraint::Gbnf("root ::= ".to_owned() + &"(".repeat(200)),
            "gbnf: line 1: parentheses are nested deeper than 64",
        ),
    ];
    for (constraint, message) in cases {
        match compile(&constraint) {
            Err(error) => assert!(error.to_string().starts_with(message), "{constraint:?}: {error}"),
            Ok(_) => panic!("{constraint:?} compiles"),
        }
    }
}

/// Grammars that loop, have no text, or would need too much. Each is refused, or works within its limits.
#[test]
fn hostile_grammars_end() {
    let text = str::to_owned;
    let nested = (0..200).fold(json!({"type": "integer"}), |inner, _| json!({"type": "array", "items": inner}));
    let huge: Vec<Value> = (0..60_000).map(|i| format!("value number {i}").into()).collect();
    let wide = (0..20_000).map(|i| (format!("p{i}"), json!({}))).collect::<serde_json::Map<_, _>>();
    let refused = [
        Constraint::JsonSchema(nested),
        Constraint::JsonSchema(json!({"enum": huge})),
        Constraint::JsonSchema(json!({"properties": wide})),
        Constraint::JsonSchema(
            json!({"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}}, "$ref": "#/$defs/a"}),
        ),
        Constraint::Lark(text("start: start")),
        Constraint::Lark(text("start: a b\na: b\nb: a")),
        Constraint::Gbnf(text("root ::= root")),
        Constraint::Regex(text("((a{1000}){1000}){1000}")),
        Constraint::Lark("start: \"a\"\n".repeat(100_000)),
        Constraint::Lark(format!("start: {}", "(".repeat(100_000))),
        Constraint::Regex("(".repeat(100_000)),
        Constraint::Gbnf(format!("root ::= \"a\"{}", "*".repeat(100_000))),
    ];
    for constraint in refused {
        let Ok(grammar) = compile(&constraint) else { continue };
        // A grammar without an end may compile; its masks then work or stop.
        let mut matcher = grammar.matcher();
        for _ in 0..20 {
            let Ok(mask) = matcher.mask() else { break };
            let Some(token) = mask.ids().next() else { break };
            if matcher.advance(token).is_err() {
                break;
            }
        }
    }
    let tight = Limits { symbols: 50, ..Limits::default() };
    let many: Vec<String> = (0..100).map(|i| format!("start_{i}: \"a{i}\"")).collect();
    let names: Vec<String> = (0..100).map(|i| format!("start_{i}")).collect();
    let lark = format!("start: {}\n{}\n", names.join(" | "), many.join("\n"));
    assert!(Grammar::compile(&POCKET.1, &Constraint::Lark(lark.clone()), &tight).is_err());
    assert!(compile(&Constraint::Lark(lark)).is_ok());
    let short = Limits { bytes: 10, ..Limits::default() };
    let error = Grammar::compile(&POCKET.1, &Constraint::Regex("a".repeat(11)), &short).expect_err("refused");
    assert_eq!(error.to_string(), "regex, length in bytes: found 11, expected at most 10");
}
