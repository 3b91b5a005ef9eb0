//! Routes: policies, needs, clients, budgets, and what responses say about them.

use std::time::{Duration, Instant};

use honelm::estimator::{Training, read_traffic, train};
use serde_json::{Value, json};

use super::upstream::{Act, Upstream};
use super::{CHAT, WORDS, apis, file, last, question, read, start, start_with};
use crate::common::runtime;

#[test]
fn every_api_gets_an_answer_of_the_cloud() {
    for api in ["openai", "anthropic"] {
        let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
        let hybrid = start(&file("policy = \"cloud-first\"", &[(upstream.port, api, "")]));
        for stream in [false, true] {
            for (path, body) in apis("Where does the river run?", stream) {
                let (status, headers, text) = runtime().block_on(hybrid.send(path, &[], &body));
                assert_eq!(status, 200, "{text}");
                assert_eq!(headers["x-honelm"], "route=cloud; reason=cloud-first", "{path}");
                let (answer, about) = read(path, &text);
                assert_eq!(answer, WORDS.concat(), "{api} {path} {stream}: {text}");
                assert_eq!((&about["route"], &about["degraded"]), (&json!("cloud"), &json!(false)), "{text}");
                assert_eq!((&about["upstream"], &about["model"]["name"]), (&json!("cloud-0"), &json!("large")));
                // 100 tokens of input at 1, 20 of output at 10, a million.
                assert!((about["cost"].as_f64().unwrap() - 300e-6).abs() < 1e-12, "{about}");
                assert_eq!(about["saved"], json!(0.0));
            }
        }
        let state = hybrid.server.get("/status.json").1;
        assert_eq!(state["models"], json!([]), "the local model was not loaded for answers of the cloud");
        assert_eq!(hybrid.records().len(), 8);
        assert!(hybrid.records().iter().all(|record| record.complete && record.usage.output == 20));
    }
}

#[test]
fn a_request_reaches_the_upstream_in_its_own_form() {
    let body = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How warm is Paris?"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "call_a", "type": "function",
                "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"}}]},
            {"role": "tool", "tool_call_id": "call_a", "content": "21 degrees"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "Tells the weather.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}],
        "tool_choice": "required", "temperature": 0.3, "top_p": 0.9, "max_tokens": 50, "stop": ["END"], "seed": 7,
    });
    let arguments = json!({"city": "Oslo", "days": 2});
    for api in ["openai", "anthropic"] {
        let own = arguments.clone();
        let upstream = Upstream::start(&WORDS[..2], move |_, _| Act::Call(own.clone()));
        let hybrid = start(&file("privacy = \"open\"", &[(upstream.port, api, "")]));
        let (status, _, answer) = hybrid.ask(CHAT, &[("x-honelm-policy", "cloud-first")], &body);
        assert_eq!(status, 200, "{answer}");
        let choice = &answer["choices"][0];
        let call = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!((&choice["finish_reason"], &call["name"]), (&json!("tool_calls"), &json!("weather")), "{answer}");
        let written: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(written, arguments);
        let sent = last(&upstream);
        assert_eq!((&sent["model"], &sent["stream"], &sent["max_tokens"]), (&json!("large"), &json!(true), &json!(50)));
        assert_eq!((&sent["temperature"], &sent["top_p"]), (&json!(0.3), &json!(0.9)));
        if api == "openai" {
            assert_eq!((&sent["stop"], &sent["seed"]), (&json!(["END"]), &json!(7)));
            assert_eq!(sent["tool_choice"], "required");
            assert_eq!(sent["messages"][0], json!({"role": "system", "content": "Be brief."}));
            let call = &sent["messages"][2]["tool_calls"][0]["function"];
            assert_eq!(call["arguments"], "{\"city\":\"Paris\"}");
            assert_eq!(sent["messages"][3]["tool_call_id"], "call_a");
        } else {
            assert_eq!((&sent["system"], &sent["stop_sequences"]), (&json!("Be brief."), &json!(["END"])));
            assert_eq!(sent["tool_choice"], json!({"type": "any"}));
            assert_eq!(sent["messages"][1]["content"][0]["input"], json!({"city": "Paris"}));
            assert_eq!(sent["messages"][2]["content"][0]["tool_use_id"], "call_a");
            assert_eq!(sent["tools"][0]["input_schema"]["properties"]["city"]["type"], "string");
        }
    }
}

#[test]
fn policies_privacy_and_needs_decide() {
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let text = file("policy = \"local-first\"", &[(upstream.port, "openai", "")]).replace("tools = true", "");
    let hybrid = start(&text);
    let route = |headers: &[(&str, &str)], more: Value| {
        let mut body = question();
        more.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        let (status, _, answer) = hybrid.ask(CHAT, headers, &body);
        match status {
            200 => format!("{} {}", answer["honelm"]["route"], answer["honelm"]["reason"]).replace('"', ""),
            status => format!("{status} {}", answer["error"]["code"]).replace('"', ""),
        }
    };
    let policy = |name| [("x-honelm-policy", name)];
    assert_eq!(route(&[], json!({})), "local local-first");
    assert_eq!(route(&policy("cloud-first"), json!({})), "cloud cloud-first");
    assert_eq!(route(&policy("local-only"), json!({})), "local local-only");
    assert_eq!(route(&policy("auto"), json!({})).split(' ').nth(1), Some("gain"));
    assert_eq!(route(&[], json!({"metadata": {"honelm_policy": "cloud-first"}})), "cloud cloud-first");
    assert_eq!(route(&policy("sometimes"), json!({})), "400 invalid_value");
    assert_eq!(route(&[], json!({"metadata": {"honelm_policy": 1}})), "400 invalid_value");
    let private = [("x-honelm-policy", "cloud-first"), ("x-honelm-privacy", "private")];
    assert_eq!(route(&private, json!({})), "local private");
    let unknown = [("x-honelm-policy", "cloud-first"), ("x-honelm-privacy", "opne")];
    assert_eq!(route(&unknown, json!({})), "local private", "an unknown class is the strictest");
    let in_body = json!({"metadata": {"honelm_privacy": "private", "honelm_policy": "cloud-first"}});
    assert_eq!(route(&[("x-honelm-privacy", "open")], in_body), "local private", "the stricter class holds");
    let tools = json!({"tools": [{"type": "function", "function": {"name": "weather"}}]});
    assert_eq!(route(&[], tools.clone()), "cloud needs-tools");
    assert_eq!(route(&policy("local-only"), tools), "400 unsupported_value");
    let long = json!({"messages": [{"role": "user", "content": "word ".repeat(5000)}]});
    assert_eq!(route(&[], long.clone()), "cloud too-long");
    assert_eq!(route(&[("x-honelm-privacy", "private")], long), "400 context_length_exceeded");
    assert_eq!(route(&[], json!({"max_tokens": 3999})), "cloud too-long");
    assert_eq!(route(&policy("local-only"), json!({"max_tokens": 3999})), "local local-only", "a shorter answer");
    let biased = json!({"logit_bias": {"5": 1}, "n": 2});
    assert_eq!(route(&policy("cloud-first"), biased), "local local-only", "tokens are those of the local model");
    let sent = hybrid.records().iter().filter(|record| record.route == "cloud").count();
    assert!(sent >= 5 && sent == upstream.received().len(), "{sent}");
}

#[test]
fn clients_have_keys_policies_and_budgets() {
    let dir = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("key-of-{name}\n")).unwrap();
        format!("{{ file = {:?} }}", path.display().to_string())
    };
    // The longest answer may cost 4096 tokens at 10 and some of the prompt: 0.041 and a little.
    let clients = format!(
        "[[client]]\nname = \"editor\"\nkey = {}\npolicy = \"cloud-first\"\nbudget = {{ day = 0.0414 }}\n\
         [[client]]\nname = \"payroll\"\nkey = {}\nprivacy = \"private\"\n",
        key("editor"),
        key("payroll")
    );
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let hybrid = start(&(file("policy = \"local-first\"", &[(upstream.port, "openai", "")]) + &clients));
    let ask = |key: &str| hybrid.ask(CHAT, &[("authorization", &format!("Bearer {key}"))], &question());
    let (status, _, answer) = ask("key-of-editor");
    assert_eq!((status, &answer["honelm"]["route"]), (200, &json!("cloud")), "{answer}");
    assert_eq!(last(&upstream)["max_tokens"], 4096, "a budget needs a limit");
    // 0.0003 were spent of 0.0414, so that a second answer still fits, and a third does not.
    assert_eq!(ask("key-of-editor").2["honelm"]["route"], "cloud");
    let (_, _, answer) = ask("key-of-editor");
    assert_eq!(answer["honelm"]["route"], "local", "{answer}");
    assert_eq!(answer["honelm"]["degraded"], true, "{answer}");
    assert_eq!(ask("key-of-payroll").2["honelm"]["reason"], "private");
    assert_eq!(ask("key-of-nobody").0, 401);
    assert_eq!(hybrid.ask(CHAT, &[], &question()).0, 200, "the server itself asks for no key");
    let clients: Vec<Option<String>> = hybrid.records().into_iter().map(|record| record.client).collect();
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(clients, [None, name("payroll"), name("editor"), name("editor"), name("editor")]);
}

#[test]
fn labels_and_facts_are_never_sent_to_the_cloud() {
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let hybrid = start(&file("policy = \"cloud-first\"", &[(upstream.port, "openai", "")]));
    let (input, names) = ("Where does the river run?", json!(["north", "south"]));
    for (path, body) in [
        ("/v1/classify", json!({"input": input, "labels": names})),
        ("/v1/extract", json!({"input": input, "kinds": names, "max_tokens": 4})),
    ] {
        let (status, headers, found) = hybrid.ask(path, &[("x-honelm-policy", "cloud-first")], &body);
        assert!(status == 200 && found["model"] == "edge" && headers.get("x-honelm").is_none(), "{found}");
    }
    assert!(upstream.received().is_empty());
}

#[test]
fn images_go_to_an_upstream_that_sees() {
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let content = json!([{"type": "text", "text": "What is this?"}, image]);
    let body = json!({"messages": [{"role": "user", "content": content}]});
    for api in ["openai", "anthropic"] {
        let blind = Upstream::start(&WORDS, |_, _| Act::Answer);
        let seeing = Upstream::start(&WORDS, |_, _| Act::Answer);
        let upstreams = [(blind.port, api, ""), (seeing.port, api, "vision = true")];
        let hybrid = start(&file("policy = \"local-first\"\nprivacy = \"open\"", &upstreams));
        let (status, _, answer) = hybrid.ask(CHAT, &[], &body);
        assert_eq!((status, &answer["honelm"]["route"]), (200, &json!("cloud")), "{answer}");
        assert_eq!((&answer["honelm"]["upstream"], blind.received().len()), (&json!("cloud-1"), 0), "{answer}");
        let sent = &last(&seeing)["messages"][0]["content"];
        if api == "openai" {
            assert_eq!(*sent, content);
        } else {
            let source = json!({"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="});
            assert_eq!(*sent, json!([content[0], {"type": "image", "source": source}]));
        }
        let (status, _, refused) = hybrid.ask(CHAT, &[("x-honelm-policy", "local-only")], &body);
        assert!((400..500).contains(&status), "{refused}");
    }
}

#[test]
fn an_escalation_cap_holds() {
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let estimator = "[estimator]\nthreshold = -1.0\nmax_escalated = \"50%\"\n";
    let hybrid = start(&(file("", &[(upstream.port, "openai", "")]) + estimator));
    for _ in 0..10 {
        hybrid.chat("auto", question());
    }
    assert_eq!(upstream.received().len(), 5);
}

#[test]
fn a_local_model_that_cannot_be_loaded_is_replaced_by_the_cloud() {
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let config = crate::common::config();
    let registry = honelm_server::Registry::of(&config);
    let broken = || Err(honelm::Error::Usage("a broken file".to_owned()));
    registry.add("edge".to_owned(), honelm_server::Loader::new(|| Ok(Default::default()), broken));
    let text = file("policy = \"local-first\"", &[(upstream.port, "openai", "")]);
    let hybrid = super::start_registry(&text, config, registry, None);
    let (status, _, answer) = hybrid.ask(CHAT, &[], &question());
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["honelm"]["route"], &answer["honelm"]["reason"]), (&json!("cloud"), &json!("local-away")));
    let (status, _, answer) = hybrid.ask(CHAT, &[("x-honelm-policy", "local-only")], &question());
    assert_eq!(status, 500, "{answer}");
}

#[test]
fn a_client_that_leaves_ends_the_request_of_the_upstream() {
    let upstream = Upstream::start(&WORDS, |_, _| Act::Silence(3, Duration::from_secs(20)));
    let text = file("policy = \"cloud-first\"", &[(upstream.port, "openai", "timeout = { between_tokens = 30 }")]);
    let hybrid = start_with(&text, |_| String::new());
    let mut body = question();
    body["stream"] = json!(true);
    runtime().block_on(async {
        let asked = hybrid.send(CHAT, &[], &body);
        assert!(tokio::time::timeout(Duration::from_millis(500), asked).await.is_err());
    });
    let begin = Instant::now();
    while hybrid.records().is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(5), "the request goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let record = &hybrid.records()[0];
    assert!(!record.complete && record.cost.nanos() > 0, "{record:?}");
}

/// Trains an estimator on made-up requests, of which those that the local model is sure of need the cloud, or the others.
fn trained(sure_needs_cloud: bool) -> Vec<u8> {
    let row = |i: usize| {
        let is_sure = i.is_multiple_of(2);
        let (top, margin, entropy) = if is_sure { (0.95, 0.9, 0.2) } else { (0.2, 0.05, 3.0) };
        let confidence = json!({"top_probability": top, "margin": margin, "entropy": entropy});
        let prompt = format!("Tell me about the number {}.", i / 2);
        json!({"prompt": prompt, "local": is_sure != sure_needs_cloud, "cloud": true, "confidence": confidence})
    };
    let traffic: Vec<String> = (0..400).map(|i| row(i).to_string()).collect();
    let rows = read_traffic("made up", &traffic.join("\n")).unwrap();
    let (source, note) = ("made up".to_owned(), String::new());
    let training = Training { source, note, seed: 0, keep_groups: false };
    train(&rows, &["The river runs past the old mill."], &training).unwrap().to_bytes().unwrap()
}

#[test]
fn auto_asks_a_loaded_model_how_sure_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    for (sure_needs_cloud, route) in [(false, "local"), (true, "cloud")] {
        let path = folder.path().join(route);
        std::fs::write(&path, trained(sure_needs_cloud)).unwrap();
        let head = format!("policy = \"auto\"\n[estimator]\nfile = {:?}\nkeep_local = \"50%\"", path.to_str().unwrap());
        let hybrid = start(&file(&head, &[(upstream.port, "openai", "")]));
        // The scripted model is sure of every token.
        hybrid.chat("local-only", question());
        let (answer, about) = hybrid.chat("auto", question());
        assert_eq!((&about["route"], &about["reason"]), (&json!(route), &json!("gain")), "{about}");
        assert_eq!(answer, WORDS.concat());
    }
}
