//! Servers that send wrong answers.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use honelm_testing::hub::{COMMIT, HubAnswer};

use crate::common::{Bench, folder, names, noise};

const SIZE: usize = 300_000;

#[test]
fn bytes_with_a_wrong_hash_are_discarded() {
    for path in ["model.safetensors", "config.json"] {
        let mut bench = Bench::new(&folder(SIZE));
        let id = bench.server.id(path);
        bench.server.misbehave(move |request, mut answer| {
            if answer.status == 200 && (request.target.ends_with(path) || request.target.ends_with(&id)) {
                let mut bytes = (*answer.contents).clone();
                bytes[7] ^= 1;
                answer.contents = Arc::new(bytes);
            }
            answer
        });
        let error = bench.pull().expect_err("damaged");
        assert_eq!(error.code(), "wrong-hash");
        let text = error.to_string();
        assert!(text.contains(path) && text.contains(&bench.server.id(path)) && text.contains("127.0.0.1"), "{text}");
        assert!(!bench.blob(path).exists());
        assert_eq!(fs::metadata(bench.partial(path)).map_or(0, |m| m.len()), 0);
        assert!(!bench.repository().join("refs/main").exists());
    }
}

#[test]
fn a_wrong_length_is_refused_before_it_is_written() {
    let mut bench = Bench::new(&folder(SIZE));
    bench.server.misbehave(|request, mut answer| {
        if request.target.starts_with("/cdn/") {
            answer.contents = Arc::new(noise(SIZE + 1, 1));
            answer.body = 0..SIZE + 1;
        }
        answer
    });
    let error = bench.pull().expect_err("too long");
    assert_eq!(error.code(), "wrong-length");
    assert!(error.to_string().contains("300001") && error.to_string().contains("300000"), "{error}");
    assert_eq!(fs::metadata(bench.partial("model.safetensors")).map_or(0, |m| m.len()), 0);
}

#[test]
fn a_web_page_is_not_a_file() {
    for of_listing in [true, false] {
        let mut bench = Bench::new(&folder(SIZE));
        bench.server.misbehave(move |request, answer| {
            if of_listing || request.target.starts_with("/cdn/") {
                return HubAnswer::new(200, &[("Content-Type", "text/html; charset=utf-8")], "<html>Log in</html>");
            }
            answer
        });
        let error = bench.pull().expect_err("a page");
        assert_eq!(error.code(), "html-page");
        assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
        assert_eq!(bench.retries, 0);
    }
}

#[test]
fn invalid_listings_are_refused() {
    for (body, code) in [
        ("{", "invalid-answer"),
        ("{\"error\": \"no\"}", "invalid-answer"),
        ("{\"sha\": \"../../x\", \"siblings\": []}", "invalid-answer"),
        (
            "{\"sha\": \"COMMIT\", \"siblings\": [{\"rfilename\": \"a.json\", \"size\": 1, \"blobId\": \"../x\"}]}",
            "invalid-answer",
        ),
        ("{\"sha\": \"COMMIT\", \"siblings\": []}", "no-weights"),
    ] {
        let mut bench = Bench::new(&folder(SIZE));
        let body = body.replace("COMMIT", COMMIT);
        bench.server.misbehave(move |_, _| HubAnswer::new(200, &[("Content-Type", "application/json")], body.clone()));
        let error = bench.pull().expect_err("refused");
        assert_eq!(error.code(), code, "{error}");
    }
    let mut bench = Bench::new(&folder(SIZE));
    bench.server.misbehave(|_, _| HubAnswer::new(200, &[], vec![b' '; (32 << 20) + 1]));
    let error = bench.pull().expect_err("too long");
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn unsafe_names_write_nothing() {
    for name in
        ["../../../evil.safetensors", "/tmp/evil.safetensors", "a/../../evil.safetensors", "..\\\\evil.safetensors"]
    {
        let mut bench = Bench::new(&folder(SIZE));
        bench.options.include = vec!["*".to_owned()];
        let listing = format!(
            r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "{name}", "size": 4, "blobId": "{COMMIT}"}}]}}"#
        );
        bench.server.misbehave(move |request, answer| {
            if request.target.starts_with("/api") { HubAnswer::new(200, &[], listing.clone()) } else { answer }
        });
        let error = bench.pull().expect_err("hostile");
        assert_eq!(error.code(), "unsafe-file-name", "{name}");
        assert_eq!(names(bench.dir.path()), Vec::<String>::new());
        assert_eq!(bench.server.seen().len(), 1);
    }
}

#[test]
fn a_server_that_asks_to_wait_is_waited_for() {
    let mut bench = Bench::new(&folder(SIZE));
    let mut busy = 2;
    bench.server.misbehave(move |_, answer| {
        if busy > 0 {
            busy -= 1;
            return HubAnswer::new(429, &[("Retry-After", "0")], "slow down");
        }
        answer
    });
    bench.pull().expect("pulled");
    assert_eq!(bench.retries, 2);

    let mut bench = Bench::new(&folder(SIZE));
    bench.server.misbehave(|_, _| HubAnswer::new(429, &[("Retry-After", "3600")], ""));
    let error = bench.pull().expect_err("an hour is too long");
    assert_eq!((error.code(), bench.retries), ("too-many-requests", 0));
    assert!(error.to_string().contains("3600 s"), "{error}");
}

#[test]
fn requests_to_a_failing_server_are_repeated_and_then_given_up() {
    let mut bench = Bench::new(&folder(SIZE));
    let mut failing = 3;
    bench.server.misbehave(move |request, answer| {
        if request.target.starts_with("/cdn/") && failing > 0 {
            failing -= 1;
            return HubAnswer::new(503, &[], "");
        }
        answer
    });
    bench.pull().expect("pulled");
    assert_eq!(bench.retries, 3);

    let mut bench = Bench::new(&folder(SIZE));
    bench.server.misbehave(|_, _| HubAnswer::new(500, &[], ""));
    assert_eq!(bench.pull().expect_err("down").code(), "server-error");
    assert_eq!(bench.server.seen().len(), 4);
}

#[test]
fn an_unreachable_server_is_reported_at_once() {
    let mut bench = Bench::new(&folder(SIZE));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    bench.options.settings.endpoint = honelm_store::hub::Url::parse(&format!("http://{address}")).expect("valid");
    let error = bench.pull().expect_err("nobody there");
    assert_eq!(error.code(), "connection-failed");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn a_server_that_sends_single_bytes_is_given_up() {
    const PAUSE: Duration = Duration::from_millis(4);
    // The listing, the file, and the headers of the file.
    for (target, bytes, headers) in [("/api", 1, false), ("/cdn/", 2, false), ("/cdn/", 1, true)] {
        let mut bench = Bench::new(&folder(SIZE));
        bench.options.patience.failures = 2;
        bench.options.patience.slowest = 10_000;
        bench.options.patience.window = Duration::from_millis(40);
        bench.timeouts.headers = Duration::from_millis(if headers { 60 } else { 10_000 });
        bench.server.misbehave(move |request, mut answer| {
            if request.target.starts_with(target) {
                let slow = Some((bytes, PAUSE));
                *(if headers { &mut answer.slow_head } else { &mut answer.slow_body }) = slow;
            }
            answer
        });
        let begun = Instant::now();
        let error = bench.pull().expect_err("too slow");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(bench.retries, 1, "{target}: what drips is no progress");
        if !headers {
            assert!(error.to_string().contains("less than 10000 bytes per second"), "{error}");
        }
    }
}
