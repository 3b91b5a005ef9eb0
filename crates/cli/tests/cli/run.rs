//! `honelm run`.

use std::io::Read;
use std::process::Stdio;

use crate::common::{assert_fails, assert_keys, document, honelm, run, run_with, status, stderr, stdout};

const STORY: [&str; 7] = ["run", "-p", "Tell me a story.", "-n", "12", "--temperature", "0"];

#[test]
fn greedy_answers_are_the_same_every_time_and_end_with_a_newline() {
    let (a, b) = (run(&STORY), run(&STORY));
    assert_eq!(status(&a), 0, "{}", stderr(&a));
    let text = stdout(&a);
    assert_eq!(text, stdout(&b));
    assert!(text.ends_with('\n') && !text.ends_with("\n\n") && !text.starts_with(' '), "{text:?}");
    assert!(stderr(&a).contains("tok/s"), "{}", stderr(&a));
}

#[test]
fn a_seed_gives_the_same_draws_and_another_one_others() {
    let draw = |seed: &str| {
        stdout(&run(&["run", "-p", "Tell me a story.", "-n", "16", "--temperature", "1", "--seed", seed, "-q"]))
    };
    assert_eq!(draw("7"), draw("7"));
    assert_ne!(draw("7"), draw("8"));
}

#[test]
fn json_is_one_document_with_the_promised_keys() {
    let output = run(&[&STORY[..], &["--json", "-q"]].concat());
    let found = document(&output);
    assert_keys(
        &found,
        &[
            "text",
            "token_ids",
            "finish_reason",
            "prompt_tokens",
            "completion_tokens",
            "prefill_tokens_per_second",
            "decode_tokens_per_second",
            "first_token_seconds",
            "load_seconds",
            "peak_memory_bytes",
        ],
    );
    assert_eq!(found["finish_reason"], "length");
    assert_eq!(found["completion_tokens"], 12);
    assert_eq!(found["token_ids"].as_array().expect("ids").len(), 12);
    let plain = run(&STORY);
    assert_eq!(found["text"].as_str().expect("text").trim_end(), stdout(&plain).trim_end());
    assert!(stderr(&output).is_empty(), "{}", stderr(&output));
}

#[test]
fn the_prompt_comes_through_a_pipe_without_its_last_newline() {
    let asked = ["run", "-n", "8", "--temperature", "0", "--json"];
    let piped = document(&run_with(&asked, b"Tell me a story.\n"));
    let dashed = document(&run_with(&[&asked[..], &["-p", "-"]].concat(), b"Tell me a story."));
    let given = document(&run(&[&asked[..], &["-p", "Tell me a story."]].concat()));
    assert_eq!(piped["token_ids"], given["token_ids"]);
    assert_eq!(dashed["token_ids"], given["token_ids"]);
}

#[test]
fn an_empty_prompt_starts_from_bos_alone() {
    let found = document(&run(&["run", "-p", "", "-n", "4", "--json"]));
    assert_eq!(found["prompt_tokens"], 1);
}

#[test]
fn raw_leaves_the_template_out() {
    let tokens = |raw: &[&str]| {
        let arguments = [&["run", "-p", "Once upon a time", "-n", "1", "--json"][..], raw].concat();
        document(&run(&arguments))["prompt_tokens"].as_u64().expect("a number")
    };
    assert_eq!(tokens(&[]), tokens(&["--raw"]) + 2);
}

#[test]
fn a_system_message_comes_before_the_prompt() {
    let tokens = |more: &[&str]| {
        let arguments = [&["run", "-p", "Hello", "-n", "1", "--json"][..], more].concat();
        document(&run(&arguments))["prompt_tokens"].as_u64().expect("a number")
    };
    assert!(tokens(&["--system", "Be kind."]) > tokens(&[]) + 2);
    assert_fails(&run(&["run", "-p", "x", "--system", "Be kind.", "--raw"]), 2, &["--system", "--raw"]);
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_part_of_it() {
    let whole = stdout(&run(&["run", "-p", "Tell me a story.", "-n", "40", "--temperature", "0"]));
    let stop = whole.split(' ').nth(5).expect("some words");
    let found =
        document(&run(&["run", "-p", "Tell me a story.", "-n", "40", "--temperature", "0", "--stop", stop, "--json"]));
    let text = found["text"].as_str().expect("text");
    assert_eq!(found["finish_reason"], "stop");
    assert!(!text.contains(stop) && whole.starts_with(text), "{text:?}");
}

#[test]
fn whoever_closes_stdout_early_is_not_answered_with_a_panic() {
    let mut child = honelm()
        .args(["run", "-p", "Tell me a story.", "-n", "400", "--ignore-eos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut first = [0u8; 1];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("some text");
    let output = child.wait_with_output().expect("the command ends");
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    assert_eq!(status(&output), 0);
}

#[test]
fn a_gpu_writes_what_the_processor_writes() {
    let caches = tempfile::tempdir().expect("a folder");
    let on = |device: &str| {
        let story =
            ["run", "-p", "Tell me a story.", "-n", "8", "--temperature", "0", "--json", "-q", "--compute", "f32"];
        honelm().env("XDG_CACHE_HOME", caches.path()).args(story).args(["--device", device]).output().expect("it runs")
    };
    assert_fails(&run(&["run", "-p", "x", "--device", "gpu:99"]), 1, &["adapter"]);
    let gpu = on("gpu");
    if status(&gpu) == 1 && stdout(&gpu).contains("no-adapter") {
        eprintln!("SKIPPED a_gpu_writes_what_the_processor_writes: needs a GPU adapter");
        return;
    }
    assert_eq!(document(&gpu)["token_ids"], document(&on("cpu"))["token_ids"]);
}

#[test]
fn unusable_prompts_and_settings_are_refused() {
    for empty in [&["run"][..], &["run", "-p", "-"]] {
        assert_fails(&run_with(empty, b""), 2, &["stdin is empty", "-p TEXT"]);
    }
    assert_fails(&run(&["run", "-p", "", "--system", "Be kind."]), 2, &["--system"]);
    assert_fails(&run_with(&["run", "-p", "-"], b"ab\0c"), 1, &["stdin", "byte 2"]);
    assert_fails(&run_with(&["run", "-p", "-"], b"ab\xff"), 1, &["stdin", "UTF-8"]);
    let long = "word ".repeat(3000);
    assert_fails(&run_with(&["run"], long.as_bytes()), 1, &["context"]);
    for (flag, value) in [
        ("--temperature", "-1"),
        ("--temperature", "hot"),
        ("--top-p", "0"),
        ("--top-p", "1.5"),
        ("--min-p", "2"),
        ("--repeat-penalty", "0"),
        ("--threads", "0"),
        ("--context", "0"),
        ("--device", "tpu"),
        ("--device", "gpu:one"),
        ("--compute", "slow"),
        ("--cache-type", "q2"),
    ] {
        assert_fails(&run(&["run", "-p", "x", flag, value]), 2, &[flag]);
    }
}

#[test]
fn every_cache_type_and_compute_path_answers() {
    for (compute, cache) in [("f32", "f32"), ("f32", "f16"), ("fast", "q8_0"), ("fast", "q4_0"), ("f32", "q4_0-plain")]
    {
        let arguments = [&STORY[..], &["--compute", compute, "--cache-type", cache, "--threads", "1"]].concat();
        let output = run(&arguments);
        assert_eq!(status(&output), 0, "{compute} {cache}: {}", stderr(&output));
        assert!(stdout(&output).len() > 10);
    }
}

/// Compares with the 200 tokens that llama2.c and PyTorch generate with this model.
#[test]
fn stories260k_writes_what_other_programs_write() {
    let Some(data) = std::env::var_os("HONELM_TEST_DATA") else {
        eprintln!("SKIPPED stories260k_writes_what_other_programs_write: needs HONELM_TEST_DATA");
        return;
    };
    let folder = std::path::Path::new(&data).join("data/stories260k");
    let expected = std::fs::read_to_string(folder.join("expected-greedy.txt")).expect("the expected text");
    let model = folder.join("stories260K.gguf");
    let model = model.to_str().expect("a path in UTF-8");
    let output = run(&["run", model, "-p", "", "-n", "200", "--temperature", "0", "--raw", "--compute", "f32"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert_eq!(stdout(&output).trim_end(), expected.trim_end());
}

#[test]
fn a_prompt_cache_saves_the_work_of_the_last_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("story.cache");
    let cached = ["--prompt-cache", file.to_str().expect("UTF-8"), "--json", "-q"];
    let first = document(&run(&[&STORY[..], &cached].concat()));
    let second = document(&run(&[&STORY[..], &cached].concat()));
    assert_eq!((&second["token_ids"], &first["cached_tokens"]), (&first["token_ids"], &0.into()));
    let prompt = second["prompt_tokens"].as_u64().expect("a number");
    assert_eq!(second["cached_tokens"], prompt - 1, "all but the last token, whose logits are needed");
    let noted = stderr(&run(&[&STORY[..], &cached[..2]].concat()));
    assert!(noted.contains(&format!("({} cached)", prompt - 1)), "{noted}");

    std::fs::write(&file, "something else").expect("written");
    let refused = run(&[&STORY[..], &cached[..2]].concat());
    assert_eq!((status(&refused), stdout(&refused).as_str()), (1, ""));
    assert_eq!(std::fs::read(&file).expect("still there"), b"something else");
    // A conversation keeps its prompts too.
    let talk = dir.path().join("talk.cache");
    let chat =
        ["chat", "--temperature", "0", "-n", "8", "--json", "-q", "--prompt-cache", talk.to_str().expect("UTF-8")];
    let said = |lines: &[u8]| document(&run_with(&chat, lines))["answers"].clone();
    let whole = said(b"Tell me a story.\nAnd then?\n");
    let again = said(b"Tell me a story.\nAnd then?\n");
    assert_eq!(again[1]["text"], whole[1]["text"]);
    assert!(again[0]["cached_tokens"].as_u64() > Some(0), "{again}");
}

#[test]
fn answers_match_schemas_grammars_and_regular_expressions() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let asked =
        |options: &[&str]| stdout(&run(&[&["run", "-q", "-p", "Is it late?", "--seed", "1"], options].concat()));
    let schema = r#"{"type": "object", "properties": {"late": {"type": "boolean"}}, "required": ["late"], "additionalProperties": false}"#;
    for given in [schema.to_owned(), file("schema.json", schema)] {
        let answer = asked(&["--json-schema", &given]);
        let value: serde_json::Value = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{answer}: {e}"));
        assert!(value["late"].is_boolean(), "{answer}");
    }
    let gbnf = "root ::= \"yes\" | \"no\"\n";
    let lark = "start: \"yes\" | \"no\"\n";
    for (name, source) in [("a.gbnf", gbnf), ("a.lark", lark), ("b.txt", gbnf), ("c.txt", lark)] {
        let answer = asked(&["--grammar", &file(name, source)]);
        assert!(["yes\n", "no\n"].contains(&answer.as_str()), "{name}: {answer}");
    }
    let answer = asked(&["--regex", "[0-9]{2}:[0-9]{2}", "--raw"]);
    assert!(answer.len() == 6 && answer.as_bytes()[2] == b':', "{answer}");
    for (options, code) in [
        (["--json-schema", r#"{"not": {}}"#], "bad-schema"),
        (["--json-schema", r#"{"type": "string", "format": "color"}"#], "schema-not-compiled"),
        (["--json-schema", r#"{"type": }"#], "invalid-text"),
        (["--grammar", &file("bad.gbnf", "root ::= other")], "bad-grammar"),
        (["--regex", "(a"], "bad-grammar"),
        (["--tools", r#"[{"description": "no name"}]"#], "bad-tools"),
    ] {
        let output = run(&[&["run", "-p", "Hello", "--json"][..], &options].concat());
        let found: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("a document");
        assert_eq!((status(&output), &found["error"]["code"]), (1, &code.into()), "{options:?}");
    }
}

#[test]
fn calls_of_tools_are_printed_and_can_be_answered() {
    let tools = r#"[{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"], "additionalProperties": false}}}]"#;
    let asked =
        ["run", "-q", "-p", "How is Rome?", "--seed", "1", "--tools", tools, "--tool-choice", "weather", "-n", "60"];
    let printed = stdout(&run(&asked));
    let first = printed.lines().next().expect("a line");
    let call: serde_json::Value = serde_json::from_str(first).unwrap_or_else(|e| panic!("{first}: {e}"));
    assert_eq!(call["name"], "weather");
    assert!(["Rome", "Oslo"].map(Into::into).contains(&call["arguments"]["city"]), "{first}");
    let found = document(&run(&[&asked[..], &["--json"]].concat()));
    let function = &found["tool_calls"][0]["function"];
    let arguments: serde_json::Value =
        serde_json::from_str(function["arguments"].as_str().expect("text")).expect("JSON");
    assert_eq!((&function["name"], &arguments), (&call["name"], &call["arguments"]));
    // A choice of no calls leaves the tools out.
    let without =
        document(&run(&["run", "-p", "How is Rome?", "--tools", tools, "--tool-choice", "none", "-n", "1", "--json"]));
    assert!(without["prompt_tokens"].as_u64() < found["prompt_tokens"].as_u64());
    let chat =
        ["chat", "--json", "--seed", "1", "-n", "60", "--tools", tools, "--tool-choice", "weather", "--no-history"];
    let talk = document(&run_with(&chat, b"How is Rome?\n/result Rain.\n"));
    let messages = talk["messages"].as_array().expect("messages");
    assert_eq!(messages[1]["tool_calls"][0]["function"]["name"], "weather");
    assert_eq!((&messages[2]["role"], &messages[2]["content"]), (&"tool".into(), &"Rain.".into()));
    assert_eq!(messages[2]["tool_call_id"], messages[1]["tool_calls"][0]["id"]);
}
