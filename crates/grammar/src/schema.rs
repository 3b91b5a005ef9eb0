//! JSON schemas: whether they can be enforced, and where not.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::error::{GrammarError, Result};
use crate::grammar::Limits;

/// The form of a keyword's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Types,
    Schema,
    /// A schema, or a list of schemas.
    SchemaOrList,
    Schemas,
    SchemaMap,
    Names,
    Values,
    Any,
    Count,
    Number,
    Positive,
    Text,
    Reference,
}

/// The keywords that are enforced.
const ENFORCED: [(&str, Form); 29] = [
    ("type", Form::Types),
    ("enum", Form::Values),
    ("const", Form::Any),
    ("anyOf", Form::Schemas),
    ("oneOf", Form::Schemas),
    ("allOf", Form::Schemas),
    ("$ref", Form::Reference),
    ("$defs", Form::SchemaMap),
    ("definitions", Form::SchemaMap),
    ("properties", Form::SchemaMap),
    ("patternProperties", Form::SchemaMap),
    ("additionalProperties", Form::Schema),
    ("required", Form::Names),
    ("minProperties", Form::Count),
    ("maxProperties", Form::Count),
    ("items", Form::SchemaOrList),
    ("prefixItems", Form::Schemas),
    ("additionalItems", Form::Schema),
    ("minItems", Form::Count),
    ("maxItems", Form::Count),
    ("minLength", Form::Count),
    ("maxLength", Form::Count),
    ("pattern", Form::Text),
    ("format", Form::Text),
    ("minimum", Form::Number),
    ("maximum", Form::Number),
    ("exclusiveMinimum", Form::Number),
    ("exclusiveMaximum", Form::Number),
    ("multipleOf", Form::Positive),
];

/// The keywords that allow and forbid nothing.
const IGNORED: [&str; 14] = [
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "$schema",
    "$id",
    "id",
    "contentMediaType",
    "contentEncoding",
];

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// The number of compilations that finding a place may take.
const MAX_TRIES: usize = 200;

struct Checker<'a> {
    root: &'a Value,
    /// The addresses of the schemas whose references were followed.
    followed: HashSet<usize>,
    limits: &'a Limits,
    subschemas: usize,
    /// The name of the schema, for places and limits.
    name: &'a str,
}

/// Checks a schema and returns it without the keywords that do nothing.
///
/// # Errors
/// [`GrammarError::Schema`] with the place of a keyword that is unknown or has a wrong value, and of a reference that has no
/// target or only leads back to itself. [`GrammarError::TooLarge`].
pub(crate) fn checked(name: &str, schema: &Value, limits: &Limits) -> Result<Value> {
    let bytes = schema.to_string().len();
    if bytes > limits.bytes {
        let what = format!("{name}, length in bytes");
        return Err(GrammarError::TooLarge { what, found: bytes, limit: limits.bytes });
    }
    let mut checker = Checker { root: schema, followed: HashSet::new(), limits, subschemas: 0, name };
    checker.schema(schema, &mut format!("{name}#"), 0)
}

fn wrong<T>(place: &str, found: &Value, expected: &str) -> Result<T> {
    let mut found = found.to_string();
    if let Some((at, _)) = found.char_indices().nth(80) {
        found.truncate(at);
        found.push('…');
    }
    Err(GrammarError::Schema { place: place.to_owned(), found, expected: expected.to_owned() })
}

impl<'a> Checker<'a> {
    /// Checks a schema at a place.
    fn schema(&mut self, schema: &'a Value, place: &mut String, depth: usize) -> Result<Value> {
        self.subschemas += 1;
        if self.subschemas > self.limits.subschemas {
            let (what, found) = (format!("{}, subschemas", self.name), self.subschemas);
            return Err(GrammarError::TooLarge { what, found, limit: self.limits.subschemas });
        }
        if depth > self.limits.depth {
            let what = format!("{place}, nesting");
            return Err(GrammarError::TooLarge { what, found: depth, limit: self.limits.depth });
        }
        let members = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(members) => members,
            other => return wrong(place, other, "a schema: an object, true or false"),
        };
        self.leads_somewhere(schema, place)?;
        let mut kept = Map::new();
        for (keyword, value) in members {
            if IGNORED.contains(&keyword.as_str()) || (keyword.starts_with("x-") && keyword != "x-guidance") {
                continue;
            }
            if keyword == "uniqueItems" && *value == false {
                continue;
            }
            let end = place.len();
            push(place, keyword);
            let Some(form) = form_of(keyword) else {
                let found = format!("the keyword {keyword:?}");
                let expected = "one that can be enforced".to_owned();
                return Err(GrammarError::Schema { place: place.clone(), found, expected });
            };
            kept.insert(keyword.clone(), self.value(form, value, place, depth)?);
            place.truncate(end);
        }
        Ok(Value::Object(kept))
    }

    /// Checks a keyword's value.
    fn value(&mut self, form: Form, value: &'a Value, place: &mut String, depth: usize) -> Result<Value> {
        let is_type = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
        let (is_right, expected) = match form {
            Form::Types => {
                let is_right = match value {
                    Value::Array(names) => !names.is_empty() && names.iter().all(is_type),
                    name => is_type(name),
                };
                (is_right, "a type of JSON, or a list of types")
            }
            Form::Names => {
                let names = value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
                (names, "a list of names")
            }
            Form::Values => (value.as_array().is_some_and(|list| !list.is_empty()), "a list with at least one value"),
            Form::Any => (true, ""),
            Form::Count => {
                let whole = value.as_u64().is_some() || value.as_f64().is_some_and(|n| n >= 0.0 && n.fract() == 0.0);
                (whole, "a whole number of at least 0")
            }
            Form::Number => (value.is_number(), "a number"),
            Form::Positive => (value.as_f64().is_some_and(|number| number > 0.0), "a number above 0"),
            Form::Text => (value.is_string(), "a string"),
            Form::Reference => {
                let target = value.as_str().and_then(|path| self.target(path));
                (target.is_some(), "a reference to a part of this schema (#/…)")
            }
            Form::Schema => return self.schema(value, place, depth + 1),
            Form::SchemaOrList if !value.is_array() => return self.schema(value, place, depth + 1),
            Form::Schemas | Form::SchemaOrList => match value {
                Value::Array(list) if !list.is_empty() => return self.list(list, place, depth),
                _ => (false, "a list with at least one schema"),
            },
            Form::SchemaMap => match value {
                Value::Object(map) => return self.map(map, place, depth),
                _ => (false, "an object of schemas"),
            },
        };
        if is_right { Ok(value.clone()) } else { wrong(place, value, expected) }
    }

    fn list(&mut self, list: &'a [Value], place: &mut String, depth: usize) -> Result<Value> {
        let mut kept = Vec::with_capacity(list.len());
        for (i, schema) in list.iter().enumerate() {
            let end = place.len();
            push(place, &i.to_string());
            kept.push(self.schema(schema, place, depth + 1)?);
            place.truncate(end);
        }
        Ok(Value::Array(kept))
    }

    fn map(&mut self, map: &'a Map<String, Value>, place: &mut String, depth: usize) -> Result<Value> {
        let mut kept = Map::new();
        for (name, schema) in map {
            let end = place.len();
            push(place, name);
            kept.insert(name.clone(), self.schema(schema, place, depth + 1)?);
            place.truncate(end);
        }
        Ok(Value::Object(kept))
    }

    fn target(&self, path: &str) -> Option<&'a Value> {
        self.root.pointer(path.strip_prefix('#')?)
    }

    /// Refuses a schema whose references lead back to itself without a value in between, as `{"$ref": "#"}` does. Each
    /// schema is followed once.
    fn leads_somewhere(&mut self, schema: &'a Value, place: &str) -> Result<()> {
        let mut open = HashSet::new();
        let mut left = vec![(schema, false)];
        while let Some((next, is_behind)) = left.pop() {
            let address = std::ptr::from_ref(next).addr();
            if is_behind {
                open.remove(&address);
                self.followed.insert(address);
                continue;
            }
            if self.followed.contains(&address) {
                continue;
            }
            if !open.insert(address) {
                return wrong(place, schema, "a schema that does not refer to itself without a value in between");
            }
            left.push((next, true));
            let reference = next.get("$ref").and_then(Value::as_str).and_then(|path| self.target(path));
            let lists = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|keyword| next.get(keyword)?.as_array());
            left.extend(reference.into_iter().chain(lists.flatten()).map(|target| (target, false)));
        }
        Ok(())
    }
}

/// Returns the form of the value of a keyword that is enforced.
pub(crate) fn form_of(keyword: &str) -> Option<Form> {
    ENFORCED.iter().find(|known| known.0 == keyword).map(|known| known.1)
}

/// Returns `true` if a part of a schema has cases of which exactly one must apply.
pub(crate) fn has_one_of(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.contains_key("oneOf") || members.values().any(has_one_of),
        Value::Array(list) => list.iter().any(has_one_of),
        _ => false,
    }
}

/// Adds a name to a JSON pointer.
fn push(place: &mut String, name: &str) {
    place.push('/');
    place.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// Returns the place of the smallest part of a schema that `compiles` refuses.
pub(crate) fn locate(root: &Value, compiles: impl Fn(Value) -> bool) -> String {
    let mut place = String::new();
    let mut part = root;
    let mut tries = 0;
    'deeper: loop {
        for (path, child) in children(part) {
            let mut alone = child.clone();
            // References into the definitions work in a part alone; it is not judged with any others.
            for name in ["$defs", "definitions"] {
                if let (Value::Object(alone), Some(all)) = (&mut alone, root.get(name)) {
                    alone.entry(name).or_insert_with(|| all.clone());
                }
            }
            tries += 1;
            if tries > MAX_TRIES {
                return place;
            }
            if !refers_elsewhere(child) && !compiles(alone) {
                place.push_str(&path);
                part = child;
                continue 'deeper;
            }
        }
        return place;
    }
}

/// Returns the subschemas of a schema with their paths.
fn children(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        let form = form_of(keyword);
        let mut place = String::new();
        push(&mut place, keyword);
        match (form, value) {
            (Some(Form::SchemaMap), Value::Object(map)) => {
                for (name, schema) in map {
                    let mut place = place.clone();
                    push(&mut place, name);
                    found.push((place, schema));
                }
            }
            (Some(Form::Schemas | Form::SchemaOrList), Value::Array(list)) => {
                found.extend(list.iter().enumerate().map(|(i, schema)| (format!("{place}/{i}"), schema)));
            }
            (Some(Form::Schema | Form::SchemaOrList), Value::Object(_)) => found.push((place, value)),
            _ => {}
        }
    }
    found
}

/// Returns `true` if a schema refers to a place outside the definitions.
fn refers_elsewhere(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => members.iter().any(|(keyword, value)| {
            let is_own = |path: &str| path.starts_with("#/$defs/") || path.starts_with("#/definitions/");
            match value {
                Value::String(path) if keyword == "$ref" => !is_own(path),
                value => refers_elsewhere(value),
            }
        }),
        Value::Array(list) => list.iter().any(refers_elsewhere),
        _ => false,
    }
}
