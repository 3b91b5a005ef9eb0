//! Objects without undeclared properties.
//!
//! A JSON schema that says nothing of `additionalProperties` allows any. A model that may write any property often does, so an
//! object schema that declares properties is read as if it had `"additionalProperties": false`, as llama.cpp reads it. Where
//! several schemas apply to one object (`allOf`, `$ref` beside other keywords), all that they declare is allowed. The texts of
//! the closed schema are texts of the schema itself.
//!
//! A schema closes where it is used alone, and stays open where it is a part of another. A definition that is used in both ways is
//! written twice.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::schema::{Form, form_of};

/// The number of schemas and names that closing may visit. Schemas that refer to each other can declare very many together.
const MOST_WORK: usize = 200_000;

/// The properties that the schemas of one object declare.
#[derive(Default)]
struct Declared {
    names: Map<String, Value>,
    patterns: Map<String, Value>,
    /// `true` if any of the schemas declares properties.
    is_any: bool,
    /// `true` if one of the schemas says which other properties are allowed.
    is_said: bool,
}

/// The use of a schema.
#[derive(Clone, Copy)]
enum Use<'d> {
    /// The object has only the properties that the schema and the schemas around it declare.
    Alone(&'d Declared),
    /// The schemas around it say which properties the object has.
    Part,
}

struct Closing<'a> {
    root: &'a Value,
    /// The definitions of the closed schema: their places in `root`, and `true` for parts.
    references: Vec<(&'a str, bool)>,
    work: usize,
}

/// Returns a checked schema whose objects have only declared properties; `None` if it already is such a schema, or declares more
/// properties than can be listed.
pub(crate) fn closed(root: &Value) -> Option<Value> {
    let mut closing = Closing { root, references: Vec::new(), work: 0 };
    let mut schema = closing.written(root, Use::Alone(&Declared::default()));
    let mut definitions = Map::new();
    while let Some(&(path, is_part)) = closing.references.get(definitions.len()) {
        let target = root.pointer(path.strip_prefix('#')?)?;
        let none = Declared::default();
        let how = if is_part { Use::Part } else { Use::Alone(&none) };
        definitions.insert(definitions.len().to_string(), closing.written(target, how));
    }
    if closing.work > MOST_WORK {
        return None;
    }
    if !definitions.is_empty() {
        schema.as_object_mut()?.insert("$defs".to_owned(), Value::Object(definitions));
    }
    (schema != *root).then_some(schema)
}

impl<'a> Closing<'a> {
    /// Writes a schema for its use.
    fn written(&mut self, schema: &'a Value, how: Use<'_>) -> Value {
        let Value::Object(members) = schema else {
            return match how {
                // Any value, but an object has only the properties of the schemas around it.
                Use::Alone(around) if *schema == true && around.is_any => close(Map::new(), around),
                _ => schema.clone(),
            };
        };
        let none = Declared::default();
        if let Use::Alone(around) = how
            && let Some(alone) = self.only(members, around)
        {
            return alone;
        }
        let cases = ["anyOf", "oneOf"].iter().filter(|keyword| members.contains_key(**keyword)).count();
        // One list of cases is closed case by case.
        let by_case = cases == 1;
        let declared = match how {
            Use::Alone(around) => Some(self.declared(schema, !by_case, around)),
            Use::Part => None,
        };
        let closes = declared.filter(|declared| {
            let least = members.get("minProperties").and_then(Value::as_f64).unwrap_or(0.0);
            let has_enough = !declared.patterns.is_empty() || declared.names.len() as f64 >= least;
            has_enough && !declared.is_said && !members.contains_key("enum") && !members.contains_key("const")
        });
        let of_case = closes.as_ref().filter(|_| by_case).map_or(Use::Part, Use::Alone);
        let mut out = Map::new();
        for (keyword, value) in members {
            let written = match (keyword.as_str(), form_of(keyword), value) {
                ("$defs" | "definitions", ..) => continue,
                ("$ref", _, Value::String(path)) => Value::String(self.reference(path, true)),
                ("allOf", _, Value::Array(list)) => list.iter().map(|part| self.written(part, Use::Part)).collect(),
                ("anyOf" | "oneOf", _, Value::Array(list)) => {
                    list.iter().map(|case| self.written(case, of_case)).collect()
                }
                (_, Some(Form::SchemaMap), Value::Object(map)) => {
                    let written = map.iter().map(|(name, of)| (name.clone(), self.written(of, Use::Alone(&none))));
                    Value::Object(written.collect())
                }
                (_, Some(Form::Schemas | Form::SchemaOrList), Value::Array(list)) => {
                    list.iter().map(|of| self.written(of, Use::Alone(&none))).collect()
                }
                (_, Some(Form::Schema | Form::SchemaOrList), of) => self.written(of, Use::Alone(&none)),
                _ => value.clone(),
            };
            out.insert(keyword.clone(), written);
        }
        match closes {
            Some(declared) if declared.is_any && !by_case => close(out, &declared),
            _ => Value::Object(out),
        }
    }

    /// Writes a schema that only refers to another one, which is then used alone too. A recursive schema can only be used so.
    fn only(&mut self, members: &'a Map<String, Value>, around: &Declared) -> Option<Value> {
        let mut members = members.iter().filter(|(keyword, _)| !matches!(keyword.as_str(), "$defs" | "definitions"));
        match (members.next()?, members.next()) {
            ((keyword, Value::String(path)), None) if keyword == "$ref" && !around.is_any => {
                Some(json!({ "$ref": self.reference(path, false) }))
            }
            ((keyword, Value::Array(list)), None) if keyword == "allOf" => match &list[..] {
                [one] => Some(self.written(one, Use::Alone(around))),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the reference to a definition of the closed schema.
    fn reference(&mut self, path: &'a str, is_part: bool) -> String {
        let at = self.references.iter().position(|known| *known == (path, is_part)).unwrap_or_else(|| {
            self.references.push((path, is_part));
            self.references.len() - 1
        });
        format!("#/$defs/{at}")
    }

    /// Returns what the schemas of an object declare: `schema`, its parts, those around it, and its cases if `with_cases`.
    fn declared(&mut self, schema: &'a Value, with_cases: bool, around: &Declared) -> Declared {
        let mut found = Declared { is_any: around.is_any, ..Declared::default() };
        let (mut seen, mut left) = (HashSet::new(), vec![schema]);
        while let Some(next) = left.pop() {
            if self.work > MOST_WORK || !seen.insert(std::ptr::from_ref(next).addr()) {
                continue;
            }
            self.work += 1;
            let names = next.get("properties").and_then(Value::as_object);
            let required = next.get("required").and_then(Value::as_array).into_iter().flatten();
            let patterns = next.get("patternProperties").and_then(Value::as_object);
            found.is_any |= names.is_some() || patterns.is_some();
            found.is_said |= next.get("additionalProperties").is_some();
            let all = names.into_iter().flat_map(Map::keys).map(String::as_str);
            for name in all.chain(required.filter_map(Value::as_str)) {
                found.names.insert(name.to_owned(), true.into());
            }
            for pattern in patterns.into_iter().flat_map(Map::keys) {
                found.patterns.insert(pattern.clone(), true.into());
            }
            let keywords = ["oneOf", "anyOf", "allOf"];
            let first = if with_cases || !std::ptr::eq(next, schema) { 0 } else { 2 };
            let lists = keywords[first..].iter().filter_map(|keyword| next.get(*keyword)?.as_array());
            // The last one is visited first.
            left.extend(lists.flat_map(|list| list.iter().rev()));
            let path = next.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
            left.extend(path.and_then(|path| self.root.pointer(path)));
        }
        for (all, around) in [(&mut found.names, &around.names), (&mut found.patterns, &around.patterns)] {
            around.iter().for_each(|(name, any)| drop(all.insert(name.clone(), any.clone())));
        }
        self.work += found.names.len();
        found
    }
}

/// Allows the declared properties alone.
fn close(mut schema: Map<String, Value>, declared: &Declared) -> Value {
    let add = |own: &mut Value, all: &Map<String, Value>| {
        let Value::Object(own) = own else { return };
        for (name, any) in all {
            own.entry(name.clone()).or_insert_with(|| any.clone());
        }
    };
    add(schema.entry("properties").or_insert_with(|| json!({})), &declared.names);
    if !declared.patterns.is_empty() {
        // The compiler applies `additionalProperties` to the patterns that come right before it.
        let mut patterns = schema.shift_remove("patternProperties").unwrap_or_else(|| json!({}));
        add(&mut patterns, &declared.patterns);
        schema.insert("patternProperties".to_owned(), patterns);
    }
    schema.insert("additionalProperties".to_owned(), false.into());
    Value::Object(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_that_declare_too_much_together_stay_open() {
        let chain = |count: usize| {
            let definitions: Map<String, Value> = (0..count)
                .map(|i| {
                    let next = format!("#/$defs/{}", (i + 1) % count);
                    let own = format!("p{i}");
                    let list = if i + 1 == count { json!([true, true]) } else { json!([{"$ref": next}, true]) };
                    (i.to_string(), json!({"allOf": list, "properties": {own: {"$ref": "#/$defs/0"}}}))
                })
                .collect();
            let all: Vec<Value> = (0..count).map(|i| json!({"$ref": format!("#/$defs/{i}")})).collect();
            json!({"$defs": definitions, "anyOf": all})
        };
        let small = closed(&chain(20)).expect("a closed schema");
        assert_eq!(small["$defs"]["0"]["properties"].as_object().map(Map::len), Some(20));
        assert!(closed(&chain(3000)).is_none());
    }

    #[test]
    fn closed_schemas_do_not_change() {
        for schema in [
            json!(true),
            json!({"type": "object"}),
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}),
            json!({"anyOf": [{"type": "integer"}, {"enum": [{"a": 1}]}]}),
        ] {
            assert_eq!(closed(&schema), None, "{schema}");
        }
    }
}
