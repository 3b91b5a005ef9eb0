//! The tools that a model may call.

use serde_json::{Value, json};

use crate::error::{Result, TextError};

/// The longest name of a tool, in bytes.
const MAX_NAME: usize = 128;

/// The largest number of tools.
const MAX_TOOLS: usize = 1024;

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// The name: letters, digits, `_`, `-`, `.`.
    pub name: String,
    /// The description of its purpose.
    pub description: Option<String>,
    /// The JSON schema of its arguments, an object. A tool without one has `{"type": "object", "properties": {}}`.
    pub parameters: Value,
    /// `true` if every call must have valid arguments.
    pub strict: bool,
}

impl Tool {
    /// Reads a list of tools in OpenAI's form: `[{"type": "function", "function": {"name": …, "parameters": …}}]`, or
    /// the functions alone.
    ///
    /// # Errors
    /// [`TextError::Tools`] names the place.
    pub fn read_list(tools: &Value) -> Result<Vec<Self>> {
        let Value::Array(list) = tools else { return Err(wrong("tools".to_owned(), tools, "a list of tools")) };
        if list.len() > MAX_TOOLS {
            let found = format!("{} tools", list.len());
            return Err(TextError::Tools { place: "tools".to_owned(), found, expected: "at most 1024 tools" });
        }
        let mut read: Vec<Self> = Vec::with_capacity(list.len());
        for (i, tool) in list.iter().enumerate() {
            let tool = Self::read(tool, i)?;
            if read.iter().any(|other| other.name == tool.name) {
                let found = format!("{:?} again", tool.name);
                let place = format!("tools[{i}].function.name");
                return Err(TextError::Tools { place, found, expected: "another name than those before" });
            }
            read.push(tool);
        }
        Ok(read)
    }

    fn read(tool: &Value, i: usize) -> Result<Self> {
        let mut place = format!("tools[{i}]");
        if let Some(kind) = tool.get("type").filter(|kind| **kind != "function") {
            return Err(wrong(place + ".type", kind, "\"function\""));
        }
        let function = match tool.get("function") {
            Some(function) => {
                place.push_str(".function");
                function
            }
            None => tool,
        };
        if !function.is_object() {
            return Err(wrong(place, function, "an object"));
        }
        let name = match &function["name"] {
            Value::String(name) if is_name(name) => name.clone(),
            other => return Err(wrong(place + ".name", other, "1 to 128 letters, digits, \"_\", \"-\" or \".\"")),
        };
        let description = match &function["description"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => return Err(wrong(place + ".description", other, "a string")),
        };
        let parameters = match &function["parameters"] {
            Value::Null => json!({"type": "object", "properties": {}}),
            Value::Object(schema) => match schema.get("type") {
                None => Value::Object(schema.clone()),
                Some(kind) if kind == "object" => Value::Object(schema.clone()),
                Some(other) => return Err(wrong(place + ".parameters.type", other, "\"object\"")),
            },
            other => return Err(wrong(place + ".parameters", other, "a JSON schema of an object")),
        };
        let strict = match &function["strict"] {
            Value::Null => false,
            Value::Bool(strict) => *strict,
            other => return Err(wrong(place + ".strict", other, "true or false")),
        };
        Ok(Self { name, description, parameters, strict })
    }

    /// Returns the tool in OpenAI's form, as chat templates expect it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut function = json!({"name": self.name});
        if let Some(description) = &self.description {
            function["description"] = description.as_str().into();
        }
        function["parameters"] = self.parameters.clone();
        json!({"type": "function", "function": function})
    }
}

/// Returns `true` for a name that every form can write.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_name_char)
}

pub(super) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

pub(super) fn wrong(place: String, found: &Value, expected: &'static str) -> TextError {
    const LONGEST: usize = 80;
    let mut found = if found.is_null() { "nothing".to_owned() } else { found.to_string() };
    if let Some((at, _)) = found.char_indices().nth(LONGEST) {
        found.truncate(at);
        found.push('…');
    }
    TextError::Tools { place, found, expected }
}
