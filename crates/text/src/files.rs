//! The files of a Hugging Face folder that define a tokenizer.

use std::collections::BTreeMap;

/// The file that has a tokenizer's vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerSource {
    /// `tokenizer.json`.
    Json(Vec<u8>),
    /// `tokenizer.model` (SentencePiece's protocol buffer, or tiktoken's list) or `*.tiktoken`.
    Model(Vec<u8>),
    /// `vocab.json` and `merges.txt`.
    VocabAndMerges {
        /// The ids by token.
        vocab: Vec<u8>,
        /// The merge rules, two tokens per line.
        merges: Vec<u8>,
    },
    /// `vocab.txt`: the tokens of a WordPiece model, one per line.
    VocabText(Vec<u8>),
}

impl Default for TokenizerSource {
    fn default() -> Self {
        Self::Json(Vec::new())
    }
}

/// The contents of a model folder's text files. Only `tokenizer` is required.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    /// The vocabulary.
    pub tokenizer: TokenizerSource,
    /// `tokenizer_config.json`: roles, `add_bos_token`, added tokens, chat templates.
    pub tokenizer_config: Option<Vec<u8>>,
    /// `special_tokens_map.json`: roles that `tokenizer_config.json` does not name.
    pub special_tokens_map: Option<Vec<u8>>,
    /// `added_tokens.json`: tokens in addition to the vocabulary. A `tokenizer.json` has its own.
    pub added_tokens: Option<Vec<u8>>,
    /// `chat_template.jinja`, which takes precedence over the template in `tokenizer_config.json`.
    pub chat_template: Option<Vec<u8>>,
    /// `config.json`: `bos_token_id`, `eos_token_id`, `model_type`.
    pub config: Option<Vec<u8>>,
    /// `generation_config.json`: `eos_token_id`.
    pub generation_config: Option<Vec<u8>>,
}

/// The names of the files that define tokenization and the chat template. The vocabularies are in order of preference.
const NAMES: [&str; 12] = [
    "tokenizer.json",
    "tokenizer.model",
    "tiktoken.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];
/// The range of `NAMES` that are vocabularies other than tokenizer.json.
const MODELS: std::ops::Range<usize> = 1..5;

impl TokenizerFiles {
    /// Returns the names of the files that [`TokenizerFiles::of_contents`] takes. The first is `tokenizer.json`; if it
    /// exists, the other vocabularies are not needed. The model's own configuration is not included.
    #[must_use]
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// Returns `true` if a file of [`TokenizerFiles::names`] is a vocabulary or part of one.
    #[must_use]
    pub fn is_vocabulary(name: &str) -> bool {
        NAMES.iter().position(|known| *known == name).is_some_and(|at| at < MODELS.end + 3)
    }

    /// Makes the set of files from their contents by name, for platforms without a file system. Returns `None` if there
    /// is no vocabulary.
    #[must_use]
    pub fn of_contents(mut contents: BTreeMap<&str, Vec<u8>>) -> Option<Self> {
        let mut take = |name: &str| contents.remove(name);
        let tokenizer = if let Some(json) = take(NAMES[0]) {
            TokenizerSource::Json(json)
        } else if let Some(model) = NAMES[MODELS].iter().find_map(|name| take(name)) {
            TokenizerSource::Model(model)
        } else if let Some(vocab) = take("vocab.json") {
            TokenizerSource::VocabAndMerges { vocab, merges: take("merges.txt")? }
        } else {
            TokenizerSource::VocabText(take("vocab.txt")?)
        };
        Some(Self {
            tokenizer,
            tokenizer_config: take("tokenizer_config.json"),
            special_tokens_map: take("special_tokens_map.json"),
            added_tokens: take("added_tokens.json"),
            chat_template: take("chat_template.jinja"),
            config: take("config.json"),
            generation_config: take("generation_config.json"),
        })
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::required;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::io::ErrorKind;
    use std::path::{Path, PathBuf};

    use honelm_formats::{FormatError, read_file};

    use super::{MODELS, NAMES, TokenizerFiles, TokenizerSource};
    use crate::error::{Result, TextError};
    use crate::tokenizer::Tokenizer;

    /// The largest file that is read, in bytes. The largest published vocabularies have about 40 MB.
    const MOST_BYTES: u64 = 256 << 20;

    /// Reads a file that must exist.
    pub(crate) fn required(path: PathBuf) -> Result<Vec<u8>> {
        read_file(&path, MOST_BYTES).map_err(|error| match error {
            FormatError::Io { source, .. } => TextError::Io { path, source },
            other => other.into(),
        })
    }

    /// Reads a file if it exists.
    fn optional(dir: &Path, name: &str) -> Result<Option<Vec<u8>>> {
        match required(dir.join(name)) {
            Err(TextError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Returns the only file of a folder with an extension. Several such files are an error.
    fn only_with_extension(dir: &Path, extension: &str) -> Result<Option<PathBuf>> {
        let io = |source| TextError::Io { path: dir.to_owned(), source };
        let mut found = None;
        for entry in std::fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|e| e == extension) && found.replace(path).is_some() {
                return Ok(None);
            }
        }
        Ok(found)
    }

    impl TokenizerSource {
        /// Reads the vocabulary of a folder, in order of preference.
        fn of_folder(dir: &Path) -> Result<Self> {
            if let Some(json) = optional(dir, "tokenizer.json")? {
                return Ok(Self::Json(json));
            }
            for name in &NAMES[MODELS] {
                if let Some(model) = optional(dir, name)? {
                    return Ok(Self::Model(model));
                }
            }
            if let Some(vocab) = optional(dir, "vocab.json")? {
                return Ok(Self::VocabAndMerges { vocab, merges: required(dir.join("merges.txt"))? });
            }
            if let Some(vocab) = optional(dir, "vocab.txt")? {
                return Ok(Self::VocabText(vocab));
            }
            match only_with_extension(dir, "tiktoken")? {
                Some(path) => Ok(Self::Model(required(path)?)),
                None => Err(TextError::NoTokenizer { path: dir.to_owned() }),
            }
        }

        /// Reads the vocabulary of a file, which may be one of a pair.
        fn of_file(path: &Path, dir: &Path) -> Result<Self> {
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            match (path.file_name().and_then(|n| n.to_str()).unwrap_or_default(), extension) {
                ("vocab.json" | "merges.txt", _) => Ok(Self::VocabAndMerges {
                    vocab: required(dir.join("vocab.json"))?,
                    merges: required(dir.join("merges.txt"))?,
                }),
                ("vocab.txt", _) => Ok(Self::VocabText(required(path.to_owned())?)),
                (_, "json") => Ok(Self::Json(required(path.to_owned())?)),
                (_, "model" | "tiktoken" | "spm") => Ok(Self::Model(required(path.to_owned())?)),
                _ => Err(TextError::NoTokenizer { path: path.to_owned() }),
            }
        }
    }

    impl TokenizerFiles {
        /// Returns the existing files of a folder that [`TokenizerFiles::read`] may read. The model's configuration is
        /// not included.
        ///
        /// # Errors
        /// [`TextError::Io`] if the folder cannot be read.
        pub fn paths(dir: &Path) -> Result<Vec<PathBuf>> {
            let named = NAMES.iter().map(|name| dir.join(name)).filter(|path| path.is_file());
            Ok(named.chain(only_with_extension(dir, "tiktoken")?).collect())
        }

        /// Reads a folder, or a tokenizer's file and the files beside it.
        ///
        /// # Errors
        /// [`TextError::NoTokenizer`], and [`TextError::Io`] if a file cannot be read.
        pub fn read(path: &Path) -> Result<Self> {
            let (dir, tokenizer) = if path.is_dir() {
                (path, TokenizerSource::of_folder(path)?)
            } else {
                let dir = path.parent().unwrap_or(Path::new(""));
                (dir, TokenizerSource::of_file(path, dir)?)
            };
            Ok(Self {
                tokenizer,
                tokenizer_config: optional(dir, "tokenizer_config.json")?,
                special_tokens_map: optional(dir, "special_tokens_map.json")?,
                added_tokens: optional(dir, "added_tokens.json")?,
                chat_template: optional(dir, "chat_template.jinja")?,
                config: optional(dir, "config.json")?,
                generation_config: optional(dir, "generation_config.json")?,
            })
        }
    }

    impl Tokenizer {
        /// Reads the tokenizer of a model folder, with its roles, stop tokens and chat templates. The path may also be
        /// a tokenizer's file (`tokenizer.json`, `*.model`, `*.tiktoken`, `vocab.json`); the other files are then read
        /// from its folder.
        ///
        /// # Errors
        /// The errors of [`TokenizerFiles::read`] and [`Tokenizer::from_files`].
        pub fn from_dir(path: &Path) -> Result<Self> {
            let dir = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
            Self::from_files(&TokenizerFiles::read(path)?)?.with_additional_templates(dir)
        }
    }
}
