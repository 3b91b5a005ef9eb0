//! The OpenAPI document, generated from the types of requests and responses.

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::{anthropic, embeddings, ollama, openai, responses, status, tokens, understanding};

/// The schema of a body.
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A body of a response.
#[derive(Clone, Copy)]
struct Returned {
    content: &'static str,
    schema: SchemaOf,
}

/// An operation.
struct Operation {
    method: &'static str,
    /// The path, as routes write it.
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    request: Option<SchemaOf>,
    returns: &'static [Returned],
}

const fn json_of<T: JsonSchema>() -> Returned {
    Returned { content: "application/json", schema: of::<T> }
}

/// Server-sent events, each of this type.
const fn events_of<T: JsonSchema>() -> Returned {
    Returned { content: "text/event-stream", schema: of::<T> }
}

/// Lines of JSON, each of this type.
const fn lines_of<T: JsonSchema>() -> Returned {
    Returned { content: "application/x-ndjson", schema: of::<T> }
}

const ANY: Returned = json_of::<Value>();
const TEXT: Returned = Returned { content: "text/plain", schema: of::<String> };
const PAGE: Returned = Returned { content: "text/html", schema: of::<String> };

/// All operations.
const OPERATIONS: &[Operation] = &[
    Operation {
        method: "post",
        path: "/v1/chat/completions",
        tag: "openai",
        summary: "Answer a conversation",
        request: Some(of::<openai::ChatRequest>),
        returns: &[ANY, events_of::<Value>()],
    },
    Operation {
        method: "post",
        path: "/v1/completions",
        tag: "openai",
        summary: "Continue texts",
        request: Some(of::<openai::TextRequest>),
        returns: &[ANY, events_of::<Value>()],
    },
    Operation {
        method: "post",
        path: "/infill",
        tag: "openai",
        summary: "Fill a gap in a text",
        request: Some(of::<openai::InfillRequest>),
        returns: &[ANY, events_of::<Value>()],
    },
    Operation {
        method: "post",
        path: "/v1/honelm/verify",
        tag: "honelm",
        summary: "Go on with an answer, and verify a draft of its next tokens",
        request: Some(of::<openai::VerifyRequest>),
        returns: &[json_of::<openai::Verified>()],
    },
    Operation {
        method: "get",
        path: "/v1/models",
        tag: "openai",
        summary: "List the models; in Anthropic's form to clients that send `anthropic-version`",
        request: None,
        returns: &[ANY],
    },
    Operation {
        method: "get",
        path: "/v1/models/{name}",
        tag: "openai",
        summary: "Describe a model",
        request: None,
        returns: &[ANY],
    },
    Operation {
        method: "post",
        path: "/v1/responses",
        tag: "responses",
        summary: "Create a response",
        request: Some(of::<responses::CreateResponse>),
        returns: &[json_of::<responses::ResponseObject>(), events_of::<responses::Numbered>()],
    },
    Operation {
        method: "post",
        path: "/v1/responses/input_tokens",
        tag: "responses",
        summary: "Count the tokens of an input",
        request: Some(of::<responses::CountInputTokens>),
        returns: &[json_of::<responses::InputTokens>()],
    },
    Operation {
        method: "get",
        path: "/v1/responses/{id}",
        tag: "responses",
        summary: "Return a stored response",
        request: None,
        returns: &[json_of::<responses::ResponseObject>()],
    },
    Operation {
        method: "delete",
        path: "/v1/responses/{id}",
        tag: "responses",
        summary: "Delete a stored response",
        request: None,
        returns: &[json_of::<responses::DeletedResponse>()],
    },
    Operation {
        method: "get",
        path: "/v1/responses/{id}/input_items",
        tag: "responses",
        summary: "Return the input of a stored response",
        request: None,
        returns: &[json_of::<responses::InputItems>()],
    },
    Operation {
        method: "post",
        path: "/v1/messages",
        tag: "messages",
        summary: "Create a message",
        request: Some(of::<anthropic::CreateMessage>),
        returns: &[json_of::<anthropic::MessageObject>(), events_of::<anthropic::MessageEvent>()],
    },
    Operation {
        method: "post",
        path: "/v1/messages/count_tokens",
        tag: "messages",
        summary: "Count the tokens of a prompt",
        request: Some(of::<anthropic::CountTokens>),
        returns: &[json_of::<anthropic::TokenCount>()],
    },
    Operation {
        method: "post",
        path: "/v1/embeddings",
        tag: "embeddings",
        summary: "Create embeddings",
        request: Some(of::<embeddings::CreateEmbeddings>),
        returns: &[json_of::<embeddings::Embeddings>()],
    },
    Operation {
        method: "post",
        path: "/v1/classify",
        tag: "texts",
        summary: "Choose labels of texts",
        request: Some(of::<understanding::ClassifyTexts>),
        returns: &[json_of::<understanding::Classifications>()],
    },
    Operation {
        method: "post",
        path: "/v1/extract",
        tag: "texts",
        summary: "Extract facts from texts, with their places",
        request: Some(of::<understanding::ExtractFacts>),
        returns: &[json_of::<understanding::Extractions>()],
    },
    Operation {
        method: "post",
        path: "/api/chat",
        tag: "ollama",
        summary: "Answer a conversation",
        request: Some(of::<ollama::ChatRequest>),
        returns: &[json_of::<ollama::AnswerLine>(), lines_of::<ollama::AnswerLine>()],
    },
    Operation {
        method: "post",
        path: "/api/generate",
        tag: "ollama",
        summary: "Continue a text",
        request: Some(of::<ollama::GenerateRequest>),
        returns: &[json_of::<ollama::AnswerLine>(), lines_of::<ollama::AnswerLine>()],
    },
    Operation {
        method: "get",
        path: "/api/tags",
        tag: "ollama",
        summary: "List the models",
        request: None,
        returns: &[json_of::<ollama::Tags>()],
    },
    Operation {
        method: "post",
        path: "/api/show",
        tag: "ollama",
        summary: "Describe a model",
        request: Some(of::<ollama::ShowRequest>),
        returns: &[json_of::<ollama::ShowResponse>()],
    },
    Operation {
        method: "get",
        path: "/api/ps",
        tag: "ollama",
        summary: "List the loaded models",
        request: None,
        returns: &[json_of::<ollama::Processes>()],
    },
    Operation {
        method: "get",
        path: "/api/version",
        tag: "ollama",
        summary: "Return the versions",
        request: None,
        returns: &[json_of::<ollama::Version>()],
    },
    Operation {
        method: "post",
        path: "/api/pull",
        tag: "ollama",
        summary: "Fetch a model from the Hugging Face Hub",
        request: Some(of::<ollama::PullRequest>),
        returns: &[json_of::<ollama::Progress>(), lines_of::<ollama::Progress>()],
    },
    Operation {
        method: "post",
        path: "/api/embed",
        tag: "ollama",
        summary: "Create embeddings",
        request: Some(of::<ollama::EmbedRequest>),
        returns: &[json_of::<ollama::EmbedResponse>()],
    },
    Operation {
        method: "post",
        path: "/api/embeddings",
        tag: "ollama",
        summary: "Create an embedding that is not scaled",
        request: Some(of::<ollama::EmbeddingsRequest>),
        returns: &[json_of::<ollama::EmbeddingsResponse>()],
    },
    Operation {
        method: "post",
        path: "/tokenize",
        tag: "tokens",
        summary: "Divide a text into tokens",
        request: Some(of::<tokens::TokenizeRequest>),
        returns: &[ANY],
    },
    Operation {
        method: "post",
        path: "/detokenize",
        tag: "tokens",
        summary: "Join tokens",
        request: Some(of::<tokens::DetokenizeRequest>),
        returns: &[ANY],
    },
    Operation {
        method: "post",
        path: "/apply-template",
        tag: "tokens",
        summary: "Render a conversation",
        request: Some(of::<tokens::TemplateRequest>),
        returns: &[ANY],
    },
    Operation {
        method: "get",
        path: "/",
        tag: "server",
        summary: "Return a page to talk to a model",
        request: None,
        returns: &[PAGE],
    },
    Operation {
        method: "get",
        path: "/index.html",
        tag: "server",
        summary: "Return the page of /",
        request: None,
        returns: &[PAGE],
    },
    Operation {
        method: "get",
        path: "/health",
        tag: "server",
        summary: "Tell whether the server answers requests",
        request: None,
        returns: &[ANY],
    },
    Operation {
        method: "get",
        path: "/metrics",
        tag: "server",
        summary: "Return the counters as Prometheus reads them",
        request: None,
        returns: &[TEXT],
    },
    Operation {
        method: "get",
        path: "/props",
        tag: "server",
        summary: "Return the properties of the loaded models and the limits",
        request: None,
        returns: &[ANY],
    },
    Operation {
        method: "get",
        path: "/status",
        tag: "server",
        summary: "Return the page with the state of the server",
        request: None,
        returns: &[PAGE],
    },
    Operation {
        method: "get",
        path: "/status.json",
        tag: "server",
        summary: "Return the state of the server",
        request: None,
        returns: &[ANY],
    },
    Operation {
        method: "get",
        path: "/gateway",
        tag: "server",
        summary: "Return the page with the requests of the gateway",
        request: None,
        returns: &[PAGE],
    },
    Operation {
        method: "get",
        path: "/gateway.json",
        tag: "server",
        summary: "Return the last requests, the sums and the upstreams of the gateway",
        request: None,
        returns: &[ANY],
    },
    Operation {
        method: "post",
        path: "/models/load",
        tag: "server",
        summary: "Load a model",
        request: Some(of::<status::Named>),
        returns: &[ANY],
    },
    Operation {
        method: "post",
        path: "/models/unload",
        tag: "server",
        summary: "Unload a model",
        request: Some(of::<status::Named>),
        returns: &[ANY],
    },
    Operation {
        method: "get",
        path: "/openapi.json",
        tag: "server",
        summary: "Return this document",
        request: None,
        returns: &[ANY],
    },
];

/// Returns the document in OpenAPI 3.1, whose schemas are JSON Schema 2020-12.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[operation.method] = described(operation, &mut generator);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "HoneLM",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Models on this machine, through the protocols of existing clients.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"x-api-key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let content: Map<String, Value> = operation
        .returns
        .iter()
        .map(|returned| (returned.content.to_owned(), json!({"schema": (returned.schema)(generator)})))
        .collect();
    let error = match operation.tag {
        "messages" => of::<anthropic::ErrorResponse>(generator),
        "ollama" => of::<ollama::ErrorResponse>(generator),
        _ => of::<OpenAiError>(generator),
    };
    let mut out = json!({
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": operation_id(operation),
        "responses": {
            "200": {"description": "The result.", "content": content},
            "default": {"description": "An error.", "content": {"application/json": {"schema": error}}},
        },
    });
    if let Some(request) = operation.request {
        let schema = request(generator);
        out["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": schema}}});
    }
    let names = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names
        .map(|name| json!({"name": name.trim_start_matches('*'), "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if !parameters.is_empty() {
        out["parameters"] = parameters.into();
    }
    out
}

/// Returns a name that no other operation has.
fn operation_id(operation: &Operation) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let path: String = operation.path.chars().map(word).collect();
    let parts = path.split('_').filter(|part| !part.is_empty());
    std::iter::once(operation.method).chain(parts).collect::<Vec<_>>().join("_")
}

/// An error.
#[derive(serde::Serialize, JsonSchema)]
#[schemars(rename = "OpenAiError")]
struct OpenAiError {
    /// The cause.
    error: OpenAiErrorObject,
}

/// The cause of an error.
#[derive(serde::Serialize, JsonSchema)]
struct OpenAiErrorObject {
    /// The message.
    message: String,
    /// A stable name of the class of errors: `invalid_request_error`, `rate_limit_error`, ...
    #[serde(rename = "type")]
    kind: String,
    /// The field of the request that is wrong.
    param: Option<String>,
    /// A stable name for programs.
    code: Option<String>,
}

/// Returns the document.
pub(crate) async fn serve() -> Json<Value> {
    Json(document())
}
