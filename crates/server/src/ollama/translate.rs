//! The way from a request of Ollama's API to a job.

use std::time::Duration;

use honelm_engine::Overflow;
use honelm_grammar::Constraint;
use honelm_text::{Message, RenderOptions};
use serde_json::Value;

use super::request::{ChatMessage, ChatRequest, GenerateRequest, Options};
use crate::ApiError;
use crate::config::Limits;
use crate::fields::OneOrMany;
use crate::job::{Job, Prompt};
use crate::model::ModelCard;
use crate::settings::Settings;
use crate::tools::{self, Tools};
use crate::turns::Turns;

/// The number of tokens at the start that are kept when the context slides.
const KEPT: usize = 4;

impl Options {
    fn settings(self) -> Settings {
        Settings {
            // Negative numbers stand for the rest of the context.
            max_tokens: self.num_predict.and_then(|tokens| usize::try_from(tokens.get()).ok()),
            temperature: self.temperature.map(|temperature| temperature.get()),
            top_k: self.top_k.map(|top_k| u32::try_from(top_k.get()).unwrap_or(0)),
            top_p: self.top_p.map(|top_p| top_p.get()),
            min_p: self.min_p.map(|min_p| min_p.get()),
            repeat_penalty: self.repeat_penalty.map(|penalty| penalty.get()),
            repeat_last_n: self.repeat_last_n.map(|last| usize::try_from(last.get()).unwrap_or(usize::MAX)),
            presence_penalty: self.presence_penalty.map(|penalty| penalty.get()),
            frequency_penalty: self.frequency_penalty.map(|penalty| penalty.get()),
            seed: self.seed.map(|seed| seed.get()),
            stop: self.stop.map(OneOrMany::into_vec).unwrap_or_default(),
            ..Settings::default()
        }
    }
}

/// The fields that both kinds of request have.
struct Common<'r> {
    format: Option<&'r Value>,
    options: Option<&'r Options>,
    think: Option<&'r Value>,
    /// `true` to return log-probabilities, with the number of most likely tokens.
    logprobs: (bool, usize),
    shift: bool,
}

impl Common<'_> {
    fn job(&self, prompt: Prompt, model: &ModelCard, limits: &Limits) -> Result<Job, ApiError> {
        if !model.reasons && self.think.is_some_and(|think| *think != Value::Bool(false) && !think.is_null()) {
            let found = format!(
                "found {}, expected false: the model {:?} does not reason",
                self.think.unwrap_or(&Value::Null),
                model.name
            );
            return Err(ApiError::unsupported("think", found));
        }
        let mut settings = self.options.cloned().unwrap_or_default().settings();
        let (wants, top) = self.logprobs;
        settings.logprobs = (wants || top > 0).then_some(top);
        let given = settings.clone();
        let mut how = settings.generation(model, limits)?;
        if self.shift {
            how.overflow = Overflow::Shift { keep: KEPT };
        }
        let prompt = match prompt {
            Prompt::Chat { messages, mut options } => {
                think(self.think, &mut options)?;
                Prompt::Chat { messages, options }
            }
            other => other,
        };
        Ok(Job { given, constraint: constraint(self.format)?, ..Job::new(prompt, how) })
    }
}

impl ChatRequest {
    /// Returns the job.
    ///
    /// # Errors
    /// 400 with the field that is wrong.
    pub fn job(&self, model: &ModelCard, limits: &Limits) -> Result<Job, ApiError> {
        let given = self.messages.as_deref().unwrap_or_default();
        if given.len() > limits.messages {
            let found = format!("found {} messages, expected at most {}", given.len(), limits.messages);
            return Err(ApiError::invalid("messages", found));
        }
        let prompt = Prompt::Chat { messages: messages(given, model.images)?, options: RenderOptions::default() };
        let Tools { tools, .. } = tools::read(self.tools.as_ref(), None)?;
        let common = Common {
            format: self.format.as_ref(),
            options: self.options.as_ref(),
            think: self.think.as_ref(),
            logprobs: (self.logprobs == Some(true), self.top_logprobs.map_or(0, |top| top.count())),
            shift: self.truncate != Some(false) && self.shift != Some(false),
        };
        Ok(Job { tools, ..common.job(prompt, model, limits)? })
    }

    /// Returns `true` if the request only loads or unloads the model.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.as_deref().unwrap_or_default().is_empty()
    }
}

impl GenerateRequest {
    /// Returns the job.
    ///
    /// # Errors
    /// 400 with the field that is wrong.
    pub fn job(&self, model: &ModelCard, limits: &Limits) -> Result<Job, ApiError> {
        no_images("images", self.images.as_deref())?;
        if self.template.as_deref().is_some_and(|template| !template.is_empty()) {
            let found = "found a template, expected none: the model's own one is used";
            return Err(ApiError::unsupported("template", found));
        }
        let text = self.prompt.clone().unwrap_or_default();
        let suffix = self.suffix.clone().filter(|suffix| !suffix.is_empty());
        let prompt = match (self.raw, suffix) {
            (_, Some(suffix)) => Prompt::Infill { prefix: text, suffix },
            (Some(true), None) => Prompt::Text(text),
            _ => {
                let mut turns = Turns::default();
                if let Some(system) = self.system.as_deref().filter(|system| !system.is_empty()) {
                    turns.system(system);
                }
                turns.user(&text);
                Prompt::Chat { messages: turns.finish(), options: RenderOptions::default() }
            }
        };
        let common = Common {
            format: self.format.as_ref(),
            options: self.options.as_ref(),
            think: self.think.as_ref(),
            logprobs: (self.logprobs == Some(true), self.top_logprobs.map_or(0, |top| top.count())),
            shift: self.truncate != Some(false) && self.shift != Some(false),
        };
        common.job(prompt, model, limits)
    }

    /// Returns `true` if the request only loads or unloads the model.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        [&self.prompt, &self.suffix].into_iter().all(|text| text.as_deref().unwrap_or_default().is_empty())
    }
}

/// Returns the messages of a conversation.
fn messages(given: &[ChatMessage], images: bool) -> Result<Vec<Message>, ApiError> {
    let mut turns = Turns::default();
    for (i, message) in given.iter().enumerate() {
        if !(images && message.role == "user") {
            no_images(&format!("messages[{i}].images"), message.images.as_deref())?;
        }
        let text = message.content.as_deref().unwrap_or_default();
        match message.role.as_str() {
            "system" => turns.system(text),
            "user" => {
                turns.user(text);
                for image in message.images.iter().flatten() {
                    turns.image(&image_url(image).ok_or_else(|| {
                        let found = "found no image in base64, expected PNG, JPEG, GIF or WebP";
                        ApiError::invalid(format!("messages[{i}].images"), found)
                    })?);
                }
            }
            "assistant" => {
                if let Some(thinking) = &message.thinking {
                    turns.reasoning(thinking);
                }
                turns.assistant(text);
                for call in message.tool_calls.iter().flatten() {
                    let id = call.id.clone().unwrap_or_else(|| turns.new_id());
                    turns.call(&id, &call.function.name, &call.function.arguments.to_string());
                }
            }
            "tool" => {
                let id = message.tool_call_id.clone().or_else(|| turns.open_call(message.tool_name.as_deref()));
                turns.result(&id.unwrap_or_default(), text);
            }
            other => {
                let found = format!("found {other:?}, expected \"system\", \"user\", \"assistant\" or \"tool\"");
                return Err(ApiError::invalid(format!("messages[{i}].role"), found));
            }
        }
    }
    Ok(turns.finish())
}

/// Returns an image as a `data:` address. Its first bytes tell its type.
fn image_url(image: &Value) -> Option<String> {
    const TYPES: [(&str, &str); 4] =
        [("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")];
    let data = image.as_str()?;
    let (_, kind) = TYPES.iter().find(|(start, _)| data.starts_with(start))?;
    Some(format!("data:{kind};base64,{data}"))
}

fn no_images(param: &str, images: Option<&[Value]>) -> Result<(), ApiError> {
    match images {
        None | Some([]) => Ok(()),
        Some(_) => Err(ApiError::unsupported(param, "found images, expected none: the model reads only text")),
    }
}

/// Sets the variables of the chat template for reasoning.
fn think(given: Option<&Value>, options: &mut RenderOptions) -> Result<(), ApiError> {
    match given {
        None | Some(Value::Null) => {}
        Some(Value::Bool(thinks)) => drop(options.extra.insert("enable_thinking".to_owned(), (*thinks).into())),
        Some(Value::String(effort)) if matches!(effort.as_str(), "low" | "medium" | "high") => {
            options.extra.insert("enable_thinking".to_owned(), true.into());
            options.extra.insert("reasoning_effort".to_owned(), effort.as_str().into());
        }
        Some(other) => {
            let found = format!("found {other}, expected true, false, \"low\", \"medium\" or \"high\"");
            return Err(ApiError::invalid("think", found));
        }
    }
    Ok(())
}

/// Returns the constraint of a format.
fn constraint(format: Option<&Value>) -> Result<Option<Constraint>, ApiError> {
    match format {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) if name == "json" => Ok(Some(Constraint::JsonObject)),
        Some(schema @ Value::Object(_)) => Ok(Some(Constraint::JsonSchema(schema.clone()))),
        Some(other) => Err(ApiError::invalid("format", format!("found {other}, expected \"json\" or a JSON schema"))),
    }
}

/// The time that a model stays loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// Until there is no room for another model.
    Forever,
    /// So long after its last use.
    For(Duration),
}

/// Reads a `keep_alive`: seconds, or a text of numbers with the units `ns`, `us`, `ms`, `s`, `m`, `h`, such as `1h30m`. A
/// negative time is no limit.
///
/// # Errors
/// 400 for anything else.
pub fn keep_alive(given: Option<&Value>) -> Result<Option<KeepAlive>, ApiError> {
    let wrong = |found: &Value| {
        let expected = "expected seconds, or a text such as \"5m\" or \"1h30m\"";
        ApiError::invalid("keep_alive", format!("found {found}, {expected}"))
    };
    let seconds = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(found @ Value::Number(number)) => number.as_f64().ok_or_else(|| wrong(found))?,
        Some(found @ Value::String(text)) => match text.trim().parse::<f64>() {
            Ok(seconds) if seconds.is_finite() => seconds,
            _ => duration(text.trim()).ok_or_else(|| wrong(found))?,
        },
        Some(other) => return Err(wrong(other)),
    };
    if seconds < 0.0 {
        return Ok(Some(KeepAlive::Forever));
    }
    // Beyond a century, there is no limit.
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| time.as_secs() < 100 * 365 * 86_400);
    Ok(Some(time.map_or(KeepAlive::Forever, KeepAlive::For)))
}

/// Reads a duration as Go writes it, and returns its seconds.
fn duration(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == &rest[..unit])?;
        seconds += number * factor;
        rest = &rest[unit..];
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keep_alive_is_read_as_ollama_reads_it() {
        let seconds = |n: f64| Some(KeepAlive::For(Duration::from_secs_f64(n)));
        let cases = [
            (json!(null), None),
            (json!(0), seconds(0.0)),
            (json!(300), seconds(300.0)),
            (json!(1.5), seconds(1.5)),
            (json!("0"), seconds(0.0)),
            (json!("5m"), seconds(300.0)),
            (json!("1h30m"), seconds(5400.0)),
            (json!("250ms"), seconds(0.25)),
            (json!("1.5h"), seconds(5400.0)),
            (json!(-1), Some(KeepAlive::Forever)),
            (json!("-1m"), Some(KeepAlive::Forever)),
            (json!(1e300), Some(KeepAlive::Forever)),
        ];
        for (given, expected) in cases {
            assert_eq!(keep_alive(Some(&given)), Ok(expected), "{given}");
        }
        for given in [json!("five"), json!("5 parsecs"), json!("m"), json!(""), json!("1..5s"), json!({}), json!(true)]
        {
            let error = keep_alive(Some(&given)).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some("keep_alive"), "{given}");
        }
    }
}
