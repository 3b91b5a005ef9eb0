//! Drafts of the device that another HoneLM verifies.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use honelm::RunOptions;
use honelm_server::{Config, Registry, models};
use honelm_text::Tokenizer;
use serde_json::{Value, json};

use super::upstream::{Act, Upstream};
use super::{CHAT, Hybrid, WORDS, apis, file, question, read, start, start_registry, start_with};
use crate::common::{self, Running, config, run_options, runtime};
use crate::scripted;

const VERIFY: &str = "POST /v1/honelm/verify";
const DRAFTS: &str = "drafts = true";
const HEAD: &str = "policy = \"cloud-first\"";

/// A way to a server, on which requests take a time, are remembered, and may break off.
struct Way {
    port: u16,
    /// All bytes of requests.
    sent: Arc<Mutex<Vec<u8>>>,
    stops: Arc<AtomicBool>,
}

impl Way {
    /// Opens a way to a port. The connection breaks off with the request to verify of the number `cut`.
    fn to(port: u16, delay: Duration, cut: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let (sent, stops) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (of_thread, stopped, rounds) = (Arc::clone(&sent), Arc::clone(&stops), Arc::new(AtomicUsize::new(0)));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", port))) else { continue };
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || copy(back.0, back.1, |_| true));
                let (sent, rounds) = (Arc::clone(&of_thread), Arc::clone(&rounds));
                std::thread::spawn(move || {
                    copy(client, server, |bytes| {
                        sent.lock().unwrap().extend(bytes);
                        let verifies = bytes.starts_with(VERIFY.as_bytes());
                        std::thread::sleep(delay);
                        !verifies || rounds.fetch_add(1, Ordering::Relaxed) < cut
                    });
                });
            }
        });
        Self { port: own, sent, stops }
    }

    fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent.lock().unwrap()).into_owned()
    }

    /// Returns the number of rounds.
    fn rounds(&self) -> usize {
        self.sent().matches(VERIFY).count()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Copies bytes until `passes` returns `false` or one side ends.
fn copy(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    // Small pieces must not wait.
    let _ = to.set_nodelay(true);
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !passes(&bytes[..count]) || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Starts a server whose model `large` answers by a script with a pause in each step.
fn cloud(pause: u64, vocabulary: Option<&'static str>, script: fn(&str) -> String) -> Running {
    let config = config();
    let registry = Registry::of(&config);
    scripted::add_slow(&registry, "large", Duration::from_millis(pause), vocabulary, script);
    common::start_with(config, registry, None)
}

/// Loads both models.
fn warm(cloud: &Running, hybrid: &Hybrid) {
    cloud.post(CHAT, question());
    assert_eq!(hybrid.chat("local-only", question()).1["route"], "local");
}

fn long_script(_: &str) -> String {
    WORDS.concat().repeat(3)
}

/// Returns the fields of the first model's answer that both places must have alike.
fn answer(server: &Running, body: &Value) -> Value {
    let (status, answer) = server.post(CHAT, body.clone());
    assert_eq!(status, 200, "{answer}");
    answer["choices"][0].clone()
}

/// Compares answers in rounds with those of a real model alone.
fn is_lossless(large: &str) {
    let run = RunOptions { context: Some(512), ..run_options() };
    let of_cloud = Config { models: vec![large.to_owned()], ..config() };
    let registry = models(&of_cloud, &run, None).unwrap();
    let cloud = common::start_with(of_cloud, registry, None);
    let messages = json!([{"role": "user", "content": "Tell me a story about a small dog."}]);
    for temperature in [0.0, 0.9] {
        let mut body = json!({"messages": messages, "max_tokens": 40, "temperature": temperature, "seed": 7});
        let expected = answer(&cloud, &body);
        let name = cloud.get("/v1/models").1["data"][0]["id"].as_str().unwrap().to_owned();
        for stream in [false, true] {
            // A gateway begins with a trial, whatever its times will be.
            let edge = config();
            let registry = models(&edge, &run, None).unwrap();
            let text = file(HEAD, &[(cloud.port, "openai", DRAFTS)]).replace("\"large\"", &format!("{name:?}"));
            let hybrid = start_registry(&text, edge, registry, None);
            hybrid.chat("local-only", json!({"messages": messages, "max_tokens": 1}));
            body["stream"] = json!(stream);
            let (status, _, text) = runtime().block_on(hybrid.send(CHAT, &[], &body));
            let (found, about) = read(CHAT, &text);
            assert_eq!((status, &about["route"]), (200, &json!("cloud")), "{text}");
            assert_eq!(found, expected["message"]["content"], "{large} {temperature} {stream}");
            assert!(text.contains(&format!("\"finish_reason\":{}", expected["finish_reason"])), "{text}");
            let drafts = &about["drafts"];
            assert!(drafts["rounds"].as_u64() > Some(2) && drafts["drafted"].as_u64() > Some(4), "{about}");
            if large == "pocket" {
                // The same model drafts with the same seed.
                let [accepted, drafted] = ["accepted", "drafted"].map(|name| drafts[name].as_u64().unwrap());
                assert!(accepted + 1 >= drafted, "all but a last token that was one too many: {about}");
            }
        }
    }
}

#[test]
fn the_answer_is_that_of_the_upstream_alone() {
    is_lossless("pocket");
    match honelm_testing::test_data() {
        Some(data) => is_lossless(&data.join("models/reference").display().to_string()),
        None => println!("SKIPPED: the reference model needs HONELM_TEST_DATA"),
    }
}

#[test]
fn every_api_gets_drafts_where_they_pay() {
    let cloud = cloud(40, None, long_script);
    let hybrid = start_with(&file(HEAD, &[(cloud.port, "openai", DRAFTS)]), long_script);
    // The model is loaded beside the first answer, which has no drafts.
    cloud.post(CHAT, question());
    let (text, about) = hybrid.chat("cloud-first", question());
    assert_eq!((text, &about["drafts"]["state"]), (long_script(""), &json!("unable")), "{about}");
    warm(&cloud, &hybrid);
    for stream in [false, true] {
        for (path, body) in apis("Where does the river run?", stream) {
            let (status, _, text) = runtime().block_on(hybrid.send(path, &[], &body));
            let (answer, about) = read(path, &text);
            assert_eq!((status, answer, &about["route"]), (200, long_script(""), &json!("cloud")), "{path} {text}");
            assert_eq!(about["drafts"]["state"], "on", "{about}");
            assert_eq!(about["drafts"]["accepted"], about["drafts"]["drafted"], "{about}");
        }
    }
    let records = hybrid.records();
    let usage = records[0].usage;
    assert!(records[0].complete && usage.output > 30 && usage.input > 5 && !records[0].degraded, "{:?}", records[0]);
    let metrics = common::raw(&hybrid.server, "GET /metrics HTTP/1.1", &[("Host", "localhost")], "").1;
    assert!(metrics.contains("honelm_gateway_drafts{upstream=\"cloud-0\",state=\"on\"} 1"), "{metrics}");
    assert!(metrics.contains("honelm_gateway_draft_accepted_tokens_total{upstream=\"cloud-0\"} "), "{metrics}");
}

#[test]
fn a_slow_network_switches_drafts_off() {
    let cloud = cloud(10, None, long_script);
    let way = Way::to(cloud.port, Duration::from_millis(400), usize::MAX);
    let hybrid = start_with(&file(HEAD, &[(way.port, "openai", DRAFTS)]), long_script);
    warm(&cloud, &hybrid);
    // The trial ends within the answer, which the upstream then writes alone, in few rounds.
    let (text, about) = hybrid.chat("cloud-first", question());
    assert_eq!((text, &about["drafts"]["state"]), (long_script(""), &json!("off")), "{about}");
    let reason = about["drafts"]["reason"].as_str().unwrap();
    let taken = reason.strip_prefix("the round trip takes ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    assert!(taken >= Some(400.0f64), "{reason}");
    let rounds = way.rounds();
    assert!((6..13).contains(&rounds), "{rounds}");
    let (text, about) = hybrid.chat("cloud-first", question());
    assert_eq!((text, &about["drafts"]["rounds"]), (long_script(""), &json!(0)), "{about}");
    assert_eq!(way.rounds(), rounds, "the next answer is a plain one");
}

#[test]
fn a_round_that_breaks_off_goes_on_here() {
    for cut in [0, 1, 3] {
        let cloud = cloud(0, None, long_script);
        let way = Way::to(cloud.port, Duration::ZERO, cut);
        let text = file(HEAD, &[(way.port, "openai", DRAFTS)]) + "[retry]\nretries = 0\n";
        let hybrid = start_with(&text, long_script);
        warm(&cloud, &hybrid);
        let mut body = question();
        body["stream"] = json!(cut == 1);
        let (status, _, text) = runtime().block_on(hybrid.send(CHAT, &[], &body));
        let (answer, about) = read(CHAT, &text);
        assert_eq!((status, answer), (200, long_script("")), "{cut}: {text}");
        let found = (&about["route"], &about["degraded"], &about["continued"]);
        assert_eq!(found, (&json!("local"), &json!(true), &json!(cut > 0)), "{about}");
        assert_eq!(hybrid.records()[0].failures[0].1, "broken-off");
    }
}

#[test]
fn upstreams_without_the_ability_get_plain_requests() {
    let others = Upstream::start(&WORDS, |_, _| Act::Answer);
    let strange = cloud(0, Some("another vocabulary"), |_| WORDS.concat());
    strange.post(CHAT, question());
    for (port, reason) in [(others.port, "does not say"), (strange.port, "another vocabulary")] {
        let hybrid = start(&file(HEAD, &[(port, "openai", DRAFTS)]));
        hybrid.chat("local-only", question());
        for _ in 0..2 {
            let (text, about) = hybrid.chat("cloud-first", question());
            assert_eq!((text, &about["route"]), (WORDS.concat(), &json!("cloud")), "{about}");
            let drafts = &about["drafts"];
            assert!(drafts["state"] == "unable" && drafts["reason"].as_str().unwrap().contains(reason), "{about}");
        }
    }
    let probes = others.received().iter().filter(|request| request.head.starts_with("GET /props")).count();
    assert_eq!(probes, 1, "one probe, and then no more");
    // Off by default: nothing is asked and nothing is said.
    let hybrid = start(&file(HEAD, &[(others.port, "openai", "")]));
    assert!(hybrid.chat("cloud-first", question()).1.get("drafts").is_none());
    let probes = others.received().iter().filter(|request| request.head.starts_with("GET")).count();
    assert_eq!(probes, 1);
}

#[test]
fn drafts_are_made_from_what_leaves() {
    const CARD: &str = "4539 1488 0343 6467";
    // Both models repeat the conversation.
    fn echo(prompt: &str) -> String {
        prompt.replace(['<', '|', '>'], " ").repeat(3)
    }
    let cloud = cloud(20, None, echo);
    let way = Way::to(cloud.port, Duration::ZERO, usize::MAX);
    let hybrid = start_with(&file(HEAD, &[(way.port, "openai", DRAFTS)]), echo);
    warm(&cloud, &hybrid);
    let body = json!({"messages": [{"role": "user", "content": format!("My card is {CARD}.")}]});
    let (text, about) = hybrid.chat("cloud-first", body);
    assert_eq!(text.matches(CARD).count(), 3, "the answer has the value back: {text}");
    assert_eq!(about["replaced"]["CREDIT_CARD"], 1, "{about}");
    assert!(about["drafts"]["accepted"].as_u64() > Some(8), "{about}");
    let sent = way.sent();
    let tokenizer = Tokenizer::from_dir(&honelm_testing::pocket_dir()).unwrap();
    let mut decoded = String::new();
    let bodies = sent.split("\r\n\r\n").filter_map(|part| {
        let mut values = serde_json::Deserializer::from_str(part).into_iter::<Value>();
        values.next()?.ok().filter(Value::is_object)
    });
    let mut rounds = 0;
    for body in bodies {
        for name in ["begun", "draft"] {
            let ids = body[name].as_array().into_iter().flatten().filter_map(|id| u32::try_from(id.as_u64()?).ok());
            decoded.push_str(&tokenizer.decode(&ids.collect::<Vec<_>>(), false));
        }
        rounds += usize::from(body.get("vocabulary").is_some());
    }
    assert!(rounds > 4 && decoded.contains("My card is"), "{rounds} rounds: {decoded}");
    for form in [CARD.to_owned(), CARD.replace(' ', ""), CARD.replace(' ', "-")] {
        assert!(!sent.contains(&form) && !decoded.contains(&form), "{form} has left");
    }
}
