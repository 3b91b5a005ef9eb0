//! `honelm router` and `honelm gateway`.

use std::path::Path;

use serde_json::Value;

use crate::common::{assert_fails, assert_keys, document, run, run_with, status, stderr, stdout};

const GATEWAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/gateway.toml");

/// Writes traffic in which long sums need the cloud and short greetings do not, in eight groups.
fn write_traffic(path: &Path, lines: usize) {
    let line = |i: usize| {
        let (prompt, local) = match i % 2 {
            0 => {
                (format!("Compute {i} + {} * 17, then subtract {i} and explain each step", i * 3), i.is_multiple_of(10))
            }
            _ => (format!("Say hello to friend {}", i % 7), i % 10 != 1),
        };
        let counts = "\"prompt_tokens\": 1000, \"completion_tokens\": 100";
        format!(
            "{{\"prompt\": {prompt:?}, \"local\": {local}, \"cloud\": true, \"group\": \"g{}\", {counts}}}\n",
            i % 8
        )
    };
    std::fs::write(path, (0..lines).map(line).collect::<String>()).expect("written");
}

#[test]
fn an_estimator_is_trained_judged_and_replayed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (traffic, estimator) = (path("traffic.jsonl"), path("mine.estimator"));
    write_traffic(Path::new(&traffic), 240);
    let train = ["router", "train", &traffic, "-o", &estimator, "--note", "made up", "--json"];
    let trained = document(&run(&train));
    assert_eq!((&trained["data"]["requests"], &trained["data"]["groups"]), (&Value::from(240), &Value::from(8)));
    assert_eq!(trained["data"]["note"], "made up");
    let first = std::fs::read(&estimator).expect("the file");
    assert_fails(&run(&train[..7]), 1, &["mine.estimator", "--force"]);
    document(&run(&[&train[..], &["--force"]].concat()));
    assert_eq!(std::fs::read(&estimator).expect("the file"), first, "training is deterministic");

    let found = document(&run(&["router", "eval", &traffic, "--json"]));
    assert_keys(&found, &["apgr", "apgr_low", "apgr_high", "cpt50", "baselines", "points", "decision_milliseconds"]);
    assert!(found["apgr"].as_f64().is_some_and(|apgr| apgr > 0.6), "{found}");
    assert_keys(&found["baselines"], &["random", "length", "oracle", "local_only", "cloud_only"]);
    let own = document(&run(&["router", "eval", &traffic, "--estimator", &estimator, "--json"]));
    assert_eq!((&own["is_training_data"], &found["is_training_data"]), (&Value::from(true), &Value::from(false)));
    let table = stdout(&run(&["router", "eval", &traffic, "--mix-groups"]));
    assert!(table.contains("oracle") && table.contains("cloud alone"), "{table}");

    let prices = ["--price-input", "1", "--price-output", "10"];
    let replay = |target: &[&str]| {
        let log = ["router", "replay", &traffic, "--estimator", &estimator, "--json"];
        document(&run(&[&log[..], &prices, target].concat()))
    };
    let half = replay(&["--keep-local", "50%"]);
    assert!(half["kept_local_percent"].as_f64().is_some_and(|percent| (40.0..60.0).contains(&percent)), "{half}");
    assert!(half["agreement_percent"].as_f64().is_some_and(|percent| percent >= 80.0), "{half}");
    let (saved, all) =
        (half["saved_cost"].as_f64().expect("a cost"), half["cloud_only_cost"].as_f64().expect("a cost"));
    assert!(
        (all - 240.0 * 0.002).abs() < 1e-9
            && (saved / all * 100.0 - half["kept_local_percent"].as_f64().expect("a share")).abs() < 1e-6
    );
    assert_eq!(half["drift"]["has_drifted"], false);
    assert_eq!(replay(&["--threshold", "-1"])["kept_local_percent"], 0.0);
    assert_eq!(replay(&["--threshold", "1"])["kept_local_percent"], 100.0);
    assert!(
        replay(&["--max-false-local", "5%"])["threshold"]["false_local_bound_percent"]
            .as_f64()
            .is_some_and(|p| p <= 5.0)
    );
    let other = run(&["router", "replay", &traffic, "--threshold", "0.1"]);
    assert_eq!(status(&other), 0, "{}", stderr(&other));
    assert!(
        stderr(&other).contains("unlike the training data") && stdout(&other).contains("kept local"),
        "{}",
        stderr(&other)
    );
}

#[test]
fn the_shipped_estimator_explains_itself() {
    let prompt = "Calculate the eigenvalues of the matrix and prove that they are not real.";
    let found = document(&run(&["router", "explain", prompt, "--json", "--top", "1000"]));
    let add = |sum: f64, feature: &Value| sum + feature["contribution"].as_f64().expect("a number");
    let sum = found["features"].as_array().expect("features").iter().fold(found["bias"].as_f64().expect("a bias"), add);
    assert!((sum - found["gain"].as_f64().expect("a gain")).abs() < 1e-4, "{found}");
    let shown = run_with(&["router", "explain", "-"], prompt.as_bytes());
    assert!(stdout(&shown).contains("bias") && stdout(&shown).contains("all others"), "{}", stdout(&shown));
}

#[test]
fn bad_traffic_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("log.jsonl");
    let name = log.to_str().expect("UTF-8");
    let one_class = "{\"prompt\": \"a\", \"local\": 0, \"cloud\": 1}\n".repeat(30);
    for (text, said) in [
        ("", "line 1: found no request in 0 lines, expected"),
        ("\n\n", "line 1: found no request in 2 lines, expected"),
        ("{\"prompt\": \"a\", \"local\": 1}\n", "line 1: cloud: found nothing, expected true, false"),
        ("{\"prompt\": \"a\", \"local\": 1, \"cloud\": 3}\n", "line 1: cloud: found 3, expected"),
        (&one_class, "lines 1 to 30: found one class"),
    ] {
        std::fs::write(&log, text).expect("written");
        let out = dir.path().join("x.estimator");
        assert_fails(&run(&["router", "train", name, "-o", out.to_str().expect("UTF-8")]), 1, &["log.jsonl", said]);
        assert!(!out.exists());
    }
    assert_fails(&run(&["router", "replay", name, "--estimator", name]), 1, &["log.jsonl"]);
    for wrong in [
        &["--keep-local", "75"][..],
        &["--threshold", "2"],
        &["--max-false-local", "5%", "--keep-local", "5%"],
        &["--price-input", "1"],
    ] {
        assert_fails(&run(&[&["router", "replay", name][..], wrong].concat()), 2, &[]);
    }
}

#[test]
fn a_gateway_file_is_checked_and_routes_a_request() {
    let valid = run(&["gateway", "check", GATEWAY]);
    assert_eq!(status(&valid), 0, "{}", stderr(&valid));
    assert!(stdout(&valid).contains("own-server, provider") && stderr(&valid).contains("PROVIDER_KEY is not set"));
    let route = |request: &str, more: &[&str]| {
        let words = ["gateway", "check", GATEWAY, "--json", "--request", request];
        document(&run(&[&words[..], more].concat()))["request"].clone()
    };
    let hello = route("{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}", &[]);
    assert_eq!(hello["reason"]["code"], "gain", "{hello}");
    let image =
        r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]}"#;
    let seen = route(image, &[]);
    assert_eq!((&seen["route"], &seen["reason"]["code"]), (&Value::from("cloud"), &Value::from("needs-vision")));
    assert_eq!(seen["upstreams"], Value::from(vec!["provider"]));
    assert_eq!(route(image, &["--client", "payroll"])["route"], "refused");
    let local =
        route("{\"prompt\": \"Hello\", \"metadata\": {\"honelm_policy\": \"local-only\"}}", &["--client", "editor"]);
    assert_eq!((&local["route"], &local["reason"]["code"]), (&Value::from("local"), &Value::from("local-only")));
    assert_fails(
        &run(&["gateway", "check", GATEWAY, "--request", "{}", "--client", "nobody"]),
        2,
        &["payroll, editor"],
    );
    assert_fails(&run(&["gateway", "check", GATEWAY, "--request", "{"]), 1, &["expected a request as JSON"]);
}

#[test]
fn problems_of_a_gateway_file_name_file_and_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("bad.toml");
    let example = std::fs::read_to_string(GATEWAY).expect("the example");
    for (from, to, said) in [
        ("tools = false ", "tool = false ", "unknown key `tool`, expected one of"),
        ("key = \"none\"  ", "# ", "found nothing, expected key `key`"),
        ("input = 0,", "input = -1,", "found -1, expected a number of at least 0"),
        (
            "name = \"provider\"",
            "name = \"own-server\"",
            "found a second upstream named \"own-server\", expected different names",
        ),
    ] {
        let text = example.replacen(from, to, 1);
        assert_ne!(text, example, "{from}");
        std::fs::write(&path, text).expect("written");
        assert_fails(&run(&["gateway", "check", path.to_str().expect("UTF-8")]), 1, &["bad.toml: line ", said]);
    }
}

/// A server that answers every chat with `answer`; the first request gets status 503. Returns its address and what it was sent.
fn cloud(answer: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).expect("a line") == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).expect("a body");
            let sent = format!("{head}\n{}", String::from_utf8_lossy(&body));
            let message = serde_json::json!({"choices": [{"message": {"role": "assistant", "content": answer}}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 3}})
            .to_string();
            let (status, body) = if number == 0 { ("503 Busy", "{}".to_owned()) } else { ("200 OK", message) };
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            if stream.get_mut().write_all(text.as_bytes()).is_err() || sender.send(sent).is_err() {
                break;
            }
        }
    });
    (url, received)
}

#[test]
fn both_sides_answer_and_are_judged() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (prompts, out) = (path("prompts.jsonl"), path("traffic.jsonl"));
    let lines = [
        r#"{"prompt": "The dog was hungry, so he ran to his", "answer": "bowl", "group": "a"}"#,
        r#"{"prompt": "Once upon a", "answer": ["time", "day"], "group": "b"}"#,
        r#"{"prompt": "The sun went down and the sky became"}"#,
    ];
    std::fs::write(&prompts, lines.join("\n")).expect("written");
    let label =
        ["router", "label", &prompts, "-o", &out, "--raw", "--compare", "first-word", "-n", "4", "--samples", "3"];
    let of_model = [&label[..], &["--cloud", "pocket", "--answers", "--json"]].concat();
    let found = document(&run(&of_model));
    assert_eq!((&found["requests"], &found["by_answer"], &found["by_agreement"]), (&3.into(), &2.into(), &1.into()));
    assert_eq!(found["agreement_percent"], 100.0, "a model agrees with itself");
    let samples = found["local"]["sample_tokens"].as_u64().expect("a number");
    assert!((1..=18).contains(&samples) && found["cloud"]["sample_tokens"] == 0, "{found}");
    let text = std::fs::read_to_string(&out).expect("the traffic");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        (&rows[0]["group"], &rows[1]["local"], &rows[2]["judged_by"]),
        (&"a".into(), &1.0.into(), &"agreement".into())
    );
    for row in &rows {
        assert_keys(
            row,
            &[
                "prompt",
                "local",
                "cloud",
                "agree",
                "prompt_tokens",
                "completion_tokens",
                "local_answer",
                "cloud_answer",
            ],
        );
        assert_keys(&row["confidence"], &["top_probability", "margin", "entropy", "agreement"]);
        assert_eq!(row["local_answer"], row["cloud_answer"]);
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 2, "no unfinished work is left");
    let spoken = &of_model[..of_model.len() - 1];
    assert_fails(&run(spoken), 1, &["traffic.jsonl", "--force"]);
    let again = document(&run(&[&of_model[..], &["--force"]].concat()));
    assert_eq!(again["local"]["accuracy_percent"], found["local"]["accuracy_percent"]);
    assert_eq!(std::fs::read_to_string(&out).expect("the traffic"), text, "labelling is deterministic");
    assert_fails(&run(&["router", "eval", &out]), 1, &["traffic.jsonl", "found"]);
    assert_fails(&run(&[&label[..], &["--cloud", "no-such-model"]].concat()), 1, &["no-such-model"]);
    std::fs::write(&prompts, "{\"prompt\": \"a\"}\n{\"prompt\": 3}").expect("written");
    assert_fails(&run(&[spoken, &["--force"]].concat()), 1, &["prompts.jsonl", "line 2: prompt: found 3"]);
}

#[test]
fn a_server_can_be_the_cloud_and_gets_nothing_private() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let (prompts, out, key) = (path("prompts.jsonl"), path("traffic.jsonl"), path("key"));
    std::fs::write(&prompts, r#"{"prompt": "Write to anna.schmidt@example.org, please.", "answer": "It is raining."}"#)
        .expect("written");
    std::fs::write(&key, "secret-key\n").expect("written");
    let (url, received) = cloud("It is  RAINING");
    let label =
        ["router", "label", &prompts, "-o", &out, "-n", "4", "--cloud-url", &url, "--cloud-model", "large", "--json"];
    let found = document(&run(&[&label[..], &["--cloud-key-file", &key]].concat()));
    assert_eq!((&found["cloud"]["accuracy_percent"], &found["cloud"]["prompt_tokens"]), (&100.0.into(), &11.into()));
    let refused = received.recv().expect("a request");
    let sent = received.recv().expect("the same request again");
    assert!(
        sent.starts_with("POST /v1/chat/completions ")
            && sent.to_lowercase().contains("authorization: bearer secret-key"),
        "{sent}"
    );
    assert!(
        !sent.contains("anna.schmidt") && !refused.contains("anna.schmidt") && sent.contains("Write to "),
        "{sent}"
    );
    let plain = document(&run(&[&label[..], &["--send-private", "--force"]].concat()));
    assert_eq!(plain["requests"], 1);
    assert!(received.recv().expect("a request").contains("anna.schmidt@example.org"));
    let gone = ["--cloud-url", "http://127.0.0.1:1/v1", "--cloud-model", "x"];
    let unset = [&label[..7], &gone, &["--cloud-key-env", "HONELM_NO_SUCH_KEY", "--force"]].concat();
    assert_fails(&run(&unset), 2, &["HONELM_NO_SUCH_KEY is not set"]);
    assert_fails(
        &run(&[&label[..7], &["--cloud-url", "ftp://x", "--cloud-model", "x", "--force"]].concat()),
        2,
        &["--cloud-url"],
    );
}
