//! Tools, and what an answer must match, in OpenAI's form.

use honelm_grammar::Constraint;
use honelm_text::answer::{Tool, ToolChoice};
use serde_json::Value;

use crate::ApiError;
use crate::messages::kind;

/// The tools of a request.
#[derive(Debug, Default)]
pub struct Tools {
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Which of them it calls.
    pub choice: ToolChoice,
    /// The number of tools of other types than functions, which are ignored.
    pub ignored: usize,
}

/// Reads the fields `tools` and `tool_choice`. Tools of other types than functions are those of a provider's own services,
/// and are ignored.
///
/// # Errors
/// 400 for a tool without a name or with wrong parameters, and for the choice of a tool that does not exist.
pub fn read(tools: Option<&Value>, choice: Option<&Value>) -> Result<Tools, ApiError> {
    let given = match tools {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(list)) => list,
        Some(other) => {
            return Err(ApiError::invalid("tools", format!("found {}, expected a list of tools", kind(other))));
        }
    };
    let is_function = |tool: &&Value| tool.get("type").is_none_or(|kind| kind == "function");
    let functions: Vec<Value> = given.iter().filter(is_function).cloned().collect();
    let ignored = given.len() - functions.len();
    let tools = Tool::read_list(&Value::Array(functions))
        .map_err(|error| ApiError { param: Some("tools".to_owned()), ..ApiError::from(error) })?;
    let named = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        if tools.iter().any(|tool| tool.name == name) {
            return Ok(Some(ToolChoice::Named(name.to_owned())));
        }
        Err(ApiError::invalid("tool_choice", format!("found {name:?}, expected the name of one of the tools")))
    };
    let choice = match choice {
        None | Some(Value::Null) => Some(ToolChoice::Auto),
        Some(Value::String(text)) => match text.as_str() {
            "auto" => Some(ToolChoice::Auto),
            "required" | "any" => Some(ToolChoice::Required),
            "none" => None,
            _ => return Err(wrong_choice(text)),
        },
        Some(choice @ Value::Object(_)) if choice["function"]["name"].is_string() => {
            named(&choice["function"]["name"])?
        }
        Some(choice @ Value::Object(_)) if choice["name"].is_string() => named(&choice["name"])?,
        Some(other) => return Err(wrong_choice(&other.to_string())),
    };
    match choice {
        None => Ok(Tools { ignored, ..Tools::default() }),
        Some(ToolChoice::Required) if tools.is_empty() => {
            Err(ApiError::invalid("tool_choice", "found \"required\" without tools, expected at least one tool"))
        }
        Some(choice) => Ok(Tools { tools, choice, ignored }),
    }
}

fn wrong_choice(found: &str) -> ApiError {
    let message = format!("found {found:.80?}, expected \"none\", \"auto\", \"required\" or the name of a function");
    ApiError::invalid("tool_choice", message)
}

/// Reads the field `response_format`: `text`, `json_object`, or `json_schema` with a schema.
///
/// # Errors
/// 400 for another type, or a `json_schema` without a schema.
pub fn response_format(format: Option<&Value>) -> Result<Option<Constraint>, ApiError> {
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(None) };
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => match format.get("schema").filter(|schema| !schema.is_null()) {
            Some(schema) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
            None => Ok(Some(Constraint::JsonObject)),
        },
        Some("json_schema") => {
            // The Responses API has the schema beside the type.
            let schema =
                [&format["json_schema"]["schema"], &format["schema"]].into_iter().find(|schema| !schema.is_null());
            let missing =
                || ApiError::invalid("response_format.json_schema.schema", "found nothing, expected a JSON schema");
            Ok(Some(Constraint::JsonSchema(schema.ok_or_else(missing)?.clone())))
        }
        _ => {
            let found = format["type"].to_string();
            let message = format!("found {found:.80}, expected \"text\", \"json_object\" or \"json_schema\"");
            Err(ApiError::invalid("response_format.type", message))
        }
    }
}
