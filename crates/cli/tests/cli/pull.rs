//! `honelm pull` from a Hub in the test process, and models by their Hub names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::{assert_fails, assert_keys, document, honelm, status, stderr, stdout};
use honelm_testing::hub::{COMMIT, HubAnswer, HubServer};
use honelm_testing::pocket_dir;

const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/// Returns the files of the shipped model.
fn pocket() -> Vec<(&'static str, Vec<u8>)> {
    FILES.iter().map(|name| (*name, fs::read(pocket_dir().join(name)).expect("the shipped model"))).collect()
}

struct Bench {
    server: HubServer,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        Self { server: HubServer::start("org/pocket", files), dir: tempfile::tempdir().expect("a folder") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = honelm();
        command.args(arguments).current_dir(self.dir.path());
        command.env("HF_ENDPOINT", self.server.endpoint()).env("HF_HOME", self.dir.path().join("hf"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command starts")
    }

    fn repository(&self) -> PathBuf {
        self.dir.path().join("hf/hub/models--org--pocket")
    }
}

#[test]
fn a_pulled_model_runs_by_its_name() {
    let bench = Bench::new(&pocket());
    let absent = bench.run(&["run", "org/pocket", "-p", "x"]);
    assert_fails(&absent, 1, &["`honelm pull org/pocket`", "never fetched"]);
    assert!(bench.server.seen().is_empty(), "nothing is fetched silently");

    let pulled = document(&bench.run(&["pull", "org/pocket", "--json"]));
    assert_keys(&pulled, &["repository", "revision", "commit", "path", "model", "bytes", "received_bytes", "files"]);
    assert_eq!(pulled["commit"], COMMIT);
    assert_eq!(pulled["files"].as_array().map(Vec::len), Some(FILES.len()));
    assert_eq!(pulled["bytes"], pulled["received_bytes"]);
    assert_keys(&pulled["files"][0], &["path", "bytes", "received_bytes", "hash"]);
    let snapshot = Path::new(pulled["path"].as_str().expect("a path"));
    assert_eq!(fs::read(snapshot.join("model.safetensors")).expect("there").len(), 16_793_904);

    let run = ["run", "org/pocket", "-p", "Once upon a time", "--raw", "-n", "4", "--temperature", "0", "--json"];
    let own = document(&crate::common::run(&[
        "run",
        "pocket",
        "-p",
        "Once upon a time",
        "--raw",
        "-n",
        "4",
        "--temperature",
        "0",
        "--json",
    ]));
    assert_eq!(document(&bench.run(&run))["text"], own["text"]);
    let inspected = document(&bench.run(&["inspect", "org/pocket", "--json"]));
    assert_eq!(inspected["name"], "pocket", "not the commit's digits");
    assert_eq!(inspected["size_bytes"], 16_793_904, "through the links");

    let again = bench.run(&["pull", "org/pocket"]);
    assert_eq!(status(&again), 0, "{}", stderr(&again));
    assert!(stdout(&again).contains("were in the cache"), "{}", stdout(&again));
    assert!(stderr(&again).contains("honelm chat org/pocket"), "{}", stderr(&again));
}

#[test]
fn addresses_of_the_hub_are_names_too() {
    let bench = Bench::new(&pocket());
    let output = bench.run(&["pull", "https://huggingface.co/org/pocket/tree/main"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    for name in ["hf.co/org/pocket", "https://huggingface.co/org/pocket"] {
        assert_eq!(document(&bench.run(&["inspect", name, "--json"]))["name"], "pocket", "{name}");
    }
    let asked = bench.server.seen().len();
    for command in ["pull", "inspect"] {
        let output = bench.run(&[command, "https://example.com/org/pocket"]);
        assert!(stderr(&output).contains("example.com is not a host of the Hub"), "{}", stderr(&output));
        assert_ne!(status(&output), 0);
    }
    assert_eq!(bench.server.seen().len(), asked);
}

#[test]
fn pulled_models_and_those_of_model_folders_are_listed() {
    let bench = Bench::new(&pocket());
    let empty = bench.dir.path().join("own");
    fs::create_dir_all(&empty).expect("a folder");
    fs::write(empty.join("broken.gguf"), "GGUF").expect("written");
    let list = ["list", "--model-dir", empty.to_str().expect("UTF-8")];
    let models = |output: &Output| -> Vec<serde_json::Value> {
        let listed = document(output);
        listed["models"].as_array().expect("a list").clone()
    };
    let named = |models: &[serde_json::Value], name: &str| models.iter().find(|m| m["name"] == name).cloned();
    let before = models(&bench.run(&[&list[..], &["--json"]].concat()));
    assert_eq!(named(&before, "org/pocket"), None);
    assert_eq!(status(&bench.run(&["pull", "org/pocket"])), 0);
    let after = models(&bench.run(&[&list[..], &["--json"]].concat()));
    let pulled = named(&after, "org/pocket").expect("listed");
    assert_keys(&pulled, &["path", "revision", "architecture", "files"]);
    assert_eq!((&pulled["commit"], &pulled["revision"]), (&COMMIT.into(), &"main".into()));
    assert_eq!((&pulled["container"], &pulled["encoding"]), (&"safetensors".into(), &"F16".into()));
    let inspected = document(&bench.run(&["inspect", "org/pocket", "--json"]));
    assert_eq!(pulled["size_bytes"], inspected["size_bytes"]);
    let broken = named(&after, "broken").expect("listed");
    assert!(broken["problem"].as_str().is_some_and(|p| p.contains("broken.gguf")), "{broken}");

    let text = bench.run(&list);
    assert_eq!(status(&text), 0, "{}", stderr(&text));
    let text = stdout(&text);
    for word in ["org/pocket", "main (01234567)", "safetensors F16", "Cannot be opened\nbroken: "] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

#[test]
fn files_instead_of_links_are_stored_on_request() {
    let bench = Bench::new(&pocket());
    let mut command = bench.command(&["pull", "org/pocket", "--json"]);
    let pulled = document(&command.env("HF_HUB_DISABLE_SYMLINKS", "1").output().expect("it runs"));
    let weights = Path::new(pulled["path"].as_str().expect("a path")).join("model.safetensors");
    assert!(fs::symlink_metadata(weights).expect("a file").is_file());
    assert_eq!(status(&bench.run(&["inspect", "org/pocket"])), 0);
}

#[test]
fn a_path_that_exists_wins_over_a_repository() {
    let bench = Bench::new(&[]);
    let folder = bench.dir.path().join("org/pocket");
    fs::create_dir_all(&folder).expect("a folder");
    for name in FILES {
        fs::copy(pocket_dir().join(name), folder.join(name)).expect("copied");
    }
    assert_eq!(status(&bench.run(&["inspect", "org/pocket"])), 0);
}

#[test]
fn a_quant_of_a_pulled_repository_is_a_model() {
    let bench = Bench::new(&[]);
    let file = |name: &str, to: &str| {
        let path = bench.dir.path().join(name);
        let output = bench.run(&["quantize", "pocket", "--to", to, "-o", path.to_str().expect("UTF-8"), "-q"]);
        assert_eq!(status(&output), 0, "{}", stderr(&output));
        fs::read(path).expect("written")
    };
    let files = [("pocket-Q8_0.gguf", file("a", "q8_0")), ("pocket-Q4_0.gguf", file("b", "q4_0"))];
    let bench = Bench::new(&files);
    assert_fails(&bench.run(&["pull", "org/pocket"]), 1, &["Q8_0  ", "Q4_0  ", "org/pocket:Q4_0"]);
    let output = bench.run(&["pull", "org/pocket:q4_0"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("pocket-Q4_0.gguf"), "{}", stdout(&output));
    for name in ["org/pocket", "org/pocket:Q4_0"] {
        let inspected = document(&bench.run(&["inspect", name, "--json"]));
        assert_eq!(inspected["container"], "gguf", "{name}");
    }
    assert_fails(&bench.run(&["inspect", "org/pocket:Q8_0"]), 1, &["only Q4_0", "`honelm pull org/pocket:Q8_0`"]);
}

/// Starts a Hub that sends a repository of 64 MB slowly.
fn slow() -> Bench {
    let mut files = pocket();
    files[2].1 = (0..64_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let bench = Bench::new(&files);
    bench.server.misbehave(|request, mut answer: HubAnswer| {
        if request.target.starts_with("/cdn/") {
            std::thread::sleep(Duration::from_millis(20));
            answer.cut = Some(1 << 20);
        }
        answer
    });
    bench
}

fn partial(bench: &Bench) -> u64 {
    let path = bench.repository().join("blobs").join(format!("{}.incomplete", bench.server.id("model.safetensors")));
    fs::metadata(path).map_or(0, |m| m.len())
}

/// Starts a pull and waits until some of the weights have arrived.
fn started(bench: &Bench) -> std::process::Child {
    let mut command = bench.command(&["pull", "org/pocket", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let begun = Instant::now();
    while partial(bench) < 1 << 20 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_killed_pull_goes_on_where_it_stopped() {
    let bench = slow();
    let mut child = started(&bench);
    child.kill().expect("killed");
    child.wait().expect("gone");
    let held = partial(&bench);
    assert!((1 << 20..64 << 20).contains(&held), "{held}");
    bench.server.misbehave(|_, answer| answer);
    let sent = bench.server.sent();
    let pulled = document(&bench.run(&["pull", "org/pocket", "--json", "--include", "model.safetensors"]));
    assert_eq!(pulled["received_bytes"], (64 << 20) - held);
    assert_eq!(bench.server.sent() - sent, (64 << 20) - held, "no byte of what is here is sent again");
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_a_pull_with_status_130_and_keeps_what_is_here() {
    let bench = slow();
    let child = started(&bench);
    let status_of_kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(status_of_kill.success());
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(130));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(said["error"]["code"], "interrupted");
    assert!(partial(&bench) >= 1 << 20);
    assert!(!bench.repository().join("refs/main").exists());
}

#[test]
fn what_is_wrong_is_said_with_a_code() {
    let bench = Bench::new(&pocket());
    for (arguments, expected, word) in [
        (&["pull", "pocket"][..], 2, "ORG/REPO"),
        (&["pull"], 2, "ORG/REPO"),
        (&["pull", "org/none"], 1, "no such repository"),
        (&["pull", "org/pocket@v2"], 1, "404"),
        (&["pull", "org/pocket", "--include", "*.gguf"], 1, "no file matches '*.gguf'"),
    ] {
        assert_fails(&bench.run(arguments), expected, &[word]);
    }
    let error = bench.run(&["pull", "org/none", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&error.stdout).expect("a document");
    assert_eq!(said["error"]["code"], "repository-not-found");
    let offline = bench.command(&["pull", "org/pocket"]).env("HF_HUB_OFFLINE", "1").output().expect("it runs");
    assert_fails(&offline, 1, &["HF_HUB_OFFLINE"]);
    let endpoint = bench.command(&["pull", "org/pocket"]).env("HF_ENDPOINT", "hub").output().expect("it runs");
    assert_fails(&endpoint, 1, &["HF_ENDPOINT", "https://"]);
}

#[test]
fn the_token_of_the_environment_is_sent() {
    let bench = Bench::new(&pocket());
    let mut command = bench.command(&["pull", "org/pocket", "--include", "config.json"]);
    assert_eq!(status(&command.env("HF_TOKEN", "hf_own").output().expect("it runs")), 0);
    assert!(bench.server.seen().iter().all(|r| r.header("authorization") == Some("Bearer hf_own")));
}

/// Returns the peak resident memory of a process, if the platform reports it.
fn peak_memory(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Prints the time and memory of a large download over broken connections.
#[test]
#[ignore = "long proof: cargo xtask prove pull"]
fn a_large_file_survives_twenty_cuts() {
    const CUTS: usize = 20;
    let bytes = std::env::var("HONELM_PROOF_BYTES").map_or(1_000_000_000, |bytes| bytes.parse().expect("a number"));
    let numbers = (0..bytes / 8).map(|i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let file: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
    let size = file.len();
    let bench = Bench::new(&[("model.safetensors", file)]);
    let mut left = CUTS;
    bench.server.misbehave(move |request, mut answer: HubAnswer| {
        if request.target.starts_with("/cdn/") && left > 0 {
            left -= 1;
            answer.cut = Some(size / (CUTS + 1));
        }
        answer
    });
    let mut command = bench.command(&["pull", "org/pocket", "--json", "--include", "model.safetensors"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    let mut peak = None;
    let status = loop {
        peak = peak.max(peak_memory(child.id()));
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.success(), "{status}");
    let blob = bench.repository().join("blobs").join(bench.server.id("model.safetensors"));
    let numbers = (0..size as u64 / 8).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let same = numbers.flat_map(u64::to_le_bytes).eq(fs::read(&blob).expect("a blob"));
    let requests = bench.server.seen().iter().filter(|r| r.target.starts_with("/cdn/")).count();
    let figures = serde_json::json!({
        "bytes": size, "sent": bench.server.sent(), "cuts": requests - 1, "same": same, "peak_bytes": peak,
    });
    println!("proof: {figures}");
}
