use std::ops::ControlFlow;

use honelm_text::{
    ChatTemplate, EncodeOptions, Message, Piece, Reasoning, ReasoningStream, RenderOptions, Rendered, Tokenizer,
};

use crate::{Clock, Completion, EngineError, Generation, Overflow, Session, Update};

/// The template for models without a chat template: the texts of the messages, one per line.
pub const PLAIN_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}\
                                  {% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}";

/// A callback for the pieces of the model's thinking and answer, which can end the answer at any time. It is called with an
/// empty answer if an update has no piece.
pub type OnPiece<'u> = &'u mut dyn FnMut(Piece) -> ControlFlow<()>;

/// A callback for updates and their pieces of thinking and answer, which can end the answer at any time.
pub type OnPieces<'u> = &'u mut dyn FnMut(Update<'_>, Vec<Piece>) -> ControlFlow<()>;

/// A conversation, from which prompts are made.
pub struct Chat {
    template: ChatTemplate,
    options: RenderOptions,
    messages: Vec<Message>,
    reasoning: Option<Reasoning>,
    parse_special: bool,
}

/// A reply, with thinking and answer separated.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The generated text, including the tags of the thinking unless they are special tokens.
    pub completion: Completion,
    /// The thinking; `None` if there is none.
    pub reasoning: Option<String>,
    /// The answer without the thinking.
    pub answer: String,
}

impl Chat {
    /// Creates an empty conversation with the model's own template.
    ///
    /// # Errors
    /// [`EngineError::NoChatTemplate`] if there is none, [`EngineError::Text`] if it cannot be parsed.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let source = tokenizer.chat_template().ok_or(EngineError::NoChatTemplate)?;
        let template = ChatTemplate::new(source, tokenizer.special_tokens())?;
        Ok(Self::with_template(template, RenderOptions::default()).with_reasoning(Reasoning::find(source, tokenizer)))
    }

    /// Creates an empty conversation with any template; `options` are passed to the template with the messages.
    #[must_use]
    pub fn with_template(template: ChatTemplate, options: RenderOptions) -> Self {
        let options = RenderOptions { add_generation_prompt: true, ..options };
        Self { template, options, messages: Vec::new(), reasoning: None, parse_special: false }
    }

    /// Sets the tags of the model's thinking, which is separated from the answers and passed to the template as
    /// `reasoning_content`.
    #[must_use]
    pub fn with_reasoning(self, reasoning: Option<Reasoning>) -> Self {
        Self { reasoning, ..self }
    }

    /// Sets whether the texts of special tokens in messages become those tokens. By default, only those of the template do.
    #[must_use]
    pub fn with_parse_special(self, parse_special: bool) -> Self {
        Self { parse_special, ..self }
    }

    /// Sets a variable of the template, such as `enable_thinking`.
    pub fn set_variable(&mut self, name: &str, value: serde_json::Value) {
        self.options.extra.insert(name.to_owned(), value);
    }

    /// Returns the messages.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Adds a message.
    pub fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// Sets the system message, or removes it if `text` is empty.
    pub fn set_system(&mut self, text: &str) {
        self.messages.retain(|m| m.role != "system");
        if !text.is_empty() {
            self.messages.insert(0, Message::new("system", text));
        }
    }

    /// Removes all messages but the system message.
    pub fn clear(&mut self) {
        self.messages.retain(|m| m.role == "system");
    }

    /// Removes the last question and its answer, and returns the question's text.
    pub fn undo(&mut self) -> Option<String> {
        let question = self.messages.iter().rposition(|m| m.role == "user")?;
        let message = self.messages.drain(question..).next()?;
        Some(message.content.as_str().unwrap_or_default().to_owned())
    }

    /// Returns the tokens of the conversation and of the beginning of an answer, as the template writes them, including
    /// BOS.
    ///
    /// # Errors
    /// [`EngineError::Text`] if the template rejects the conversation.
    pub fn prompt(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, EngineError> {
        self.prompt_without(tokenizer, 0)
    }

    /// Returns the prompt without the oldest `dropped` messages after the system message.
    fn prompt_without(&self, tokenizer: &Tokenizer, dropped: usize) -> Result<Vec<u32>, EngineError> {
        Ok(rendered_ids(tokenizer, &self.rendered(dropped)?, self.parse_special)?)
    }

    /// Renders the conversation without the oldest `dropped` messages after the system message.
    fn rendered(&self, dropped: usize) -> Result<Rendered, EngineError> {
        let start = self.start();
        let messages = [&self.messages[..start], &self.messages[start + dropped..]].concat();
        Ok(self.template.render(&messages, &self.options)?)
    }

    /// Returns the index of the first message after the system message.
    fn start(&self) -> usize {
        self.messages.iter().take_while(|m| m.role == "system").count()
    }

    /// Returns the prompt of the newest messages, beginning with a question, that leaves `room` tokens for the answer.
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

    /// Asks the question `text` and adds question and answer to the conversation; a cancelled answer is added as far as it
    /// was generated. With [`Overflow::Shift`], the oldest exchanges are left out of the prompt when the context is nearly
    /// full.
    ///
    /// # Errors
    /// As [`Session::generate`]; the conversation is not changed then.
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
        let mut report = |update: Update<'_>, _: Vec<Piece>| on_update(update);
        honelm_backend::block_on(self.reply_async(text, session, tokenizer, how, clock, &mut report))
            .map(|reply| reply.completion)
    }

    /// Asks as [`Chat::ask`] does, with the model's thinking and answer separated.
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
        let mut report = |_: Update<'_>, pieces: Vec<Piece>| {
            if pieces.is_empty() {
                return on_piece(Piece::Answer(String::new()));
            }
            let stops = |flow: &ControlFlow<()>| flow.is_break();
            pieces.into_iter().map(&mut *on_piece).find(stops).unwrap_or(ControlFlow::Continue(()))
        };
        honelm_backend::block_on(self.reply_async(text, session, tokenizer, how, clock, &mut report))
    }

    /// Asks as [`Chat::ask`] does without blocking a thread, as browsers require. `on_pieces` receives each update with the
    /// pieces of thinking and answer that have become final.
    ///
    /// # Errors
    /// As [`Session::generate`]; the conversation is not changed then.
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
                // The answer has ended, so there is nothing to cancel.
                let _ = on_pieces(Update::Rest(""), rest);
            }
        }
        Ok(completion)
    }
}

/// Returns the tokens of a rendered conversation. Texts of special tokens that come from messages become those tokens only
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

/// Returns `true` if the template ends the prompt with the opening tag of the thinking. A tag at the end of a message does
/// not count.
fn begun(tags: &Reasoning, prompt: &Rendered) -> bool {
    let end = prompt.text.trim_end().len();
    let is_outside = prompt.outside.iter().any(|range| range.start < end && end <= range.end);
    tags.begun(&prompt.text) && !is_outside
}

/// Returns the pieces of an update.
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
    // Special tokens have no text in the answer, but the tags may be special tokens.
    let special = id.filter(|&id| tokenizer.special(id)).and_then(|id| tokenizer.token(id));
    if let Some(token) = special.filter(|token| tags.is_mark(token)) {
        pieces.extend(stream.push(token));
    }
    pieces
}

/// The thinking and the answer so far.
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
