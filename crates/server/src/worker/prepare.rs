//! The way from a job to the requests of the engine, and from the engine's updates to parts.

use honelm_engine::{ChatAsk, Completion, Delta, LoadedModel, Request, TokenLogprobs};
use honelm_text::answer::Event;
use honelm_text::{EncodeOptions, RenderOptions, Tokenizer};

use crate::ApiError;
use crate::changing_line::without_changing_line;
use crate::job::{Embed, Job, Part, Prompt, Resumed, TokenLogprob, TopLogprob};

/// The names of the tokens that mark the parts of a text with a gap, by families of models: before the gap, behind it, in
/// it.
const INFILL: &[[&str; 3]] = &[
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
    ["<PRE>", "<SUF>", "<MID>"],
    ["▁<PRE>", "▁<SUF>", "▁<MID>"],
    ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
];

/// Returns the requests of a job, one for each answer.
pub(super) fn requests(job: &Job, model: &LoadedModel) -> Result<Vec<Request>, ApiError> {
    let mut request = Request { confidence: job.confidence, ..request(job, model)? };
    if let Some(resumed) = &job.resumed {
        let Resumed { begun, draft, pause } = resumed.clone();
        request = Request { begun, draft, pause, ..request };
    }
    let of_choice = |choice: usize| {
        let mut request = request.clone();
        request.how.stream = choice as u64;
        request
    };
    Ok((0..job.choices.max(1)).map(of_choice).collect())
}

/// Returns the number of tokens of a job's prompt.
pub(crate) fn prompt_tokens(job: &Job, model: &LoadedModel) -> Result<usize, ApiError> {
    Ok(request(job, model)?.prompt.len())
}

/// Returns the request for an embedding. Texts of special tokens are text here.
fn embedding(prompt: &Prompt, embed: Embed, model: &LoadedModel) -> Result<Request, ApiError> {
    let encode = EncodeOptions { add_special: true, parse_special: false };
    let (mut tokens, end) = match prompt {
        Prompt::Text(text) => (model.tokenizer().encode(text, encode)?, model.tokenizer().suffix()),
        Prompt::Tokens(tokens) => (tokens.clone(), &[][..]),
        _ => return Err(ApiError::invalid("input", "found a conversation, expected a text or tokens")),
    };
    if embed.truncate && tokens.len() > model.context() {
        // The tokens that end a text stay.
        tokens.truncate(model.context().saturating_sub(end.len()));
        tokens.extend(end);
    }
    Ok(Request::embedding(tokens, embed.pooling))
}

fn request(job: &Job, model: &LoadedModel) -> Result<Request, ApiError> {
    let how = &job.how;
    if let Some(embed) = job.embed {
        return embedding(&job.prompt, embed, model);
    }
    match &job.prompt {
        Prompt::Chat { messages, options } => {
            let mut messages = messages.clone();
            without_changing_line(&mut messages);
            let options = RenderOptions { clock: Some(honelm::now()), ..options.clone() };
            let ask = ChatAsk {
                how: how.clone(),
                options,
                tools: job.tools.clone(),
                choice: job.tool_choice.clone(),
                constraint: job.constraint.clone(),
                parallel: job.parallel_calls,
                begun: job.begun.clone(),
            };
            Ok(match &job.judge {
                Some(answers) => model.likelihood_request(&messages, &ask, answers)?,
                None => model.chat_request(&messages, &ask)?,
            })
        }
        Prompt::Text(text) => Ok(model.continuation(text, how, job.constraint.as_ref())?),
        Prompt::Tokens(tokens) => Ok(Request::new(tokens.clone(), how.clone())),
        Prompt::Infill { prefix, suffix } => Ok(Request::new(infill(model.tokenizer(), prefix, suffix)?, how.clone())),
    }
}

/// Returns the tokens that mark the parts of a text with a gap, if there are any.
pub(crate) fn gap_marks(tokenizer: &Tokenizer) -> Option<[u32; 3]> {
    INFILL.iter().find_map(|names| {
        let [before, behind, middle] = names.map(|name| tokenizer.id_of(name).filter(|&id| tokenizer.special(id)));
        Some([before?, behind?, middle?])
    })
}

/// Returns the prompt that asks for the text between `prefix` and `suffix`.
fn infill(tokenizer: &Tokenizer, prefix: &str, suffix: &str) -> Result<Vec<u32>, ApiError> {
    let Some([before, behind, middle]) = gap_marks(tokenizer) else {
        return Err(ApiError::unsupported("suffix", "this model has no tokens for a text with a gap"));
    };
    // Texts of special tokens are text here.
    let plain = |text: &str| tokenizer.encode(text, EncodeOptions::default());
    let mut prompt: Vec<u32> = tokenizer.leading_bos().into_iter().collect();
    prompt.push(before);
    prompt.extend(plain(prefix)?);
    prompt.push(behind);
    prompt.extend(plain(suffix)?);
    prompt.push(middle);
    Ok(prompt)
}

/// Converts text that has become final.
pub(super) fn parts(choice: usize, delta: Delta) -> impl Iterator<Item = Part> {
    delta.parts.into_iter().map(move |event| match event {
        Event::Text(text) => Part::Text { choice, text, logprobs: Vec::new() },
        Event::Reasoning(text) => Part::Reasoning { choice, text },
        Event::CallBegins { index, id, name } => Part::CallBegins { choice, index, id, name },
        Event::CallArguments { index, fragment } => Part::CallArguments { choice, index, fragment },
        Event::CallEnds { index } | Event::CallBroken { index: Some(index), .. } => Part::CallEnds { choice, index },
        Event::CallBroken { text, .. } => Part::Text { choice, text, logprobs: Vec::new() },
    })
}

/// Adds the texts of tokens to their log-probabilities.
pub(super) fn named(tokenizer: &Tokenizer, found: &TokenLogprobs) -> TokenLogprob {
    let (text, bytes) = tokenizer.token_text(found.id);
    let top = found.top.iter().map(|&(id, logprob)| {
        let (text, bytes) = tokenizer.token_text(id);
        TopLogprob { id, text, bytes, logprob }
    });
    TokenLogprob { id: found.id, text, bytes, logprob: Some(found.logprob), top: top.collect() }
}

/// Returns the stop text that ended an answer, if one did.
pub(super) fn stop_text(tokenizer: &Tokenizer, done: &Completion, stops: &[String]) -> Option<String> {
    let written = tokenizer.decode(&done.token_ids, true);
    // The text lacks what follows it.
    let at = done.text.trim_start().len() + (written.len() - written.trim_start().len());
    let rest = written.get(at..)?;
    stops.iter().filter(|stop| rest.starts_with(stop.as_str())).max_by_key(|stop| stop.len()).cloned()
}
