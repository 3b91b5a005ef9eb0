use honelm_text::{EncodeOptions, Tokenizer};

use crate::EngineError;

/// Returns the tokens of a prompt without a chat template, and `true` if the answer continues a text
/// ([`crate::Generation::continues`]). An empty text becomes BOS. The texts of special tokens become those tokens.
///
/// # Errors
/// [`EngineError::Text`].
pub fn raw_prompt(tokenizer: &Tokenizer, text: &str) -> Result<(Vec<u32>, bool), EngineError> {
    // Without the tokens that the tokenizer adds around a text, since these may include EOS at the end.
    let mut prompt = tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: true })?;
    if let Some(bos) = tokenizer.bos()
        && (prompt.is_empty() || (tokenizer.adds_bos() && prompt[0] != bos))
    {
        prompt.insert(0, bos);
    }
    // After a special token, the answer begins a new text.
    let continues = prompt.last().is_some_and(|&id| !tokenizer.special(id));
    Ok((prompt, continues))
}
