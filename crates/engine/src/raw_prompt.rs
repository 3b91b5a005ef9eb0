use honelm_text::{EncodeOptions, Tokenizer};

use crate::EngineError;

/// The tokens of a text that is continued as it stands, without a chat template, and whether the answer continues a text
/// ([`crate::Generation::continues`]). An empty text starts from BOS alone. Texts of special tokens are those tokens.
///
/// # Errors
/// [`EngineError::Text`].
pub fn raw_prompt(tokenizer: &Tokenizer, text: &str) -> Result<(Vec<u32>, bool), EngineError> {
    // Not with what the tokenizer adds around a text: that may end with EOS, and this one goes on.
    let mut prompt = tokenizer.encode(text, EncodeOptions { add_special: false, parse_special: true })?;
    if let Some(bos) = tokenizer.bos()
        && (prompt.is_empty() || (tokenizer.adds_bos() && prompt[0] != bos))
    {
        prompt.insert(0, bos);
    }
    // Behind a special token a text begins.
    let continues = prompt.last().is_some_and(|&id| !tokenizer.special(id));
    Ok((prompt, continues))
}
