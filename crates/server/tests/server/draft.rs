//! A server whose model has a draft model.

use honelm::{RunOptions, Speculate};
use honelm_server::models;
use serde_json::{Value, json};

use crate::common::{Running, config, run_options, start_with};

fn serve(run: &RunOptions) -> Running {
    let config = config();
    let registry = models(&config, run, None).unwrap();
    start_with(config, registry, None)
}

#[test]
fn a_draft_model_changes_no_answer() {
    let plain = serve(&RunOptions { speculate: Speculate::Off, ..run_options() });
    let draft = Some(honelm_testing::pocket_dir());
    let drafted = serve(&RunOptions { speculate: Speculate::Draft, draft, ..run_options() });
    for temperature in [0.0, 0.9] {
        let request = json!({
            "messages": [{"role": "user", "content": "Tell me a story about a small dog."}],
            "max_tokens": 40, "temperature": temperature, "seed": 7
        });
        let [expected, found] = [&plain, &drafted].map(|server| server.post("/v1/chat/completions", request.clone()));
        assert_eq!(expected.0, 200, "{}", expected.1);
        assert_eq!(found.0, 200, "{}", found.1);
        assert_eq!(found.1["choices"], expected.1["choices"]);
        let mut request = request;
        request["stream"] = true.into();
        let chunks = drafted.events("/v1/chat/completions", request);
        let chunks = chunks.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
        let text: String = chunks
            .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(text, expected.1["choices"][0]["message"]["content"]);
    }
    let count = |server: &Running, key: &str| server.get("/status.json").1["models"][0][key].as_u64().unwrap();
    assert_eq!(count(&plain, "drafted_tokens"), 0);
    let (verified, accepted) = (count(&drafted, "drafted_tokens"), count(&drafted, "accepted_tokens"));
    // The model drafts for itself, so it accepts all that it reads.
    assert!(verified > 0 && accepted > 0 && accepted <= verified, "{accepted} of {verified}");
}
