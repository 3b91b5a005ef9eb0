//! Keeps `docs/cli.md` equal to the help texts. `cargo xtask generate` writes it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_honelm")).args(arguments).arg("--help").output().expect("it runs");
    assert!(output.status.success(), "{arguments:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Returns the commands in the overview.
fn commands(overview: &str) -> Vec<&str> {
    let lines = overview.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

fn reference() -> String {
    let mut out = "# Command line\n\nWritten by `cargo xtask generate`; do not edit.\n".to_owned();
    add(&mut out, &[]);
    out
}

/// Adds the help of a command, then that of its subcommands.
fn add(out: &mut String, words: &[&str]) {
    let text = help(words);
    let name = std::iter::once("honelm").chain(words.iter().copied()).collect::<Vec<_>>().join(" ");
    let _ = write!(out, "\n## {name}\n\n```text\n{text}\n```\n");
    for command in commands(&text) {
        add(out, &[words, &[command]].concat());
    }
}

#[test]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    if std::env::var_os("HONELM_UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).expect("written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/cli.md");
    assert!(written == reference(), "docs/cli.md is out of date: run `cargo xtask generate`");
}
