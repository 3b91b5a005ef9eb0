//! `honelm ps`: the models of a running server.

use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::remote::Remote;
use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  honelm ps
  honelm ps --server http://127.0.0.1:9000
  honelm ps --server unix:/run/honelm/honelm.sock --json";

/// Show the models that a running server has loaded
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Ps {
    #[command(flatten)]
    remote: Remote,
}

impl Ps {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let state = self.remote.send(Method::GET, "/status.json", None)?;
        if global.json {
            output::json(&state)?;
        } else {
            output::line(&text(&state))?;
        }
        Ok(0)
    }
}

fn text(state: &Value) -> String {
    let models = state["models"].as_array().map_or(&[][..], Vec::as_slice);
    if models.is_empty() {
        return "no model is loaded".to_owned();
    }
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let row = |model: &Value| {
        let need = &model["need"];
        let bytes: u64 = ["weights", "cache", "scratch"].iter().map(|part| count(&need[*part])).sum();
        let expires = model["expires_seconds"].as_f64().map_or("in use".to_owned(), |left| format!("{left:.0} s"));
        vec![
            model["name"].as_str().unwrap_or_default().to_owned(),
            model["state"].as_str().unwrap_or_default().to_owned(),
            honelm::units::bytes(bytes),
            count(&model["context"]).to_string(),
            count(&model["active"]).to_string(),
            count(&model["waiting"]).to_string(),
            count(&model["answer_tokens"]).to_string(),
            expires,
        ]
    };
    let rows: Vec<Vec<String>> = models.iter().map(row).collect();
    let titles = ["name", "state", "memory", "context", "answering", "waiting", "tokens", "unloaded in"];
    output::fitted(output::table(&titles, &rows).rank(1, &["context", "tokens"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::text;

    #[test]
    fn loaded_models_are_rows() {
        assert_eq!(text(&json!({"models": []})), "no model is loaded");
        let need = json!({"weights": 1_000_000, "cache": 500_000, "scratch": 0});
        let model = json!({"name": "pocket", "state": "loaded", "need": need, "context": 512, "active": 2,
            "waiting": 1, "answer_tokens": 9, "expires_seconds": null});
        let shown = text(&json!({"models": [model]}));
        for part in ["pocket", "loaded", "1.5 MB", "512", "in use"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
