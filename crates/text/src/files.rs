//! The files of a Hugging Face folder that make a tokenizer, as bytes.

/// Contents of a model folder's text files. Only `tokenizer` is required.
#[derive(Debug, Clone, Default)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`: roles, `add_bos_token`, chat template.
    pub tokenizer_config: Option<Vec<u8>>,
    /// `special_tokens_map.json`: roles that the former does not name.
    pub special_tokens_map: Option<Vec<u8>>,
    /// `chat_template.jinja`: takes precedence over the one in `tokenizer_config.json`.
    pub chat_template: Option<Vec<u8>>,
    /// `config.json`: `bos_token_id`, `eos_token_id`.
    pub config: Option<Vec<u8>>,
    /// `generation_config.json`: `eos_token_id`.
    pub generation_config: Option<Vec<u8>>,
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::io::ErrorKind;
    use std::path::Path;

    use super::TokenizerFiles;
    use crate::error::{Result, TextError};
    use crate::tokenizer::Tokenizer;

    /// A file, or nothing when it is not there.
    fn optional(dir: &Path, name: &str) -> Result<Option<Vec<u8>>> {
        let path = dir.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) if source.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(TextError::Io { path, source }),
        }
    }

    impl TokenizerFiles {
        /// Reads a folder.
        ///
        /// # Errors
        /// [`TextError::Io`] when `tokenizer.json` is missing or a file cannot be read.
        pub fn read(dir: &Path) -> Result<Self> {
            let path = dir.join("tokenizer.json");
            let tokenizer = std::fs::read(&path).map_err(|source| TextError::Io { path, source })?;
            Ok(Self {
                tokenizer,
                tokenizer_config: optional(dir, "tokenizer_config.json")?,
                special_tokens_map: optional(dir, "special_tokens_map.json")?,
                chat_template: optional(dir, "chat_template.jinja")?,
                config: optional(dir, "config.json")?,
                generation_config: optional(dir, "generation_config.json")?,
            })
        }
    }

    impl Tokenizer {
        /// Reads a model folder's tokenizer, its roles, stop tokens and chat templates.
        ///
        /// # Errors
        /// What [`TokenizerFiles::read`] and [`Tokenizer::from_files`] report.
        pub fn from_dir(dir: &Path) -> Result<Self> {
            Self::from_files(&TokenizerFiles::read(dir)?)?.with_additional_templates(dir)
        }
    }
}
