//! Labelled traffic: JSON lines, one request each, with how good the answers of both sides were.

use serde::Deserialize;
use serde_json::Value;

use super::confidence::Confidence;
use super::prompt::{Problem, Prompt, named};
use crate::error::{GatewayError, Result};

/// A request whose answers on the device and in the cloud were judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// The request.
    pub prompt: Prompt,
    /// The quality of the local answer, 0 to 1.
    pub local: f32,
    /// The quality of the cloud's answer, 0 to 1.
    pub cloud: f32,
    /// The subject or source of the request. Folds keep groups together.
    pub group: Option<String>,
    /// The confidence of the local model after it read the prompt.
    pub confidence: Option<Confidence>,
    /// `true` if both answers say the same; absent where that was not judged.
    pub agree: Option<bool>,
    /// The tokens of the prompt and of the answer.
    pub tokens: Option<(u64, u64)>,
}

impl Labelled {
    /// Returns what the cloud gains on this request: its quality minus the local one, -1 to 1.
    #[must_use]
    pub fn gain(&self) -> f32 {
        self.cloud - self.local
    }

    /// Returns `true` if the local answer is wrong and the cloud's is right: the local quality is below one half, the cloud's is not.
    #[must_use]
    pub fn needs_cloud(&self) -> bool {
        self.local < 0.5 && self.cloud >= 0.5
    }

    /// Returns `true` if the local answer is as good as the cloud's: they agree, or where that was not judged, its quality is not lower.
    #[must_use]
    pub fn is_as_good(&self) -> bool {
        self.agree.unwrap_or(self.local >= self.cloud)
    }

    #[cfg(test)]
    pub(super) fn test(text: &str, local: f32, cloud: f32, group: Option<&str>) -> Self {
        let group = group.map(str::to_owned);
        Self { prompt: Prompt::new(text), local, cloud, group, confidence: None, agree: None, tokens: None }
    }
}

/// A label: `true` and `false` are 1 and 0.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Is(bool),
    Quality(f32),
    Other(Value),
}

impl Label {
    fn read(self, field: &str) -> Result<f32, Problem> {
        let expected = "true, false, or a number from 0 to 1";
        match self {
            Self::Is(is) => Ok(f32::from(u8::from(is))),
            Self::Quality(quality) if (0.0..=1.0).contains(&quality) => Ok(quality),
            Self::Quality(other) => Err(Problem::of(field, other.to_string(), expected)),
            Self::Other(other) => Err(Problem::of(field, named(&other), expected)),
        }
    }
}

#[derive(Deserialize)]
struct Line {
    local: Option<Label>,
    cloud: Option<Label>,
    group: Option<String>,
    confidence: Option<Confidence>,
    agree: Option<bool>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

fn labelled(line: &str) -> Result<Labelled, Problem> {
    let value: Value =
        serde_json::from_str(line).map_err(|e| Problem::new(format!("invalid JSON ({e})"), "an object"))?;
    let prompt = Prompt::from_request(&value)?;
    let line: Line = serde_json::from_value(value)
        .map_err(|e| Problem::new(format!("a field of a wrong type ({e})"), "labelled traffic"))?;
    let label = |label: Option<Label>, field: &str| match label {
        Some(label) => label.read(field),
        None => Err(Problem::of(field, "nothing", "true, false, or a number from 0 to 1")),
    };
    if let Some(confidence) = &line.confidence {
        confidence.check()?;
    }
    Ok(Labelled {
        prompt,
        local: label(line.local, "local")?,
        cloud: label(line.cloud, "cloud")?,
        group: line.group,
        confidence: line.confidence,
        agree: line.agree,
        tokens: line.prompt_tokens.zip(line.completion_tokens),
    })
}

/// Reads labelled traffic. Empty lines are skipped; `file` names it in errors.
///
/// # Errors
/// [`GatewayError::Traffic`] for the first bad line, [`GatewayError::EmptyTraffic`] for a file without requests.
pub fn read_traffic(file: &str, text: &str) -> Result<Vec<Labelled>> {
    let mut rows = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |problem| GatewayError::Traffic { file: file.to_owned(), line: at + 1, problem };
        rows.push(labelled(line).map_err(bad)?);
    }
    if rows.is_empty() {
        return Err(GatewayError::EmptyTraffic { file: file.to_owned(), lines: text.lines().count() });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_request_with_two_labels() {
        let text = r#"{"prompt": "2+2?", "local": true, "cloud": 0.25, "group": "sums", "prompt_tokens": 4, "completion_tokens": 2}

            {"messages": [{"role": "user", "content": "Hi"}], "local": 0, "cloud": 1, "confidence": {"top_probability": 0.5,
            "margin": 0.1, "entropy": 2.0}}"#;
        let text = text.replace(",\n            \"margin", ", \"margin");
        let rows = read_traffic("log.jsonl", &text).expect("rows");
        assert_eq!((rows[0].local, rows[0].cloud, rows[0].gain(), rows[0].tokens), (1.0, 0.25, -0.75, Some((4, 2))));
        assert!(rows[1].needs_cloud() && !rows[1].is_as_good() && rows[0].is_as_good());
        assert_eq!(rows[1].confidence.map(|confidence| confidence.agreement), Some(None));
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, said) in [
            ("", "f: line 1: found no request in 0 lines"),
            ("\n \n", "f: line 1: found no request in 2 lines"),
            ("\n{", "f: line 2: found invalid JSON"),
            ("{\"local\": 1, \"cloud\": 1}", "f: line 1: found neither `prompt` nor `messages`, expected one of them"),
            ("{\"prompt\": \"a\", \"cloud\": 1}", "f: line 1: local: found nothing, expected true, false"),
            ("{\"prompt\": \"a\", \"cloud\": 1, \"local\": 2}", "f: line 1: local: found 2, expected true, false"),
            ("{\"prompt\": \"a\", \"cloud\": \"yes\", \"local\": 1}", "f: line 1: cloud: found \"yes\", expected"),
            (
                "{\"prompt\": \"a\", \"cloud\": 1, \"local\": 1, \"group\": 3}",
                "f: line 1: found a field of a wrong type",
            ),
            (
                "{\"prompt\": \"a\", \"cloud\": 1, \"local\": 1, \"confidence\": {\"top_probability\": 7, \"margin\": 0, \"entropy\": 1}}",
                "f: line 1: confidence.top_probability: found 7, expected",
            ),
        ] {
            let error = read_traffic("f", text).expect_err(said).to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
