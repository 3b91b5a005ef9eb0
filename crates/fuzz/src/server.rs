//! Targets for the requests that the server reads, and for the streams that it writes.

use honelm_engine::Generation;
use honelm_server::fields::{Fields, read};
use honelm_server::model::ModelCard;
use honelm_server::responses::ResponseEvent;
use honelm_server::{
    ApiError, Finish, Job, Limits, Part, Prompt, TokenLogprob, Usage, anthropic, embeddings, messages, ollama, openai,
    responses, tools, understanding,
};

fn card() -> ModelCard {
    ModelCard {
        name: "model".to_owned(),
        digest: Default::default(),
        path: std::path::PathBuf::new(),
        architecture: "llama".to_owned(),
        parameters: 1,
        vocabulary: 1000,
        vocabulary_digest: String::new(),
        context: 4096,
        generation: Generation::default(),
        template_digest: None,
        template: None,
        reasons: true,
        images: true,
        ends: (None, None),
        embedding: None,
        encoder: false,
        device: "cpu".to_owned(),
        load_seconds: 0.0,
    }
}

/// Reads a request, and uses it as its handler does. Every error is one of the client, with a message.
fn with<T: Fields>(data: &[u8], work: impl FnOnce(T) -> Result<(), ApiError>) {
    for strict in [true, false] {
        if let Err(error) = read::<T>(data, strict) {
            assert!(error.status.is_client_error() && !error.message.is_empty(), "{error:?}");
        }
    }
    let Ok(incoming) = read::<T>(data, false) else { return };
    if let Err(error) = work(incoming.request) {
        assert!(error.status.is_client_error() && !error.message.is_empty(), "{error:?}");
    }
}

pub(crate) fn openai_requests(data: &[u8]) {
    with(data, |request: openai::ChatRequest| {
        messages::checked(request.messages, true)?;
        tools::read(request.tools.as_ref(), request.tool_choice.as_ref())?;
        tools::response_format(request.response_format.as_ref())?;
        Ok(())
    });
    with(data, |_: openai::TextRequest| Ok(()));
    with(data, |_: openai::InfillRequest| Ok(()));
    with(data, |mut request: openai::VerifyRequest| request.job(&card(), &Limits::default()).map(drop));
    with(data, |_: embeddings::CreateEmbeddings| Ok(()));
    let limits = Limits::default();
    with(data, |request: understanding::ClassifyTexts| {
        let (texts, classifier) = request.checked(&limits)?;
        for text in texts.iter().take(8) {
            let questions = classifier.questions(text);
            assert!(!questions.is_empty() && questions.iter().all(|question| !question.answers.is_empty()));
        }
        Ok(())
    });
    with(data, |request: understanding::ExtractFacts| {
        // The instruction stands for the answer of the model too.
        let answer = request.instruction.clone().unwrap_or_default();
        let (texts, extractor) = request.checked(&limits)?;
        for text in texts.iter().take(8) {
            let (_, mentions) = extractor.result(text, &answer, true);
            let characters: Vec<char> = text.chars().collect();
            for mention in mentions {
                let place = mention.start.zip(mention.end).map(|(start, end)| &characters[start..end]);
                assert!(place.is_none_or(|place| place.iter().collect::<String>() == mention.text));
            }
        }
        Ok(())
    });
}

pub(crate) fn responses_requests(data: &[u8]) {
    let limits = Limits::default();
    let work = |mut request: responses::CreateResponse| {
        request.check()?;
        let input = request.take_input(&limits)?;
        assert!(input.iter().all(|item| item.id.is_some()));
        let (job, _) = request.job(input.iter(), &card(), &limits)?;
        let response = request.response("model", &job);
        assert!(serde_json::to_value(&response).is_ok());
        // A stored response must be readable as a later request.
        let items = serde_json::to_vec(&input).map_err(|error| ApiError::internal("json", error.to_string()))?;
        let again: Vec<responses::Item> = honelm_server::fields::parse(&items)?;
        assert_eq!(again, input);
        Ok(())
    };
    with(data, work);
    with(data, |count: responses::CountInputTokens| work(count.into()));
}

pub(crate) fn messages_requests(data: &[u8]) {
    let limits = Limits::default();
    with(data, |request: anthropic::CreateMessage| request.job(&card(), &limits).map(drop));
    with(data, |count: anthropic::CountTokens| anthropic::CreateMessage::from(count).job(&card(), &limits).map(drop));
}

pub(crate) fn ollama_requests(data: &[u8]) {
    let limits = Limits::default();
    with(data, |request: ollama::ChatRequest| {
        ollama::keep_alive(request.keep_alive.as_ref())?;
        request.job(&card(), &limits).map(drop)
    });
    with(data, |request: ollama::GenerateRequest| request.job(&card(), &limits).map(drop));
    with(data, |_: ollama::ShowRequest| Ok(()));
    with(data, |_: ollama::PullRequest| Ok(()));
    with(data, |_: ollama::EmbedRequest| Ok(()));
    with(data, |_: ollama::EmbeddingsRequest| Ok(()));
}

/// Reads the parts of an answer: a byte for the kind, then a text up to a zero byte.
fn parts(data: &[u8]) -> Vec<Part> {
    let (choice, mut calls) = (0, 0);
    let mut out = vec![Part::Begun { choice, prompt_tokens: 9, cached_tokens: 4 }];
    let mut open = false;
    for piece in data.split(|byte| *byte == 0) {
        let Some((kind, text)) = piece.split_first() else { continue };
        let text = String::from_utf8_lossy(text).into_owned();
        let logprob = || TokenLogprob {
            id: 1,
            text: text.clone(),
            bytes: text.clone().into(),
            logprob: Some(-1.5),
            top: Vec::new(),
        };
        match kind % 6 {
            0 => out.push(Part::Text { choice, text, logprobs: Vec::new() }),
            1 => out.push(Part::Text { choice, logprobs: vec![logprob()], text }),
            2 => out.push(Part::Reasoning { choice, text }),
            3 if !open => {
                out.push(Part::CallBegins { choice, index: calls, id: format!("call{calls}"), name: text });
                (open, calls) = (true, calls + 1);
            }
            4 if open => out.push(Part::CallArguments { choice, index: calls - 1, fragment: text }),
            5 if open => {
                out.push(Part::CallEnds { choice, index: calls - 1 });
                open = false;
            }
            _ => {}
        }
    }
    let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: out.len(), ..Usage::default() };
    out.push(match data.first().map(|byte| byte % 4) {
        Some(0) => Part::Failed(ApiError::internal("failed", "it failed")),
        Some(1) => Part::Done { choice, finish: Finish::Length, usage },
        Some(2) => Part::Done { choice, finish: Finish::StopText("stop".to_owned()), usage },
        _ => Part::Done { choice, finish: Finish::Stop, usage },
    });
    out
}

/// Writes an answer as the events of each protocol. Their order must be valid, and no text may be lost.
pub(crate) fn streams(data: &[u8]) {
    let parts = parts(data);
    let written = |kind: fn(&Part) -> Option<&str>| parts.iter().filter_map(kind).collect::<String>();
    let text = written(|part| if let Part::Text { text, .. } = part { Some(text) } else { None });
    let reasoning = written(|part| if let Part::Reasoning { text, .. } = part { Some(text) } else { None });
    responses_stream(&parts, &text, &reasoning);
    messages_stream(&parts, &text, &reasoning);
    let mut lines = ollama::Lines::new(ollama::Kind::Chat, "model", std::time::Instant::now(), 0.0);
    let lines: Vec<ollama::AnswerLine> = parts.iter().filter_map(|part| lines.part(part.clone())).collect();
    let whole = ollama::Lines::join(lines.into_iter());
    let content = whole.and_then(|line| line.message).map(|message| message.content);
    assert!(content.is_none_or(|content| content == text));
}

fn responses_stream(parts: &[Part], text: &str, reasoning: &str) {
    let request = responses::CreateResponse::default();
    let job = Job::new(Prompt::Text(String::new()), Generation::default());
    let mut events = responses::Events::new(request.response("model", &job));
    let mut sent = events.begin();
    parts.iter().for_each(|part| sent.extend(events.part(part.clone())));
    let (mut texts, mut thoughts, mut open, mut done) = (String::new(), String::new(), None, 0);
    for (number, event) in sent.iter().enumerate() {
        assert_eq!(event.sequence_number, number as u64);
        assert!(serde_json::to_string(event).is_ok());
        match &event.event {
            ResponseEvent::ItemAdded { output_index, .. } => {
                assert_eq!((open, *output_index), (None, done));
                open = Some(*output_index);
            }
            ResponseEvent::ItemDone { output_index, .. } => {
                assert_eq!(open, Some(*output_index));
                (open, done) = (None, done + 1);
            }
            ResponseEvent::TextDelta { output_index, delta, .. } => {
                assert_eq!(open, Some(*output_index));
                texts.push_str(delta);
            }
            ResponseEvent::ReasoningDelta { delta, .. } => thoughts.push_str(delta),
            _ => {}
        }
    }
    assert_eq!((texts.as_str(), thoughts.as_str(), open), (text, reasoning, None));
    assert_eq!(events.response().output.len(), done);
    let last = sent.last().map(|event| event.event.name());
    assert!(matches!(last, Some("response.completed" | "response.incomplete" | "response.failed")));
}

fn messages_stream(parts: &[Part], text: &str, reasoning: &str) {
    use anthropic::{BlockDelta, MessageEvent};
    let mut events = anthropic::Events::new("model", false, vec!["stop".to_owned()]);
    let (mut texts, mut thoughts, mut open, mut next) = (String::new(), String::new(), None, 0);
    for event in parts.iter().flat_map(|part| events.part(part.clone())).collect::<Vec<_>>() {
        assert!(serde_json::to_string(&event).is_ok());
        match event {
            MessageEvent::ContentBlockStart { index, .. } => {
                assert_eq!((open, index), (None, next));
                (open, next) = (Some(index), next + 1);
            }
            MessageEvent::ContentBlockDelta { index, delta } => {
                assert_eq!(open, Some(index));
                match delta {
                    BlockDelta::TextDelta { text } => texts.push_str(&text),
                    BlockDelta::ThinkingDelta { thinking } => thoughts.push_str(&thinking),
                    BlockDelta::InputJsonDelta { .. } => {}
                }
            }
            MessageEvent::ContentBlockStop { index } => {
                assert_eq!(open, Some(index));
                open = None;
            }
            _ => {}
        }
    }
    assert_eq!((texts.as_str(), thoughts.as_str()), (text, reasoning));
}
