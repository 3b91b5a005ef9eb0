//! Connections that break, pulls that are stopped, servers that cannot resume.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use honelm_store::StoreError;
use honelm_testing::hub::{HubAnswer, HubRequest};

use crate::common::{Bench, folder, noise};

const SIZE: usize = 3 << 20;

fn is_weights(request: &HubRequest) -> bool {
    request.target.starts_with("/cdn/")
}

/// Cuts the first `times` connections after `bytes` each.
fn cutting(times: usize, bytes: usize) -> impl FnMut(&HubRequest, HubAnswer) -> HubAnswer + Send {
    let mut left = times;
    move |request, mut answer| {
        if is_weights(request) && left > 0 {
            left -= 1;
            answer.cut = Some(bytes);
        }
        answer
    }
}

#[test]
fn twenty_cuts_cost_no_byte_twice() {
    let mut bench = Bench::new(&folder(SIZE));
    bench.server.misbehave(cutting(20, 140_000));
    let pulled = bench.pull().expect("pulled");
    assert_eq!(bench.retries, 20);
    assert_eq!(fs::read(bench.blob("model.safetensors")).expect("a blob"), noise(SIZE, 1));
    let starts: Vec<u64> = (0..=20).map(|i| i * 140_000).collect();
    assert_eq!(bench.starts(), starts, "each request goes on exactly where the last one broke");
    assert_eq!(pulled.received_bytes, bench.server.sent());
    let conditional = bench.server.seen().iter().filter(|r| is_weights(r) && r.header("if-range").is_some()).count();
    assert_eq!(conditional, 20, "a file that changed meanwhile must not be mixed");
}

#[test]
fn a_stopped_pull_goes_on_in_the_next_one() {
    let mut bench = Bench::new(&folder(SIZE));
    bench.stop_at = Some(1 << 20);
    assert!(matches!(bench.pull(), Err(StoreError::Interrupted)));
    let held = fs::metadata(bench.partial("model.safetensors")).expect("kept").len();
    assert!((1..SIZE as u64).contains(&held), "{held}");
    assert!(!bench.repository().join("refs/main").exists(), "nothing is promised that is not whole");
    assert!(!bench.repository().join("snapshots").join("model.safetensors").exists());
    bench.stop_at = None;
    let pulled = bench.pull().expect("pulled");
    let weights = pulled.files.iter().find(|f| f.path == "model.safetensors").expect("there");
    assert_eq!(weights.received_bytes, SIZE as u64 - held);
    assert_eq!(bench.starts(), [0, held]);
    assert_eq!(fs::read(bench.blob("model.safetensors")).expect("a blob"), noise(SIZE, 1));
    assert!(!bench.partial("model.safetensors").exists());
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let mut bench = Bench::new(&folder(SIZE));
    let mut first = true;
    bench.server.misbehave(move |request, mut answer| {
        if is_weights(request) {
            answer.status = 200;
            answer.headers.retain(|(name, _)| name != "Content-Range");
            answer.body = 0..answer.contents.len();
            answer.cut = std::mem::take(&mut first).then_some(500_000);
        }
        answer
    });
    bench.pull().expect("pulled");
    assert_eq!(fs::read(bench.blob("model.safetensors")).expect("a blob"), noise(SIZE, 1));
    assert!(bench.warnings.iter().any(|w| w.contains("from the start")), "{:?}", bench.warnings);
}

#[test]
fn a_server_that_never_gets_further_is_given_up() {
    let mut bench = Bench::new(&folder(SIZE));
    bench.server.misbehave(move |request, mut answer| {
        if is_weights(request) {
            answer.status = 200;
            answer.headers.retain(|(name, _)| name != "Content-Range");
            answer.body = 0..answer.contents.len();
            answer.cut = Some(500_000);
        }
        answer
    });
    let error = bench.pull().expect_err("no progress");
    assert_eq!(error.code(), "connection-cut");
    assert!(error.to_string().contains("500000 of 3145728"), "{error}");
    assert_eq!(bench.starts().len(), 4, "one that got somewhere, and three that got no further");
}

#[test]
fn a_file_that_changed_meanwhile_is_not_mixed() {
    let mut bench = Bench::new(&folder(SIZE));
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    // The first connection sends other bytes with another ETag.
    bench.server.misbehave(move |request, mut answer| {
        if is_weights(request) && seen.fetch_add(1, Ordering::SeqCst) == 0 {
            answer.contents = Arc::new(noise(SIZE, 9));
            answer.cut = Some(700_000);
            return answer.with("ETag", "\"older\"");
        }
        answer
    });
    bench.pull().expect("pulled");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert_eq!(fs::read(bench.blob("model.safetensors")).expect("a blob"), noise(SIZE, 1));
}

#[test]
fn what_an_earlier_attempt_left_is_checked() {
    for (left, anew) in [(noise(1 << 20, 77), true), (noise(SIZE + 5, 1), false), (noise(SIZE, 1), false)] {
        let mut bench = Bench::new(&folder(SIZE));
        fs::create_dir_all(bench.repository().join("blobs")).expect("a folder");
        fs::write(bench.partial("model.safetensors"), &left).expect("written");
        bench.pull().expect("pulled");
        assert_eq!(fs::read(bench.blob("model.safetensors")).expect("a blob"), noise(SIZE, 1));
        assert_eq!(bench.warnings.iter().any(|w| w.contains("again")), anew, "{:?}", bench.warnings);
        if left.len() == SIZE {
            assert_eq!(bench.starts(), Vec::<u64>::new(), "it was whole already");
        }
    }
}

#[test]
fn a_range_that_cannot_be_served_starts_over_once() {
    let mut bench = Bench::new(&folder(SIZE));
    bench.server.misbehave(|request, answer| {
        if is_weights(request) && request.header("range").is_some() {
            return HubAnswer::new(416, &[], "");
        }
        answer
    });
    fs::create_dir_all(bench.repository().join("blobs")).expect("a folder");
    fs::write(bench.partial("model.safetensors"), &noise(SIZE, 1)[..1000]).expect("written");
    bench.pull().expect("pulled");
    assert_eq!(bench.starts(), [1000, 0]);
}

/// Leaves the beginning of the weights in the cache, as an interrupted pull does.
fn left_from_a_cut_pull(bench: &Bench) {
    fs::create_dir_all(bench.repository().join("blobs")).expect("a folder");
    fs::write(bench.partial("model.safetensors"), &noise(SIZE, 1)[..1000]).expect("written");
}

#[test]
fn a_part_that_was_not_asked_for_starts_the_file_over() {
    let last = SIZE - 1;
    for (body, range) in [
        (1000, None),
        (500, Some(format!("bytes 500-{last}/{SIZE}"))),
        (1000, Some(format!("bytes 1000-{last}/{}", SIZE + 1))),
        (1000, Some("bytes */*".to_owned())),
        (0, Some("items 0-9/10".to_owned())),
    ] {
        let mut bench = Bench::new(&folder(SIZE));
        left_from_a_cut_pull(&bench);
        let told = range.clone();
        bench.server.misbehave(move |request, mut answer| {
            if is_weights(request) && answer.status == 206 {
                answer.headers.retain(|(name, _)| name != "Content-Range");
                answer.headers.extend(told.clone().map(|range| ("Content-Range".to_owned(), range)));
                answer.body = body..answer.contents.len();
            }
            answer
        });
        bench.pull().expect("pulled");
        assert_eq!(bench.starts(), [1000, 0], "{range:?}");
        assert_eq!(bench.retries, 0, "{range:?}");
        assert_eq!(fs::read(bench.blob("model.safetensors")).expect("a blob"), noise(SIZE, 1));
        assert!(bench.warnings.iter().any(|w| w.contains("from the start")), "{:?}", bench.warnings);
    }
}

#[test]
fn a_server_that_cuts_and_then_sends_unknown_parts_is_given_up_with_nothing_left_in_the_way() {
    let mut bench = Bench::new(&folder(SIZE));
    left_from_a_cut_pull(&bench);
    bench.server.misbehave(|request, mut answer| {
        if is_weights(request) {
            answer.headers.retain(|(name, _)| name != "Content-Range");
            answer.cut = Some(500_000);
        }
        answer
    });
    assert_eq!(bench.pull().expect_err("no progress").code(), "connection-cut");
    bench.server.misbehave(|_, answer| answer);
    bench.pull().expect("the next pull goes on");
    assert_eq!(fs::read(bench.blob("model.safetensors")).expect("a blob"), noise(SIZE, 1));
}

#[test]
fn a_part_where_the_whole_was_asked_for_is_refused() {
    let mut bench = Bench::new(&folder(SIZE));
    bench.server.misbehave(|request, mut answer| {
        answer.status = if is_weights(request) { 206 } else { answer.status };
        answer
    });
    let error = bench.pull().expect_err("a part");
    assert_eq!(error.code(), "invalid-answer");
    assert_eq!(bench.starts(), [0], "asking again would bring the same");
}

#[test]
fn two_pulls_at_once_fetch_a_file_once() {
    let bench = Mutex::new(Bench::new(&folder(SIZE)));
    let options = bench.lock().expect("free").options.clone();
    let pulls = || {
        let options = options.clone();
        move || {
            let transport = honelm_store::hub::HttpTransport::new().expect("a transport");
            honelm_store::hub::pull(&options, &transport, &mut |_| true).expect("pulled").received_bytes
        }
    };
    let (a, b) = (std::thread::spawn(pulls()), std::thread::spawn(pulls()));
    let received = a.join().expect("ended") + b.join().expect("ended");
    assert_eq!(received, SIZE as u64 + 39, "what one fetched, the other finds");
}
