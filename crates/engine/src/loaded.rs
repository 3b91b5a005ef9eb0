use std::cell::OnceCell;
use std::rc::Rc;

use honelm_model::Runner;
use honelm_text::{ChatTemplate, Message, Reasoning, RenderOptions, Tokenizer};

use crate::{
    Cancel, Chat, Clock, Completion, Driver, DriverOptions, EngineError, Generation, OnUpdate, PLAIN_TEMPLATE, Request,
    raw_prompt,
};

/// A model that is ready to answer: the driver of its answers, its tokenizer, its chat template and its default settings.
///
/// The library, the browser and servers share this composition.
pub struct LoadedModel {
    driver: Driver,
    template: Option<Template>,
    plain: OnceCell<Rc<ChatTemplate>>,
    generation: Generation,
    parse_special: bool,
}

/// A chat template, parsed when a conversation first needs it, because a model with a broken template can still continue a
/// text.
struct Template {
    source: String,
    parsed: OnceCell<Rc<ChatTemplate>>,
    reasoning: Option<Reasoning>,
}

impl Template {
    fn new(source: String, tokenizer: &Tokenizer) -> Self {
        let reasoning = Reasoning::find(&source, tokenizer);
        Self { source, parsed: OnceCell::new(), reasoning }
    }
}

/// Returns the template in `cell`, which is parsed from `source` before its first use.
fn parsed(
    cell: &OnceCell<Rc<ChatTemplate>>,
    source: &str,
    tokenizer: &Tokenizer,
) -> Result<Rc<ChatTemplate>, EngineError> {
    if let Some(template) = cell.get() {
        return Ok(Rc::clone(template));
    }
    let template = Rc::new(ChatTemplate::new(source, tokenizer.special_tokens())?);
    Ok(Rc::clone(cell.get_or_init(|| template)))
}

impl LoadedModel {
    /// Composes a model; `generation` are its default settings.
    #[must_use]
    pub fn new(runner: Box<dyn Runner>, tokenizer: Tokenizer, generation: Generation, options: DriverOptions) -> Self {
        let template = tokenizer.chat_template().map(|source| Template::new(source.to_owned(), &tokenizer));
        let driver = Driver::new(runner, Rc::new(tokenizer), options);
        Self { driver, template, plain: OnceCell::new(), generation, parse_special: false }
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

    /// Sets another chat template.
    ///
    /// # Errors
    /// [`EngineError::Text`] if it does not parse.
    pub fn set_template(&mut self, source: String) -> Result<(), EngineError> {
        let template = Template::new(source, self.driver.tokenizer());
        parsed(&template.parsed, &template.source, self.driver.tokenizer())?;
        self.template = Some(template);
        Ok(())
    }

    /// Returns the tags around the model's thinking, if it has any.
    #[must_use]
    pub fn reasoning(&self) -> Option<Reasoning> {
        self.template.as_ref()?.reasoning
    }

    /// Starts a conversation in the model's template, or in the plain one; `options` are passed to the template.
    ///
    /// # Errors
    /// [`EngineError::Text`] if the template does not parse.
    pub fn new_chat(&self, options: RenderOptions) -> Result<Chat, EngineError> {
        let template = match &self.template {
            Some(template) => parsed(&template.parsed, &template.source, self.tokenizer())?,
            None => parsed(&self.plain, PLAIN_TEMPLATE, self.tokenizer())?,
        };
        let chat = Chat::with_template(template, options).with_reasoning(self.reasoning());
        Ok(chat.with_parse_special(self.parse_special))
    }

    /// Starts a conversation with messages.
    ///
    /// # Errors
    /// As [`LoadedModel::new_chat`].
    pub fn chat_of(&self, messages: &[Message], options: RenderOptions) -> Result<Chat, EngineError> {
        let mut chat = self.new_chat(options)?;
        messages.iter().for_each(|message| chat.push(message.clone()));
        Ok(chat)
    }

    /// Returns the request for the continuation of a text without a chat template.
    ///
    /// # Errors
    /// [`EngineError::Text`].
    pub fn continuation(&self, text: &str, how: &Generation) -> Result<Request, EngineError> {
        let (prompt, continues) = raw_prompt(self.tokenizer(), text)?;
        Ok(Request::new(prompt, Generation { continues, ..how.clone() }))
    }

    /// Asks a question in a conversation, and adds the question and its answer to it.
    ///
    /// # Errors
    /// As [`Driver::complete`], or a template that rejects the conversation. The conversation is not changed then.
    pub async fn ask(
        &mut self,
        chat: &mut Chat,
        text: &str,
        how: &Generation,
        cancel: &Cancel,
        clock: Clock<'_>,
        on_update: OnUpdate<'_>,
    ) -> Result<Completion, EngineError> {
        let request = chat.ask(text, self.driver.tokenizer(), self.driver.context(), how)?.with_cancel(cancel);
        let done = self.driver.complete(request, clock, on_update).await;
        match &done {
            Ok(completion) => chat.add_answer(completion),
            Err(_) => chat.withdraw(),
        }
        done
    }
}
