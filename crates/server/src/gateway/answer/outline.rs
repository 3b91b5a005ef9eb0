//! The part of a job that decides its route.

use honelm_gateway::estimator::Prompt as Estimated;
use honelm_gateway::policy::{Policy, Request};
use honelm_grammar::Constraint;
use serde_json::{Value, json};

use crate::config::Limits;
use crate::job::{Job, Prompt};

/// The bytes that a token of a prompt has on average.
const BYTES_PER_TOKEN: u64 = 4;
/// The tokens that a chat template adds to a message, at most.
const PER_MESSAGE: u64 = 16;
/// The tokens of an image, about.
const PER_IMAGE: u64 = 1500;

/// The part of a job that decides its route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outline {
    /// The request as the policy sees it.
    pub request: Request,
    /// More tokens than the prompt can have: no token is shorter than a byte.
    pub most_prompt_tokens: u64,
    /// The most tokens of the answer that the request asks for.
    pub answer_tokens: Option<u64>,
}

impl Outline {
    /// Describes a job. Its tokens are estimated.
    pub fn of(job: &Job, limits: &Limits) -> Self {
        let answer = job.given.max_tokens.into_iter().chain(limits.answer_tokens).min();
        let answer_tokens = answer.map(|tokens| tokens as u64);
        let mut size = Size::default();
        if let Prompt::Chat { messages, .. } = &job.prompt {
            for message in messages {
                size.messages += 1;
                size.content(&message.content);
                message.extra.values().for_each(|value| size.bytes += value.to_string().len() as u64);
            }
        }
        size.bytes += job.tools.iter().map(|tool| tool.to_value().to_string().len() as u64).sum::<u64>();
        let images = size.images * PER_IMAGE;
        let request = Request {
            policy: None,
            privacy: None,
            prompt_tokens: size.bytes.div_ceil(BYTES_PER_TOKEN) + images,
            answer_tokens: answer_tokens.unwrap_or(0),
            needs_vision: size.images > 0,
            needs_tools: !job.tools.is_empty(),
        };
        Self { request, most_prompt_tokens: size.bytes + PER_MESSAGE * size.messages + images, answer_tokens }
    }
}

#[derive(Default)]
struct Size {
    bytes: u64,
    images: u64,
    messages: u64,
}

impl Size {
    fn content(&mut self, content: &Value) {
        match content {
            Value::String(text) => self.bytes += text.len() as u64,
            Value::Array(parts) => {
                for part in parts {
                    match part["text"].as_str() {
                        Some(text) => self.bytes += text.len() as u64,
                        None => self.images += 1,
                    }
                }
            }
            _ => {}
        }
    }
}

/// Returns `true` if only the local model can do what a job asks: continue a text, use its own tokens, or follow a grammar.
pub(super) fn is_local_only(job: &Job) -> bool {
    let is_expressible = matches!(job.constraint, None | Some(Constraint::JsonObject | Constraint::JsonSchema(_)));
    let is_chat = matches!(job.prompt, Prompt::Chat { .. });
    !is_chat || job.embed.is_some() || !job.given.logit_bias.is_empty() || job.given.ignore_eos || !is_expressible
}

/// Returns the policy of a job that only the local model can do, or the one that was asked for.
pub(super) fn policy(job: &Job, asked: Option<Policy>) -> Option<Policy> {
    if is_local_only(job) { Some(Policy::LocalOnly) } else { asked }
}

/// Returns what the estimator reads of a job; `None` for one that is no conversation.
pub(super) fn estimated(job: &Job) -> Option<Estimated> {
    let Prompt::Chat { messages, .. } = &job.prompt else { return None };
    let messages: Vec<Value> = messages.iter().map(|m| json!({"role": m.role, "content": m.content})).collect();
    let mut prompt = Estimated::from_request(&json!({"messages": messages})).ok()?;
    prompt.has_tools |= !job.tools.is_empty();
    Some(prompt)
}
