//! The general form, for models whose chat template does not describe tools: Hermes' tagged objects, and a text for the
//! system message that describes the tools and the form.

use serde_json::json;

use super::form::Form;
use super::{Tool, hermes};

pub(super) static FORM: Form = Form { name: "general", is_in: |_| false, system: Some(system), ..hermes::FORM };

/// Describes the tools, one JSON object a line, and the form.
fn system(tools: &[Tool]) -> String {
    let mut text = String::from("You can call these tools. Each line is the JSON description of one:\n\n");
    for tool in tools {
        let mut line = json!({"name": tool.name});
        if let Some(description) = &tool.description {
            line["description"] = description.as_str().into();
        }
        line["parameters"] = tool.parameters.clone();
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text.push_str(
        "\nTo call a tool, write one JSON object with its name and its arguments inside tags, and nothing after it:\n\n\
         <tool_call>\n{\"name\": \"the tool's name\", \"arguments\": {\"an argument's name\": \"its value\"}}\n</tool_call>\n\n\
         Write several such blocks to call several tools. The results come back as messages of the role tool. If no tool \
         is needed, answer without tags.",
    );
    text
}
