use std::rc::Rc;

use honelm_grammar::Constraint;
use honelm_model::Runner;
use honelm_text::answer::ToolChoice;
use honelm_text::{EncodeOptions, Message, Reasoning, Tokenizer};

use crate::constraint::{Grammars, Wanted};
use crate::template::Template;
use crate::{
    Cancel, Chat, ChatAsk, Clock, Completion, Driver, DriverOptions, EngineError, Generation, OnUpdate, Request,
    raw_prompt,
};

/// Returns what a model can do, in Ollama's words, from what it is: an encoder, or a model that reasons or does not.
#[must_use]
pub fn capabilities(encoder: bool, reasons: bool) -> Vec<&'static str> {
    if encoder {
        return vec!["embedding"];
    }
    // A general form is used if the template has none for tools.
    let mut all = vec!["completion", "tools"];
    if reasons {
        all.push("thinking");
    }
    all
}

/// A model that is ready to answer: the driver of its answers, its tokenizer, its chat template, its default settings and
/// its compiled grammars.
///
/// The library, the browser and servers share this composition.
pub struct LoadedModel {
    driver: Driver,
    template: Option<Template>,
    /// The model's template for conversations with tools, if it has another one for these.
    tool_template: Option<Template>,
    plain: Template,
    generation: Generation,
    grammars: Grammars,
    parse_special: bool,
}

impl LoadedModel {
    /// Composes a model; `generation` are its default settings.
    #[must_use]
    pub fn new(runner: Box<dyn Runner>, tokenizer: Tokenizer, generation: Generation, options: DriverOptions) -> Self {
        let template = tokenizer.chat_template().map(|source| Template::new(source.to_owned(), &tokenizer));
        let for_tools = tokenizer.choose_template(None, true).ok().map(|found| found.source.clone());
        let others = for_tools.filter(|source| tokenizer.chat_template() != Some(source));
        let tool_template = others.map(|source| Template::new(source, &tokenizer));
        let driver = Driver::new(runner, Rc::new(tokenizer), options);
        let (plain, grammars) = (Template::plain(), Grammars::default());
        Self { driver, template, tool_template, plain, generation, grammars, parse_special: false }
    }

    /// Sets whether the texts of special tokens in messages become those tokens. By default, only those of the template do.
    #[must_use]
    pub fn with_parse_special(self, parse_special: bool) -> Self {
        Self { parse_special, ..self }
    }

    /// Returns the driver, to step several answers.
    pub fn driver(&mut self) -> &mut Driver {
        &mut self.driver
    }

    /// Returns the tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        self.driver.tokenizer()
    }

    /// Returns the default settings.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Returns the maximum number of tokens of prompt and answer together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.driver.context()
    }

    /// Returns the source of the chat template, if there is one.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        self.template.as_ref().map(|template| &template.source[..])
    }

    /// Sets another chat template, for conversations with and without tools.
    ///
    /// # Errors
    /// [`EngineError::Text`] if it does not parse.
    pub fn set_template(&mut self, source: String) -> Result<(), EngineError> {
        let template = Template::new(source, self.driver.tokenizer());
        template.parsed(self.driver.tokenizer())?;
        (self.template, self.tool_template) = (Some(template), None);
        Ok(())
    }

    /// Returns the tags around the model's reasoning, if it has any.
    #[must_use]
    pub fn reasoning(&self) -> Option<Reasoning> {
        self.template.as_ref()?.reasoning
    }

    /// Starts a conversation in the model's template, or in the plain one. Its answers have the settings `ask`.
    ///
    /// # Errors
    /// [`EngineError::Text`] if the template does not parse.
    pub fn new_chat(&self, ask: impl Into<ChatAsk>) -> Result<Chat, EngineError> {
        let ask = ask.into();
        let for_tools = self.tool_template.as_ref().filter(|_| !ask.tools.is_empty());
        let template = for_tools.or(self.template.as_ref()).unwrap_or(&self.plain);
        Ok(Chat::of(template, ask, self.tokenizer())?.with_parse_special(self.parse_special))
    }

    /// Starts a conversation with messages.
    ///
    /// # Errors
    /// As [`LoadedModel::new_chat`].
    pub fn chat_of(&self, messages: &[Message], ask: impl Into<ChatAsk>) -> Result<Chat, EngineError> {
        let mut chat = self.new_chat(ask)?;
        messages.iter().for_each(|message| chat.push(message.clone()));
        Ok(chat)
    }

    /// Returns the request for an answer to messages, with the parser of its parts and the grammar that it must match.
    ///
    /// # Errors
    /// [`EngineError::Text`] for a template that does not parse or that rejects the conversation, and for a choice of a tool
    /// that does not exist; [`EngineError::Grammar`] for a constraint, or a schema of tools, that cannot be compiled.
    pub fn chat_request(&self, messages: &[Message], ask: &ChatAsk) -> Result<Request, EngineError> {
        self.request(&self.chat_of(messages, ask.clone())?)
    }

    /// Returns the request for an answer to a conversation.
    ///
    /// # Errors
    /// As [`LoadedModel::chat_request`].
    pub fn request(&self, chat: &Chat) -> Result<Request, EngineError> {
        let (request, wanted) = chat.request(self.tokenizer(), self.context())?;
        let mut grammar = self.grammars.matcher(wanted, self.tokenizer())?;
        if let (Some(matcher), Some(begun)) = (&mut grammar, chat.begun()) {
            for token in self.tokenizer().encode(begun, EncodeOptions::default())? {
                matcher.advance(token)?;
            }
        }
        Ok(request.with_grammar(grammar))
    }

    /// Returns the request for the continuation of a text without a chat template. The continuation alone must match the
    /// constraint.
    ///
    /// # Errors
    /// [`EngineError::Text`], [`EngineError::Grammar`] for a constraint that cannot be compiled.
    pub fn continuation(
        &self,
        text: &str,
        how: &Generation,
        constraint: Option<&Constraint>,
    ) -> Result<Request, EngineError> {
        let (prompt, continues) = raw_prompt(self.tokenizer(), text)?;
        let wanted = Wanted {
            constraint: constraint.cloned(),
            form: None,
            tools: [].into(),
            choice: ToolChoice::Auto,
            parallel: false,
            reasoning: None,
        };
        let grammar = self.grammars.matcher(wanted, self.tokenizer())?;
        Ok(Request::new(prompt, Generation { continues, ..how.clone() }).with_grammar(grammar))
    }

    /// Asks a question in a conversation, and adds the question and its answer to it.
    ///
    /// # Errors
    /// As [`LoadedModel::answer`]. The conversation is not changed then.
    pub async fn ask(
        &mut self,
        chat: &mut Chat,
        text: &str,
        how: &Generation,
        cancel: &Cancel,
        clock: Clock<'_>,
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        chat.push(Message::new("user", text));
        let done = self.answer(chat, how, cancel, clock, on_update).await;
        if done.is_err() {
            chat.withdraw();
        }
        done
    }

    /// Answers a conversation, and adds the answer to it.
    ///
    /// # Errors
    /// As [`LoadedModel::chat_request`] and [`Driver::complete`]. The conversation is not changed then.
    pub async fn answer(
        &mut self,
        chat: &mut Chat,
        how: &Generation,
        cancel: &Cancel,
        clock: Clock<'_>,
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        chat.set_generation(how);
        let request = self.request(chat)?.with_cancel(cancel);
        let done = self.driver.complete(request, clock, on_update).await?;
        chat.add_answer(&done);
        Ok(done)
    }
}
