//! Embeddings with the shipped model.

use honelm::Pooling;
use honelm_server::Config;
use serde_json::{Value, json};

use crate::common::{config, start};

fn values(embedding: &Value) -> Vec<f64> {
    embedding.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn embeddings_have_length_one_and_tell_texts_apart() {
    for pooling in [Pooling::Mean, Pooling::Last] {
        let server = start(Config { pooling: Some(pooling), ..config() });
        let texts = ["The cat sat on the mat.", "The cat sat on the rug.", "Seven taxes were raised in 1834."];
        let (status, found) = server.post("/v1/embeddings", json!({"model": "pocket", "input": texts}));
        assert_eq!(status, 200, "{found}");
        let vectors: Vec<Vec<f64>> =
            found["data"].as_array().unwrap().iter().map(|one| values(&one["embedding"])).collect();
        for vector in &vectors {
            assert!(vector.len() == 256 && (cosine(vector, vector) - 1.0).abs() < 1e-5);
        }
        let (near, far) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
        assert!(near > far, "{pooling:?}: {near} {far}");

        // One by one, as tokens, and through Ollama's endpoints, they are the same.
        let (_, alone) = server.post("/v1/embeddings", json!({"model": "pocket", "input": texts[1]}));
        assert_eq!(alone["data"][0]["embedding"], found["data"][1]["embedding"]);
        let (_, tokens) =
            server.post("/tokenize", json!({"model": "pocket", "content": texts[1], "add_special": true}));
        let (_, of_tokens) = server.post("/v1/embeddings", json!({"model": "pocket", "input": tokens["tokens"]}));
        assert_eq!(of_tokens["data"][0]["embedding"], found["data"][1]["embedding"]);
        let (_, ollama) = server.post("/api/embed", json!({"model": "pocket", "input": texts}));
        assert_eq!(ollama["embeddings"][2], found["data"][2]["embedding"]);
        assert_eq!(ollama["prompt_eval_count"], found["usage"]["prompt_tokens"]);
        let (_, older) = server.post("/api/embeddings", json!({"model": "pocket", "prompt": texts[2]}));
        let older = values(&older["embedding"]);
        assert!((cosine(&older, &vectors[2]) / cosine(&older, &older).sqrt() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn wrong_inputs_are_refused() {
    let server = start(config());
    let long = "word ".repeat(2000);
    for (request, place) in [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [1, "a"]}), "input"),
        (json!({"input": [-1]}), "input"),
        (json!({"input": [100_000]}), "100000"),
        (json!({"input": [[]]}), "empty"),
        (json!({"input": long}), "too long"),
        (json!({"input": "a", "encoding_format": "hex"}), "encoding_format"),
        (json!({"input": "a", "dimensions": 257}), "dimensions"),
        (json!({"input": "a", "dimensions": -1}), "dimensions"),
    ] {
        let mut request = request;
        request["model"] = json!("pocket");
        let (status, error) = server.post("/v1/embeddings", request);
        assert_eq!(status.as_u16(), 400, "{error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(place), "{place}: {error}");
    }
    let (status, cut) = server.post("/api/embed", json!({"model": "pocket", "input": long}));
    assert_eq!((status.as_u16(), &cut["prompt_eval_count"]), (200, &json!(256)));
}
