//! The facts of texts.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use honelm::{EXTRACT_TOKENS, Extractor, Mention, direct_answers};
use honelm_engine::Generation;

use super::TOGETHER;
use super::request::ExtractFacts;
use super::response::{ExtractedText, Extractions, MentionObject, TextUsage};
use crate::app::{Shared, with_ignored};
use crate::job::{Choice, Finish, Job, Prompt, collect};
use crate::registry::Lease;
use crate::{ApiError, Settings};

pub(super) async fn create(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<ExtractFacts>(body).await?;
    let model = incoming.request.model.clone().unwrap_or_default();
    let max_tokens = incoming.request.max_tokens.map_or(EXTRACT_TOKENS, |most| most.count());
    let (texts, extractor) = incoming.request.checked(&app.config.limits)?;
    let lease = app.registry.get(&model, None).await?;
    let settings = Settings { max_tokens: Some(max_tokens), ..Settings::default() };
    let limited = settings.generation(lease.card(), &app.config.limits)?;
    let how = Generation::greedy(limited.max_tokens);
    let jobs = texts.into_iter().enumerate().map(|(index, text)| one(&lease, &extractor, &how, index, text));
    let all: Vec<(ExtractedText, Choice)> = stream::iter(jobs).buffered(TOGETHER).try_collect().await?;
    let mut usage = TextUsage::default();
    all.iter().for_each(|(_, answer)| usage.add(&answer.usage));
    let data = all.into_iter().map(|(text, _)| text).collect();
    let response = Extractions { object: "list", data, model: lease.card().name.clone(), usage };
    Ok(with_ignored(Json(response).into_response(), incoming.ignored))
}

/// Extracts the facts of a text. Returns them with the answer that had them.
async fn one(
    lease: &Lease,
    extractor: &Extractor,
    how: &Generation,
    index: usize,
    text: String,
) -> Result<(ExtractedText, Choice), ApiError> {
    let prompt = Prompt::Chat { messages: extractor.messages(&text), options: direct_answers() };
    let job = Job {
        constraint: Some(extractor.constraint()),
        // No reasoning comes before the JSON text.
        begun: Some(String::new()),
        ..Job::new(prompt, how.clone())
    };
    let answer = collect(&mut lease.submit(job)?, 1).await?.into_iter().next().unwrap_or_default();
    let is_complete = answer.finish == Some(Finish::Stop);
    let (data, mentions) = extractor.result(&text, &answer.text, is_complete);
    let finish_reason = if is_complete { "stop" } else { "length" };
    let mentions = mentions.into_iter().map(mention).collect();
    Ok((ExtractedText { object: "extraction", index, data, mentions, finish_reason }, answer))
}

fn mention(found: Mention) -> MentionObject {
    let Mention { path, kind, text, start, end } = found;
    MentionObject { path, kind, text, start, end }
}
