//! Log-probabilities in the two forms of the protocol.

use serde_json::{Map, Value, json};

use crate::TokenLogprob;

/// Returns the form of chat completions.
pub fn chat(tokens: &[TokenLogprob]) -> Value {
    json!({"content": listed(tokens), "refusal": null})
}

/// Returns the tokens in the form that chat completions, responses and Ollama's API share.
pub fn listed(tokens: &[TokenLogprob]) -> Vec<Value> {
    tokens
        .iter()
        .map(|token| {
            let top: Vec<Value> = token
                .top
                .iter()
                .map(|top| json!({"token": top.text, "logprob": finite(top.logprob), "bytes": top.bytes}))
                .collect();
            let logprob = token.logprob.map(finite);
            json!({"token": token.text, "logprob": logprob, "bytes": token.bytes, "top_logprobs": top})
        })
        .collect()
}

/// Returns the form of completions. `offset` is the number of characters before the first token, and becomes that behind
/// the last one.
pub fn text(tokens: &[TokenLogprob], offset: &mut usize) -> Value {
    let mut offsets = Vec::with_capacity(tokens.len());
    for token in tokens {
        offsets.push(*offset);
        *offset += String::from_utf8_lossy(&token.bytes).chars().count();
    }
    let top = |token: &TokenLogprob| {
        let entry = |top: &crate::job::TopLogprob| (top.text.clone(), json!(finite(top.logprob)));
        let top: Map<String, Value> = token.top.iter().rev().map(entry).collect();
        token.logprob.map(|_| Value::Object(top))
    };
    json!({
        "tokens": tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.logprob.map(finite)).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}

/// JSON has no infinity: a token of probability 0 has the log-probability that clients use for it.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}
