//! `honelm optimize`, with settings that take seconds.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::{assert_documented, assert_fails, assert_keys, document, run, status, stderr, stdout, write_text};
use serde_json::Value;

struct Job {
    _dir: tempfile::TempDir,
    out: PathBuf,
    calibration: PathBuf,
    text: PathBuf,
}

impl Job {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name);
        let (out, calibration, text) = (path("out"), path("calibration.txt"), path("text.txt"));
        write_text(&calibration, 400, 1);
        write_text(&text, 2400, 2);
        Self { _dir: dir, out, calibration, text }
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        fn text(path: &Path) -> &str {
            path.to_str().expect("a path in UTF-8")
        }
        let has_recipe = more.iter().any(|argument| ["--recipe", "--compare"].contains(argument));
        let arguments = [
            &["optimize", "-o", text(&self.out), "--calibration", text(&self.calibration), "--text", text(&self.text)]
                [..],
            &["--samples", "2", "--length", "64", "--protocol", "llama.cpp-64"],
            // The default recipe takes a minute.
            if has_recipe { &[][..] } else { &["--recipe", "rtn"] },
            more,
        ];
        arguments.concat()
    }

    fn run(&self, more: &[&str]) -> Output {
        run(&self.arguments(more))
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_whose_file_is_removed_ends_its_job() {
    let (job, folder) = (Job::new(), tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder"));
    let program = folder.path().join("honelm");
    std::fs::hard_link(env!("CARGO_BIN_EXE_honelm"), &program).expect("a link");
    let pocket = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/pocket");
    let mut command = crate::common::honelm_at(&program);
    command.args(job.arguments(&["--bits", "8", "--budget", "1000000", pocket]));
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("the command starts");
    std::fs::remove_file(&program).expect("removed");
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(status(&output), 0, "{}", stderr(&output));
}

#[test]
fn a_candidate_that_holds_the_budget_is_published_and_done_once() {
    let job = Job::new();
    let output = job.run(&["--bits", "8", "--budget", "1000000"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    for part in ["original", "Q8_0", "accepted", "perplexity", "tok/s", "memory", "holds the budget", "model.gguf"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    for name in ["model.gguf", "report.json", "report.md", "report.svg"] {
        assert!(job.out.join(name).is_file(), "{name}");
    }
    let again = job.run(&["--bits", "8", "--budget", "1000000", "--json"]);
    let found = document(&again);
    assert_eq!((&found["was_done"], &found["chosen"]), (&Value::from(true), &Value::from("Q8_0")));
    assert_eq!(found["budget"], serde_json::json!({"kind": "absolute", "value": 1e6}));
    let row = &found["rows"][1];
    assert_keys(
        row,
        &[
            "size_bytes",
            "bits_per_weight",
            "perplexity",
            "perplexity_stderr",
            "perplexity_difference",
            "perplexity_difference_upper95",
            "kl_divergence",
            "same_top_percent",
            "load_seconds",
            "prefill_tokens_per_second",
            "decode_tokens_per_second",
            "first_token_seconds",
            "peak_memory_bytes",
        ],
    );
    // Other options are other work: not overwritten unasked.
    let other = job.run(&["--bits", "8", "--budget", "999"]);
    assert_eq!(status(&other), 1, "{}", stderr(&other));
    assert!(stderr(&other).contains("--restart"), "{}", stderr(&other));
    // Without its report nobody knows whose model it is: neither is it replaced.
    let model = std::fs::read(job.out.join("model.gguf")).expect("published");
    std::fs::remove_file(job.out.join("report.json")).expect("removed");
    let unknown = job.run(&["--bits", "8", "--budget", "1000000"]);
    assert_eq!(status(&unknown), 1, "{}", stderr(&unknown));
    assert!(stderr(&unknown).contains("model.gguf") && stderr(&unknown).contains("--force"), "{}", stderr(&unknown));
    assert_eq!(std::fs::read(job.out.join("model.gguf")).expect("still there"), model);
}

#[test]
fn a_broken_budget_has_status_3_and_publishes_nothing() {
    let job = Job::new();
    let output = job.run(&["--bits", "4", "--budget", "-1000", "--json", "-q"]);
    assert_eq!(status(&output), 3, "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_documented(&found);
    assert_eq!((&found["chosen"], &found["error"]["code"]), (&Value::Null, &Value::from("budget-exceeded")));
    assert_eq!(found["rows"].as_array().map(Vec::len), Some(2));
    assert!(!job.out.join("model.gguf").exists());
    assert!(job.out.join("report.json").is_file());
    assert!(stderr(&output).is_empty(), "{}", stderr(&output));
}

#[test]
fn recipes_are_compared_on_all_chunks_and_the_lowest_divergence_is_published() {
    let job = Job::new();
    let mine = job.out.with_file_name("mine.toml");
    std::fs::write(&mine, stdout(&run(&["recipes", "rtn"])).replace("min-max\"", "search\"")).expect("written");
    let recipes = format!("rtn,gptq,{}", mine.display());
    let output = job.run(&["--compare", &recipes, "--budget", "1000000"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    for part in ["recipe", "quantise", "\nrtn ", "\ngptq ", "\nmine.toml ", " is picked", "model.gguf"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let found = document(&job.run(&["--compare", &recipes, "--budget", "1000000", "--json"]));
    assert_eq!(found["was_done"], Value::from(true));
    let rows = &found["rows"].as_array().expect("rows")[1..];
    let text = |row: &Value, key: &str| row[key].as_str().map(str::to_owned);
    let names: Vec<String> = rows.iter().filter_map(|row| text(row, "recipe")).collect();
    assert_eq!(names, ["rtn", "gptq", "mine.toml"]);
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} of {row}"));
    let lowest = rows.iter().map(|row| number(row, "kl_divergence")).fold(f64::INFINITY, f64::min);
    for row in rows {
        assert_eq!((&row["rejected_early"], &row["chunks"]), (&Value::from(false), &rows[0]["chunks"]));
        assert!(number(row, "quantise_seconds") > 0.0 && row["verdict"] == "accepted", "{row}");
        assert!(row["chosen"] == false || number(row, "kl_divergence") <= lowest * 1.01, "{row}");
    }
    let chosen: Vec<&Value> = rows.iter().filter(|row| row["chosen"] == true).map(|row| &row["name"]).collect();
    assert_eq!(chosen, [&found["chosen"]]);
    for name in ["model.gguf", "report.json", "report.md", "report.svg"] {
        assert!(job.out.join(name).is_file(), "{name}");
    }
    // None holds the budget: all are judged to the end and nothing is published.
    let output =
        job.run(&["--compare", &recipes.replace("gptq,", ""), "--budget", "-1000", "--restart", "--json", "-q"]);
    assert_eq!(status(&output), 3, "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!((&found["rows"][1]["rejected_early"], &found["chosen"]), (&Value::from(false), &Value::Null));
    assert!(!job.out.join("model.gguf").exists());
    for wrong in ["rtn", "rtn,rtn", "rtn,magic"] {
        assert_eq!(status(&job.run(&["--compare", wrong])), 2, "{wrong}");
    }
}

#[test]
fn several_containers_come_from_one_run_by_a_recipe_in_a_file() {
    let job = Job::new();
    let mine = job.out.with_file_name("mine.toml");
    std::fs::write(&mine, stdout(&run(&["recipes", "rtn"]))).expect("written");
    let mine = mine.to_str().expect("a path in UTF-8");
    let arguments = ["--container", "gptq,awq", "--bits", "4", "--group-size", "32", "--recipe", mine];
    let output = job.run(&[&arguments[..], &["--budget", "1000000"]].concat());
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    for part in ["gptq int4 g32 holds the budget", "awq int4 g32 holds the budget", "/gptq\n", "/awq\n"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let found = document(&job.run(&[&arguments[..], &["--budget", "1000000", "--json"]].concat()));
    assert_eq!((&found["was_done"], &found["container"]), (&Value::from(true), &Value::Null));
    let published = found["published"].as_array().expect("a list");
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_else(|| panic!("{key} of {of}")).to_owned();
    let containers: Vec<String> = published.iter().map(|model| text(model, "container")).collect();
    assert_eq!(containers, ["gptq", "awq"]);
    for (model, row) in published.iter().zip(&found["rows"].as_array().expect("rows")[1..]) {
        assert_eq!((text(model, "sha256").len(), &row["container"]), (64, &model["container"]));
        assert_eq!((&row["recipe"], &row["chosen"]), (&Value::from("mine.toml"), &Value::from(true)));
        assert_eq!(status(&run(&["inspect", &text(model, "path")])), 0, "{model}");
    }
    // A container without a candidate within the budget has its own exit status.
    let output = job.run(&[&arguments[..], &["--budget", "-1000", "--restart", "--json", "-q"]].concat());
    assert_eq!(status(&output), 3, "{}", stderr(&output));
    let found: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!((&found["published"], &found["error"]["code"]), (&Value::Array(Vec::new()), &"budget-exceeded".into()));
    std::fs::write(mine, "[[stage]]\nkind = \"rtn\"\nodd = 1\n").expect("written");
    assert_fails(&job.run(&["--recipe", mine]), 2, &["mine.toml", "unknown field `odd`"]);
    assert_fails(&job.run(&["--recipe", "magic"]), 2, &["rtn, gptq, awq, best, tuned, full or a TOML file"]);
    assert_fails(&job.run(&["--recipe", "rtn", "--compare", "rtn,gptq"]), 2, &["--recipe", "--compare"]);
}

#[test]
fn the_better_of_two_calibration_texts_is_taken() {
    let job = Job::new();
    write_text(&job.text, 3600, 2);
    let other = job.out.with_file_name("other.jsonl");
    let chat =
        r#"{"messages": [{"role": "user", "content": "Tell me a story."}, {"role": "assistant", "content": "Once."}]}"#;
    std::fs::write(&other, format!("{chat}\n").repeat(20)).expect("written");
    let other = other.to_str().expect("a path in UTF-8");
    let arguments = ["--calibration", other, "--bits", "8", "--budget", "1000000", "--recipe", "gptq"];
    let output = job.run(&arguments);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    for part in ["\ncalibration ", "other.jsonl ", " is the calibration text: Q8_0 made with it", "Drift: the tokens"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let found = document(&job.run(&[&arguments[..], &["--json"]].concat()));
    let trials = found["calibrations"]["trials"].as_array().expect("a list");
    let taken: Vec<&Value> = trials.iter().filter(|trial| trial["taken"] == true).collect();
    assert_eq!((trials.len(), taken.len()), (2, 1));
    assert_eq!(found["calibration"]["sha256"], taken[0]["sha256"]);
    assert!(found["drift"]["divergence_bits"].as_f64() > found["drift"]["scale_bits"].as_f64(), "{}", found["drift"]);
    let twice = job.calibration.to_str().expect("a path in UTF-8");
    assert_fails(&job.run(&["--calibration", twice]), 2, &["twice"]);
}

#[test]
fn widths_are_compared_in_one_table() {
    let job = Job::new();
    let output = job.run(&["--compare", "rtn", "--bits", "16,8", "--budget", "1000000"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    for part in ["\nmodel ", "quantise", "\nF16 ", "\nQ8_0 ", "Q8_0 is picked: it has the fewest bits", "model.gguf"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let found = document(&job.run(&["--compare", "rtn", "--bits", "16,8", "--budget", "1000000", "--json"]));
    assert_eq!(found["was_done"], Value::from(true));
    let bits: Vec<Option<u64>> =
        found["rows"].as_array().expect("rows").iter().map(|row| row["bits"].as_u64()).collect();
    assert_eq!(bits, [None, Some(16), Some(8)]);
    for (wrong, words) in [
        (&["--bits", "8,4"][..], "--compare"),
        (&["--compare", "rtn", "--bits", "8"], "at least two"),
        (&["--compare", "rtn", "--bits", "8,8"], "found 8 twice"),
        (&["--compare", "rtn", "--bits", "8,9"], "from 2 to 8, or 16"),
        (&["--compare", "rtn", "--bits", "16,8", "--container", "awq"], "expected one of 4"),
        (&["--container", "gguf,gguf"], "found gguf twice"),
    ] {
        assert_fails(&job.run(wrong), 2, &[words]);
    }
}

#[test]
fn too_few_chunks_have_status_4() {
    let job = Job::new();
    write_text(&job.text, 300, 2);
    let output = job.run(&["--bits", "8"]);
    assert_eq!(status(&output), 4, "{}", stderr(&output));
    assert!(!job.out.join("model.gguf").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_is_acknowledged_and_the_last_line_resumes() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use crate::common::honelm;

    let job = Job::new();
    let arguments = job.arguments(&["--bits", "8", "--budget", "1000000"]);
    let mut child = honelm()
        .args(&arguments)
        .arg("--restart")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("scoring")), "no stage begins");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("the command ends").code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("Stopping:") && line.contains("again to quit")), "{rest:?}");
    let [.., resume, command] = rest.as_slice() else { panic!("{rest:?}") };
    assert!(resume.contains("resume") && !command.contains("--restart"), "{rest:?}");
    let resumed = Command::new("sh").args(["-c", command]).env("HONELM_DEVICE", "cpu").output().expect("a shell");
    assert_eq!(status(&resumed), 0, "{}", stderr(&resumed));
    assert!(job.out.join("model.gguf").is_file());
}

#[test]
fn a_quantised_model_is_tuned_and_the_divergence_is_told() {
    let job = Job::new();
    let path = |name: &str| job.out.with_file_name(name).to_string_lossy().into_owned();
    let (recipe, out) = (path("mine.toml"), path("tuned"));
    let tune = "\n[[stage]]\nkind = \"tune\"\nsteps = 3\nsamples = 2\nrate = 0.005\nheld_out = 2\nevery = 3\n";
    std::fs::write(&recipe, stdout(&run(&["recipes", "rtn"])) + tune).expect("written");
    let text = job.calibration.to_string_lossy();
    let what = ["quantize", "pocket", "--to", "gptq", "--bits", "3", "--recipe", &recipe, "-o", &out];
    let how = ["--calibration", &*text, "--samples", "8", "--length", "32", "--json"];
    let output = run(&[&what[..], &how].concat());
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let found = document(&output);
    let tuning = &found["tuning"];
    assert_keys(tuning, &["before", "after", "steps", "kept", "numbers"]);
    assert_eq!((&tuning["steps"], &tuning["kept"]), (&3.into(), &3.into()), "{tuning}");
    let [before, after] = ["before", "after"].map(|key| tuning[key].as_f64().expect("a number"));
    assert!(after < before, "{tuning}");
    assert_documented(&found);
    assert_fails(&run(&["quantize", "pocket", "--to", "q4_0", "--tune", "--imatrix", "x", "-o", &out]), 2, &["--tune"]);
}

#[test]
fn a_pipeline_prints_its_steps_and_documents_every_key() {
    let job = Job::new();
    let recipe = job.out.with_file_name("mine.toml");
    let text = "[[stage]]\nkind = \"rtn\"\n[[stage]]\nkind = \"draft\"\noptional = true\ntokens = 4\nrounds = 1\n";
    std::fs::write(&recipe, text).expect("written");
    write_text(&job.text, 4800, 2);
    let peer = job.out.with_file_name("peer.json");
    let speed = r#"{"engine": "peer 1.2", "dtype": "float16", "threads": 1, "prefill_tokens_per_second": 100.0,
        "decode_tokens_per_second": 4.0, "first_token_seconds": 0.5}"#;
    std::fs::write(&peer, speed).expect("written");
    let [recipe, peer] = [&recipe, &peer].map(|path| path.to_str().expect("a path in UTF-8"));
    // Little is chosen for: everything but the keys of one layer has its encoding.
    let rule = r"attn_q|attn_v|attn_output|ffn|token_embd|blk\.[1-7]=q4_0";
    let arguments =
        ["--recipe", recipe, "--transformers", peer, "--bits", "4.9", "--tensor-type", rule, "--budget", "1000000"];
    let output = job.run(&arguments);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let shown = stdout(&output);
    for part in ["step", "decode tok/s", "quantise", "draft", "peer 1.2", "quantise: kept; pays", "model.gguf"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let found = document(&job.run(&[&arguments[..], &["--json"]].concat()));
    assert_documented(&found);
    assert_eq!((&found["was_done"], &found["pipeline"]["steps"][0]["kept"]), (&Value::from(true), &Value::from(true)));
    for (more, word) in [(&["--compare", "rtn,full"][..], "--compare"), (&["--ablation"], "--ablation")] {
        assert_fails(&job.run(&[more, &["--restart"]].concat()), 2, &[word]);
    }
    assert_fails(&job.run(&["--recipe", recipe, "--transformers", &format!("{recipe}x")]), 1, &["mine.tomlx"]);
}
