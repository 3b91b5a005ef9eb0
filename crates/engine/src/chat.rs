use std::rc::Rc;

use honelm_text::{ChatTemplate, EncodeOptions, Message, Reasoning, RenderOptions, Rendered, Tokenizer};

use crate::{Completion, EngineError, Generation, Overflow, Request, Thinking};

/// The template for models without a chat template: the texts of the messages, one per line.
pub const PLAIN_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}\
                                  {% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}";

/// A conversation, from which prompts are made.
pub struct Chat {
    template: Rc<ChatTemplate>,
    options: RenderOptions,
    messages: Vec<Message>,
    reasoning: Option<Reasoning>,
    parse_special: bool,
}

impl Chat {
    /// Creates an empty conversation with the model's own template.
    ///
    /// # Errors
    /// [`EngineError::NoChatTemplate`] if there is none, [`EngineError::Text`] if it cannot be parsed.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let source = tokenizer.chat_template().ok_or(EngineError::NoChatTemplate)?;
        let template = ChatTemplate::new(source, tokenizer.special_tokens())?;
        Ok(Self::with_template(Rc::new(template), RenderOptions::default())
            .with_reasoning(Reasoning::find(source, tokenizer)))
    }

    /// Creates an empty conversation with any template; `options` are passed to the template with the messages.
    #[must_use]
    pub fn with_template(template: Rc<ChatTemplate>, options: RenderOptions) -> Self {
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

    /// Adds the question `text` and returns the request for its answer. With [`Overflow::Shift`], the oldest exchanges are left
    /// out of the prompt when the context of `context` tokens is nearly full.
    ///
    /// # Errors
    /// [`EngineError::Text`] if the template rejects the conversation, which is not changed then.
    pub fn ask(
        &mut self,
        text: &str,
        tokenizer: &Tokenizer,
        context: usize,
        how: &Generation,
    ) -> Result<Request, EngineError> {
        self.messages.push(Message::new("user", text));
        let request = self.request(tokenizer, context, how);
        if request.is_err() {
            self.messages.pop();
        }
        request
    }

    /// Adds the answer to the last question; a cancelled one as far as it was generated.
    pub fn add_answer(&mut self, done: &Completion) {
        let mut message = Message::new("assistant", done.answer.as_str());
        if let Some(reasoning) = &done.reasoning {
            message.extra.insert("reasoning_content".to_owned(), reasoning.as_str().into());
        }
        self.messages.push(message);
    }

    /// Removes the last message, a question that got no answer.
    pub fn withdraw(&mut self) {
        self.messages.pop();
    }

    /// Returns the request for an answer to the conversation so far.
    ///
    /// # Errors
    /// [`EngineError::Text`] if the template rejects the conversation.
    pub fn request(&self, tokenizer: &Tokenizer, context: usize, how: &Generation) -> Result<Request, EngineError> {
        let prompt = match how.overflow {
            Overflow::Stop => self.prompt(tokenizer)?,
            Overflow::Shift { .. } => self.fitting_prompt(tokenizer, context, how.max_tokens.min(context / 4))?,
        };
        let thinking = match self.reasoning {
            Some(tags) => Some(Thinking { tags, begun: begun(&tags, &self.rendered(0)?) }),
            None => None,
        };
        Ok(Request { thinking, ..Request::new(prompt, how.clone()) })
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
