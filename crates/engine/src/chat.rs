use std::ops::ControlFlow;

use honelm_text::{
    ChatTemplate, EncodeOptions, Message, Piece, Reasoning, ReasoningStream, RenderOptions, Rendered, Tokenizer,
};

use crate::{Clock, Completion, EngineError, Generation, Overflow, Session, Update};

/// What stands in for the chat template of a model without one: the messages' texts, one below the other.
pub const PLAIN_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}\
                                  {% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}";

/// Hears what a model writes, thinking and answer told apart, and may end it at any time. Called with an empty answer where
/// there is nothing yet.
pub type OnPiece<'u> = &'u mut dyn FnMut(Piece) -> ControlFlow<()>;

/// Hears of an update and of the pieces of thinking and answer that it brought, and may end the answer at any time.
pub type OnPieces<'u> = &'u mut dyn FnMut(Update<'_>, Vec<Piece>) -> ControlFlow<()>;

/// A conversation, and the prompts that it makes.
pub struct Chat {
    template: ChatTemplate,
    options: RenderOptions,
    messages: Vec<Message>,
    reasoning: Option<Reasoning>,
    parse_special: bool,
}

/// An answer taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What was generated; its text is all of it, tags of the thinking included where they are no special tokens.
    pub completion: Completion,
    /// The thinking, where the model did.
    pub reasoning: Option<String>,
    /// The answer without it.
    pub answer: String,
}

impl Chat {
    /// An empty conversation in the model's own template.
    ///
    /// # Errors
    /// [`EngineError::NoChatTemplate`] where it has none, [`EngineError::Text`] where it does not parse.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let source = tokenizer.chat_template().ok_or(EngineError::NoChatTemplate)?;
        let template = ChatTemplate::new(source, tokenizer.special_tokens())?;
        Ok(Self::with_template(template, RenderOptions::default()).with_reasoning(Reasoning::find(source, tokenizer)))
    }

    /// An empty conversation in any template; `options` are what it sees beside the messages.
    #[must_use]
    pub fn with_template(template: ChatTemplate, options: RenderOptions) -> Self {
        let options = RenderOptions { add_generation_prompt: true, ..options };
        Self { template, options, messages: Vec::new(), reasoning: None, parse_special: false }
    }

    /// The same with a model whose thinking stands between these tags: it is kept apart from the answers, and handed to
    /// the template as `reasoning_content`.
    #[must_use]
    pub fn with_reasoning(self, reasoning: Option<Reasoning>) -> Self {
        Self { reasoning, ..self }
    }

    /// The same where texts of special tokens in messages are these tokens. By default they are text, and only the
    /// template's own are tokens.
    #[must_use]
    pub fn with_parse_special(self, parse_special: bool) -> Self {
        Self { parse_special, ..self }
    }

    /// Sets a variable of the template, for example `enable_thinking`.
    pub fn set_variable(&mut self, name: &str, value: serde_json::Value) {
        self.options.extra.insert(name.to_owned(), value);
    }

    /// The conversation so far.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds a message.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Sets or, with an empty text, removes the system message.
    pub fn set_system(&mut self, text: &str) {
        self.messages.retain(|m| m.role != "system");
        if !text.is_empty() {
            self.messages.insert(0, Message::new("system", text));
        }
    }

    /// Forgets everything but the system message.
    pub fn clear(&mut self) {
        self.messages.retain(|m| m.role == "system");
    }

    /// Takes the last question and its answer back; returns the question's text.
    pub fn undo(&mut self) -> Option<String> {
        let question = self.messages.iter().rposition(|m| m.role == "user")?;
        let message = self.messages.drain(question..).next()?;
        Some(message.content.as_str().unwrap_or_default().to_owned())
    }

    /// The tokens of the conversation and of the beginning of an answer. The template writes BOS where the model wants it.
    ///
    /// # Errors
    /// [`EngineError::Text`] where the template refuses the conversation.
    pub fn prompt(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, EngineError> {
        self.prompt_without(tokenizer, 0)
    }

    /// [`Chat::prompt`], without the oldest `dropped` messages after the system's.
    fn prompt_without(&self, tokenizer: &Tokenizer, dropped: usize) -> Result<Vec<u32>, EngineError> {
        Ok(rendered_ids(tokenizer, &self.rendered(dropped)?, self.parse_special)?)
    }

    /// The text of the conversation without the oldest `dropped` messages after the system's.
    fn rendered(&self, dropped: usize) -> Result<Rendered, EngineError> {
        let start = self.start();
        let messages = [&self.messages[..start], &self.messages[start + dropped..]].concat();
        Ok(self.template.render(&messages, &self.options)?)
    }

    /// First message that is not the system's.
    fn start(&self) -> usize {
        self.messages.iter().take_while(|m| m.role == "system").count()
    }

    /// The prompt of as many of the newest messages, from a question on, as leave `room` tokens of the context for the answer.
    fn fitting_prompt(&self, tokenizer: &Tokenizer, context: usize, room: usize) -> Result<Vec<u32>, EngineError> {
        let mut prompt = self.prompt(tokenizer)?;
        let rest = &self.messages[self.start()..];
        let questions = (1..rest.len()).filter(|&i| rest[i].role == "user");
        for dropped in questions {
            if prompt.len() + room <= context {
                break;
            }
            prompt = self.prompt_without(tokenizer, dropped)?;
        }
        Ok(prompt)
    }

    /// Asks `text` and adds question and answer to the conversation; a cancelled answer counts as far as it came. With
    /// [`Overflow::Shift`] the oldest exchanges are left out of the prompt when the context is nearly full.
    ///
    /// # Errors
    /// Those of [`Session::generate`]; the conversation is then as it was.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn ask(
        &mut self,
        text: &str,
        session: &mut Session,
        tokenizer: &Tokenizer,
        how: &Generation,
        clock: Clock<'_>,
        on_update: crate::OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        let mut tell = |update: Update<'_>, _: Vec<Piece>| on_update(update);
        honelm_backend::block_on(self.reply_async(text, session, tokenizer, how, clock, &mut tell))
            .map(|reply| reply.completion)
    }

    /// [`Chat::ask`] with the model's thinking and its answer told apart.
    ///
    /// # Errors
    /// The same.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn ask_in_pieces(
        &mut self,
        text: &str,
        session: &mut Session,
        tokenizer: &Tokenizer,
        how: &Generation,
        clock: Clock<'_>,
        on_piece: OnPiece<'_>,
    ) -> Result<Reply, EngineError> {
        let mut tell = |_: Update<'_>, pieces: Vec<Piece>| {
            if pieces.is_empty() {
                return on_piece(Piece::Answer(String::new()));
            }
            let stops = |flow: &ControlFlow<()>| flow.is_break();
            pieces.into_iter().map(&mut *on_piece).find(stops).unwrap_or(ControlFlow::Continue(()))
        };
        honelm_backend::block_on(self.reply_async(text, session, tokenizer, how, clock, &mut tell))
    }

    /// Asks `text` as [`Session::generate_async`] generates, without keeping a thread waiting: in the browser, and beneath the other
    /// ways to ask. Tells of every update, with the pieces of thinking and answer that became certain by it.
    ///
    /// # Errors
    /// Those of [`Session::generate`]; the conversation is then as it was.
    pub async fn reply_async(
        &mut self,
        text: &str,
        session: &mut Session,
        tokenizer: &Tokenizer,
        how: &Generation,
        clock: Clock<'_>,
        on_pieces: OnPieces<'_>,
    ) -> Result<Reply, EngineError> {
        self.messages.push(Message::new("user", text));
        let mut parts = Parts::default();
        match self.answer(session, tokenizer, how, clock, &mut parts, on_pieces).await {
            Ok(completion) => {
                let reply = parts.reply(completion, self.reasoning.is_some());
                let mut message = Message::new("assistant", reply.answer.as_str());
                if let Some(reasoning) = &reply.reasoning {
                    message.extra.insert("reasoning_content".to_owned(), reasoning.as_str().into());
                }
                self.messages.push(message);
                Ok(reply)
            }
            Err(error) => {
                self.messages.pop();
                Err(error)
            }
        }
    }

    async fn answer(
        &self,
        session: &mut Session,
        tokenizer: &Tokenizer,
        how: &Generation,
        clock: Clock<'_>,
        parts: &mut Parts,
        on_pieces: OnPieces<'_>,
    ) -> Result<Completion, EngineError> {
        let prompt = match how.overflow {
            Overflow::Stop => self.prompt(tokenizer)?,
            Overflow::Shift { .. } => {
                let context = session.context();
                self.fitting_prompt(tokenizer, context, how.max_tokens.min(context / 4))?
            }
        };
        let mut stream = match self.reasoning {
            Some(tags) => Some((tags, ReasoningStream::new(tags, begun(&tags, &self.rendered(0)?)))),
            None => None,
        };
        let mut on_update = |update: Update<'_>| {
            let pieces = pieces_of(&update, &mut stream, tokenizer);
            parts.add(&pieces);
            on_pieces(update, pieces)
        };
        let completion = session.generate_async(tokenizer, &prompt, how, clock, &mut on_update).await?;
        if let Some((_, stream)) = stream {
            let rest = stream.finish();
            parts.add(&rest);
            if !rest.is_empty() {
                // The answer is over: there is nothing left to cancel.
                let _ = on_pieces(Update::Rest(""), rest);
            }
        }
        Ok(completion)
    }
}

/// The tokens of a rendered conversation. Texts of special tokens that come from outside the template are those tokens only
/// with `parse_special`.
///
/// # Errors
/// [`TextError::Encode`](honelm_text::TextError::Encode).
pub fn rendered_ids(
    tokenizer: &Tokenizer,
    rendered: &Rendered,
    parse_special: bool,
) -> Result<Vec<u32>, honelm_text::TextError> {
    let outside = if parse_special { &[][..] } else { &rendered.outside };
    tokenizer.encode_marked(&rendered.text, outside, EncodeOptions { add_special: false, parse_special: true })
}

/// Whether a prompt ends within the model's thinking because the template began it. A message that ends with the tag does
/// not.
fn begun(tags: &Reasoning, prompt: &Rendered) -> bool {
    let end = prompt.text.trim_end().len();
    let is_outside = prompt.outside.iter().any(|range| range.start < end && end <= range.end);
    tags.begun(&prompt.text) && !is_outside
}

/// The pieces that an update brings.
fn pieces_of(
    update: &Update<'_>,
    stream: &mut Option<(Reasoning, ReasoningStream)>,
    tokenizer: &Tokenizer,
) -> Vec<Piece> {
    let (text, id) = match update {
        Update::Token { id, text, .. } => (*text, Some(*id)),
        Update::Rest(text) => (*text, None),
        Update::Prefill { .. } => return Vec::new(),
    };
    let Some((tags, stream)) = stream else {
        return if text.is_empty() { Vec::new() } else { vec![Piece::Answer(text.to_owned())] };
    };
    let mut pieces = stream.push(text);
    // Special tokens have no text of their own in the answer, but the tags may be such.
    let special = id.filter(|&id| tokenizer.special(id)).and_then(|id| tokenizer.token(id));
    if let Some(token) = special.filter(|token| tags.is_mark(token)) {
        pieces.extend(stream.push(token));
    }
    pieces
}

/// Thinking and answer as they come.
#[derive(Default)]
struct Parts {
    thought: String,
    answer: String,
}

impl Parts {
    fn add(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            match piece {
                Piece::Thought(text) => self.thought.push_str(text),
                Piece::Answer(text) => self.answer.push_str(text),
            }
        }
    }

    fn reply(self, completion: Completion, apart: bool) -> Reply {
        let answer = if apart { self.answer } else { completion.text.clone() };
        let thought = self.thought.trim_end();
        Reply { reasoning: (!thought.is_empty()).then(|| thought.to_owned()), answer, completion }
    }
}
