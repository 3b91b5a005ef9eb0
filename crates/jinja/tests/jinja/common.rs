//! Helpers of the tests.

use honelm_jinja::{Clock, Error, ErrorKind, Limits, Rendered, Template, Value};
use serde_json::{Value as Json, json};

/// Renders a template with the fields of a JSON object as variables, at 2024-02-29 12:34:56.
pub fn render_within(source: &str, variables: &Json, limits: Limits) -> Result<Rendered, Error> {
    let variables = variables.as_object().into_iter().flatten();
    let variables: Result<Vec<(&str, Value)>, Error> =
        variables.map(|(name, value)| Ok((name.as_str(), Value::from_json(value)?))).collect();
    Template::parse(source, limits)?.render(variables?, Clock::parse("2024-02-29 12:34:56"))
}

/// Renders a template with one message.
pub fn render_message(source: &str, limits: Limits) -> Result<Rendered, Error> {
    render_within(source, &json!({"messages": [{"role": "user", "content": "hi"}]}), limits)
}

/// Renders a template that must succeed.
pub fn rendered(source: &str) -> String {
    render_message(source, Limits::default()).unwrap_or_else(|e| panic!("{source}: {e}")).text
}

/// Returns the message of a failure, and the bounded resource in place of a limit's message.
pub fn refusal(result: Result<Rendered, Error>) -> String {
    match result.map(|rendered| rendered.text).expect_err("a refusal").kind {
        ErrorKind::Limit { resource, .. } => resource.to_owned(),
        ErrorKind::Failed(message) | ErrorKind::Syntax(message) | ErrorKind::Raised(message) => message,
    }
}
