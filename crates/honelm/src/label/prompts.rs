//! Files of prompts: JSON lines with a request each, and if known its right answer.

use honelm_gateway::GatewayError;
use honelm_gateway::estimator::{Problem, Prompt};
use honelm_text::Message;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Answer;
use super::judge::Judged;
use crate::Error;

/// The fields of a line that the output repeats.
const REPEATED: [&str; 3] = ["prompt", "messages", "group"];

/// A prompt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// The line in the file, from 1.
    pub line: usize,
    /// The conversation.
    pub messages: Vec<Message>,
    /// The right answers; none if they are not known.
    pub answers: Vec<String>,
    /// The fields that the output repeats.
    repeated: Map<String, Value>,
}

impl Row {
    /// Returns the text of the only message.
    pub fn text(&self) -> &str {
        self.messages.last().and_then(|message| message.content.as_str()).unwrap_or_default()
    }

    /// Returns the line of the output.
    pub fn labelled(&self, verdict: &Judged, local: &Answer, cloud: &Answer, keep_answers: bool) -> Value {
        let mut out = self.repeated.clone();
        let mut put = |name: &str, value: Value| drop(out.insert(name.to_owned(), value));
        put("local", json!(verdict.local));
        put("cloud", json!(verdict.cloud));
        put("agree", json!(verdict.agree));
        put("judged_by", json!(if self.answers.is_empty() { "agreement" } else { "answer" }));
        if let Some(confidence) = &local.confidence {
            put("confidence", json!(confidence));
        }
        // The cost is the cloud's.
        for (name, count) in [("prompt_tokens", cloud.prompt_tokens), ("completion_tokens", cloud.completion_tokens)] {
            if let Some(count) = count {
                put(name, json!(count));
            }
        }
        if keep_answers {
            put("local_answer", json!(local.text));
            put("cloud_answer", json!(cloud.text));
        }
        out.into()
    }
}

/// One right answer, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answers {
    One(String),
    Several(Vec<String>),
}

/// Reads the prompts of a file. With `raw`, each must be a text, since a conversation needs a chat template.
pub(super) fn rows(file: &str, text: &str, raw: bool) -> Result<Vec<Row>, Error> {
    let mut found = Vec::new();
    for (at, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let bad = |problem| GatewayError::Traffic { file: file.to_owned(), line: at + 1, problem };
        found.push(row(text, at + 1, raw).map_err(bad)?);
    }
    if found.is_empty() {
        return Err(GatewayError::EmptyTraffic { file: file.to_owned(), lines: text.lines().count() }.into());
    }
    Ok(found)
}

fn problem(field: &str, found: impl Into<String>, expected: &str) -> Problem {
    let field = (!field.is_empty()).then(|| field.to_owned());
    Problem { field, found: found.into(), expected: expected.to_owned() }
}

fn row(text: &str, line: usize, raw: bool) -> Result<Row, Problem> {
    let value: Value =
        serde_json::from_str(text).map_err(|e| problem("", format!("invalid JSON ({e})"), "an object"))?;
    if Prompt::from_request(&value)?.has_tools {
        return Err(problem("tools", "a request with tools", "a request that both sides answer with text"));
    }
    let Value::Object(mut fields) = value else { return Err(problem("", "another value", "an object")) };
    let messages = match (fields.get("prompt"), fields.get("messages")) {
        (Some(Value::String(text)), _) => vec![Message::new("user", text.as_str())],
        (_, Some(Value::Array(_))) if raw => {
            return Err(problem("messages", "a conversation", "a `prompt`, since --raw uses no chat template"));
        }
        (_, Some(messages)) => serde_json::from_value(messages.clone())
            .map_err(|e| problem("messages", e.to_string(), "a list of messages"))?,
        _ => return Err(problem("", "neither `prompt` nor `messages`", "one of them")),
    };
    let answers = match fields.remove("answer") {
        None | Some(Value::Null) => Vec::new(),
        Some(answer) => match serde_json::from_value(answer) {
            Ok(Answers::One(answer)) => vec![answer],
            Ok(Answers::Several(answers)) if !answers.is_empty() => answers,
            _ => return Err(problem("answer", "another value", "a string, or a list of at least one")),
        },
    };
    if fields.get("group").is_some_and(|group| !group.is_string() && !group.is_null()) {
        return Err(problem("group", "another value", "a string"));
    }
    fields.retain(|name, value| REPEATED.contains(&&**name) && !value.is_null());
    Ok(Row { line, messages, answers, repeated: fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_the_request_and_its_group() {
        let text = "{\"prompt\": \"2+2?\", \"answer\": \"4\", \"group\": \"sums\", \"id\": 7}\n\n{\"messages\": [{\"role\": \"system\", \
                    \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": \"Hi\"}], \"answer\": [\"a\", \"b\"]}";
        let rows = rows("f", text, false).expect("rows");
        assert_eq!((rows[0].line, rows[1].line, rows[1].messages.len()), (1, 3, 2));
        assert_eq!(
            (&rows[0].answers[..], &rows[1].answers[..]),
            (&["4".to_owned()][..], &["a", "b"].map(str::to_owned)[..])
        );
        let verdict = Judged { local: 0.0, cloud: 1.0, agree: false };
        let side = |text: &str, tokens| Answer {
            text: text.to_owned(),
            confidence: None,
            prompt_tokens: tokens,
            completion_tokens: tokens,
            sample_tokens: 0,
        };
        let line = rows[0].labelled(&verdict, &side("5", Some(1)), &side("4", Some(9)), true);
        let expected = json!({"prompt": "2+2?", "group": "sums", "local": 0.0, "cloud": 1.0, "agree": false, "judged_by": "answer",
            "prompt_tokens": 9, "completion_tokens": 9, "local_answer": "5", "cloud_answer": "4"});
        assert_eq!(line, expected);
        honelm_gateway::estimator::read_traffic("f", &line.to_string()).expect("labelled traffic");
    }

    #[test]
    fn bad_rows_are_named_by_line() {
        for (text, raw, said) in [
            ("", false, "f: line 1: found no request in 0 lines"),
            ("\n{\"prompt\": 3}", false, "f: line 2: prompt: found 3, expected a string"),
            (
                "{\"prompt\": \"a\", \"answer\": 4}",
                false,
                "f: line 1: answer: found another value, expected a string, or a list",
            ),
            (
                "{\"prompt\": \"a\", \"answer\": []}",
                false,
                "f: line 1: answer: found another value, expected a string, or a list",
            ),
            ("{\"prompt\": \"a\", \"group\": 4}", false, "f: line 1: group: found another value, expected a string"),
            ("{\"prompt\": \"a\", \"tools\": [{}]}", false, "f: line 1: tools: found a request with tools, expected"),
            (
                "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
                true,
                "f: line 1: messages: found a conversation, expected",
            ),
            ("{\"prompt\": \"a\"}\n[]", false, "f: line 2: found a list, expected an object"),
        ] {
            let error = rows("f", text, raw).expect_err(said).to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
