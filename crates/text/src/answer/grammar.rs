//! Grammars that force calls to be valid.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CallForm, Tool};
use crate::error::{Result, TextError};
use crate::template::Reasoning;

/// Which tools a model calls, as OpenAI's `tool_choice`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// Text, or calls of any tools.
    #[default]
    Auto,
    /// At least one call.
    Required,
    /// A call of the tool of this name.
    Named(String),
}

/// What a grammar of calls must allow.
pub struct CallGrammar<'a> {
    /// The tools.
    pub tools: &'a [Tool],
    /// Which of them must be called.
    pub choice: &'a ToolChoice,
    /// Allows several calls in an answer.
    pub parallel: bool,
    /// The tags of the reasoning that may come first, with `true` if the prompt has begun it.
    pub reasoning: Option<(Reasoning, bool)>,
    /// Returns the id of a text that is a special token. Such a mark is written as this token, any other as text.
    pub special: &'a dyn Fn(&str) -> Option<u32>,
}

/// The grammar of one call.
pub(super) struct Body {
    /// The mark that begins it; `None` if it begins without one.
    pub mark: Option<&'static str>,
    /// The rules. `call` is what follows the mark.
    pub rules: String,
    /// The text between two calls, as a terminal or a literal.
    pub between: &'static str,
    /// `false` if the mark begins all calls together.
    pub repeats: bool,
}

impl CallGrammar<'_> {
    /// Writes the whole grammar.
    pub(super) fn write(&self, form: CallForm) -> Result<Option<String>> {
        if let ToolChoice::Named(name) = self.choice
            && !self.tools.iter().any(|tool| tool.name == *name)
        {
            let found = format!("{name:?}, which is not a tool");
            return Err(TextError::Tools { place: "tool_choice".to_owned(), found, expected: "the name of a tool" });
        }
        if self.tools.is_empty() {
            let found = "an empty list".to_owned();
            return Err(TextError::Tools { place: "tools".to_owned(), found, expected: "at least one tool" });
        }
        let body = form.body(self)?;
        let is_auto = *self.choice == ToolChoice::Auto;
        if is_auto && body.mark.is_none() {
            return Ok(None);
        }
        let mut lark = String::from("%llguidance {}\n");
        let thought = self.thought(&mut lark);
        lark.push_str("TEXT: /(?s:.*)/\n");
        lark.push_str(&body.rules);
        let special = body.mark.and_then(self.special);
        let mark = body.mark.map(|mark| self.mark(mark)).unwrap_or_default();
        let several = self.parallel && body.repeats;
        if is_auto {
            // Any text, and calls in it. What follows a mark is a call.
            match special {
                Some(_) => lark.push_str("marked: TEXT "),
                None => lark.push_str("marked[lazy]: TEXT "),
            }
            let answer = if several { "(marked call)* rest" } else { "rest | marked call" };
            let _ = writeln!(lark, "{mark}\nanswer: {answer}\nrest: TEXT");
        } else {
            let between = body.between;
            let more = if several { format!("({between} one)*") } else { String::new() };
            let _ = writeln!(lark, "one: {mark} call\nanswer: one {more}");
        }
        let _ = writeln!(lark, "start: {thought} answer");
        Ok(Some(lark))
    }

    /// Writes the rules of the reasoning and returns its place before the answer.
    fn thought(&self, lark: &mut String) -> &'static str {
        let Some((tags, begun)) = self.reasoning else { return "" };
        let (open, close) = (self.mark(tags.open), self.mark(tags.close));
        let end = if (self.special)(tags.close).is_some() { "thought_end" } else { "thought_end[lazy]" };
        let _ = writeln!(lark, "{end}: TEXT {close}\nGAP: /[ \\n]{{0,3}}/");
        if begun {
            return "thought_end GAP";
        }
        let _ = writeln!(lark, "thought: {open} thought_end GAP");
        "thought?"
    }

    /// Returns the tools that may be called, with their numbers.
    pub(super) fn chosen(&self) -> impl Iterator<Item = (usize, &Tool)> {
        let named = |tool: &Tool| match self.choice {
            ToolChoice::Named(name) => tool.name == *name,
            ToolChoice::Auto | ToolChoice::Required => true,
        };
        self.tools.iter().enumerate().filter(move |(_, tool)| named(tool))
    }

    /// Returns a mark as a token, or as a literal.
    pub(super) fn mark(&self, text: &str) -> String {
        (self.special)(text).map_or_else(|| literal(text), |id| format!("<[{id}]>"))
    }

    /// Writes the rule `arguments_N` of each chosen tool.
    pub(super) fn arguments(&self) -> String {
        let mut lark = String::new();
        for (i, tool) in self.chosen() {
            let _ = writeln!(lark, "arguments_{i}: %json {}", schema(&tool.parameters));
        }
        lark
    }

    /// Writes the rule `object`: a call as a JSON object whose arguments have the name `key`.
    pub(super) fn objects(&self, key: &str) -> String {
        let mut lark = self.arguments();
        let objects: Vec<String> = self
            .chosen()
            .map(|(i, tool)| {
                let head = format!("{{\"name\": {}, \"{key}\": ", json!(tool.name));
                format!("{} arguments_{i} \"}}\"", literal(&head))
            })
            .collect();
        let _ = writeln!(lark, "object: {}", objects.join("\n  | "));
        lark
    }
}

/// Returns a literal of Lark.
pub(super) fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

/// Returns a schema for text as chat templates write it: `", "` between members and `": "` behind names.
pub(super) fn schema(parameters: &Value) -> String {
    let mut schema = parameters.clone();
    if let Value::Object(schema) = &mut schema {
        let style = json!({"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false});
        schema.insert("x-guidance".to_owned(), style);
    }
    schema.to_string()
}
