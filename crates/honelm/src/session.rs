//! A model that answers: weights, tokenizer, chat template, end tokens and sampling settings in one.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use honelm_engine::{
    Chat, Completion, FinishReason, Generation, Overflow, PLAIN_TEMPLATE, Session, Update, raw_prompt,
    sampling_defaults,
};
use honelm_formats::FileWatch;
use honelm_formats::hub_cache::snapshot_name;
use honelm_model::{Facts, Runner};
use honelm_text::{ChatTemplate, Message, Piece, Reasoning, RenderOptions, Tokenizer};
use serde::{Serialize, Serializer};

use crate::open::{load, open, tokenizer_of};
use crate::prompt::{now, template_source};
use crate::{Error, Events, RunOptions};

/// A loaded model, ready to answer.
///
/// ```no_run
/// use honelm::{Message, Model, RunOptions};
///
/// # fn main() -> Result<(), honelm::Error> {
/// let path = honelm::locate(None, None)?; // the shipped model; else a folder or a GGUF file
/// let mut model = Model::open(&path, &RunOptions::default(), &mut |_| true)?;
/// let question = [Message::new("user", "Tell me a story.")];
/// let settings = model.generation();
/// let answer = model.chat(&question, &settings, &mut |text| {
///     print!("{text}");
///     true
/// })?;
/// println!("\n{} tokens", answer.completion_tokens);
/// # Ok(())
/// # }
/// ```
pub struct Model {
    tokenizer: Tokenizer,
    /// The source of the chat template, where there is one.
    template: Option<String>,
    generation: Generation,
    session: Session,
    facts: Facts,
    device: String,
    load_seconds: f64,
    parse_special: bool,
    /// The files that weights are still read from.
    watch: FileWatch,
}

/// What a model wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The text, without end tokens and stop texts.
    pub text: String,
    /// The model's thinking before it, where the two were told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Its tokens, without the end token.
    pub token_ids: Vec<u32>,
    /// Why it ended.
    #[serde(serialize_with = "name_of")]
    pub finish_reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that an earlier answer had left in the cache.
    pub cached_tokens: usize,
    /// Tokens of the answer, without the end token.
    pub completion_tokens: usize,
    /// Prompt tokens read a second; `None` where none had to be.
    pub prefill_tokens_per_second: Option<f64>,
    /// Tokens written a second after the first; `None` for fewer than two.
    pub decode_tokens_per_second: Option<f64>,
    /// From the call to the first token; `None` where none was written.
    pub first_token_seconds: Option<f64>,
}

fn name_of<S: Serializer>(reason: &FinishReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.name())
}

impl From<Completion> for Answer {
    fn from(done: Completion) -> Self {
        Self {
            finish_reason: done.finish_reason,
            prompt_tokens: done.prompt_tokens,
            cached_tokens: done.cached_tokens,
            completion_tokens: done.completion_tokens(),
            prefill_tokens_per_second: done.prefill_tokens_per_second(),
            decode_tokens_per_second: done.decode_tokens_per_second(),
            first_token_seconds: (done.first_token_seconds > 0.0).then_some(done.first_token_seconds),
            text: done.text,
            reasoning_content: None,
            token_ids: done.token_ids,
        }
    }
}

/// Receives the text of an answer as it becomes final, whole characters at a time; returns false to stop the answer. It
/// is called with an empty text where there is none yet.
pub type OnText<'a> = &'a mut dyn FnMut(&str) -> bool;

/// Receives a model's thinking and its answer as they become final; returns false to stop. It is called with an empty
/// answer where there is nothing yet.
pub type OnPiece<'a> = &'a mut dyn FnMut(&Piece) -> bool;

impl Model {
    /// Opens a folder or a GGUF file and loads its weights. `events` is told how far it is.
    ///
    /// # Errors
    /// What is wrong with a file, by name; [`Error::Interrupted`] where `events` says so.
    pub fn open(path: &Path, run: &RunOptions, events: Events<'_>) -> Result<Self, Error> {
        let begin = Instant::now();
        let checkpoint = open(path, run, &mut *events)?;
        let tokenizer = tokenizer_of(&checkpoint)?;
        // It is parsed when a conversation begins: a text can be continued, and another template set, where it is broken.
        let template = tokenizer.chat_template().map(str::to_owned);
        let settings = if path.is_file() { path.to_owned() } else { path.join("generation_config.json") };
        let generation = sampling_defaults(&settings.display().to_string(), checkpoint.generation_config())?;
        let runner = load(&checkpoint, run, &mut *events)?;
        checkpoint.check_unchanged()?;
        Ok(Self {
            watch: checkpoint.watch(),
            tokenizer,
            template,
            generation,
            facts: checkpoint.facts().clone(),
            device: runner.describe(),
            session: Session::new(Box::new(runner)),
            load_seconds: begin.elapsed().as_secs_f64(),
            parse_special: run.parse_special,
        })
    }

    /// What the model is.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The source of its chat template, where it has one.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        self.template.as_deref()
    }

    /// Uses another chat template: one of the model's own by name, or a file.
    ///
    /// # Errors
    /// Neither a name nor a file, or a template that does not parse.
    pub fn set_template(&mut self, wanted: &str) -> Result<(), Error> {
        let source = template_source(&self.tokenizer, Some(wanted), false)?;
        parsed(Some(&source), &self.tokenizer)?;
        self.template = Some(source);
        Ok(())
    }

    /// The tags around the model's thinking, where it has such.
    #[must_use]
    pub fn reasoning(&self) -> Option<Reasoning> {
        Reasoning::find(self.template.as_deref()?, &self.tokenizer)
    }

    /// A new conversation in the model's template.
    fn new_chat(&self) -> Result<Chat, Error> {
        let options = RenderOptions { clock: Some(now()), ..RenderOptions::default() };
        let template = parsed(self.template.as_deref(), &self.tokenizer)?;
        let chat = Chat::with_template(template, options).with_reasoning(self.reasoning());
        Ok(chat.with_parse_special(self.parse_special))
    }

    /// Most tokens of prompt and answer together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.session.context()
    }

    /// The back end and its kernel path.
    #[must_use]
    pub fn describe(&self) -> &str {
        &self.device
    }

    /// Seconds that opening and loading took.
    #[must_use]
    pub fn load_seconds(&self) -> f64 {
        self.load_seconds
    }

    /// The runner, for measurements.
    pub fn runner(&mut self) -> &mut dyn Runner {
        self.session.runner()
    }

    /// Checks that no file that weights are still read from has changed since the model was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), Error> {
        Ok(self.watch.check()?)
    }

    /// Settings to begin with: sampling as the model's `generation_config.json` has it, else ours.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation.clone()
    }

    /// A new conversation, which remembers what was said.
    ///
    /// # Errors
    /// A chat template that does not parse.
    pub fn conversation(&mut self) -> Result<Conversation<'_>, Error> {
        Ok(Conversation { chat: self.new_chat()?, model: self })
    }

    /// Tokens of a conversation and of the beginning of an answer: through the chat template; for a model without one, the
    /// messages' texts one below the other.
    ///
    /// # Errors
    /// A chat template that does not parse, or that refuses the conversation.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let mut chat = self.new_chat()?;
        messages.iter().for_each(|message| chat.push(message.clone()));
        Ok(chat.prompt(&self.tokenizer)?)
    }

    /// Answers a conversation, whose last message is usually the user's. What it has in common with the one before is not
    /// computed again.
    ///
    /// # Errors
    /// A chat template that does not parse or that refuses the conversation, one that is longer than the context, and
    /// whatever stops the device.
    pub fn chat(&mut self, messages: &[Message], settings: &Generation, on_text: OnText<'_>) -> Result<Answer, Error> {
        let prompt = self.prompt(messages)?;
        self.generate(&prompt, settings, on_text)
    }

    /// Continues tokens.
    ///
    /// # Errors
    /// No tokens, or more than the context holds; settings out of range; whatever stops the device; a model file that
    /// changed since it was opened, where weights are still read from it.
    pub fn generate(&mut self, prompt: &[u32], settings: &Generation, on_text: OnText<'_>) -> Result<Answer, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let tell = &mut |update: Update<'_>| told(&update, on_text);
        let completion = self.session.generate(&self.tokenizer, prompt, settings, &clock, tell)?;
        self.check_unchanged()?;
        Ok(completion.into())
    }

    /// Continues a text as it stands, without a chat template; an empty text starts from BOS alone. Texts of special
    /// tokens are those tokens.
    ///
    /// # Errors
    /// A text longer than the context, and whatever stops the device.
    pub fn complete(&mut self, text: &str, settings: &Generation, on_text: OnText<'_>) -> Result<Answer, Error> {
        let (prompt, continues) = raw_prompt(&self.tokenizer, text)?;
        self.generate(&prompt, &Generation { continues, ..settings.clone() }, on_text)
    }
}

/// A chat template, or what stands in for it.
fn parsed(source: Option<&str>, tokenizer: &Tokenizer) -> Result<ChatTemplate, Error> {
    Ok(ChatTemplate::new(source.unwrap_or(PLAIN_TEMPLATE), tokenizer.special_tokens())?)
}

/// A conversation with a model.
pub struct Conversation<'a> {
    chat: Chat,
    model: &'a mut Model,
}

impl Conversation<'_> {
    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        self.model
    }

    /// The conversation so far.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        self.chat.messages()
    }

    /// Sets or, with an empty text, removes the system text.
    pub fn set_system(&mut self, text: &str) {
        self.chat.set_system(text);
    }

    /// Forgets everything but the system text.
    pub fn clear(&mut self) {
        self.chat.clear();
    }

    /// Sets a variable of the chat template, for example `enable_thinking`.
    pub fn set_variable(&mut self, name: &str, value: serde_json::Value) {
        self.chat.set_variable(name, value);
    }

    /// Goes on with another conversation.
    pub fn restore(&mut self, messages: &[Message]) {
        self.chat.clear();
        self.chat.set_system("");
        messages.iter().for_each(|message| self.chat.push(message.clone()));
    }

    /// Tokens of the conversation and of the beginning of an answer.
    ///
    /// # Errors
    /// A conversation that the template refuses.
    pub fn prompt(&self) -> Result<Vec<u32>, Error> {
        Ok(self.chat.prompt(&self.model.tokenizer)?)
    }

    /// What to do when the context is full in this conversation: the oldest turns go, system text and BOS stay.
    ///
    /// # Errors
    /// A system text that the template refuses.
    pub fn shift(&self) -> Result<Overflow, Error> {
        // What two conversations of this system text have in common at their start.
        let begun = |question: &str| {
            let mut messages: Vec<Message> =
                self.messages().iter().take_while(|m| m.role == "system").cloned().collect();
            messages.push(Message::new("user", question));
            self.model.prompt(&messages)
        };
        let (a, b) = (begun("1")?, begun("A")?);
        let keep = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        Ok(Overflow::Shift { keep: keep.min(self.model.context() / 2) })
    }

    /// Asks `text`, and adds question and answer to the conversation; a stopped answer counts as far as it came. With
    /// [`Overflow::Shift`] the oldest turns are left out when the context is nearly full.
    ///
    /// # Errors
    /// Those of [`Model::chat`]; the conversation is then as it was, except where a model file has changed, which makes
    /// every further answer of this model an error.
    pub fn ask(&mut self, text: &str, settings: &Generation, on_text: OnText<'_>) -> Result<Answer, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let Model { session, tokenizer, .. } = &mut *self.model;
        let tell = &mut |update: Update<'_>| told(&update, on_text);
        let completion = self.chat.ask(text, session, tokenizer, settings, &clock, tell)?;
        self.model.check_unchanged()?;
        Ok(completion.into())
    }

    /// [`Conversation::ask`] with the model's thinking and its answer told apart; the answer's text is without the
    /// thinking.
    ///
    /// # Errors
    /// The same.
    pub fn ask_in_pieces(&mut self, text: &str, settings: &Generation, on_piece: OnPiece<'_>) -> Result<Answer, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let Model { session, tokenizer, .. } = &mut *self.model;
        let tell =
            &mut |piece: Piece| if on_piece(&piece) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        let reply = self.chat.ask_in_pieces(text, session, tokenizer, settings, &clock, tell)?;
        self.model.check_unchanged()?;
        Ok(Answer { text: reply.answer, reasoning_content: reply.reasoning, ..reply.completion.into() })
    }
}

/// Passes on the text of an update, and the wish to stop.
fn told(update: &Update<'_>, on_text: OnText<'_>) -> ControlFlow<()> {
    let text = match update {
        Update::Token { text, .. } | Update::Rest(text) => text,
        Update::Prefill { .. } => "",
    };
    if on_text(text) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// A model's name from its path: the folder's, or the file's without its ending. A folder in the Hub's cache is named by
/// a commit; its repository's name says more.
#[must_use]
pub fn model_name(path: &Path) -> String {
    let of_folder = |folder: &Path| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let own = folder.file_name().map(|n| n.to_string_lossy().into_owned());
        snapshot_name(&folder).map(str::to_owned).or(own)
    };
    let name = match path.file_name().and_then(|n| n.to_str()) {
        _ if path.is_dir() => of_folder(path),
        Some("config.json" | "model.safetensors" | "model.safetensors.index.json") => path.parent().and_then(of_folder),
        // Not through links: in the Hub's cache they lead to blobs without names.
        _ => path.file_stem().map(|n| n.to_string_lossy().into_owned()),
    };
    name.unwrap_or_else(|| "model".to_owned())
}
