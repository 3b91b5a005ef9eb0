//! The parts of a model's answer: text, reasoning and tool calls.
//!
//! An [`AnswerParser`] takes an answer in pieces and returns [`Event`]s. It reads character by character, so the events
//! depend only on the text, not on how it was cut: joined, the events of any pieces are those of the whole text. No part
//! of a call is ever in a [`Event::Text`]; text that only resembles the beginning of a call is.
//!
//! # The text that a parser needs
//!
//! A parser takes the text without special tokens, and the texts of those special tokens for which
//! [`AnswerParser::is_mark`] is `true`, such as `[TOOL_CALLS]` or `<|python_tag|>`, at their places. Texts of other special
//! tokens, such as `<|im_end|>`, do not belong to it.
//!
//! # Forms
//!
//! A [`CallForm`], one file each, is the way in which a model writes calls: [`CallForm::find`] chooses it by the marks in a chat template,
//! [`CallForm::named`] by name. Each form also writes the grammar of its calls ([`CallForm::grammar`]), so that a
//! constrained answer is valid.

mod broken;
mod collect;
mod form;
mod general;
mod grammar;
mod hermes;
mod llama;
mod mistral;
mod object;
mod parser;
mod qwen_xml;
mod scan;
mod tool;
mod types;

pub use broken::BrokenCall;
pub use collect::{Answer, Call};
pub use form::CallForm;
pub use grammar::{CallGrammar, ToolChoice, reasoned_grammar};
pub use parser::AnswerParser;
pub use tool::Tool;

/// A part of an answer. Calls are numbered from 0 in the order in which they begin; the events of two calls are never
/// mixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Text for the user.
    Text(String),
    /// Reasoning.
    Reasoning(String),
    /// A call of a known tool begins.
    CallBegins {
        /// The number of the call.
        index: usize,
        /// The id: the model's own where it comes before the arguments, otherwise nine letters and digits.
        id: String,
        /// The tool's name.
        name: String,
    },
    /// The next part of a call's arguments. All parts together are a JSON object.
    CallArguments {
        /// The number of the call.
        index: usize,
        /// The JSON text.
        fragment: String,
    },
    /// A call is complete.
    CallEnds {
        /// The number of the call.
        index: usize,
    },
    /// A call is broken. Its text is in no other event, but for the arguments of a call that had begun.
    CallBroken {
        /// The number of the call if it had begun.
        index: Option<usize>,
        /// The reason.
        reason: BrokenCall,
        /// The call's text, with its marks.
        text: String,
    },
}

/// The events of an answer, with what is needed to make them.
#[derive(Debug, Clone)]
struct Output {
    events: Vec<Event>,
    tools: std::sync::Arc<[Tool]>,
    /// The number of calls that have begun.
    begun: usize,
    /// The seed of the ids.
    seed: u64,
}

impl Output {
    fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    fn unknown(&self, name: &str) -> BrokenCall {
        let known = self.tools.iter().map(|tool| tool.name.clone()).collect();
        BrokenCall::UnknownTool { name: name.to_owned(), known }
    }

    fn text(&mut self, text: &str) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(Event::Text(last)) => last.push_str(text),
            _ => self.events.push(Event::Text(text.to_owned())),
        }
    }

    fn reasoning(&mut self, text: &str) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(Event::Reasoning(last)) => last.push_str(text),
            _ => self.events.push(Event::Reasoning(text.to_owned())),
        }
    }

    /// Begins a call and returns its number.
    fn begin(&mut self, id: Option<String>, name: &str) -> usize {
        let index = self.begun;
        self.begun += 1;
        let id = id.filter(|id| is_id(id)).unwrap_or_else(|| call_id(self.seed, index as u64));
        self.events.push(Event::CallBegins { index, id, name: name.to_owned() });
        index
    }

    fn arguments(&mut self, index: usize, text: &str) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(Event::CallArguments { fragment, .. }) => fragment.push_str(text),
            _ => self.events.push(Event::CallArguments { index, fragment: text.to_owned() }),
        }
    }

    fn end(&mut self, index: usize) {
        self.events.push(Event::CallEnds { index });
    }
}

/// The result of reading a character, or the end of the answer.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    /// The calls continue.
    More,
    /// The calls are complete. `unread` was read but does not belong to them.
    Done { unread: String },
    /// The characters since the mark are text.
    NotACall,
    /// The call is broken. What follows, up to its end mark, belongs to it.
    Broken { index: Option<usize>, reason: BrokenCall },
}

/// A reader of the calls behind a mark.
trait Reader: std::fmt::Debug + Send {
    /// Reads a character.
    fn push(&mut self, c: char, out: &mut Output) -> Flow;

    /// Ends the answer. Never returns [`Flow::More`].
    fn finish(&mut self, out: &mut Output) -> Flow;

    /// Returns the mark that ends a broken call.
    fn closing(&self) -> Option<&'static str> {
        None
    }

    /// Returns a copy.
    fn copy(&self) -> Box<dyn Reader>;
}

/// Returns `true` for an id that can be passed on.
fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Returns an id of nine letters and digits, which every chat template accepts (Mistral's require them). It is made from
/// the seed and the number of the call by SplitMix64 (Steele, Lea, Flood 2014).
fn call_id(seed: u64, index: u64) -> String {
    const DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut x = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    let mut id = String::with_capacity(9);
    for _ in 0..9 {
        id.push(char::from(DIGITS[(x % 62) as usize]));
        x /= 62;
    }
    id
}
