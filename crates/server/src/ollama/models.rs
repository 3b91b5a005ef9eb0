//! The models: `/api/tags`, `/api/show`, `/api/ps`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::facts::Facts;
use super::request::ShowRequest;
use super::required;
use super::response::{Details, Process, Processes, ShowResponse, TagModel, Tags};
use crate::ApiError;
use crate::app::{Shared, with_ignored};
use crate::ids::rfc3339;

/// The time that stands for no limit.
pub(super) const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Returns the facts about the model of a path, if they can be read.
async fn facts(app: &Shared, path: Option<PathBuf>) -> Option<Arc<Facts>> {
    let (app, path) = (Shared::clone(app), path?);
    tokio::task::spawn_blocking(move || app.facts.of(&path).ok()).await.ok().flatten()
}

/// Lists the models that can be opened by name.
pub(super) async fn tags(State(app): State<Shared>) -> Json<Tags> {
    app.registry.refresh(Duration::from_secs(2)).await;
    let mut models = Vec::new();
    for known in app.registry.known() {
        let facts = facts(&app, known.path).await;
        models.push(TagModel {
            model: known.name.clone(),
            name: known.name,
            modified_at: rfc3339(facts.as_ref().map_or(SystemTime::UNIX_EPOCH, |facts| facts.modified)),
            size: facts.as_ref().map_or(known.size_bytes.unwrap_or(0), |facts| facts.inspection.size_bytes),
            digest: facts.as_ref().map(|facts| facts.digest.clone()).unwrap_or_default(),
            details: facts.map(|facts| facts.details()).unwrap_or_default(),
        });
    }
    Json(Tags { models })
}

/// Describes a model.
pub(super) async fn show(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let incoming = app.read::<ShowRequest>(body).await?;
    let request = incoming.request;
    let name = app.registry.name_of(required(request.model.as_deref().or(request.name.as_deref()))?).await?;
    let known = app.registry.known().into_iter().find(|known| known.name == name);
    let path = known.and_then(|known| known.path);
    let read = {
        let app = Shared::clone(&app);
        tokio::task::spawn_blocking(move || path.map(|path| app.facts.of(&path))).await
    };
    let facts = read.ok().flatten().unwrap_or_else(|| Err(ApiError::no_model(&name)))?;
    let mut capabilities = if facts.inspection.encoder { vec!["embedding"] } else { vec!["completion", "tools"] };
    let further = [(facts.fills_gaps, "insert"), (facts.reasons, "thinking")];
    capabilities.extend(further.into_iter().filter_map(|(has, name)| has.then_some(name)));
    let shown = ShowResponse {
        parameters: parameters(facts.inspection.generation_config.as_ref()),
        template: facts.inspection.chat_template.clone().unwrap_or_default(),
        modelfile: format!("FROM {name}\n"),
        details: facts.details(),
        model_info: model_info(&facts, request.verbose == Some(true)),
        capabilities,
        modified_at: rfc3339(facts.modified),
    };
    Ok(with_ignored(Json(shown).into_response(), incoming.ignored))
}

/// Lists the loaded models.
pub(super) async fn ps(State(app): State<Shared>) -> Json<Processes> {
    let known = app.registry.known();
    let mut models = Vec::new();
    for status in app.registry.status().into_iter().filter(|status| status.state != "loading") {
        let path = known.iter().find(|known| known.name == status.name).and_then(|known| known.path.clone());
        let facts = facts(&app, path).await;
        let size = status.need.map_or(0, |need| need.total());
        let left = status.expires_seconds.map_or(FOREVER, |left| Duration::try_from_secs_f64(left).unwrap_or(FOREVER));
        let on_gpu = status.device.as_deref().is_some_and(|device| !device.starts_with("cpu"));
        models.push(Process {
            model: status.name.clone(),
            name: status.name,
            size,
            size_vram: if on_gpu { size } else { 0 },
            digest: facts.as_ref().map(|facts| facts.digest.clone()).unwrap_or_default(),
            details: facts.map_or_else(Details::default, |facts| facts.details()),
            expires_at: rfc3339(SystemTime::now() + left.min(FOREVER)),
            context_length: status.context.unwrap_or(0) as u64,
        });
    }
    Json(Processes { models })
}

/// Returns the settings of `generation_config.json` as Ollama writes them: a name and a value in each line.
fn parameters(config: Option<&Value>) -> String {
    const NAMES: [(&str, &str); 5] = [
        ("temperature", "temperature"),
        ("top_k", "top_k"),
        ("top_p", "top_p"),
        ("min_p", "min_p"),
        ("repetition_penalty", "repeat_penalty"),
    ];
    let Some(config) = config else { return String::new() };
    let set =
        NAMES.iter().filter_map(|(of, name)| Some(format!("{name} {}", config.get(of).filter(|v| v.is_number())?)));
    let stops = config["stop_strings"].as_array().into_iter().flatten().map(|text| format!("stop {text}"));
    set.chain(stops).collect::<Vec<_>>().join("\n")
}

/// Returns the metadata of a model under the names of GGUF.
fn model_info(facts: &Facts, verbose: bool) -> Map<String, Value> {
    let found = &facts.inspection;
    let of = |name: &str| format!("{}.{name}", found.architecture);
    let mut info = Map::new();
    info.insert("general.architecture".to_owned(), found.architecture.clone().into());
    info.insert("general.basename".to_owned(), found.name.clone().into());
    info.insert("general.parameter_count".to_owned(), found.parameters.into());
    info.insert(of("context_length"), found.context.into());
    info.insert(of("embedding_length"), found.width.into());
    info.insert(of("block_count"), found.layers.into());
    info.insert(of("vocab_size"), found.vocabulary.into());
    let settings = [
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("feed_forward_length", "intermediate_size"),
    ];
    for (name, setting) in settings {
        if let Some(value) = found.config.get(setting).filter(|value| value.is_number()) {
            info.insert(of(name), value.clone());
        }
    }
    if verbose {
        let tensors = found.tensors.iter().map(|t| json!({"name": t.name, "type": t.encoding, "shape": t.shape}));
        info.insert("tensors".to_owned(), tensors.collect());
    }
    info
}
