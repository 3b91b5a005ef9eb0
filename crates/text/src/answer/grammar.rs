//! Grammars that force calls to be valid.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::tool::wrong;
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

impl ToolChoice {
    /// Reads the field `tool_choice` of OpenAI's API: `auto`, `required`, `none`, or an object that names a function. `None`
    /// stands for `none`: the model calls no tool.
    ///
    /// # Errors
    /// [`TextError::Tools`] for another value, for a function that is not among `tools`, and for `required` without tools.
    pub fn read(choice: Option<&Value>, tools: &[Tool]) -> Result<Option<Self>> {
        const EXPECTED: &str = "\"none\", \"auto\", \"required\" or the name of a function";
        let refused = |found: &Value, expected| wrong("tool_choice".to_owned(), found, expected);
        let choice = match choice {
            None | Some(Value::Null) => Self::Auto,
            Some(found @ Value::String(text)) => match text.as_str() {
                "auto" => Self::Auto,
                "required" | "any" if tools.is_empty() => return Err(refused(found, "another choice without tools")),
                "required" | "any" => Self::Required,
                "none" => return Ok(None),
                _ => return Err(refused(found, EXPECTED)),
            },
            Some(other) => match [&other["function"]["name"], &other["name"]].into_iter().find_map(Value::as_str) {
                Some(name) if tools.iter().any(|tool| tool.name == name) => Self::Named(name.to_owned()),
                Some(name) => return Err(refused(&name.into(), "the name of one of the tools")),
                None => return Err(refused(other, EXPECTED)),
            },
        };
        Ok(Some(choice))
    }
}

/// The answers that a grammar must allow.
pub struct CallGrammar<'a> {
    /// The tools.
    pub tools: &'a [Tool],
    /// Which of them must be called.
    pub choice: &'a ToolChoice,
    /// Allows several calls in an answer.
    pub parallel: bool,
    /// The tags of the reasoning that may come first, with `true` if the prompt has begun it.
    pub reasoning: Option<(Reasoning, bool)>,
    /// The expression that an answer without calls must match, in Lark; any text by default.
    pub format: Option<&'a str>,
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
        if is_auto && body.mark.is_none() && self.format.is_none() {
            return Ok(None);
        }
        let mut lark = String::from("%llguidance {}\nTEXT: /(?s:.*)/\n");
        lark.push_str(&body.rules);
        let special = body.mark.and_then(self.special);
        let mark = body.mark.map(|mark| self.mark(mark)).unwrap_or_default();
        let several = self.parallel && body.repeats;
        if is_auto && self.format.is_none() {
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
            let format = self.format.filter(|_| is_auto).map(|format| format!(" | {format}")).unwrap_or_default();
            let _ = writeln!(lark, "one: {mark} call\nanswer: one {more}{format}");
        }
        let thought = thought(self.reasoning, self.special, &mut lark);
        let _ = writeln!(lark, "start: {thought} answer");
        Ok(Some(lark))
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
        mark(text, self.special)
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

/// Returns a grammar of answers that match `format`, an expression in Lark, after the reasoning that may come first; the
/// other arguments are as in [`CallGrammar`].
#[must_use]
pub fn reasoned_grammar(reasoning: (Reasoning, bool), format: &str, special: &dyn Fn(&str) -> Option<u32>) -> String {
    let mut lark = String::from("%llguidance {}\nTEXT: /(?s:.*)/\n");
    let thought = thought(Some(reasoning), special, &mut lark);
    let _ = writeln!(lark, "start: {thought} {format}");
    lark
}

/// Writes the rules of the reasoning and returns their place before the answer.
fn thought(
    reasoning: Option<(Reasoning, bool)>,
    special: &dyn Fn(&str) -> Option<u32>,
    lark: &mut String,
) -> &'static str {
    let Some((tags, begun)) = reasoning else { return "" };
    let (open, close) = (mark(tags.open, special), mark(tags.close, special));
    let end = if special(tags.close).is_some() { "thought_end" } else { "thought_end[lazy]" };
    let _ = writeln!(lark, "{end}: TEXT {close}\nGAP: /[ \\n]{{0,3}}/");
    let _ = writeln!(lark, "thought: {} thought_end GAP", if begun { "" } else { &open });
    let thought = if begun { "thought" } else { "thought?" };
    if tags.answer.is_empty() {
        return thought;
    }
    let marks: Vec<String> = tags.answer.iter().map(|text| mark(text, special)).collect();
    let _ = writeln!(lark, "before: {thought} ({})?", marks.join(" | "));
    "before"
}

/// Returns a mark in Lark: its special tokens as tokens, and the rest as literals.
fn mark(text: &str, special: &dyn Fn(&str) -> Option<u32>) -> String {
    let mut parts = Vec::new();
    let (mut rest, mut from) = (text, 0);
    while let Some((at, _)) = rest.char_indices().find(|(at, _)| *at >= from) {
        let ends = rest[at..].char_indices().map(|(end, c)| at + end + c.len_utf8());
        match ends.rev().find_map(|end| Some((end, special(&rest[at..end])?))) {
            Some((end, id)) => {
                parts.extend((at > 0).then(|| literal(&rest[..at])));
                parts.push(format!("<[{id}]>"));
                (rest, from) = (&rest[end..], 0);
            }
            None => from = at + 1,
        }
    }
    parts.extend((!rest.is_empty()).then(|| literal(rest)));
    parts.join(" ")
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
