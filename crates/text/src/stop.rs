//! The tokens that end an answer: those that the model's files name, and the one that the chat template writes after an
//! answer.

use serde_json::Value;

use crate::config::id_list;
use crate::error::{Result, TextError};
use crate::template::{ChatTemplate, Clock, Limits, Message, RenderOptions};
use crate::tokenizer::Tokenizer;
use crate::vocabulary::TokenKind;

/// The texts by which llama.cpp recognises end tokens regardless of the metadata (`llama_vocab::impl::load`, the list
/// of end-of-generation tokens).
pub(crate) const END_TEXTS: [&str; 15] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
];

/// Returns the end-of-sequence ids that config.json, generation_config.json and tokenizer_config.json name, in that
/// order and without duplicates. `id_of` returns the id of a token's text.
///
/// # Errors
/// [`TextError::Json`] for an `eos_token_id` that is neither an id nor a list of ids, and for an `eos_token` that is
/// not in the vocabulary.
pub fn stop_ids(
    config: Option<&Value>,
    generation_config: Option<&Value>,
    tokenizer_config: Option<&Value>,
    id_of: impl Fn(&str) -> Option<u32>,
) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    // Multimodal models keep the language model's values under `text_config`.
    let nested = config.map(|c| &c["text_config"]);
    for (file, value) in
        [("config.json", config), ("config.json", nested), ("generation_config.json", generation_config)]
    {
        let Some(value) = value else { continue };
        for id in id_list(file, &value["eos_token_id"])? {
            push_new(&mut ids, id);
        }
    }
    if let Some(config) = tokenizer_config {
        let token = &config["eos_token"];
        if let Some(text) = token.as_str().or_else(|| token["content"].as_str()) {
            let id = id_of(text).ok_or_else(|| {
                TextError::json("tokenizer_config.json", format!("eos_token {text:?} is not in the vocabulary"))
            })?;
            push_new(&mut ids, id);
        }
    }
    Ok(ids)
}

/// Returns the control token that the chat template writes after an answer. Returns `None` if the template fails, or if
/// it writes no such token.
pub(crate) fn turn_end(tokenizer: &Tokenizer) -> Option<u32> {
    const ANSWER: &str = "An answer.";
    // Every model that is opened runs its template, so the work for two short messages is bounded tightly.
    let limits = Limits { touched_bytes: 32 << 20, output_bytes: 1 << 20, ..Limits::default() };
    let special = tokenizer.special_tokens();
    let eos = special.eos.clone();
    let template = ChatTemplate::with_limits(tokenizer.chat_template()?, special, limits).ok()?;
    let turns = [Message::new("user", "A question."), Message::new("assistant", ANSWER)];
    let render = |add_generation_prompt: bool| {
        let options =
            RenderOptions { add_generation_prompt, clock: Some(Clock::new(0, 0)), ..RenderOptions::default() };
        template.render(&turns, &options).ok().map(|rendered| rendered.text)
    };
    let text = render(false)?;
    let behind = text[text.rfind(ANSWER)? + ANSWER.len()..].trim_start();
    let control = tokenizer.vocabulary().iter().filter(|(_, token)| token.kind == TokenKind::Control);
    let found = control.filter(|(_, token)| !token.text.is_empty() && behind.starts_with(&token.text));
    let (end, token) = found.max_by_key(|(_, token)| token.text.len())?;
    // A token that begins another turn or a text does not end this one.
    let begins =
        render(true).is_some_and(|with| with.strip_prefix(&text).is_some_and(|next| next.contains(&token.text)));
    let is_bos = Some(end) == tokenizer.bos() && eos.as_deref() != Some(token.text.as_str());
    (!begins && !is_bos).then_some(end)
}

/// Appends an id unless it is in the list.
pub(crate) fn push_new(ids: &mut Vec<u32>, id: u32) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_the_union_in_order() {
        let ids = stop_ids(
            Some(&json!({"eos_token_id": 7})),
            Some(&json!({"eos_token_id": [9, 7]})),
            Some(&json!({"eos_token": {"content": "<|end|>"}})),
            |text| (text == "<|end|>").then_some(5),
        );
        assert_eq!(ids.unwrap(), [7, 9, 5]);
    }

    #[test]
    fn refuses_ids_that_are_not_numbers() {
        let error = stop_ids(Some(&json!({"eos_token_id": "x"})), None, None, |_| None).unwrap_err();
        assert_eq!(error.code(), "tokenizer-json");
        let error = stop_ids(Some(&json!({"eos_token_id": [1, -4]})), None, None, |_| None).unwrap_err();
        assert_eq!(error.code(), "tokenizer-json");
    }
}
