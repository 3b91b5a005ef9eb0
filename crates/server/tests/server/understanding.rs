//! Labels and facts of texts with the shipped model.

use honelm_server::Config;
use serde_json::{Value, json};

use crate::common::{config, start, start_long};

#[path = "../../../grammar/tests/grammar/judge.rs"]
mod judge;

const TEXTS: [&str; 2] = ["The dog slept.", "Zoë lief über die Straße."];

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

#[test]
fn labels_have_probabilities_and_texts_are_classified_together_as_alone() {
    let server = start_long();
    for multi in [false, true] {
        let request = |input: Value| {
            json!({"model": "pocket", "input": input, "multi": multi, "threshold": 0.25,
                "labels": ["animal", {"name": "street", "description": "a way for people and carts"}, "weather"],
                "examples": [{"text": "Rain fell.", "labels": "weather"}]})
        };
        let (status, found) = server.post("/v1/classify", request(json!(TEXTS)));
        assert_eq!(status, 200, "{found}");
        assert_eq!((&found["object"], &found["model"]), (&json!("list"), &json!("pocket")));
        for (index, text) in TEXTS.iter().enumerate() {
            let one = &found["data"][index];
            assert_eq!(one["index"], index);
            let scores = one["scores"].as_array().unwrap();
            let names: Vec<&str> = scores.iter().map(|score| score["label"].as_str().unwrap()).collect();
            assert_eq!(names, ["animal", "street", "weather"]);
            let p: Vec<f64> = scores.iter().map(|score| score["probability"].as_f64().unwrap()).collect();
            assert!(p.iter().all(|p| (0.0..=1.0).contains(p)));
            let best = p.iter().copied().fold(0.0, f64::max);
            let is_chosen = |p: &f64| if multi { *p >= 0.25 } else { *p == best };
            let chosen: Vec<&str> = names.iter().zip(&p).filter(|(_, p)| is_chosen(p)).map(|(name, _)| *name).collect();
            assert_eq!(strings(&one["labels"]), chosen);
            assert!(multi || (p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let (_, alone) = server.post("/v1/classify", request(json!(text)));
            assert_eq!(alone["data"][0]["scores"], one["scores"]);
        }
        let usage = &found["usage"];
        assert!(usage["prompt_tokens"].as_u64().unwrap() > 20 && usage["completion_tokens"] == 0);
        assert_eq!(usage["total_tokens"], usage["prompt_tokens"]);
    }
    // The library gives the same figures.
    let path = honelm::locate(None, None).unwrap();
    let run = honelm::RunOptions { context: Some(1024), ..crate::common::run_options() };
    let mut model = honelm::Model::open(&path, &run, &mut |_| true).unwrap();
    let options = honelm::ClassifyOptions::new(vec![honelm::Label::new("animal"), honelm::Label::new("street")]);
    let local = model.classify(&TEXTS, &options, &honelm::Cancel::new()).unwrap();
    let (_, served) = server.post("/v1/classify", json!({"input": TEXTS, "labels": ["animal", "street"]}));
    for (local, served) in local.iter().zip(served["data"].as_array().unwrap()) {
        for (local, served) in local.scores.iter().zip(served["scores"].as_array().unwrap()) {
            // Reading a number from JSON can change its last digit.
            let is_close = |name: &str, own: f64| (served[name].as_f64().unwrap() - own).abs() <= 1e-12 * own.abs();
            assert!(is_close("probability", local.probability) && is_close("log_likelihood", local.log_likelihood));
            assert_eq!((&served["label"], &served["tokens"]), (&json!(local.label), &json!(local.tokens)));
        }
    }
}

#[test]
fn facts_match_the_schema_and_strings_have_places() {
    let server = start_long();
    let schema = json!({"type": "object", "required": ["name", "size"], "properties": {
        "name": {"type": "string", "maxLength": 8}, "size": {"enum": ["big", "small"]}}});
    let (status, found) =
        server.post("/v1/extract", json!({"input": TEXTS, "schema": schema.clone(), "max_tokens": 500}));
    assert_eq!(status, 200, "{found}");
    for (text, one) in TEXTS.iter().zip(found["data"].as_array().unwrap()) {
        assert_eq!((&one["object"], &one["finish_reason"]), (&json!("extraction"), &json!("stop")));
        assert!(judge::accepts(&schema, &schema, &one["data"]), "{one}");
        let characters: Vec<char> = text.chars().collect();
        let mentions = one["mentions"].as_array().unwrap();
        assert_eq!(mentions.len(), 2);
        for mention in mentions {
            assert_eq!(one["data"].pointer(mention["path"].as_str().unwrap()), Some(&mention["text"]));
            if let (Some(start), Some(end)) = (mention["start"].as_u64(), mention["end"].as_u64()) {
                let place: String = characters[start as usize..end as usize].iter().collect();
                assert_eq!(mention["text"], place);
            }
        }
    }
    let usage = &found["usage"];
    assert!(usage["completion_tokens"].as_u64().unwrap() > 10 && usage["prompt_tokens"].as_u64().unwrap() > 20);
    let (_, cut) = server.post("/v1/extract", json!({"input": "Ann", "kinds": ["PERSON"], "max_tokens": 1}));
    let one = &cut["data"][0];
    assert_eq!((&one["data"], &one["finish_reason"], &one["mentions"]), (&Value::Null, &json!("length"), &json!([])));
}

#[test]
fn wrong_requests_are_refused_with_their_field() {
    let server = start(config());
    let long = "word ".repeat(2000);
    let labels = json!(["a", "b"]);
    for (path, request, place) in [
        ("/v1/classify", json!({"labels": labels}), "input"),
        ("/v1/classify", json!({"input": [], "labels": labels}), "input"),
        ("/v1/classify", json!({"input": 5, "labels": labels}), "input"),
        ("/v1/classify", json!({"input": ["a", " "], "labels": labels}), "input[1]"),
        ("/v1/classify", json!({"input": "a"}), "labels"),
        ("/v1/classify", json!({"input": "a", "labels": []}), "labels"),
        ("/v1/classify", json!({"input": "a", "labels": ["a"]}), "labels"),
        ("/v1/classify", json!({"input": "a", "labels": ["a", "a"]}), "labels"),
        ("/v1/classify", json!({"input": "a", "labels": ["a", {"description": "b"}]}), "labels"),
        ("/v1/classify", json!({"input": "a", "labels": labels, "normalise": "x"}), "normalise"),
        ("/v1/classify", json!({"input": "a", "labels": labels, "threshold": 2}), "threshold"),
        (
            "/v1/classify",
            json!({"input": "a", "labels": labels, "examples": [{"text": "b", "labels": "c"}]}),
            "examples",
        ),
        ("/v1/classify", json!({"input": long, "labels": labels}), "too long"),
        ("/v1/classify", json!({"input": vec!["a"; 3000], "labels": labels, "multi": true}), "labels"),
        ("/v1/extract", json!({"input": "a"}), "schema"),
        ("/v1/extract", json!({"input": "a", "schema": {}, "kinds": ["A"]}), "kinds"),
        ("/v1/extract", json!({"input": "a", "kinds": []}), "kinds"),
        ("/v1/extract", json!({"input": "a", "kinds": ["A", "A"]}), "kinds"),
        ("/v1/extract", json!({"input": "a", "schema": {"not": {}}}), "schema#/not"),
        ("/v1/extract", json!({"input": "a", "schema": {"pattern": "(a", "type": "string"}}), "schema#"),
        ("/v1/extract", json!({"input": "a", "schema": 5}), "schema#"),
        ("/v1/extract", json!({"input": "a", "schema": true, "max_tokens": 0}), "max_tokens"),
        ("/v1/extract", json!({"input": long, "kinds": ["A"]}), "too long"),
    ] {
        let (status, error) = server.post(path, request);
        assert_eq!(status.as_u16(), 400, "{place}: {error}");
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert!(error["error"]["message"].as_str().unwrap().contains(place), "{place}: {error}");
    }
    let strict = start(Config { strict_fields: true, ..config() });
    for path in ["/v1/classify", "/v1/extract"] {
        let (status, error) = strict.post(path, json!({"input": "a", "labels": labels, "kinds": ["A"], "colour": 1}));
        assert_eq!((status.as_u16(), error["error"]["code"].as_str()), (400, Some("invalid_value")), "{error}");
    }
}
