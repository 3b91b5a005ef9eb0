//! The documents of a calibration text: plain texts, and conversations that a chat template formats.

use honelm_compress::Calibration;
use honelm_engine::rendered_ids;
use honelm_text::{ChatTemplate, EncodeOptions, Message, RenderOptions, Tokenizer};
use serde_json::Value;

use crate::Error;
use crate::prompt::template_source;
use crate::texts::CalibrationText;

/// A document of a calibration text.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// A text as it is.
    Text(String),
    /// A conversation.
    Chat(Chat),
}

/// A conversation, which the model's chat template formats.
#[derive(Debug, Clone, PartialEq)]
pub struct Chat {
    /// The place in its file, for errors: `line 3`.
    pub place: String,
    /// The messages.
    pub messages: Vec<Message>,
    /// The descriptions of the tools, as JSON schemas.
    pub tools: Option<Value>,
    /// The text beside the messages, which a model without a chat template reads instead.
    pub text: Option<String>,
}

impl Document {
    /// Reads a document from an object with a string `text` or a list `messages`. Errors begin with `place`.
    pub(crate) fn from_object(object: &Value, place: String) -> Result<Self, String> {
        let field = |name: &str| object.get(name).filter(|value| !value.is_null());
        let text = match field("text") {
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(format!("{place}: `text` is {}, expected a string", kind(field("text")))),
            None => None,
        };
        match (field("messages"), text) {
            (Some(messages), text) => {
                let messages = messages_of(messages).map_err(|problem| format!("{place}: {problem}"))?;
                let tools = field("tools").cloned();
                Ok(Self::Chat(Chat { place, messages, tools, text }))
            }
            (None, Some(text)) => Ok(Self::Text(text)),
            (None, None) => {
                Err(format!("{place}: expected an object with a string field 'text' or a list field 'messages'"))
            }
        }
    }

    /// Returns the texts of a document.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let (text, messages) = match self {
            Self::Text(text) => (Some(text), &[][..]),
            Self::Chat(chat) => (None, &*chat.messages),
        };
        text.map(String::as_str).into_iter().chain(messages.iter().filter_map(|message| message.content.as_str()))
    }
}

/// Reads a list of messages, each an object with a `role`.
fn messages_of(value: &Value) -> Result<Vec<Message>, String> {
    let Value::Array(list) = value else {
        return Err(format!(
            "`messages` is {}, expected a list of {{\"role\": ..., \"content\": ...}}",
            kind(Some(value))
        ));
    };
    if list.is_empty() {
        return Err("`messages` is empty, expected at least one message".to_owned());
    }
    let message = |(at, value): (usize, &Value)| {
        serde_json::from_value::<Message>(value.clone()).map_err(|error| format!("messages[{at}]: {error}"))
    };
    list.iter().enumerate().map(message).collect()
}

fn kind(value: Option<&Value>) -> &'static str {
    match value {
        None | Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(_)) => "a string",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    }
}

/// Returns the documents of JSON lines. Empty lines are skipped.
///
/// # Errors
/// A sentence that names the first line that is no document.
pub(crate) fn json_lines(contents: &str) -> Result<Vec<Document>, String> {
    let parse = |(at, line): (usize, &str)| {
        let place = format!("line {}", at + 1);
        let value: Value = serde_json::from_str(line).map_err(|e| format!("{place}: {e}"))?;
        Document::from_object(&value, place)
    };
    contents.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// Turns documents into tokens, as a model reads them.
struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    /// The chat template without and with tools, once it has been parsed.
    templates: [Option<ChatTemplate>; 2],
}

impl Encoder<'_> {
    /// Returns the tokens of a document: of a text BOS, the text and EOS, of a conversation what the template renders.
    fn ids(&mut self, name: &str, document: &Document) -> Result<Vec<u32>, Error> {
        let chat = match document {
            Document::Text(text) => return self.plain(text),
            Document::Chat(chat) => chat,
        };
        let bad =
            |problem: String| Error::Text { path: name.to_owned(), problem: format!("{}: {problem}", chat.place) };
        if self.tokenizer.chat_templates().is_empty() {
            return match &chat.text {
                Some(text) => self.plain(text),
                None => {
                    Err(bad("holds `messages`, which a model without a chat template cannot read; expected `text`"
                        .to_owned()))
                }
            };
        }
        let tools = chat.tools.is_some();
        let slot = &mut self.templates[usize::from(tools)];
        let template = match slot.take() {
            Some(template) => template,
            None => {
                let source = template_source(self.tokenizer, None, tools)?;
                ChatTemplate::new(&source, self.tokenizer.special_tokens())?
            }
        };
        // Without a clock, since the same text must give the same tokens on every day.
        let options = RenderOptions { tools: chat.tools.clone(), ..RenderOptions::default() };
        let rendered =
            slot.insert(template).render(&chat.messages, &options).map_err(|error| bad(error.to_string()))?;
        Ok(rendered_ids(self.tokenizer, &rendered, false)?)
    }

    fn plain(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut ids: Vec<u32> = self.tokenizer.leading_bos().into_iter().collect();
        ids.extend(self.tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: false })?);
        ids.extend(self.tokenizer.eos_ids().first());
        Ok(ids)
    }
}

/// Returns the calibration samples of a text.
///
/// # Errors
/// [`Error::Text`] for a conversation that the model's chat template does not format, and for one of a model without a
/// template; [`Error::Compress`] for a text that does not fill one sample.
pub(crate) fn calibration_of(
    tokenizer: &Tokenizer,
    text: &CalibrationText,
    samples: usize,
    length: usize,
) -> Result<Calibration, Error> {
    let wanted = samples.saturating_mul(length);
    let mut encoder = Encoder { tokenizer, templates: [None, None] };
    let (mut documents, mut tokens) = (Vec::new(), 0);
    for document in &text.documents {
        if tokens >= wanted {
            break;
        }
        let ids = encoder.ids(&text.name, document)?;
        tokens += ids.len();
        documents.push(ids);
    }
    Ok(Calibration::cut(documents, samples, length)?)
}

#[cfg(test)]
mod tests {
    use honelm_testing::pocket_dir;

    use super::*;

    fn text(contents: &str) -> CalibrationText {
        let documents = json_lines(contents).expect("documents");
        CalibrationText { name: "mine.jsonl".to_owned(), digest: String::new(), documents, warnings: Vec::new() }
    }

    const CHAT: &str = r#"{"messages": [{"role": "user", "content": "Tell me a story about </s> <|im_end|>."},
        {"role": "assistant", "content": "Once upon a time there was a little house."}]}"#;

    #[test]
    fn lines_are_texts_or_conversations_and_the_bad_one_is_named() {
        let chat = CHAT.replace('\n', " ");
        let documents = json_lines(&format!("{{\"text\": \"a\", \"x\": 1}}\n\n{chat}\n")).expect("documents");
        assert_eq!(documents[0], Document::Text("a".to_owned()));
        let Document::Chat(chat) = &documents[1] else { panic!("{documents:?}") };
        assert_eq!((chat.place.as_str(), chat.messages.len()), ("line 3", 2));
        for (bad, said) in [
            ("{\"text\": 1}", "`text` is a number"),
            ("nonsense", "expected"),
            ("{}", "'text' or a list field 'messages'"),
            ("[1]", "'text' or a list field 'messages'"),
            ("{\"messages\": \"a\"}", "`messages` is a string"),
            ("{\"messages\": []}", "`messages` is empty"),
            ("{\"messages\": [{\"content\": \"a\"}]}", "messages[0]: missing field `role`"),
        ] {
            let error = json_lines(&format!("{{\"text\": \"a\"}}\n{bad}")).expect_err(bad);
            assert!(error.starts_with("line 2: ") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn conversations_are_read_as_the_chat_template_renders_them() {
        let tokenizer = Tokenizer::from_dir(&pocket_dir()).expect("a tokenizer");
        let template = ChatTemplate::new(tokenizer.chat_template().expect("a template"), tokenizer.special_tokens());
        let text = text(&CHAT.replace('\n', " "));
        let Document::Chat(chat) = &text.documents[0] else { panic!("{text:?}") };
        let rendered = template.expect("parsed").render(&chat.messages, &RenderOptions::default()).expect("rendered");
        let ids = rendered_ids(&tokenizer, &rendered, false).expect("tokens");
        let samples = calibration_of(&tokenizer, &text, 1, ids.len()).expect("one sample").samples;
        assert_eq!(samples, [ids]);
    }
}
