use std::rc::Rc;
use std::sync::Arc;

use honelm_text::answer::{AnswerParser, CallForm, Tool, ToolChoice};
use honelm_text::{ChatTemplate, EncodeOptions, Message, Reasoning, RenderOptions, Rendered, TextError, Tokenizer};

use crate::constraint::Wanted;
use crate::template::Template;
use crate::{ChatAsk, Completion, EngineError, Generation, Overflow, Request};

/// A conversation, from which prompts are made.
pub struct Chat {
    template: Rc<ChatTemplate>,
    reasoning: Option<Reasoning>,
    form: CallForm,
    ask: ChatAsk,
    tools: Arc<[Tool]>,
    messages: Vec<Message>,
    parse_special: bool,
}

impl Chat {
    /// Creates an empty conversation with the model's own template.
    ///
    /// # Errors
    /// [`EngineError::NoChatTemplate`] if there is none, [`EngineError::Text`] if it cannot be parsed.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let source = tokenizer.chat_template().ok_or(EngineError::NoChatTemplate)?;
        Self::of(&Template::new(source.to_owned(), tokenizer), ChatAsk::default(), tokenizer)
    }

    /// Creates an empty conversation with a template.
    pub(crate) fn of(template: &Template, ask: ChatAsk, tokenizer: &Tokenizer) -> Result<Self, EngineError> {
        let chat = Self::with_template(template.parsed(tokenizer)?, ask);
        Ok(Self { form: template.form, ..chat.with_reasoning(template.reasoning) })
    }

    /// Creates an empty conversation with any template. Tools are described in the general form.
    #[must_use]
    pub fn with_template(template: Rc<ChatTemplate>, mut ask: ChatAsk) -> Self {
        ask.options.add_generation_prompt = true;
        let tools = ask.tools.clone().into();
        let (messages, form) = (Vec::new(), CallForm::find(""));
        Self { template, reasoning: None, form, ask, tools, messages, parse_special: false }
    }

    /// Sets the tags of the model's reasoning, which is separated from the answers and passed to the template as
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
        self.ask.options.extra.insert(name.to_owned(), value);
    }

    /// Sets the settings for generating the next answers.
    pub fn set_generation(&mut self, how: &Generation) {
        self.ask.how.clone_from(how);
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

    /// Removes the last message, a question that got no answer.
    pub fn withdraw(&mut self) {
        self.messages.pop();
    }

    /// Adds an answer; a cancelled one as far as it was generated.
    pub fn add_answer(&mut self, done: &Completion) {
        let mut message = Message::new("assistant", done.answer.as_str());
        if let Some(reasoning) = &done.reasoning {
            message.extra.insert("reasoning_content".to_owned(), reasoning.as_str().into());
        }
        if !done.calls.is_empty() {
            message.extra.insert("tool_calls".to_owned(), done.calls.iter().map(|call| call.to_value()).collect());
        }
        self.messages.push(message);
    }

    /// Returns the tokens of the conversation and of the beginning of an answer, as the template writes them, including
    /// BOS.
    ///
    /// # Errors
    /// [`EngineError::Text`] if the template rejects the conversation.
    pub fn prompt(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, EngineError> {
        self.prompt_of(&self.messages, tokenizer)
    }

    /// Returns the tokens of other messages and of the beginning of an answer, in this conversation's template.
    ///
    /// # Errors
    /// [`EngineError::Text`] if the template rejects the messages.
    pub fn prompt_of(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Vec<u32>, EngineError> {
        self.tokens(&self.render(messages)?, tokenizer)
    }

    fn tokens(&self, rendered: &Rendered, tokenizer: &Tokenizer) -> Result<Vec<u32>, EngineError> {
        Ok(rendered_ids(tokenizer, rendered, self.parse_special)?)
    }

    /// Renders the conversation without the oldest `dropped` messages after the system message.
    fn rendered(&self, dropped: usize) -> Result<Rendered, EngineError> {
        let start = self.start();
        self.render(&[&self.messages[..start], &self.messages[start + dropped..]].concat())
    }

    /// Renders messages, and the beginning of the answer if it exists already.
    fn render(&self, messages: &[Message]) -> Result<Rendered, EngineError> {
        let mut rendered = self.render_messages(messages)?;
        if let Some(begun) = &self.ask.begun {
            if let Some(tags) = self.reasoning.filter(|tags| has_begun(tags, &rendered)) {
                rendered.text.push_str(tags.close);
                rendered.text.push_str("\n\n");
            }
            let start = rendered.text.len();
            rendered.text.push_str(begun);
            rendered.outside.push(start..rendered.text.len());
        }
        Ok(rendered)
    }

    fn render_messages(&self, messages: &[Message]) -> Result<Rendered, EngineError> {
        if self.tools.is_empty() {
            return Ok(self.template.render(messages, &self.ask.options)?);
        }
        if let Some(messages) = self.form.messages(&self.tools, messages) {
            return Ok(match self.template.render(&messages, &self.ask.options) {
                // Some templates refuse system messages.
                Err(TextError::TemplateRaised { .. }) => {
                    self.template.render(&without_system(messages), &self.ask.options)?
                }
                rendered => rendered?,
            });
        }
        let tools = self.tools.iter().map(Tool::to_value).collect();
        let options = RenderOptions { tools: Some(tools), ..self.ask.options.clone() };
        Ok(self.template.render(messages, &options)?)
    }

    /// Returns the index of the first message after the system message.
    fn start(&self) -> usize {
        self.messages.iter().take_while(|m| m.role == "system").count()
    }

    /// Returns the prompt of the newest messages, beginning with a question, that leaves `room` tokens for the answer.
    fn fitting_prompt(
        &self,
        tokenizer: &Tokenizer,
        context: usize,
        room: usize,
    ) -> Result<(Rendered, Vec<u32>), EngineError> {
        let mut rendered = self.rendered(0)?;
        let mut prompt = self.tokens(&rendered, tokenizer)?;
        let rest = &self.messages[self.start()..];
        let questions = (1..rest.len()).filter(|&i| rest[i].role == "user");
        for dropped in questions {
            if prompt.len() + room <= context {
                break;
            }
            rendered = self.rendered(dropped)?;
            prompt = self.tokens(&rendered, tokenizer)?;
        }
        Ok((rendered, prompt))
    }

    /// Returns the request for an answer to the conversation so far, without its grammar, and what that is compiled from. With
    /// [`Overflow::Shift`], the oldest exchanges are left out of the prompt when the context of `context` tokens is nearly
    /// full.
    pub(crate) fn request(&self, tokenizer: &Tokenizer, context: usize) -> Result<(Request, Wanted), EngineError> {
        let how = &self.ask.how;
        let room = match how.overflow {
            // An answer that does not fit is refused, not shortened.
            Overflow::Stop => None,
            Overflow::Shift { .. } => Some(how.max_tokens.min(context / 4)),
        };
        let (rendered, prompt) = match room {
            Some(room) => self.fitting_prompt(tokenizer, context, room)?,
            None => {
                let rendered = self.rendered(0)?;
                let prompt = self.tokens(&rendered, tokenizer)?;
                (rendered, prompt)
            }
        };
        // An answer that has begun has no more reasoning.
        let reasoning = self.reasoning.filter(|_| self.ask.begun.is_none());
        let reasoning = reasoning.map(|tags| (tags, has_begun(&tags, &rendered)));
        let calls = !self.tools.is_empty() || self.ask.choice != ToolChoice::Auto;
        let wanted = Wanted {
            constraint: self.ask.constraint.clone(),
            form: calls.then_some(self.form),
            tools: Arc::clone(&self.tools),
            choice: self.ask.choice.clone(),
            parallel: self.ask.parallel,
            reasoning,
        };
        let how = Generation { continues: how.continues || self.ask.begun.is_some(), ..how.clone() };
        let request = Request::new(prompt, how).with_parser(self.parser(reasoning));
        // A forced call that is repeated is no decision of the model.
        let unique_calls = self.ask.parallel && self.ask.choice != ToolChoice::Auto;
        Ok((Request { unique_calls, ..request }, wanted))
    }

    /// Returns the beginning of the answer, if it exists already.
    pub(crate) fn begun(&self) -> Option<&str> {
        self.ask.begun.as_deref()
    }

    /// Returns the parser of the next answer.
    fn parser(&self, reasoning: Option<(Reasoning, bool)>) -> Option<AnswerParser> {
        if reasoning.is_none() && self.tools.is_empty() {
            return None;
        }
        // Calls of one conversation have different ids.
        let Generation { seed, stream, .. } = self.ask.how;
        let seed = seed ^ stream.rotate_left(16) ^ (self.messages.len() as u64).rotate_left(40);
        let parser = AnswerParser::new(reasoning.map(|r| r.0), Some(self.form), Arc::clone(&self.tools), seed);
        Some(if reasoning.is_some_and(|(_, begun)| begun) { parser.in_reasoning() } else { parser })
    }
}

/// Returns the tokens of a rendered conversation. Texts of special tokens that come from messages become those tokens only
/// with `parse_special`.
///
/// # Errors
/// [`TextError::Encode`].
pub fn rendered_ids(tokenizer: &Tokenizer, rendered: &Rendered, parse_special: bool) -> Result<Vec<u32>, TextError> {
    let outside = if parse_special { &[][..] } else { &rendered.outside };
    tokenizer.encode_marked(&rendered.text, outside, EncodeOptions { add_special: false, parse_special: true })
}

/// Moves the text of the system message to the beginning of the first question.
fn without_system(mut messages: Vec<Message>) -> Vec<Message> {
    let Some(question) = messages.iter().position(|message| message.role == "user") else { return messages };
    let system: Vec<Message> = messages.extract_if(..question, |message| message.role == "system").collect();
    let (texts, at) = (system.iter().filter_map(|message| message.content.as_str()), question - system.len());
    let question = &mut messages[at].content;
    let parts: Vec<&str> = texts.chain(question.as_str()).collect();
    *question = parts.join("\n\n").into();
    messages
}

/// Returns `true` if the template ends the prompt with the opening tag of the reasoning. A tag at the end of a message does
/// not count.
fn has_begun(tags: &Reasoning, prompt: &Rendered) -> bool {
    let end = prompt.text.trim_end().len();
    let is_outside = prompt.outside.iter().any(|range| range.start < end && end <= range.end);
    tags.begun(&prompt.text) && !is_outside
}
