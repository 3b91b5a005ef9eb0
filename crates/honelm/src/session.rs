//! A loaded model with its tokenizer, chat template, end tokens and sampling settings.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use honelm_backend::{CacheSpec, block_on};
use honelm_engine::{
    Cancel, Chat, ChatAsk, DriverOptions, EmbeddingSettings, Generation, LoadedModel, OnUpdate, Request,
    sampling_defaults,
};
use honelm_formats::hub_cache::snapshot_name;
use honelm_formats::{FileStamp, FileWatch};
use honelm_grammar::Constraint;
use honelm_model::{Facts, Runner};
use honelm_text::{Message, Reasoning, Tokenizer};

use crate::device::load;
use crate::draft::open_draft;
use crate::open::{digest_of, folder_of, open, open_quietly, tokenizer_of};
use crate::prompt::{now, template_source};
use crate::prompt_cache::{self, Identity};
use crate::{Answer, Conversation, Error, Events, RunOptions};

/// A loaded model, ready to answer.
///
/// ```no_run
/// use honelm::{Cancel, Message, Model, RunOptions};
///
/// # fn main() -> Result<(), honelm::Error> {
/// let path = honelm::locate(None, None)?; // the shipped model; any folder or GGUF file will do
/// let mut model = Model::open(&path, &RunOptions::default(), &mut |_| true)?;
/// let question = [Message::new("user", "Tell me a story.")];
/// let settings = model.generation();
/// let answer = model.chat(&question, &settings, &Cancel::new(), &mut |update| print!("{}", update.text()))?;
/// println!("\n{} tokens", answer.completion_tokens);
/// # Ok(())
/// # }
/// ```
pub struct Model {
    pub(crate) loaded: LoadedModel,
    facts: Facts,
    pub(crate) embedding: Option<EmbeddingSettings>,
    device: String,
    load_seconds: f64,
    path: PathBuf,
    run: RunOptions,
    spec: CacheSpec,
    /// The model's files as they were when they were opened; `None` if they were replaced while they were read.
    stamps: Option<Vec<FileStamp>>,
    /// A digest of them, once it was needed.
    digest: Option<String>,
    /// The files that weights are still read from.
    watch: FileWatch,
}

impl Model {
    /// Opens a folder or a GGUF file and loads its weights.
    ///
    /// # Errors
    /// An invalid file, a device that fails, [`Error::Interrupted`] if `events` returns `false`.
    pub fn open(path: &Path, run: &RunOptions, events: Events<'_>) -> Result<Self, Error> {
        Self::open_with(path, run, &DriverOptions::default(), events)
    }

    /// As [`Model::open`], with the limits of a driver for several answers at a time.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_with(path: &Path, run: &RunOptions, driver: &DriverOptions, events: Events<'_>) -> Result<Self, Error> {
        let begin = Instant::now();
        run.check_draft()?;
        let checkpoint = open(path, run, &mut *events)?;
        let tokenizer = tokenizer_of(&checkpoint)?;
        let settings = if path.is_file() { path.to_owned() } else { path.join("generation_config.json") };
        let generation = sampling_defaults(&settings.display().to_string(), checkpoint.generation_config())?;
        let runner = load(&checkpoint, run, &mut *events)?;
        checkpoint.check_unchanged()?;
        let stamps = checkpoint.files().iter().map(|file| FileStamp::of(file).ok()).collect();
        let stamps: Option<Vec<_>> = if checkpoint.check_files().is_ok() { stamps } else { None };
        let device = runner.describe();
        let draft = match &run.draft {
            Some(draft) => Some(open_draft(draft, &runner, run, &mut *events)?),
            None => None,
        };
        let options = DriverOptions { speculate: run.speculate, ..driver.clone() };
        let mut loaded = LoadedModel::new(Box::new(runner), tokenizer, generation, options);
        if let Some((model, tokenizer)) = draft {
            loaded.driver().set_draft(Box::new(model), Rc::new(tokenizer))?;
        }
        Ok(Self {
            watch: checkpoint.watch(),
            facts: checkpoint.facts().clone(),
            embedding: checkpoint.embedding(),
            loaded: loaded.with_parse_special(run.parse_special),
            device,
            path: path.to_owned(),
            run: run.clone(),
            spec: checkpoint.cache_spec(run.cache_type),
            stamps,
            digest: None,
            load_seconds: begin.elapsed().as_secs_f64(),
        })
    }

    /// Returns the path that the model was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what answers are made with, for servers that step several at a time.
    pub fn loaded_mut(&mut self) -> &mut LoadedModel {
        &mut self.loaded
    }

    /// Returns the facts about the model.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        self.loaded.tokenizer()
    }

    /// Returns the source of the chat template, if there is one.
    #[must_use]
    pub fn chat_template(&self) -> Option<&str> {
        self.loaded.chat_template()
    }

    /// Sets another chat template: one of the model's own by name, or a file.
    ///
    /// # Errors
    /// A template that does not exist or does not parse.
    pub fn set_template(&mut self, wanted: &str) -> Result<(), Error> {
        let source = template_source(self.loaded.tokenizer(), Some(wanted), false)?;
        Ok(self.loaded.set_template(source)?)
    }

    /// Returns the tags around the model's thinking, if it has any.
    #[must_use]
    pub fn reasoning(&self) -> Option<Reasoning> {
        self.loaded.reasoning()
    }

    /// Starts a conversation in the model's template, with these messages. Templates see the present time.
    fn chat_of(&self, messages: &[Message], mut ask: ChatAsk) -> Result<Chat, Error> {
        ask.options.clock.get_or_insert_with(now);
        Ok(self.loaded.chat_of(messages, ask)?)
    }

    /// Returns the largest number of tokens of prompt and answer together.
    #[must_use]
    pub fn context(&self) -> usize {
        self.loaded.context()
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

    /// Returns the runner, for measurements. The cached tokens of conversations are removed.
    ///
    /// # Errors
    /// A device that fails.
    pub fn runner(&mut self) -> Result<&mut dyn Runner, Error> {
        Ok(self.loaded.driver().runner()?)
    }

    /// Restores the cached prompts of a file that [`Model::save_prompts`] wrote, if it exists. Prompts that begin with the same
    /// tokens are then not computed again, and the answers have the same bits. Reads the model's files once, to tell that the
    /// prompts are of this model. Returns the number of prompts.
    ///
    /// # Errors
    /// A file that is something else, damaged, of another version, of another model or of other settings.
    pub fn restore_prompts(&mut self, file: &Path) -> Result<usize, Error> {
        prompt_cache::check_output(file)?;
        let identity = self.identity()?;
        let spec = self.spec.clone();
        prompt_cache::restore(file, self.loaded.driver(), &identity, &spec)
    }

    /// Writes the cached prompts to a file, replacing an earlier one.
    ///
    /// # Errors
    /// A path that is something else, I/O errors, a device that cannot export its cache.
    pub fn save_prompts(&mut self, file: &Path) -> Result<(), Error> {
        let identity = self.identity()?;
        let layers = self.spec.layers.len();
        prompt_cache::save(file, self.loaded.driver(), &identity, layers)
    }

    /// Returns what decides the bits of cached prompts.
    fn identity(&mut self) -> Result<Identity, Error> {
        let digest = match &self.digest {
            Some(digest) => digest.clone(),
            None => {
                let digest = digest_of(&open_quietly(&self.path, &self.run)?)?;
                // The files were read again by their paths, so they must still be the ones that were loaded.
                let Some(stamps) = &self.stamps else {
                    let problem = "the model's files were replaced while it was loaded; cached prompts cannot be told to be its own";
                    return Err(Error::Usage(problem.to_owned()));
                };
                stamps.iter().try_for_each(FileStamp::check)?;
                self.digest.insert(digest).clone()
            }
        };
        let (context, arithmetic) = (self.context(), self.loaded.driver().arithmetic());
        Ok(Identity::new(digest, arithmetic, self.run.cache_type, context))
    }

    /// Checks that no file that weights are still read from has changed since the model was opened.
    ///
    /// # Errors
    /// The change.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        Ok(self.watch.check()?)
    }

    /// Returns the default settings: the sampling of the model's `generation_config.json`, or the library's.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.loaded.generation().clone()
    }

    /// Starts a conversation.
    ///
    /// # Errors
    /// A chat template that does not parse.
    pub fn conversation(&mut self) -> Result<Conversation<'_>, Error> {
        self.conversation_with(ChatAsk::default())
    }

    /// Starts a conversation whose answers have the tools, the constraint and the template's variables of `ask`.
    ///
    /// # Errors
    /// A chat template that does not parse.
    pub fn conversation_with(&mut self, ask: ChatAsk) -> Result<Conversation<'_>, Error> {
        Ok(Conversation { chat: self.chat_of(&[], ask)?, model: self })
    }

    /// Returns the tokens of a conversation and of the beginning of an answer, as the chat template renders them. For a
    /// model without a template, these are the texts of the messages, one per line.
    ///
    /// # Errors
    /// A chat template that does not parse, or that rejects the conversation.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        Ok(self.chat_of(messages, ChatAsk::default())?.prompt(self.tokenizer())?)
    }

    /// Answers a conversation, whose last message is usually the user's. The tokens that it shares with the previous
    /// conversation are not computed again. `on_update` receives the text as it becomes final, and `cancel` ends the answer.
    ///
    /// # Errors
    /// A chat template that does not parse or that rejects the conversation, a conversation longer than the context, a
    /// device that fails.
    pub fn chat(
        &mut self,
        messages: &[Message],
        settings: &Generation,
        cancel: &Cancel,
        on_update: OnUpdate<'_>,
    ) -> Result<Answer, Error> {
        self.chat_with(messages, settings.clone().into(), cancel, on_update)
    }

    /// Answers a conversation with tools that the model may call, or so that the answer matches a constraint; otherwise like
    /// [`Model::chat`].
    ///
    /// ```no_run
    /// use honelm::{Cancel, ChatAsk, Constraint, Message, Model, RunOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut model = Model::open(&honelm::locate(None, None)?, &RunOptions::default(), &mut |_| true)?;
    /// let schema = r#"{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}"#;
    /// let constraint = Some(Constraint::JsonSchema(serde_json::from_str(schema)?));
    /// let ask = ChatAsk { constraint, how: model.generation(), ..ChatAsk::default() };
    /// let answer = model.chat_with(&[Message::new("user", "Who are you?")], ask, &Cancel::new(), &mut |_| ())?;
    /// println!("{}", answer.text);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Model::chat`]; a constraint, or a schema of tools, that cannot be compiled; a choice of a tool that does not
    /// exist.
    pub fn chat_with(
        &mut self,
        messages: &[Message],
        ask: ChatAsk,
        cancel: &Cancel,
        on_update: OnUpdate<'_>,
    ) -> Result<Answer, Error> {
        let request = self.loaded.request(&self.chat_of(messages, ask)?)?;
        self.answer(request.with_cancel(cancel), on_update)
    }

    /// Continues a sequence of tokens. `on_update` receives the text as it becomes final, and `cancel` ends the answer.
    ///
    /// # Errors
    /// No tokens, or more than the context holds; a setting out of range; a device that fails; a model file that has
    /// changed since it was opened, if weights are still read from it.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        settings: &Generation,
        cancel: &Cancel,
        on_update: OnUpdate<'_>,
    ) -> Result<Answer, Error> {
        self.answer(Request::new(prompt.to_vec(), settings.clone()).with_cancel(cancel), on_update)
    }

    /// Continues a text without a chat template. An empty text starts from BOS alone. The texts of special tokens
    /// become these tokens.
    ///
    /// # Errors
    /// A text longer than the context, a device that fails.
    pub fn complete(
        &mut self,
        text: &str,
        settings: &Generation,
        cancel: &Cancel,
        on_update: OnUpdate<'_>,
    ) -> Result<Answer, Error> {
        self.complete_with(text, settings, None, cancel, on_update)
    }

    /// Continues a text without a chat template so that the continuation matches a constraint; otherwise like
    /// [`Model::complete`].
    ///
    /// # Errors
    /// As [`Model::complete`], and a constraint that cannot be compiled.
    pub fn complete_with(
        &mut self,
        text: &str,
        settings: &Generation,
        constraint: Option<&Constraint>,
        cancel: &Cancel,
        on_update: OnUpdate<'_>,
    ) -> Result<Answer, Error> {
        let request = self.loaded.continuation(text, settings, constraint)?;
        self.answer(request.with_cancel(cancel), on_update)
    }

    fn answer(&mut self, request: Request, on_update: OnUpdate<'_>) -> Result<Answer, Error> {
        let begin = Instant::now();
        let clock = || begin.elapsed().as_secs_f64();
        let completion = block_on(self.loaded.driver().complete(request, &clock, on_update))?;
        self.check_unchanged()?;
        Ok(completion.into())
    }
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
