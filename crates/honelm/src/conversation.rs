use std::time::Instant;

use honelm_backend::block_on;
use honelm_engine::{Cancel, Chat, Generation, OnUpdate, Overflow};
use honelm_text::Message;

use crate::{Answer, Error, Model};

/// A conversation with a model.
pub struct Conversation<'a> {
    pub(crate) chat: Chat,
    pub(crate) model: &'a mut Model,
}

impl Conversation<'_> {
    /// Returns the model.
    #[must_use]
    pub fn model(&self) -> &Model {
        self.model
    }

    /// Returns the messages so far.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        self.chat.messages()
    }

    /// Sets the system text. An empty text removes it.
    pub fn set_system(&mut self, text: &str) {
        self.chat.set_system(text);
    }

    /// Removes all messages but the system text.
    pub fn clear(&mut self) {
        self.chat.clear();
    }

    /// Sets a variable of the chat template, for example `enable_thinking`.
    pub fn set_variable(&mut self, name: &str, value: serde_json::Value) {
        self.chat.set_variable(name, value);
    }

    /// Replaces the conversation by other messages.
    pub fn restore(&mut self, messages: &[Message]) {
        self.chat.clear();
        self.chat.set_system("");
        messages.iter().for_each(|message| self.chat.push(message.clone()));
    }

    /// Adds a message, for example the result of a call with the role `tool`.
    pub fn push(&mut self, message: Message) {
        self.chat.push(message);
    }

    /// Returns the tokens of the conversation and of the beginning of an answer.
    ///
    /// # Errors
    /// A conversation that the template rejects.
    pub fn prompt(&self) -> Result<Vec<u32>, Error> {
        Ok(self.chat.prompt(self.model.tokenizer())?)
    }

    /// Returns the tokens of other messages and of the beginning of an answer, with the same tools and variables of the
    /// template.
    ///
    /// # Errors
    /// Messages that the template rejects.
    pub fn prompt_of(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        Ok(self.chat.prompt_of(messages, self.model.tokenizer())?)
    }

    /// Returns the setting that drops the oldest turns when the context is full, and keeps BOS and the system text.
    ///
    /// # Errors
    /// A system text that the template rejects.
    pub fn shift(&self) -> Result<Overflow, Error> {
        // The common start of two conversations with this system text.
        let begun = |question: &str| {
            let mut messages: Vec<Message> =
                self.messages().iter().take_while(|m| m.role == "system").cloned().collect();
            messages.push(Message::new("user", question));
            self.prompt_of(&messages)
        };
        let (a, b) = (begun("1")?, begun("A")?);
        let keep = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        Ok(Overflow::Shift { keep: keep.min(self.model.context() / 2) })
    }

    /// Asks `text` and adds the question and the answer to the conversation, the answer without the model's thinking. An
    /// answer that `cancel` ends is added as far as it was written. With [`Overflow::Shift`], the oldest turns are left out
    /// when the context is nearly full.
    ///
    /// # Errors
    /// As [`Model::chat`]. The conversation is then unchanged, unless a model file has changed: every further answer of
    /// this model is then an error.
    pub fn ask(
        &mut self,
        text: &str,
        settings: &Generation,
        cancel: &Cancel,
        on_update: OnUpdate<'_>,
    ) -> Result<Answer, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let asked = self.model.loaded.ask(&mut self.chat, text, settings, cancel, &clock, on_update);
        let completion = block_on(asked)?;
        self.model.check_unchanged()?;
        Ok(completion.into())
    }

    /// Answers the conversation so far and adds the answer to it; otherwise like [`Conversation::ask`].
    ///
    /// # Errors
    /// As [`Conversation::ask`].
    pub fn answer(&mut self, settings: &Generation, cancel: &Cancel, on_update: OnUpdate<'_>) -> Result<Answer, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let answered = self.model.loaded.answer(&mut self.chat, settings, cancel, &clock, on_update);
        let completion = block_on(answered)?;
        self.model.check_unchanged()?;
        Ok(completion.into())
    }
}
