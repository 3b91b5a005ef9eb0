//! Runs the command as users do.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Creates the command with a fixed environment.
pub fn honelm() -> Command {
    honelm_at(Path::new(env!("CARGO_BIN_EXE_honelm")))
}

/// Returns the command for a copy of the program.
pub fn honelm_at(program: &Path) -> Command {
    let mut command = Command::new(program);
    // The output of the CPU is known; by default a GPU would be tried first.
    command.env("HONELM_DEVICE", "cpu");
    command.env_remove("HONELM_HOME").env("HONELM_HISTORY", "").stdin(Stdio::null());
    // Caches and records of tests stay out of the user's.
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).env("XDG_DATA_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.env_remove("STATE_DIRECTORY");
    for name in [
        "HF_ENDPOINT",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "HF_HUB_DISABLE_SYMLINKS",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs the command to its end.
pub fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    honelm().args(arguments).output().expect("the command starts")
}

/// Runs the command to its end with input on stdin.
pub fn run_with<S: AsRef<OsStr>>(arguments: &[S], stdin: &[u8]) -> Output {
    let mut child = honelm()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // A command that does not read its stdin closes it.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    child.wait_with_output().expect("the command ends")
}

/// Runs the command where files cannot grow beyond `kib` KiB, as on a full disk.
#[cfg(unix)]
pub fn run_on_a_full_disk(kib: usize, arguments: &[&str]) -> Output {
    // A write beyond the limit then fails instead of killing the process.
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kib * 2);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_honelm")]).args(arguments);
    shell.env_remove("HONELM_HOME").stdin(Stdio::null()).output().expect("a shell")
}

/// Runs it on a terminal of `columns` columns, which util-linux's `script` makes; returns its stdout, or `None` without
/// `script`.
#[cfg(target_os = "linux")]
pub fn on_a_terminal(columns: usize, arguments: &[&str]) -> Option<String> {
    let quoted = |word: &&str| format!("'{word}'");
    let line = format!(
        "stty rows 40 cols {columns}; '{}' {} 2>/dev/null",
        env!("CARGO_BIN_EXE_honelm"),
        arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
    );
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("HONELM_DEVICE", "cpu").env("NO_COLOR", "1").stdin(Stdio::null());
    let output = script.output().ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n"))
}

#[cfg(not(target_os = "linux"))]
pub fn on_a_terminal(_: usize, _: &[&str]) -> Option<String> {
    None
}

/// Returns the exit status; a signal is a failure.
pub fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{}\n{}", output.status, stderr(output)))
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is text")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the JSON document on stdout of a command that succeeded, whose keys `docs/json.md` must describe.
pub fn document(output: &Output) -> Value {
    assert_eq!(status(output), 0, "{}", stderr(output));
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", stdout(output)));
    assert_documented(&document);
    document
}

/// Checks that `docs/json.md` describes every key of a document.
pub fn assert_documented(document: &Value) {
    let page = include_str!("../../../../docs/json.md");
    match document {
        Value::Array(values) => values.iter().for_each(assert_documented),
        Value::Object(fields) => {
            for (key, value) in fields {
                let described = [format!("`{key}`"), format!(".{key}`")].iter().any(|name| page.contains(name));
                assert!(described, "docs/json.md does not describe '{key}'");
                // These are the files of the model and of a recipe, and names of tensors.
                if !matches!(&**key, "config" | "generation_config" | "stage" | "tensor_types") {
                    assert_documented(value);
                }
            }
        }
        _ => {}
    }
}

/// Checks that a command failed with a message that contains these words, and did not panic.
pub fn assert_fails(output: &Output, expected: i32, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(status(output), expected, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(said.contains("error: "), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// Checks that a document has these keys.
pub fn assert_keys(document: &Value, keys: &[&str]) {
    for key in keys {
        assert!(document.get(key).is_some(), "{key} is not in {document}");
    }
}

/// Writes about `words` words of prose. Texts of different seeds share few sequences of words.
pub fn write_text(path: &Path, words: usize, seed: u64) {
    const WORDS: [&str; 24] = [
        "the", "old", "man", "went", "to", "a", "house", "and", "said", "that", "he", "would", "see", "her", "again",
        "in", "little", "town", "where", "she", "had", "lived", "for", "years",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    for i in 0..words {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(WORDS[(state % WORDS.len() as u64) as usize]);
        text.push_str(if i % 12 == 11 { ".\n" } else { " " });
    }
    std::fs::write(path, text).expect("written");
}
