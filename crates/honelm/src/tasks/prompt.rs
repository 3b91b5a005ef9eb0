//! The texts of task items as a model reads them.

use std::rc::Rc;

use std::ops::Range;

use honelm_engine::{PLAIN_TEMPLATE, rendered_ids};
use honelm_eval::Continuations;
use honelm_model::Checkpoint;
use honelm_text::{ChatTemplate, Clock, Message, RenderOptions, Rendered, Tokenizer};

use super::file::Context;
use crate::Error;
use crate::open::tokenizer_of;

/// The time that templates see, 2026-01-01, so that prompts do not depend on the day.
pub(crate) const TEMPLATE_SECONDS: i64 = 1_767_225_600;

/// A model's tokenizer and chat template.
pub(crate) struct Reader {
    pub tokenizer: Rc<Tokenizer>,
    template: ChatTemplate,
    /// `true` if the model has a chat template. The plain one has the messages' texts, one per line.
    pub has_template: bool,
}

/// A context as text.
pub(super) struct Written {
    text: String,
    /// The byte ranges that come from messages; `None` for a plain text.
    outside: Option<Vec<Range<usize>>>,
}

impl Written {
    pub fn is_chat(&self) -> bool {
        self.outside.is_some()
    }
}

impl Reader {
    /// Reads the tokenizer and the template of a model.
    ///
    /// # Errors
    /// A tokenizer or a template that is invalid.
    pub(crate) fn new(checkpoint: &Checkpoint) -> Result<Self, Error> {
        let tokenizer = Rc::new(tokenizer_of(checkpoint)?);
        let source = tokenizer.chat_template();
        let template = ChatTemplate::new(source.unwrap_or(PLAIN_TEMPLATE), tokenizer.special_tokens())?;
        Ok(Self { has_template: source.is_some(), template, tokenizer })
    }

    /// Renders a conversation; `continues` adds the beginning of an answer.
    pub(crate) fn rendered(&self, messages: &[Message], continues: bool) -> Result<Rendered, Error> {
        let clock = Some(Clock::new(TEMPLATE_SECONDS, 0));
        let options = RenderOptions { add_generation_prompt: continues, clock, ..RenderOptions::default() };
        Ok(self.template.render(messages, &options)?)
    }

    /// Returns a context as text; with `chat`, a plain one becomes the message of a user.
    pub(super) fn written(&self, context: &Context, chat: bool) -> Result<Written, Error> {
        let rendered = match context {
            Context::Text(text) if !chat => return Ok(Written { text: text.clone(), outside: None }),
            Context::Text(text) => self.rendered(&[Message::new("user", text.as_str())], true)?,
            Context::Messages(messages) => self.rendered(messages, true)?,
        };
        Ok(Written { text: rendered.text, outside: Some(rendered.outside) })
    }

    /// Encodes the first `len` bytes of a context and `more` text after them.
    fn encode(&self, context: &Written, len: usize, more: &str) -> Result<Vec<u32>, Error> {
        let text = format!("{}{more}", &context.text[..len]);
        let Some(outside) = &context.outside else { return Ok(self.tokenizer.encode_running(&text)?) };
        let within = outside.iter().map(|range| range.start.min(len)..range.end.min(len)).filter(|r| !r.is_empty());
        let outside = within.chain((!more.is_empty()).then_some(len..text.len())).collect();
        Ok(rendered_ids(&self.tokenizer, &Rendered { text, outside, touched_bytes: 0 }, false)?)
    }

    /// Returns the tokens of a context and of its continuations, divided as lm-evaluation-harness does
    /// (`lm_eval/api/model.py`, function `_encode_pair`): white space at the end of the context belongs to the
    /// continuations, and a continuation has the tokens of the whole text after those of the context alone. An empty context
    /// becomes BOS, or else the end token.
    ///
    /// # Errors
    /// The problem, if a text has no tokens.
    pub(super) fn continuations(
        &self,
        context: &Written,
        delimiter: &str,
        texts: &[&str],
    ) -> Result<Result<Continuations, String>, Error> {
        let len = context.text.trim_end().len();
        let space = &context.text[len..];
        let mut tokens = self.encode(context, len, "")?;
        let alone = tokens.len();
        if alone == 0 {
            tokens.extend(self.start());
        }
        if tokens.is_empty() {
            return Ok(Err("the context has no tokens, and the model has no token for the start of a text".to_owned()));
        }
        let mut of = Vec::with_capacity(texts.len());
        for text in texts {
            let more = format!("{space}{delimiter}{text}");
            let mut whole = self.encode(context, len, &more)?;
            of.push(whole.split_off(alone.min(whole.len())));
        }
        if let Some(at) = of.iter().position(Vec::is_empty) {
            return Ok(Err(format!("the text {:?} has no tokens of its own after the context", texts[at])));
        }
        Ok(Ok(Continuations { context: tokens, of }))
    }

    /// Returns the token that an empty context becomes: BOS, or else the end token.
    fn start(&self) -> Option<u32> {
        self.tokenizer.bos().or(self.tokenizer.eos_ids().first().copied())
    }

    /// Returns the tokens of a context whose answer is generated, and `true` if the answer continues a text.
    pub(super) fn prompt(&self, context: &Written) -> Result<(Vec<u32>, bool), Error> {
        let mut tokens = self.encode(context, context.text.len(), "")?;
        if tokens.is_empty() {
            tokens.extend(self.start());
        }
        let continues = tokens.last().is_some_and(|&token| !self.tokenizer.special(token));
        Ok((tokens, continues && !context.is_chat()))
    }
}
