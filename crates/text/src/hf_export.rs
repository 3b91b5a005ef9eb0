//! A tokenizer as Hugging Face files.

use serde_json::{Map, Value, json};

use crate::config::DEFAULT_TEMPLATE;
use crate::error::{Result, TextError};
use crate::tokenizer::Tokenizer;

impl Tokenizer {
    /// This tokenizer as a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TextError::Json`] where serialising fails.
    pub fn to_tokenizer_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self.encoder()).map_err(|e| TextError::json("tokenizer.json", e))
    }

    /// Roles and chat templates as a `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`TextError::Json`] where serialising fails.
    pub fn to_tokenizer_config_json(&self) -> Result<String> {
        let special = self.special_tokens();
        let mut config = Map::new();
        config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
        let roles = [
            ("bos_token", special.bos),
            ("eos_token", special.eos),
            ("unk_token", special.unk),
            ("pad_token", special.pad),
        ];
        for (name, text) in roles {
            if let Some(text) = text {
                config.insert(name.to_owned(), Value::String(text));
            }
        }
        config.insert("add_bos_token".to_owned(), json!(self.adds_bos()));
        config.insert("add_eos_token".to_owned(), json!(!self.suffix.is_empty()));
        config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
        match self.chat_templates() {
            [] => {}
            [one] if one.name == DEFAULT_TEMPLATE => {
                config.insert("chat_template".to_owned(), json!(one.source));
            }
            all => {
                let list: Vec<_> = all.iter().map(|t| json!({"name": t.name, "template": t.source})).collect();
                config.insert("chat_template".to_owned(), Value::Array(list));
            }
        }
        serde_json::to_string_pretty(&config).map_err(|e| TextError::json("tokenizer_config.json", e))
    }
}
