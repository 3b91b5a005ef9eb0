//! The types that a JSON schema accepts.

use serde_json::Value;

/// The number of references that are followed.
const MAX_REFERENCES: usize = 16;

/// The types that a schema accepts: strings, and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types {
    pub string: bool,
    pub other: bool,
}

impl Types {
    pub(super) const ANY: Self = Self { string: true, other: true };
    const NONE: Self = Self { string: false, other: false };
    const STRING: Self = Self { string: true, other: false };

    fn or(self, other: Self) -> Self {
        Self { string: self.string || other.string, other: self.other || other.other }
    }

    fn and(self, other: Self) -> Self {
        Self { string: self.string && other.string, other: self.other && other.other }
    }
}

/// Returns the types of a parameter. One that the schema does not have is a string.
pub(super) fn of_parameter(schema: &Value, key: &str) -> Types {
    match schema["properties"].get(key) {
        Some(of) => of_schema(schema, of),
        None => Types::STRING,
    }
}

/// Returns the types that a part of the schema `root` accepts.
pub(super) fn of_schema(root: &Value, of: &Value) -> Types {
    types(root, of, MAX_REFERENCES)
}

fn types(root: &Value, of: &Value, left: usize) -> Types {
    let Value::Object(schema) = of else { return Types::ANY };
    if left == 0 {
        return Types::ANY;
    }
    let any = |list: &Value| {
        let list = list.as_array().into_iter().flatten();
        list.fold(Types::NONE, |all, one| all.or(types(root, one, left - 1)))
    };
    let mut all = Types::ANY;
    for (keyword, value) in schema {
        let of_keyword = match keyword.as_str() {
            "type" => match value {
                Value::Array(names) => names.iter().fold(Types::NONE, |all, name| all.or(of_name(name))),
                name => of_name(name),
            },
            "const" => of_value(value),
            "enum" => {
                let values = value.as_array().into_iter().flatten();
                values.fold(Types::NONE, |all, value| all.or(of_value(value)))
            }
            "anyOf" | "oneOf" => any(value),
            "allOf" => {
                let list = value.as_array().into_iter().flatten();
                list.fold(Types::ANY, |all, one| all.and(types(root, one, left - 1)))
            }
            "$ref" => {
                let target = value.as_str().and_then(|path| root.pointer(path.strip_prefix('#')?));
                target.map_or(Types::ANY, |target| types(root, target, left - 1))
            }
            _ => Types::ANY,
        };
        all = all.and(of_keyword);
    }
    all
}

fn of_name(name: &Value) -> Types {
    if name == "string" { Types::STRING } else { Types { string: false, other: true } }
}

fn of_value(value: &Value) -> Types {
    if value.is_string() { Types::STRING } else { Types { string: false, other: true } }
}
