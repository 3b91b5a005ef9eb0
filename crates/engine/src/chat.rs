use honelm_text::{ChatTemplate, EncodeOptions, Message, RenderOptions, Tokenizer};

use crate::{Clock, Completion, EngineError, Generation, OnUpdate, Overflow, Session};

/// A conversation, and the prompts that it makes.
pub struct Chat {
    template: ChatTemplate,
    options: RenderOptions,
    messages: Vec<Message>,
}

impl Chat {
    /// An empty conversation in the model's own template.
    ///
    /// # Errors
    /// [`EngineError::NoChatTemplate`] where it has none, [`EngineError::Text`] where it does not parse.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let source = tokenizer.chat_template().ok_or(EngineError::NoChatTemplate)?;
        Ok(Self::with_template(ChatTemplate::new(source, tokenizer.special_tokens())?, RenderOptions::default()))
    }

    /// An empty conversation in any template; `options` are what it sees beside the messages.
    #[must_use]
    pub fn with_template(template: ChatTemplate, options: RenderOptions) -> Self {
        Self { template, options: RenderOptions { add_generation_prompt: true, ..options }, messages: Vec::new() }
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
        let start = self.start();
        let messages = [&self.messages[..start], &self.messages[start + dropped..]].concat();
        let text = self.template.render(&messages, &self.options)?;
        Ok(tokenizer.encode(&text, EncodeOptions { add_special: false, parse_special: true })?)
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
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        honelm_backend::block_on(self.ask_async(text, session, tokenizer, how, clock, on_update))
    }

    /// [`Chat::ask`] where a thread must not wait: in the browser.
    ///
    /// # Errors
    /// The same.
    pub async fn ask_async(
        &mut self,
        text: &str,
        session: &mut Session,
        tokenizer: &Tokenizer,
        how: &Generation,
        clock: Clock<'_>,
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        self.messages.push(Message::new("user", text));
        let answer = self.answer(session, tokenizer, how, clock, on_update).await;
        match &answer {
            Ok(completion) => self.messages.push(Message::new("assistant", completion.text.as_str())),
            Err(_) => drop(self.messages.pop()),
        }
        answer
    }

    async fn answer(
        &self,
        session: &mut Session,
        tokenizer: &Tokenizer,
        how: &Generation,
        clock: Clock<'_>,
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        let prompt = match how.overflow {
            Overflow::Stop => self.prompt(tokenizer)?,
            Overflow::Shift { .. } => {
                let context = session.context();
                self.fitting_prompt(tokenizer, context, how.max_tokens.min(context / 4))?
            }
        };
        session.generate_async(tokenizer, &prompt, how, clock, on_update).await
    }
}
