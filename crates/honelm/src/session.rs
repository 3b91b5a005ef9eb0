//! A loaded model with its tokenizer, chat template, end tokens and sampling settings.

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

use crate::device::load;
use crate::open::{folder_of, open, tokenizer_of};
use crate::prompt::{now, template_source};
use crate::{Error, Events, RunOptions};

/// A loaded model, ready to answer.
///
/// ```no_run
/// use honelm::{Message, Model, RunOptions};
///
/// # fn main() -> Result<(), honelm::Error> {
/// let path = honelm::locate(None, None)?; // the shipped model; any folder or GGUF file will do
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
    /// The source of the chat template, if there is one.
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

/// The answer of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The text, without end tokens and stop texts.
    pub text: String,
    /// The model's thinking before the answer, if it was separated from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The tokens, without the end token.
    pub token_ids: Vec<u32>,
    /// The reason why the answer ended.
    #[serde(serialize_with = "name_of")]
    pub finish_reason: FinishReason,
    /// The number of tokens of the prompt.
    pub prompt_tokens: usize,
    /// The number of those tokens that were in the cache already.
    pub cached_tokens: usize,
    /// The number of tokens of the answer, without the end token.
    pub completion_tokens: usize,
    /// The prompt tokens read per second; `None` if all were in the cache.
    pub prefill_tokens_per_second: Option<f64>,
    /// The tokens written per second after the first; `None` for fewer than two.
    pub decode_tokens_per_second: Option<f64>,
    /// The time from the call to the first token in seconds; `None` if no token was written.
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

/// Receives the text of an answer as it becomes final, in whole characters. A return value of `false` stops the answer.
/// The text is empty while the prompt is read and when a token completes no character.
pub type OnText<'a> = &'a mut dyn FnMut(&str) -> bool;

/// Receives a model's thinking and its answer as they become final. A return value of `false` stops the answer. The
/// piece is an empty answer while the prompt is read and when a token completes no character.
pub type OnPiece<'a> = &'a mut dyn FnMut(&Piece) -> bool;

impl Model {
    /// Opens a folder or a GGUF file and loads its weights.
    ///
    /// # Errors
    /// An invalid file, a device that fails, [`Error::Interrupted`] if `events` returns `false`.
    pub fn open(path: &Path, run: &RunOptions, events: Events<'_>) -> Result<Self, Error> {
        let begin = Instant::now();
        let checkpoint = open(path, run, &mut *events)?;
        let tokenizer = tokenizer_of(&checkpoint)?;
        // Parsed when a conversation begins, because a model with a broken template can still continue a text.
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

    /// Returns the facts about the model.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns the source of the chat template, if there is one.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        self.template.as_deref()
    }

    /// Sets another chat template: one of the model's own by name, or a file.
    ///
    /// # Errors
    /// A template that does not exist or does not parse.
    pub fn set_template(&mut self, wanted: &str) -> Result<(), Error> {
        let source = template_source(&self.tokenizer, Some(wanted), false)?;
        parsed(Some(&source), &self.tokenizer)?;
        self.template = Some(source);
        Ok(())
    }

    /// Returns the tags around the model's thinking, if it has any.
    #[must_use]
    pub fn reasoning(&self) -> Option<Reasoning> {
        Reasoning::find(self.template.as_deref()?, &self.tokenizer)
    }

    /// Starts a conversation in the model's template.
    fn new_chat(&self) -> Result<Chat, Error> {
        let options = RenderOptions { clock: Some(now()), ..RenderOptions::default() };
        let template = parsed(self.template.as_deref(), &self.tokenizer)?;
        let chat = Chat::with_template(template, options).with_reasoning(self.reasoning());
        Ok(chat.with_parse_special(self.parse_special))
    }

    /// Returns the largest number of tokens of prompt and answer together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.session.context()
    }

    /// Returns the name of the back end and its kernels.
    #[must_use]
    pub fn describe(&self) -> &str {
        &self.device
    }

    /// Returns the time that it took to open and load the model, in seconds.
    #[must_use]
    pub fn load_seconds(&self) -> f64 {
        self.load_seconds
    }

    /// Returns the runner, for measurements.
    pub fn runner(&mut self) -> &mut dyn Runner {
        self.session.runner()
    }

    /// Checks that no file that weights are still read from has changed since the model was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), Error> {
        Ok(self.watch.check()?)
    }

    /// Returns the default settings: the sampling of the model's `generation_config.json`, or the library's.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation.clone()
    }

    /// Starts a conversation.
    ///
    /// # Errors
    /// A chat template that does not parse.
    pub fn conversation(&mut self) -> Result<Conversation<'_>, Error> {
        Ok(Conversation { chat: self.new_chat()?, model: self })
    }

    /// Returns the tokens of a conversation and of the beginning of an answer, as the chat template renders them. For a
    /// model without a template, these are the texts of the messages, one per line.
    ///
    /// # Errors
    /// A chat template that does not parse, or that rejects the conversation.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let mut chat = self.new_chat()?;
        messages.iter().for_each(|message| chat.push(message.clone()));
        Ok(chat.prompt(&self.tokenizer)?)
    }

    /// Answers a conversation, whose last message is usually the user's. The tokens that it shares with the previous
    /// conversation are not computed again.
    ///
    /// # Errors
    /// A chat template that does not parse or that rejects the conversation, a conversation longer than the context, a
    /// device that fails.
    pub fn chat(&mut self, messages: &[Message], settings: &Generation, on_text: OnText<'_>) -> Result<Answer, Error> {
        let prompt = self.prompt(messages)?;
        self.generate(&prompt, settings, on_text)
    }

    /// Continues a sequence of tokens.
    ///
    /// # Errors
    /// No tokens, or more than the context holds; a setting out of range; a device that fails; a model file that has
    /// changed since it was opened, if weights are still read from it.
    pub fn generate(&mut self, prompt: &[u32], settings: &Generation, on_text: OnText<'_>) -> Result<Answer, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let tell = &mut |update: Update<'_>| told(&update, on_text);
        let completion = self.session.generate(&self.tokenizer, prompt, settings, &clock, tell)?;
        self.check_unchanged()?;
        Ok(completion.into())
    }

    /// Continues a text without a chat template. An empty text starts from BOS alone. The texts of special tokens
    /// become these tokens.
    ///
    /// # Errors
    /// A text longer than the context, a device that fails.
    pub fn complete(&mut self, text: &str, settings: &Generation, on_text: OnText<'_>) -> Result<Answer, Error> {
        let (prompt, continues) = raw_prompt(&self.tokenizer, text)?;
        self.generate(&prompt, &Generation { continues, ..settings.clone() }, on_text)
    }
}

/// Parses a chat template, or the plain one if there is none.
fn parsed(source: Option<&str>, tokenizer: &Tokenizer) -> Result<ChatTemplate, Error> {
    Ok(ChatTemplate::new(source.unwrap_or(PLAIN_TEMPLATE), tokenizer.special_tokens())?)
}

/// A conversation with a model.
pub struct Conversation<'a> {
    chat: Chat,
    model: &'a mut Model,
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

    /// Returns the tokens of the conversation and of the beginning of an answer.
    ///
    /// # Errors
    /// A conversation that the template rejects.
    pub fn prompt(&self) -> Result<Vec<u32>, Error> {
        Ok(self.chat.prompt(&self.model.tokenizer)?)
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
            self.model.prompt(&messages)
        };
        let (a, b) = (begun("1")?, begun("A")?);
        let keep = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        Ok(Overflow::Shift { keep: keep.min(self.model.context() / 2) })
    }

    /// Asks `text` and adds the question and the answer to the conversation. A stopped answer is added as far as it was
    /// written. With [`Overflow::Shift`], the oldest turns are left out when the context is nearly full.
    ///
    /// # Errors
    /// As [`Model::chat`]. The conversation is then unchanged, unless a model file has changed: every further answer of
    /// this model is then an error.
    pub fn ask(&mut self, text: &str, settings: &Generation, on_text: OnText<'_>) -> Result<Answer, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let Model { session, tokenizer, .. } = &mut *self.model;
        let tell = &mut |update: Update<'_>| told(&update, on_text);
        let completion = self.chat.ask(text, session, tokenizer, settings, &clock, tell)?;
        self.model.check_unchanged()?;
        Ok(completion.into())
    }

    /// As [`Conversation::ask`], but separates the model's thinking from its answer. [`Answer::text`] is without the
    /// thinking.
    ///
    /// # Errors
    /// As [`Conversation::ask`].
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

/// Passes the text of an update to the caller, and the caller's decision back.
fn told(update: &Update<'_>, on_text: OnText<'_>) -> ControlFlow<()> {
    let text = match update {
        Update::Token { text, .. } | Update::Rest(text) => text,
        Update::Prefill { .. } => "",
    };
    if on_text(text) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Returns a model's name from its path: the name of the folder, or of the file without its extension. A folder in the
/// Hugging Face cache, whose own name is a commit, has the name of its repository.
#[must_use]
pub fn model_name(path: &Path) -> String {
    let of_folder = |folder: &Path| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let own = folder.file_name().map(|n| n.to_string_lossy().into_owned());
        snapshot_name(&folder).map(str::to_owned).or(own)
    };
    let name = match folder_of(path) {
        _ if path.is_dir() => of_folder(path),
        Some(folder) => of_folder(folder),
        // Not through links: in the Hugging Face cache they lead to blobs, whose names are digests.
        None => path.file_stem().map(|n| n.to_string_lossy().into_owned()),
    };
    name.unwrap_or_else(|| "model".to_owned())
}
