//! The fault matrix: an upstream fails, and the client gets a complete answer, or a clean error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::upstream::{Act, Upstream};
use super::{CHAT, Hybrid, WORDS, apis, file, question, read, start, start_with};
use crate::common::runtime;

/// Time limits of a second, and no patience with failures.
const FAST: &str = "timeout = { connect = 1, first_byte = 1, between_tokens = 1, total = 20 }";
const NO_RETRIES: &str = "[retry]\nretries = 0\n";
/// A breaker that stays open for the whole test.
const PATIENT: &str = "[breaker]\nopen_seconds = 60\n";

/// Returns a hybrid of one upstream that fails in a way.
fn failing(api: &str, act: Act) -> (Hybrid, Upstream) {
    let upstream = Upstream::start(&WORDS, move |_, _| act.clone());
    let hybrid = start(&(file("policy = \"cloud-first\"", &[(upstream.port, api, FAST)]) + NO_RETRIES + PATIENT));
    (hybrid, upstream)
}

/// Asks all APIs with an upstream that fails in a way. The answer must be whole, and say that the device gave it.
fn survives(act: &Act, continued: bool, code: &str) {
    for api in ["openai", "anthropic"] {
        let (hybrid, upstream) = failing(api, act.clone());
        for stream in [false, true] {
            for (path, body) in apis("Where does the river run?", stream) {
                let begin = Instant::now();
                let (status, headers, text) = runtime().block_on(hybrid.send(path, &[], &body));
                let what = format!("{act:?}: {api} {path} {stream}: {text}");
                assert!(status == 200 && begin.elapsed() < Duration::from_secs(5), "{what}");
                let (answer, about) = read(path, &text);
                assert_eq!(answer, WORDS.concat(), "{what}");
                assert_eq!((&about["route"], &about["degraded"]), (&json!("local"), &json!(true)), "{what}");
                assert_eq!(about["continued"], continued, "{what}");
                assert!(headers.contains_key("x-honelm") && !text.contains("a quoted secret"), "{what}");
            }
        }
        let records = hybrid.records();
        assert_eq!(records.len(), 8);
        // After three failures in a row, the upstream is left alone.
        assert!(records.iter().all(|record| record.complete && record.degraded), "{records:?}");
        let first = records.last().unwrap();
        assert_eq!(first.failures[0].1, code, "{first:?}");
        assert!(upstream.received().len() <= 3);
    }
}

#[test]
fn cut_in_the_middle_of_a_sentence() {
    // The breaker would open; each API gets a gateway of its own.
    for api in ["openai", "anthropic"] {
        for words in [1, 5, 11] {
            for (path, body) in apis("Where does the river run?", true) {
                let (hybrid, _upstream) = failing(api, Act::Cut(words));
                let (_, headers, text) = runtime().block_on(hybrid.send(path, &[], &body));
                let (answer, about) = read(path, &text);
                assert_eq!(answer, WORDS.concat(), "{api} {path} {words}: {text}");
                assert_eq!((&about["degraded"], &about["continued"]), (&json!(true), &json!(true)), "{text}");
                assert_eq!(headers["x-honelm"], "route=cloud; reason=cloud-first");
                assert_eq!(hybrid.records()[0].failures, [("cloud-0".to_owned(), "broken-off".into())]);
            }
        }
    }
}

#[test]
fn words_and_then_silence() {
    for api in ["openai", "anthropic"] {
        let (hybrid, _upstream) = failing(api, Act::Silence(4, Duration::from_secs(30)));
        let begin = Instant::now();
        let (answer, about) = hybrid.chat("cloud-first", question());
        assert_eq!(answer, WORDS.concat());
        assert!(begin.elapsed() < Duration::from_secs(4), "signs of life are no tokens");
        assert_eq!((&about["continued"], &about["reason"]), (&json!(true), &json!("upstream-failed")));
        assert_eq!(hybrid.records()[0].failures[0].1, "silent");
    }
}

#[test]
fn one_malformed_event() {
    for act in [Act::Malformed(6), Act::ErrorEvent(6)] {
        for api in ["openai", "anthropic"] {
            let (hybrid, _upstream) = failing(api, act.clone());
            let (answer, about) = hybrid.chat("cloud-first", question());
            assert_eq!(answer, WORDS.concat());
            assert_eq!(about["continued"], true);
        }
    }
}

#[test]
fn statuses() {
    survives(&Act::Status(500, None), false, "server-error");
    survives(&Act::Status(429, Some(3600)), false, "rate-limited");
    survives(&Act::Status(401, None), false, "unauthorized");
}

#[test]
fn nonsense_and_redirects() {
    survives(&Act::Garbage, false, "broken-off");
    survives(&Act::Close, false, "broken-off");
    let (hybrid, upstream) = failing("openai", Act::Redirect);
    let (_, about) = hybrid.chat("cloud-first", question());
    assert_eq!(about["route"], "local");
    assert_eq!(hybrid.records()[0].failures[0].1, "refused", "redirects are not followed");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn slow_to_begin() {
    let (hybrid, _upstream) = failing("openai", Act::Slow(Duration::from_secs(5)));
    let begin = Instant::now();
    let (answer, about) = hybrid.chat("cloud-first", question());
    assert!(begin.elapsed() < Duration::from_secs(4));
    assert_eq!((answer, &about["degraded"]), (WORDS.concat(), &json!(true)));
}

#[test]
fn tls_refused() {
    let upstream = Upstream::start(&WORDS, |_, _| Act::Answer);
    let text = file("", &[(upstream.port, "openai", FAST)]).replace("http://", "https://");
    let hybrid = start(&text);
    let (answer, about) = hybrid.chat("cloud-first", question());
    assert_eq!((answer, &about["degraded"]), (WORDS.concat(), &json!(true)));
    assert_eq!(hybrid.records()[0].failures, [("cloud-0".to_owned(), "unreachable".into())]);
}

#[test]
fn offline_from_the_start_and_back_again() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let breaker = "[breaker]\nfailures = 3\nopen_seconds = 3\nmost_open_seconds = 300\n";
    let hybrid = start(&(file("policy = \"cloud-first\"", &[(port, "openai", FAST)]) + breaker));
    for reason in ["upstream-failed", "no-upstream", "no-upstream"] {
        let (answer, about) = hybrid.chat("cloud-first", question());
        assert_eq!((answer, &about["degraded"], &about["reason"]), (WORDS.concat(), &json!(true), &json!(reason)));
    }
    let _upstream = Upstream::start_at(port, &WORDS, |_, _| Act::Answer);
    let begin = Instant::now();
    while hybrid.chat("cloud-first", question()).1["route"] != "cloud" {
        assert!(begin.elapsed() < Duration::from_secs(20), "the recovery is not noticed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_passing_failure_is_retried() {
    let upstream = Upstream::start(&WORDS, |i, _| if i < 2 { Act::Status(503, Some(0)) } else { Act::Answer });
    let retry = "[retry]\nretries = 2\nfirst_milliseconds = 5\n";
    let hybrid = start(&(file("", &[(upstream.port, "openai", FAST)]) + retry));
    let (answer, about) = hybrid.chat("cloud-first", question());
    assert_eq!((answer, &about["route"], &about["degraded"]), (WORDS.concat(), &json!("cloud"), &json!(false)));
    assert_eq!(upstream.received().len(), 3);
}

#[test]
fn the_next_upstream_is_asked_first() {
    let first = Upstream::start(&WORDS, |_, _| Act::Status(500, None));
    let second = Upstream::start(&WORDS, |_, _| Act::Odd);
    for api in ["openai", "anthropic"] {
        let text = file("", &[(first.port, api, FAST), (second.port, api, FAST)]) + NO_RETRIES;
        let hybrid = start(&text);
        let (answer, about) = hybrid.chat("cloud-first", question());
        assert_eq!((answer, &about["upstream"]), (WORDS.concat(), &json!("cloud-1")));
        assert_eq!((&about["route"], &about["degraded"]), (&json!("cloud"), &json!(false)));
        assert_eq!(hybrid.records()[0].failures, [("cloud-0".to_owned(), "server-error".into())]);
    }
}

#[test]
fn a_call_that_breaks_off_is_never_seen() {
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
    for api in ["openai", "anthropic"] {
        let (hybrid, _upstream) = failing(api, Act::CutCall);
        let mut body = question();
        body["tools"] = tools.clone();
        let (_, _, answer) = hybrid.ask(CHAT, &[], &body);
        let message = &answer["choices"][0]["message"];
        assert!(message.get("tool_calls").is_none() && message["content"] == WORDS.concat(), "{answer}");
        assert_eq!(answer["honelm"]["continued"], true);
    }
}

#[test]
fn an_answer_that_the_device_cannot_give_is_a_clean_error() {
    let upstream = Upstream::start(&WORDS, |_, _| Act::Status(500, None));
    let text = file("", &[(upstream.port, "openai", FAST)]).replace("tools = true", "") + NO_RETRIES;
    let hybrid = start(&text);
    let mut body = question();
    body["tools"] = json!([{"type": "function", "function": {"name": "weather"}}]);
    let (status, _, answer) = hybrid.ask(CHAT, &[], &body);
    assert_eq!((status, &answer["error"]["code"]), (502, &json!("upstream_failed")), "{answer}");
    assert!(!answer.to_string().contains("a quoted secret"));
    // Once the upstream has begun, the stream ends with the error.
    let upstream = Upstream::start(&WORDS, |_, _| Act::Cut(3));
    let text = file("", &[(upstream.port, "openai", FAST)]).replace("tools = true", "") + NO_RETRIES;
    let hybrid = start(&text);
    body["stream"] = json!(true);
    let (status, _, text) = runtime().block_on(hybrid.send(CHAT, &[], &body));
    assert!(status == 200 && text.contains("upstream_failed") && text.ends_with("data: [DONE]\n\n"), "{text}");
}

#[test]
fn tokens_of_the_cloud_count_against_the_limit_and_the_model_is_told() {
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    let upstream = Upstream::start(&WORDS, |_, _| Act::Cut(4));
    let text = file("policy = \"cloud-first\"", &[(upstream.port, "openai", FAST)]) + NO_RETRIES;
    let hybrid = start_with(&text, move |prompt| {
        counted.fetch_add(usize::from(prompt.contains("unsure of")), Ordering::Relaxed);
        WORDS.concat()
    });
    let limited = |tokens: usize| {
        let mut body = question();
        body["max_tokens"] = json!(tokens);
        hybrid.ask(CHAT, &[], &body).2
    };
    let answer = limited(200);
    let all = answer["usage"]["completion_tokens"].as_u64().unwrap() as usize;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert!(told.load(Ordering::Relaxed) > 0, "the model knows that the cloud is away");
    let answer = limited(all - 3);
    assert_eq!(answer["choices"][0]["finish_reason"], "length", "{answer}");
    assert_eq!(answer["usage"]["completion_tokens"], all - 3);
    let answer = limited(1);
    assert_eq!(answer["choices"][0]["message"]["content"], WORDS[..4].concat(), "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

/// The ways to fail of the long test.
fn fault(i: usize) -> Act {
    let words = i / 11 % WORDS.len();
    match i % 11 {
        0 => Act::Cut(words),
        1 => Act::Malformed(words),
        2 => Act::ErrorEvent(words),
        3 => Act::Status(500, None),
        4 => Act::Status(429, Some(0)),
        5 => Act::Close,
        6 => Act::Garbage,
        7 => Act::CutCall,
        8 => Act::Redirect,
        9 => Act::Silence(words, Duration::from_secs(30)),
        _ => Act::Slow(Duration::from_secs(30)),
    }
}

/// Sends `count` requests, each of which meets a fault. Every answer must be complete, or a clean error, and in time.
pub fn all_faults(count: usize) -> Value {
    let upstreams = ["openai", "anthropic"].map(|api| (api, Upstream::start(&WORDS, |i, _| fault(i))));
    let breaker = format!("[breaker]\nfailures = 1000000\n{NO_RETRIES}");
    let hybrids = upstreams
        .each_ref()
        .map(|(api, upstream)| start(&(file("policy = \"cloud-first\"", &[(upstream.port, api, FAST)]) + &breaker)));
    let (mut complete, mut longest) = (0, Duration::ZERO);
    runtime().block_on(async {
        for first in (0..count).step_by(100) {
            let asked = (first..count.min(first + 100)).map(|i| {
                let port = hybrids[i % 2].server.port;
                tokio::spawn(async move {
                    let (path, body) = apis("Where does the river run?", i % 3 != 0)[i / 2 % 4].clone();
                    let begin = Instant::now();
                    let (status, _, text) = super::send(port, path, &[], &body).await;
                    (path, status, text, begin.elapsed())
                })
            });
            for asked in asked.collect::<Vec<_>>() {
                let (path, status, text, time) = asked.await.unwrap();
                let (answer, about) = read(path, &text);
                assert_eq!((status, answer), (200, WORDS.concat()), "{path}: {text}");
                assert_eq!((&about["route"], &about["degraded"]), (&json!("local"), &json!(true)), "{text}");
                complete += 1;
                longest = longest.max(time);
            }
        }
    });
    let faults: usize = hybrids.iter().flat_map(Hybrid::records).map(|record| record.failures.len()).sum();
    json!({"requests": count, "complete": complete, "faults": faults, "longest_seconds": longest.as_secs_f64()})
}

#[test]
fn every_request_survives_its_fault() {
    let found = all_faults(220);
    assert_eq!((&found["complete"], &found["faults"]), (&json!(220), &json!(220)));
}
