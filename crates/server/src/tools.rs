//! Tools, and what an answer must match, in OpenAI's form.

use honelm_grammar::{Constraint, GrammarError};
use honelm_text::TextError;
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
    match ToolChoice::read(choice, &tools).map_err(wrong_choice)? {
        None => Ok(Tools { ignored, ..Tools::default() }),
        Some(choice) => Ok(Tools { tools, choice, ignored }),
    }
}

fn wrong_choice(error: TextError) -> ApiError {
    match error {
        TextError::Tools { place, found, expected } => {
            ApiError::invalid(place, format!("found {found}, expected {expected}"))
        }
        other => other.into(),
    }
}

/// Reads the field `response_format`: `text`, `json_object`, or `json_schema` with a schema.
///
/// # Errors
/// 400 for another type, or a `json_schema` without a schema.
pub fn response_format(format: Option<&Value>) -> Result<Option<Constraint>, ApiError> {
    format.map_or(Ok(None), Constraint::of_response_format).map_err(|error| match error {
        GrammarError::Schema { place, found, expected } => {
            ApiError::invalid(place, format!("found {found}, expected {expected}"))
        }
        other => ApiError::from(honelm_engine::EngineError::from(other)),
    })
}
