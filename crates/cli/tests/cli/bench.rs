//! `honelm bench` beyond the rows of tests: first tokens, llama-bench's lines, long runs, comparisons.

use std::path::Path;
#[cfg(unix)]
use std::process::Stdio;

use serde_json::{Value, json};

#[cfg(unix)]
use crate::common::honelm;
use crate::common::{assert_documented, assert_fails, assert_keys, document, run, status, stderr, stdout};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Returns the lines of stdout, which are documents.
fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a document a line")).collect()
}

/// Returns a record of a test with these times.
fn record(test: &str, version: u64, seconds: &[f64]) -> String {
    json!({
        "record": version, "version": "0.1.0", "model": "m", "encoding": "Q8_0", "device": "cpu", "threads": 2,
        "compute": "fast", "cache_type": "f16", "test": test, "prompt": 0, "generate": 64, "depth": 0, "batch": 512,
        "rows": {"kind": "sequences", "count": 1}, "seconds": seconds,
    })
    .to_string()
}

#[test]
fn the_first_token_behind_a_prefix_has_quantiles_and_a_ceiling() {
    let arguments = ["bench", "--prefix", "96", "-p", "8", "-r", "4", "--threads", "1"];
    let found = document(&run(&[&arguments[..], &["--json", "-q"]].concat()));
    assert_eq!((&found["test"], &found["first_token"]), (&json!("ft8@d96"), &json!(true)));
    let (median, p95) = (found["first_token_seconds"].as_f64(), found["first_token_p95_seconds"].as_f64());
    assert!(median > Some(0.0) && p95 >= median && found["seconds"].as_array().map(Vec::len) == Some(4), "{found}");
    let ceilings = &found["ceilings"];
    assert_keys(ceilings, &["read_bytes_per_second", "int8_operations_per_second", "f32_operations_per_second"]);
    assert!(ceilings["percent"].as_f64() > Some(0.0) && ceilings["seconds"].as_f64() > Some(0.0), "{ceilings}");
    assert!(found["joules_per_token"].is_f64() || found["no_energy"].is_string(), "{found}");
    // Both are of the same order: the plan leaves the program out, and the process had other memory before.
    let (peak, planned) = (found["peak_memory_bytes"].as_u64(), found["planned_memory_bytes"].as_u64());
    assert!(planned > Some(1 << 20) && peak.is_none_or(|peak| Some(peak) > planned), "{peak:?} {planned:?}");
    let table = stdout(&run(&arguments));
    for word in ["ft8@d96", "median", "95%", "least", "planned", "Ceilings", "Energy"] {
        assert!(table.contains(word), "{word} is not in {table}");
    }
    assert_fails(&run(&["bench", "--prefix", "2000", "-p", "8", "-r", "1"]), 1, &["ft8@d2000", "context"]);
    assert_fails(&run(&["bench", "--prefix", "8", "-d", "8"]), 2, &["--depth"]);
}

#[test]
fn lines_have_the_keys_of_llama_bench() {
    let output = run(&["bench", "pocket", "-p", "8", "-n", "4", "-r", "3", "--output", "jsonl", "-q"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let found = lines(&stdout(&output));
    assert_eq!(found.len(), 2);
    let keys: Vec<&String> = found[0].as_object().expect("an object").keys().collect();
    let expected = "build_commit build_number cpu_info gpu_info backends model_filename model_type model_size model_n_params \
                    n_batch n_ubatch n_threads type_k type_v n_prompt n_gen n_depth test_time avg_ns stddev_ns avg_ts \
                    stddev_ts samples_ns samples_ts";
    assert_eq!(keys, expected.split_whitespace().collect::<Vec<_>>());
    let decode = &found[1];
    assert_eq!((&decode["n_prompt"], &decode["n_gen"], &decode["type_k"]), (&json!(0), &json!(4), &json!("f16")));
    let samples: Vec<f64> =
        decode["samples_ns"].as_array().expect("samples").iter().filter_map(Value::as_f64).collect();
    let mean = samples.iter().sum::<f64>() / 3.0;
    assert!(samples.len() == 3 && (decode["avg_ns"].as_f64().expect("a time") - mean).abs() <= 1.0, "{decode}");
    let rate = decode["samples_ts"][0].as_f64().expect("a rate");
    assert!((rate * samples[0] / 4e9 - 1.0).abs() < 1e-6, "{decode}");
    // They are records too.
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("llama.jsonl");
    std::fs::write(&file, stdout(&output)).expect("written");
    let compared = document(&run(&["bench", "--compare", text(&file), text(&file), "--json"]));
    assert_eq!(compared["tests"][1]["ratio"], json!(1.0));
    assert_eq!(status(&run(&["bench", "--output", "jsonl", "--json", "-r", "1"])), 2);
}

#[test]
fn records_are_compared_and_what_is_none_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let base = write("base.json", &record("tg64", 1, &[1.0, 1.01, 0.99, 1.02, 0.98]));
    let noisy = write("noisy.json", &record("tg64", 1, &[1.02, 1.0, 0.97, 1.01, 1.0]));
    let slower = write("slower.json", &record("tg64", 1, &[1.1, 1.12, 1.09, 1.11, 1.1]));
    let verdict = |other: &Path| {
        let found = document(&run(&["bench", "--compare", text(&base), text(other), "--json"]));
        found["tests"][0]["verdict"].as_str().map(str::to_owned)
    };
    assert_eq!((verdict(&base), verdict(&noisy)), (Some("equal".to_owned()), Some("equal".to_owned())));
    assert_eq!(verdict(&slower).as_deref(), Some("slower"));
    let table = stdout(&run(&["bench", "--compare", text(&base), text(&slower), "--paired"]));
    assert!(table.contains("0.906") && table.contains("slower") && table.contains("honelm 0.1.0"), "{table}");
    let now = run(&["bench", "pocket", "-p", "0", "-n", "4", "-r", "2", "--compare", text(&base), "--json", "-q"]);
    let now = document(&now);
    assert_eq!((&now["tests"][0]["test"], &now["records"][1]), (&json!("tg64 / tg4"), &json!("this run")));
    let later = write("later.json", &record("tg64", 2, &[1.0]));
    let svg = write("plot.svg", "<svg>\n");
    let other = write("other.json", &record("tg64", 1, &[]));
    for (file, words) in [
        (&later, &["later.json", "found version 2, expected 1"][..]),
        (&svg, &["plot.svg", "line 1", "expected documents of `honelm bench --json`"]),
        (&other, &["other.json", "seconds: found none"]),
        (&dir.path().join("none.json"), &["none.json"]),
    ] {
        assert_fails(&run(&["bench", "--compare", text(&base), text(file)]), 1, words);
    }
    let problem = document_of_failure(&["bench", "--compare", text(&later), "--json"]);
    assert_eq!(problem["error"]["code"], "invalid-measurement");
    assert_fails(&run(&["bench", "pocket", "--compare", text(&base), text(&slower)]), 2, &["expected one of them"]);
}

fn document_of_failure(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert_eq!(status(&output), 1);
    serde_json::from_slice(&output.stdout).expect("a document")
}

#[test]
fn a_long_run_has_figures_and_a_plot() {
    let dir = tempfile::tempdir().expect("a folder");
    let plot = dir.path().join("run.svg");
    let arguments = ["bench", "--sustained", "0.02", "-n", "16", "-o", text(&plot), "--json", "-q"];
    let found = document(&run(&arguments));
    let figures = &found["figures"];
    assert!(figures["tokens"].as_f64() > Some(1.0) && figures["retained_percent"].as_f64() > Some(0.0), "{found}");
    let series = found["series"].as_array().expect("seconds");
    assert!((1..=2).contains(&series.len()) && series[0]["end_seconds"].as_f64() >= Some(1.0), "{found}");
    assert_eq!(found["interrupted"], json!(false));
    for quantity in ["temperature", "frequency", "power"] {
        let origin = &found["sensors"][quantity];
        assert!(origin["source"].is_string() != origin["reason"].is_string(), "{quantity}: {origin}");
    }
    assert!(std::fs::read_to_string(&plot).expect("a plot").starts_with("<svg "));
    assert_fails(&run(&["bench", "--sustained", "0.02", "-o", text(&plot)]), 1, &["run.svg", "--force"]);
    assert_fails(&run(&["bench", "--sustained", "0"]), 2, &["above 0"]);
    assert_fails(&run(&["bench", "--sustained", "1", "-d", "1000", "-n", "100"]), 1, &["tg100@d1000", "context"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_a_long_run_has_measured() {
    use std::io::{BufRead, BufReader, Read};

    let mut child = honelm()
        .args(["bench", "--sustained", "30", "-n", "16"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("decoding")));
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let mut out = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("text");
    assert_eq!(child.wait().expect("the command ends").code(), Some(130));
    assert!(out.contains("burst") && out.contains("retained"), "{out}");
}

#[test]
fn many_threads_are_noted_and_cold_loading_is_told() {
    let many = run(&["bench", "-p", "8", "-n", "0", "-r", "1", "--threads", "200"]);
    assert_eq!(status(&many), 0, "{}", stderr(&many));
    assert!(stderr(&many).contains("note: ") && stderr(&many).contains("200 threads"), "{}", stderr(&many));
    if cfg!(target_os = "linux") {
        let cold = document(&run(&["bench", "-p", "8", "-n", "0", "-r", "1", "--cold", "--json", "-q"]));
        assert_eq!(cold["cold"], json!(true));
        assert_documented(&cold);
    }
    assert_fails(&run(&["bench", "--threads", "0"]), 2, &["1 to 1024"]);
}
