//! The other commands, run with the shipped model.

use std::path::Path;
use std::process::Stdio;

use crate::common::{
    assert_documented, assert_fails, assert_keys, document, honelm, run, run_with, status, stderr, stdout, write_text,
};
use serde_json::Value;

#[test]
fn version_and_help_are_results() {
    assert_eq!(stdout(&run(&["--version"])).trim(), format!("honelm {}", env!("CARGO_PKG_VERSION")));
    for command in
        ["optimize", "quantize", "distil", "run", "chat", "eval", "bench", "devices", "inspect", "imatrix", "tokenize"]
    {
        let output = run(&[command, "--help"]);
        assert_eq!(status(&output), 0);
        let help = stdout(&output);
        assert!(help.contains("Examples:") && help.contains("--threads"), "{command}: {help}");
    }
    assert!(!stdout(&run(&["--help"])).contains("measure"));
    assert_eq!(status(&run::<&str>(&[])), 2);
}

#[test]
fn recipes_are_listed_and_printed_as_files() {
    let listed = run(&["recipes"]);
    assert_eq!(status(&listed), 0, "{}", stderr(&listed));
    let found = document(&run(&["recipes", "--json"]));
    let names: Vec<&str> = found.as_array().expect("a list").iter().filter_map(|r| r["name"].as_str()).collect();
    assert_eq!(names, ["rtn", "gptq", "awq", "best", "tuned", "full"]);
    for name in names {
        assert!(stdout(&listed).lines().any(|line| line.starts_with(name)), "{}", stdout(&listed));
        let text = stdout(&run(&["recipes", name]));
        assert!(text.starts_with("# ") && text.contains("\n[[stage]]\nkind = "), "{text}");
        let found = document(&run(&["recipes", name, "--json"]));
        assert_eq!(found["toml"], Value::from(text));
        assert!(found["stage"][0]["kind"].is_string(), "{found}");
    }
    assert_fails(&run(&["recipes", "gtpq"]), 2, &["'gptq'"]);
}

#[test]
fn wrong_usage_has_status_2() {
    for arguments in [
        &["dance"][..],
        &["run", "--no-such-flag"],
        &["run", "-p", "x", "-q", "-v"],
        &["quantize", "pocket"],
        &["quantize", "pocket", "--to", "q3_9", "-o", "x.gguf"],
        &["quantize", "pocket", "--to", "q4_0", "--bits", "4", "-o", "x.gguf"],
        &["bench", "pocket", "--shape", "llama-3.2-1b", "--encoding", "q4_0"],
        &["bench", "--shape", "llama-3.2-1b"],
        &["bench", "-r", "0"],
        &["eval", "--protocol", "nonsense"],
        &["eval", "--chunks", "0"],
        &["optimize", "--container", "zip"],
        &["optimize", "--group-size", "64", "-o", "unused"],
        &["optimize", "--bits", "9", "-o", "unused"],
        &["optimize", "--budget", "nan"],
    ] {
        assert_fails(&run(arguments), 2, &[]);
    }
}

#[test]
fn errors_are_documents_beside_json() {
    for (arguments, expected, code) in [
        (&["run", "no-such-model", "-p", "x", "--json"][..], 1, "model-not-found"),
        (&["run", "--no-such-flag", "--json"], 2, "usage"),
        (&["run", "-p", "x", "--context", "99999", "--json"], 1, "context-too-long"),
    ] {
        let output = run(arguments);
        assert_eq!(status(&output), expected);
        let found: Value = serde_json::from_slice(&output.stdout).expect("a document");
        assert_eq!(found["error"]["code"], code, "{found}");
        assert!(!found["error"]["message"].as_str().expect("a message").is_empty());
    }
}

#[test]
fn inspect_tells_what_the_model_is() {
    let found = document(&run(&["inspect", "--json"]));
    assert_eq!(
        (&found["architecture"], found["layers"].as_u64(), found["context"].as_u64()),
        (&Value::from("llama"), Some(8), Some(1024))
    );
    assert_keys(&found, &["config", "tensors", "encodings", "tokenizer", "chat_template", "memory", "jobs"]);
    let output = run(&["inspect"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    for part in ["Encodings", "Tensors", "Tokenizer", "Chat template", "Memory", "F16", "<|end|>", "equal layer 0"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let all = stdout(&run(&["inspect", "-v"]));
    assert!(all.contains("model.layers.7.") && all.contains("Configuration") && !all.contains("equal layer 0"));
}

#[test]
fn eval_scores_alone_and_against_the_original() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = dir.path().join("text.txt");
    write_text(&text, 600, 1);
    let text = text.to_str().expect("a path in UTF-8");
    let scored = ["eval", "--text", text, "--protocol", "llama.cpp-64", "--chunks", "2"];
    let alone = run(&[&scored[..], &["--json"]].concat());
    let found = document(&alone);
    assert_keys(&found, &["perplexity", "perplexity_stderr", "protocol", "chunks", "tokens", "warnings", "compute"]);
    assert_eq!((found["chunks"].as_u64(), found["protocol"].as_str()), (Some(2), Some("llama.cpp-64")));
    assert!(stderr(&alone).contains("warning: the text has 2 chunks"), "{}", stderr(&alone));
    let found = document(&run(&[&scored[..], &["--json", "--against", "pocket"]].concat()));
    assert_keys(
        &found,
        &["perplexity_difference", "perplexity_difference_upper95", "kl_divergence", "same_top_percent"],
    );
    assert_eq!((found["same_top_percent"].as_f64(), found["perplexity_difference"].as_f64()), (Some(100.0), Some(0.0)));
    let shown = run(&scored);
    assert_eq!(status(&shown), 0);
    assert!(stdout(&shown).contains("perplexity"), "{}", stdout(&shown));
}

#[test]
fn quantize_writes_files_of_a_largest_size() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("small.gguf");
    let out = out.to_str().expect("UTF-8");
    let found = document(&run(&["quantize", "pocket", "--to", "q8_0", "-o", out, "--max-shard-size", "4M", "--json"]));
    let first = found["path"].as_str().expect("a path");
    assert!(first.ends_with("small-00001-of-00003.gguf"), "{first}");
    let files: Vec<u64> = std::fs::read_dir(dir.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").metadata().expect("a file").len())
        .collect();
    assert!(files.len() == 3 && files.iter().all(|&size| size <= 4_000_000), "{files:?}");
    assert_eq!(found["size_bytes"], files.iter().sum::<u64>());
    let said = run(&["run", first, "-p", "Once upon a time", "-n", "4", "--temperature", "0"]);
    assert_eq!(status(&said), 0, "{}", stderr(&said));
}

#[test]
fn quantize_writes_a_file_that_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("small.gguf");
    let out = path.to_str().expect("a path in UTF-8");
    let found = document(&run(&["quantize", "pocket", "--to", "q8_0", "-o", out, "--json"]));
    assert_keys(&found, &["path", "size_bytes", "original_bytes", "bits_per_weight", "warnings"]);
    assert_eq!(found["size_bytes"].as_u64(), Some(std::fs::metadata(&path).expect("written").len()));
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1, "unfinished work was left behind");
    let answer = document(&run(&["run", out, "-p", "Tell me a story.", "-n", "4", "--json"]));
    assert_eq!(answer["completion_tokens"], 4);
    let inspected = document(&run(&["inspect", out, "--json"]));
    assert_eq!((&inspected["container"], &inspected["encodings"][0]["encoding"]), (&"gguf".into(), &"Q8_0".into()));
    assert_eq!(inspected["tokenizer"]["stop"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_cost_of_rounded_activations_is_shown_for_each_stage() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("small.gguf");
    let out = path.to_str().expect("a path in UTF-8");
    assert_eq!(status(&run(&["quantize", "pocket", "--to", "q8_0", "-o", out, "--quiet"])), 0);
    let found = document(&run(&["inspect", out, "--activations", "--tokens", "40", "--json"]));
    let stages: Vec<_> = found["stages"].as_array().expect("stages").iter().map(|s| s["stage"].as_str()).collect();
    assert_eq!(stages, [Some("q, k, v"), Some("o"), Some("gate, up"), Some("down"), Some("output")]);
    let loss = |s: &Value| s["kl_divergence"].as_f64().expect("a number");
    let (all, each) = (loss(&found), found["stages"].as_array().expect("stages").iter().map(loss));
    assert!(each.clone().all(|kl| kl > 0.0 && kl < all) && all < 1e-3, "{found}");
    // The errors of the stages are nearly independent of each other.
    let sum: f64 = each.sum();
    assert!(sum > 0.5 * all && sum < 2.0 * all, "{sum} for {all}");
    let inputs = found["inputs"].as_array().expect("inputs");
    assert!(inputs.len() % 4 == 1 && inputs.iter().all(|i| i["rounded"] == true), "{found}");
    for input in inputs {
        let [error, finer] = ["output_error", "finer"].map(|key| input[key].as_f64().expect("a number"));
        assert!(error > 0.0 && error < 0.02 && finer > 1.0, "{input}");
    }
    let shown = run(&["inspect", out, "--activations", "--tokens", "16"]);
    assert!(stdout(&shown).contains("with all inputs rounded"), "{}", stdout(&shown));
    assert_fails(&run(&["inspect", out, "--activations", "--compare", "pocket"]), 2, &["--activations"]);
}

#[test]
fn an_importance_matrix_is_collected_and_used() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("a path in UTF-8").to_owned();
    let collect = |name: &str, more: &[&str]| {
        let (out, few) = (path(name), ["--samples", "2", "--length", "16"]);
        run(&[&["imatrix", "pocket", "-o", &out][..], &few, more].concat())
    };
    let found = document(&collect("im.gguf", &["--json"]));
    assert_eq!((&found["tokens"], &found["samples"]), (&32.into(), &2.into()));
    assert_fails(&collect("im.gguf", &[]), 1, &["im.gguf", "--force"]);
    assert_eq!(status(&collect("im.gguf", &["--force"])), 0);
    assert_eq!(status(&collect("im.dat", &["--format", "dat"])), 0);
    let quantize = |imatrix: &str, out: &str| {
        run(&["quantize", "pocket", "--to", "q4_0", "--imatrix", &path(imatrix), "-o", &path(out), "--quiet"])
    };
    for imatrix in ["im.gguf", "im.dat"] {
        let done = quantize(imatrix, &format!("{imatrix}.q.gguf"));
        assert_eq!(status(&done), 0, "{}", stderr(&done));
    }
    assert_eq!(status(&run(&["quantize", "pocket", "--to", "q4_0", "-o", &path("plain.gguf"), "--quiet"])), 0);
    let bytes = |name: &str| std::fs::read(path(name)).expect("written");
    assert_ne!(bytes("plain.gguf"), bytes("im.gguf.q.gguf"));
    assert_eq!(bytes("plain.gguf").len(), bytes("im.dat.q.gguf").len());
    assert_fails(&quantize("plain.gguf", "no.gguf"), 1, &["plain.gguf", "expected an importance matrix"]);
    let (from, out) = (path("im.gguf"), path("x.gguf"));
    let gptq = ["quantize", "pocket", "--to", "q4_0", "--recipe", "gptq", "--imatrix", &from, "-o", &out];
    assert_fails(&run(&gptq), 2, &["importance matrix", "rtn"]);
}

#[test]
fn devices_shows_the_processor_and_every_gpu_with_its_test() {
    let caches = tempfile::tempdir().expect("a folder");
    let devices = |arguments: &[&str]| {
        honelm().env("XDG_CACHE_HOME", caches.path()).arg("devices").args(arguments).output().expect("it runs")
    };
    let found = document(&devices(&["--json", "--threads", "3"]));
    assert_keys(&found["cpu"], &["name", "instruction_set", "memory_bytes"]);
    assert_eq!(found["cpu"]["threads"], 3);
    let gpus = found["gpus"].as_array().expect("a list");
    for (i, gpu) in gpus.iter().enumerate() {
        assert_eq!((gpu["index"].as_u64(), gpu["test"]["passed"].as_bool()), (Some(i as u64), Some(true)), "{gpu}");
        assert_keys(gpu, &["name", "api", "kind", "driver", "memory_bytes", "max_buffer", "max_binding", "f16"]);
        assert_keys(gpu, &["workgroup_memory", "workgroup_threads", "subgroups", "packed_dot", "timestamps"]);
        assert!(gpu["test"]["answers"].as_u64() > Some(40), "{gpu}");
    }
    let shown = stdout(&devices(&["-v"]));
    assert!(shown.contains("cpu") && shown.contains("threads"), "{shown}");
    assert_eq!(shown.matches("largest binding").count(), gpus.len(), "{shown}");
    if gpus.is_empty() {
        eprintln!("SKIPPED devices_shows_the_processor_and_every_gpu_with_its_test: needs a GPU adapter for the rest");
    }
}

#[test]
fn bench_says_what_each_operation_cost_and_where() {
    let bench = |device: &str| {
        run(&["bench", "-p", "8", "-n", "0", "-r", "1", "--placement", "--json", "-q", "--device", device])
    };
    let on_cpu = document(&bench("cpu"));
    let operations = on_cpu["placement"].as_array().expect("a list");
    let products =
        operations.iter().find(|o| o["operation"] == "norm_linears").expect("the fused form that models ask for");
    assert!(products["calls"].as_u64() > Some(0) && products["weight_bytes"].as_u64() > Some(0), "{products}");
    assert!(products["device"].as_str().expect("a name").starts_with("cpu"), "{products}");
    assert!(on_cpu.get("kernels").is_none(), "{on_cpu}");
    let on_gpu = bench("gpu");
    if status(&on_gpu) == 1 && stdout(&on_gpu).contains("no-adapter") {
        eprintln!("SKIPPED bench_says_what_each_operation_cost_and_where: needs a GPU adapter for the rest");
        return;
    }
    let on_gpu = document(&on_gpu);
    let names = |list: &str| -> Vec<String> {
        let of = |o: &Value| o["operation"].as_str().or(o["kernel"].as_str()).expect("a name").to_owned();
        on_gpu[list].as_array().into_iter().flatten().map(of).collect()
    };
    assert!(names("placement").contains(&"norm_linears".to_owned()), "{on_gpu}");
    // A device without a clock of its own has none.
    let kernels = names("kernels");
    assert!(kernels.is_empty() || kernels.iter().any(|kernel| kernel.starts_with("linear")), "{kernels:?}");
}

#[test]
fn bench_writes_a_line_a_test() {
    let arguments = ["bench", "-p", "8,16", "-n", "4", "-d", "0,8", "-r", "1"];
    let output = run(&[&arguments[..], &["--json", "-q"]].concat());
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let lines: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("a document a line")).collect();
    lines.iter().for_each(assert_documented);
    let names: Vec<&str> = lines.iter().filter_map(|l| l["test"].as_str()).collect();
    assert_eq!(names, ["pp8", "pp16", "tg4", "pp8@d8", "pp16@d8", "tg4@d8"]);
    assert_keys(&lines[0], &["prefill_tokens_per_second", "load_seconds", "peak_memory_bytes", "threads", "encoding"]);
    assert_keys(&lines[2], &["decode_tokens_per_second", "tokens_per_second", "seconds"]);
    let table = run(&arguments);
    assert!(stdout(&table).contains("pp16@d8") && stdout(&table).contains("tok/s"), "{}", stdout(&table));
    let steps = run(&["bench", "-p", "0", "-n", "2", "-r", "1", "--rows", "1,3", "--json", "-q"]);
    let lines: Vec<Value> =
        stdout(&steps).lines().map(|line| serde_json::from_str(line).expect("a document a line")).collect();
    lines.iter().for_each(assert_documented);
    let names: Vec<&str> = lines.iter().filter_map(|l| l["test"].as_str()).collect();
    assert_eq!(names, ["tg2", "tg2x3", "tg2/draft3"]);
    assert_eq!(lines[0]["step_cost"].as_f64(), Some(1.0));
    lines.iter().for_each(|line| assert_keys(line, &["step_seconds", "step_cost", "rows"]));
    assert_fails(&run(&["bench", "-p", "0", "-n", "1020", "--rows", "8"]), 1, &["draft8", "context"]);
    assert_fails(&run(&["bench", "-p", "2000", "-r", "1"]), 1, &["pp2000", "context"]);
    assert_fails(&run(&["bench", "--shape", "llama-0", "--encoding", "q4_0"]), 1, &["llama-3.2-1b"]);
}

#[test]
fn chat_takes_lines_as_turns_and_obeys_commands() {
    let dir = tempfile::tempdir().expect("a folder");
    let saved = dir.path().join("talk.json");
    let script = format!(
        "/set max_tokens 6\n/set temperature 0\nTell me \\\na story.\nAnd then?\n/save {0}\n/reset\n/load {0}\n/stats\n/nonsense\n/quit\nnever\n",
        saved.display()
    );
    let output = run_with(&["chat", "--system", "Be kind."], script.as_bytes());
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let said = stderr(&output);
    for part in ["(max_tokens is 6)", "(6 tokens", "saved)", "loaded)", "of 1024 tokens", "/nonsense is not a command"]
    {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert!(stdout(&output).lines().filter(|l| !l.is_empty()).count() >= 2, "{}", stdout(&output));
    let talk: Value = serde_json::from_slice(&std::fs::read(&saved).expect("saved")).expect("JSON");
    let roles: Vec<&str> =
        talk["messages"].as_array().expect("turns").iter().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
    assert_eq!(talk["messages"][1]["content"], "Tell me \na story.");
}

#[test]
fn chat_beside_json_is_one_document_and_remembers() {
    let arguments = ["chat", "-n", "5", "--temperature", "0", "--json", "-q"];
    let found = document(&run_with(&arguments, b"Tell me a story.\nAnd then?\n"));
    assert_eq!(
        (found["messages"].as_array().map(Vec::len), found["answers"].as_array().map(Vec::len)),
        (Some(4), Some(2))
    );
    assert!(found["answers"][1]["cached_tokens"].as_u64() > Some(5), "{found}");
}

#[cfg(unix)]
#[test]
fn the_first_ctrl_c_ends_work_with_status_130() {
    use std::io::{BufRead, BufReader};

    let mut child = honelm()
        .args(["bench", "-p", "64", "-n", "0", "-r", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("measuring")));
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let rest: Vec<String> = lines.collect();
    let ended = child.wait().expect("the command ends");
    assert_eq!(ended.code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("interrupted")), "{rest:?}");
}

#[test]
fn compare_names_the_layer_and_the_weight_that_differ() {
    let dir = tempfile::tempdir().expect("a folder");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pocket");
    for entry in std::fs::read_dir(&shipped).expect("the shipped model") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    let weights = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    let names: Value = serde_json::from_slice(&bytes[8..8 + header]).expect("a header");
    let start = names["model.layers.3.mlp.down_proj.weight"]["data_offsets"][0].as_u64().expect("an offset") as usize;
    for byte in &mut bytes[8 + header + start..][..2000] {
        *byte = 0;
    }
    std::fs::write(&weights, bytes).expect("written");
    let changed = dir.path().to_str().expect("UTF-8");
    let same = document(&run(&["inspect", "--compare", "pocket", "--tokens", "32", "--json"]));
    assert!(same["first"].is_null() && same["kl_divergence"] == 0.0, "{same}");
    let found = document(&run(&["inspect", "--compare", changed, "--tokens", "32", "--json"]));
    let first = found["first"].as_u64().expect("a layer") as usize;
    assert_eq!(found["layers"][first]["layer"], "layer 3");
    assert_eq!(found["weights"][0]["weight"], "down");
    assert_eq!(found["weights"][1]["difference"], 0.0);
    // The rest is only handed on.
    assert_eq!(found["layers"][first + 1]["own_difference"], 0.0);
    assert!(found["layers"][first + 1]["difference"].as_f64().expect("a number") > 0.0);
    let output = run(&["inspect", "--compare", changed, "--tokens", "32"]);
    assert!(stdout(&output).contains("The first difference is in layer 3"), "{}", stdout(&output));
    assert_fails(&run(&["inspect", "--text", "x.txt"]), 2, &["--compare"]);
}

#[test]
fn quantize_lists_every_fallback_and_strict_refuses_with_status_5() {
    let dir = tempfile::tempdir().expect("a folder");
    let source = tempfile::tempdir().expect("a folder");
    honelm_testing::write_small_model(source.path(), &[]).expect("written");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let model = source.path().display().to_string();
    let shown = run(&["quantize", &model, "--to", "q2_k", "-o", &path("a.gguf")]);
    assert_eq!(status(&shown), 0, "{}", stderr(&shown));
    for said in ["Without these fallbacks", "Q4_0 instead of Q2_K in 4 matrices", "no multiple of 256"] {
        assert!(stdout(&shown).contains(said), "{}", stdout(&shown));
    }
    let found = document(&run(&["quantize", &model, "--to", "q2_k", "-o", &path("b.gguf"), "--json"]));
    assert_eq!(found["fallbacks"].as_array().map(Vec::len), Some(6));
    assert_keys(&found["fallbacks"][0], &["tensor", "wanted", "written", "reason"]);
    assert!(found["wanted_bits_per_weight"].as_f64() < found["bits_per_weight"].as_f64());
    let refused = run(&["quantize", &model, "--to", "q2_k", "-o", &path("c.gguf"), "--strict"]);
    assert_fails(&refused, 5, &["Q4_0 instead of Q2_K", "--strict"]);
    assert!(!dir.path().join("c.gguf").exists());
    let strict = run(&["quantize", &model, "--to", "q8_0", "-o", &path("d.gguf"), "--strict", "--json"]);
    assert_eq!(document(&strict)["fallbacks"], serde_json::json!([]));
}

#[test]
fn unknown_fields_are_refused_with_the_option_that_lets_them_pass() {
    let dir = tempfile::tempdir().expect("a folder");
    let odd = ("quantize_config.json", r#"{"bits": 4, "group_size": 32, "odd": 1, "strange": 2}"#);
    honelm_testing::write_small_model(dir.path(), &[odd]).expect("written");
    let model = dir.path().display().to_string();
    let inspect = ["inspect", &model, "--json"];
    let refused = run(&["inspect", &model]);
    assert_fails(&refused, 1, &["--allow-unknown odd "]);
    let found = document(&run(&[&inspect[..], &["--allow-unknown", "odd", "--allow-unknown", "strange"]].concat()));
    assert_eq!(found["warnings"].as_array().map(Vec::len), Some(2));
}

#[test]
fn chat_goes_on_after_input_that_cannot_be_sent() {
    let arguments = ["chat", "-n", "4", "--temperature", "0"];
    let output = run_with(&arguments, b"Tell me caf\xe9\nTell me a story.\n/system Be kind.\n/nonsense\nHello\n");
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let said = stderr(&output);
    for part in ["byte 11 of it is not UTF-8", "the conversation starts over", "/nonsense is not a command"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    assert_eq!(said.matches("(4 tokens").count(), 2, "{said}");
}

#[test]
fn chat_takes_messages_of_several_lines_and_answers_again() {
    let arguments = ["chat", "-n", "8", "--temperature", "1", "--seed", "1", "--json", "-q"];
    let found = document(&run_with(&arguments, b"\"\"\"Tell me\n/quit\na story.\"\"\"\n/retry\n"));
    let messages = found["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 2, "the second answer replaces the first one: {found}");
    assert_eq!(messages[0]["content"], "Tell me\n/quit\na story.");
    assert_eq!(found["answers"].as_array().map(Vec::len), Some(2));
    assert_ne!(found["answers"][0]["token_ids"], found["answers"][1]["token_ids"], "another seed");
    let nothing = run_with(&["chat"], b"/retry\n");
    assert!(stderr(&nothing).contains("no message to answer again"), "{}", stderr(&nothing));
}

#[test]
fn a_message_longer_than_the_context_is_refused_before_an_answer() {
    let long = "word ".repeat(3000);
    let output = run_with(&["chat"], format!("{long}\n").as_bytes());
    assert_fails(&output, 1, &["the message has 3", "the context holds only 1024"]);
}

#[test]
fn minus_one_is_no_limit_and_a_random_seed() {
    let limits = ["-n", "-1", "--seed", "-1", "--top-k", "-1", "--temperature", "0"];
    let found = document(&run(&[&["run", "-p", "Tell me a story.", "--json", "-q"], &limits[..]].concat()));
    assert!(found["finish_reason"] == "stop" || found["finish_reason"] == "context", "{found}");
    let output = run_with(&["chat", "-n", "-1"], b"/set max_tokens -1\n/set seed -1\n/set top_k -1\n/stats\n");
    assert!(
        stderr(&output).contains("top_k 0") && stderr(&output).contains("max_tokens no limit"),
        "{}",
        stderr(&output)
    );
    for (flag, value) in
        [("--max-tokens", "-2"), ("--seed", "x"), ("--top-k", "-5"), ("--threads", "-1"), ("--context", "-1")]
    {
        assert_fails(&run(&["run", "-p", "x", flag, value]), 2, &[flag, value, "expected"]);
    }
}

#[test]
fn wrong_names_get_the_nearest_ones() {
    for (arguments, expected, near) in [
        (&["quantize", "pocket", "--to", "q4_9", "-o", "x.gguf"][..], 2, "q4_0"),
        (&["bench", "--shape", "llama-3.2-1b", "--encoding", "q8_9"], 2, "q8_0"),
        (&["optimise"], 2, "optimize"),
        (&["run", "--temprature", "1"], 2, "--temperature"),
        (&["run", "pockt", "-p", "x"], 1, "pocket"),
    ] {
        assert_fails(&run(arguments), expected, &[near]);
    }
    assert_fails(&run(&["run", "", "-p", "x"]), 2, &["empty"]);
    assert_fails(&run(&["eval", "--against", ""]), 2, &["empty"]);
}
