//! `/v1/honelm/verify`: answers in rounds are those in one piece, whatever is drafted.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::common::{Running, config, start};

const VERIFY: &str = "/v1/honelm/verify";
const CHAT: &str = "/v1/chat/completions";

/// Returns the draft of a round: its number, and the tokens that follow.
type Drafts = fn(usize, &[u64]) -> Vec<u64>;

const DRAFTS: [Drafts; 4] = [
    |_, _| Vec::new(),
    |_, rest| rest.iter().take(4).copied().collect(),
    |_, _| vec![1, 2, 3],
    |round, rest| rest.iter().take(6).enumerate().map(|(i, &id)| if i == round % 4 { 9 } else { id }).collect(),
];

fn vocabulary(server: &Running) -> String {
    let props = server.get("/props").1;
    assert_eq!(props["models"][0]["verify"]["version"], 1, "{props}");
    props["models"][0]["verify"]["vocabulary"].as_str().unwrap().to_owned()
}

fn with(request: &Value, more: Value) -> Value {
    let mut request = request.clone();
    more.as_object().unwrap().iter().for_each(|(name, value)| request[name] = value.clone());
    request
}

fn ok(server: &Running, path: &str, request: Value) -> Value {
    let (status, answer) = server.post(path, request);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn tokens(answer: &Value) -> Vec<u64> {
    answer["tokens"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// Writes an answer in rounds. Returns its text, its tokens, the reason for its end, and the numbers of rounds and of accepted
/// tokens.
fn in_rounds(
    server: &Running,
    request: &Value,
    whole: &[u64],
    drafts: Drafts,
) -> (String, Vec<u64>, Value, usize, u64) {
    let vocabulary = vocabulary(server);
    let (mut text, mut begun, mut accepted) = (String::new(), Vec::new(), 0);
    for round in 0.. {
        let draft = drafts(round, &whole[begun.len().min(whole.len())..]);
        let of_round = json!({"begun": begun, "draft": draft, "vocabulary": vocabulary});
        let found = ok(server, VERIFY, with(request, of_round));
        text.push_str(found["text"].as_str().unwrap());
        begun.extend(tokens(&found));
        let right = found["accepted"].as_u64().unwrap();
        assert!(right as usize <= draft.len(), "{found}");
        accepted += right;
        if round > 0 {
            assert_eq!(found["usage"]["cached_tokens"], found["usage"]["prompt_tokens"], "{found}");
        }
        if !found["finish_reason"].is_null() {
            return (text, begun, found["finish_reason"].clone(), round + 1, accepted);
        }
        assert!(!tokens(&found).is_empty());
    }
    unreachable!("the answer ends")
}

#[test]
fn rounds_give_the_answer_of_the_model_alone() {
    let server = start(config());
    let request = json!({
        "messages": [{"role": "user", "content": "Tell me a story about a small dog."}],
        "max_tokens": 40, "temperature": 0, "seed": 7
    });
    ok(&server, CHAT, with(&request, json!({"max_tokens": 1})));
    for more in [
        json!({}),
        json!({"temperature": 0.9}),
        json!({"temperature": 1.3, "top_k": 0, "top_p": 1, "min_p": 0, "frequency_penalty": 0.8, "presence_penalty": 0.3}),
        json!({"stop": ["the"], "repeat_penalty": 1.2}),
    ] {
        let request = with(&request, more);
        let expected = ok(&server, CHAT, request.clone());
        let choice = &expected["choices"][0];
        // The whole answer is a round too.
        let whole = ok(&server, VERIFY, with(&request, json!({"tokens": 4096})));
        assert_eq!(
            (&whole["text"], &whole["finish_reason"]),
            (&choice["message"]["content"], &choice["finish_reason"])
        );
        assert_eq!(whole["usage"]["completion_tokens"], expected["usage"]["completion_tokens"]);
        let whole = tokens(&whole);
        for (i, drafts) in DRAFTS.into_iter().enumerate() {
            let (text, written, finish, rounds, accepted) = in_rounds(&server, &request, &whole, drafts);
            assert_eq!(text, choice["message"]["content"], "{request} {i}");
            assert_eq!((&written, &finish), (&whole, &choice["finish_reason"]), "{request} {i}");
            if i == 1 {
                assert!(rounds <= whole.len() / 5 + 2, "{rounds} rounds for {} tokens", whole.len());
                assert!(accepted as usize >= whole.len() - rounds, "{accepted} of {}", whole.len());
            }
        }
    }
}

#[test]
fn a_drafted_text_is_divided_into_tokens_here() {
    let server = start(config());
    let request =
        json!({"messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 24, "temperature": 0});
    let whole = ok(&server, VERIFY, with(&request, json!({"tokens": 4096})));
    let text = whole["text"].as_str().unwrap();
    let found = ok(&server, VERIFY, with(&request, json!({"draft_text": text})));
    assert!(found["accepted"].as_u64() > Some(0), "{found}");
    let begun = tokens(&found);
    assert_eq!(begun, tokens(&whole)[..begun.len()]);
    let rest = with(&request, json!({"begun": begun, "draft_text": "something else", "tokens": 4096}));
    let rest = ok(&server, VERIFY, rest);
    assert_eq!(format!("{}{}", found["text"].as_str().unwrap(), rest["text"].as_str().unwrap()), text);
    // A prompt can be tokens.
    let prompt = json!({"prompt_tokens": [1, 40, 41, 42], "max_tokens": 5, "temperature": 0, "tokens": 9});
    let prompt = ok(&server, VERIFY, prompt);
    assert!(tokens(&prompt).len() <= 5 && prompt["usage"]["prompt_tokens"] == 4, "{prompt}");
    let seconds = &ok(&server, VERIFY, with(&request, json!({"tokens": 12})))["seconds"];
    assert!(["total", "step", "token"].iter().all(|name| seconds[name].as_f64() > Some(0.0)), "{seconds}");
}

#[test]
fn requests_that_cannot_go_on_are_refused() {
    let server = start(config());
    let request = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "temperature": 0});
    ok(&server, CHAT, request.clone());
    let end = server.post("/tokenize", json!({"content": "<|end|>"})).1["tokens"][0].clone();
    let digest = vocabulary(&server);
    let tool = json!([{"type": "function", "function": {"name": "f"}}]);
    for (more, status, said) in [
        (json!({"draft": [1]}), StatusCode::BAD_REQUEST, "vocabulary: found none"),
        (json!({"draft": [1], "vocabulary": "0"}), StatusCode::CONFLICT, "vocabulary: found \"0\", expected"),
        (
            json!({"draft": vec![1; 65], "vocabulary": digest}),
            StatusCode::BAD_REQUEST,
            "draft: found 65 tokens, expected at most 64",
        ),
        (
            json!({"draft": [-1], "vocabulary": digest}),
            StatusCode::BAD_REQUEST,
            "draft[0]: found -1, expected a whole number",
        ),
        (json!({"draft": [1], "draft_text": "a", "vocabulary": digest}), StatusCode::BAD_REQUEST, "draft_text: found"),
        (json!({"begun": [4_000_000]}), StatusCode::BAD_REQUEST, "4000000"),
        (json!({"begun": [end]}), StatusCode::BAD_REQUEST, "begun: found tokens that end the answer"),
        (json!({"begun": vec![40; 400], "max_tokens": 1000}), StatusCode::BAD_REQUEST, "too long"),
        (json!({"temperature": 0.5}), StatusCode::BAD_REQUEST, "seed: found none"),
        (json!({"temperature": 0.5, "seed": -1}), StatusCode::BAD_REQUEST, "seed: found none"),
        (json!({"prompt_tokens": [1]}), StatusCode::BAD_REQUEST, "prompt_tokens: found messages too"),
        (json!({"tools": tool}), StatusCode::BAD_REQUEST, "tools: found tools, expected none"),
        (json!({"tokens": 0}), StatusCode::BAD_REQUEST, "tokens: found 0, expected a whole number from 1 to 4096"),
        (json!({"messages": []}), StatusCode::BAD_REQUEST, "messages: found no messages"),
        (json!({"model": "other"}), StatusCode::NOT_FOUND, "other"),
    ] {
        let (found, error) = server.post(VERIFY, with(&request, more.clone()));
        let message = error["error"]["message"].as_str().unwrap_or_default();
        assert!(found == status && message.contains(said), "{more}: {found} {error}");
    }
    // A token that the model does not have is no draft, and changes nothing.
    let plain = ok(&server, VERIFY, request.clone());
    let drafted = with(&request, json!({"draft": [4_000_000], "vocabulary": digest}));
    assert_eq!(ok(&server, VERIFY, drafted)["tokens"], plain["tokens"]);
}
