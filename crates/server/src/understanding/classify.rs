//! The labels of texts.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use honelm::{Classification, JudgedAnswers, LabelScore, Question, direct_answers};

use super::TOGETHER;
use super::request::ClassifyTexts;
use super::response::{Classifications, ClassifiedText, ScoreObject, TextUsage};
use crate::app::{Shared, with_ignored};
use crate::job::{Job, Part, Prompt};
use crate::registry::Lease;
use crate::{ApiError, Usage};

pub(super) async fn create(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<ClassifyTexts>(body).await?;
    let model = incoming.request.model.clone().unwrap_or_default();
    let (texts, classifier) = incoming.request.checked(&app.config.limits)?;
    let lease = app.registry.get(&model, None).await?;
    let mut questions: Vec<Vec<Question>> = texts.iter().map(|text| classifier.questions(text)).collect();
    // The questions about a text share its tokens once the first one has been read.
    let first = judge(&lease, questions.iter_mut().map(|of_text| of_text.remove(0)).collect()).await?;
    let counts: Vec<usize> = questions.iter().map(Vec::len).collect();
    let mut others = judge(&lease, questions.into_iter().flatten().collect()).await?.into_iter();
    let mut usage = TextUsage::default();
    let of_text = |(index, (first, count)): (usize, (JudgedAnswers, usize))| {
        let all: Vec<JudgedAnswers> = std::iter::once(first).chain(others.by_ref().take(count)).collect();
        let found = classifier.result(&all);
        let (prompt_tokens, cached_tokens) = (found.prompt_tokens, found.cached_tokens);
        usage.add(&Usage { prompt_tokens, cached_tokens, ..Usage::default() });
        classified(index, found)
    };
    let data = first.into_iter().zip(counts).enumerate().map(of_text).collect();
    let response = Classifications { object: "list", data, model: lease.card().name.clone(), usage };
    Ok(with_ignored(Json(response).into_response(), incoming.ignored))
}

fn classified(index: usize, found: Classification) -> ClassifiedText {
    let score = |score: LabelScore| {
        let LabelScore { label, probability, log_likelihood, tokens } = score;
        ScoreObject { label, probability, log_likelihood, tokens }
    };
    let scores = found.scores.into_iter().map(score).collect();
    ClassifiedText { object: "classification", index, labels: found.labels, scores }
}

/// Lets the model judge the answers to questions, several at the same time.
async fn judge(lease: &Lease, questions: Vec<Question>) -> Result<Vec<JudgedAnswers>, ApiError> {
    stream::iter(questions.into_iter().map(|question| one(lease, question))).buffered(TOGETHER).try_collect().await
}

async fn one(lease: &Lease, question: Question) -> Result<JudgedAnswers, ApiError> {
    let prompt = Prompt::Chat { messages: question.messages, options: direct_answers() };
    let job = Job { judge: Some(question.answers), ..Job::new(prompt, lease.card().generation.clone()) };
    let mut parts = lease.submit(job)?;
    let mut found = None;
    while let Some(part) = parts.next().await {
        match part {
            Part::Likelihoods { values, .. } => found = Some(values),
            Part::Failed(error) => return Err(error),
            Part::Done { usage, .. } => {
                if let Some(likelihoods) = found.take() {
                    let (prompt_tokens, cached_tokens) = (usage.prompt_tokens, usage.cached_tokens);
                    return Ok(JudgedAnswers { likelihoods, prompt_tokens, cached_tokens });
                }
            }
            _ => {}
        }
    }
    Err(ApiError::internal("model-stopped", "the model stopped before the labels were complete"))
}
