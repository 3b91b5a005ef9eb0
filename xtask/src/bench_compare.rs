//! `cargo xtask bench-compare`: the speed of this build beside a saved record, or beside another build in turns.
//!
//! A run of a program differs from the next one by more than its repetitions differ from each other. So each build runs several
//! times, and each run is one sample.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{cargo, layers};

/// The tests, if none are asked for.
const TESTS: [&str; 3] = ["pocket", "-r", "3"];

/// The settings.
pub struct Settings {
    /// The record to compare with.
    pub record: Option<PathBuf>,
    /// The program of another build to compare with, in turns.
    pub base: Option<PathBuf>,
    /// The file for the record of this build.
    pub save: Option<PathBuf>,
    /// The number of runs of each program.
    pub rounds: usize,
    /// The program of this build; a release build by default.
    pub binary: Option<PathBuf>,
    /// The arguments of `honelm bench`.
    pub arguments: Vec<String>,
}

/// Measures and compares. Returns an error if a test is slower beyond noise.
pub fn run(settings: &Settings) -> Result<(), String> {
    let metadata = layers::metadata()?;
    let target = metadata.target_directory.as_std_path();
    let program = cargo::program(settings.binary.as_deref(), metadata.workspace_root.as_std_path(), target)?;
    let base = settings.base.as_deref().map(fs::canonicalize).transpose().map_err(|e| format!("--base: {e}"))?;
    let (mut own, mut other) = (String::new(), String::new());
    for round in 1..=settings.rounds {
        eprintln!("round {round} of {}", settings.rounds);
        // The order changes, so that neither always runs on the machine that the other has warmed.
        if let Some(base) = base.as_deref().filter(|_| round % 2 == 1) {
            other += &measure(base, &settings.arguments)?;
        }
        own += &measure(&program, &settings.arguments)?;
        if let Some(base) = base.as_deref().filter(|_| round % 2 == 0) {
            other += &measure(base, &settings.arguments)?;
        }
    }
    if let Some(file) = &settings.save {
        write(file, &own)?;
        println!("{}: {} runs", file.display(), settings.rounds);
    }
    let folder = target.join("bench-compare");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let own_file = folder.join("this-build.jsonl");
    write(&own_file, &own)?;
    match (&settings.record, &base) {
        (Some(record), _) => compare(&program, record, &own_file, &[]),
        (None, Some(_)) => {
            let other_file = folder.join("base.jsonl");
            write(&other_file, &other)?;
            compare(&program, &other_file, &own_file, &["--paired"])
        }
        (None, None) => Ok(()),
    }
}

/// Runs the tests once and returns their JSON lines.
fn measure(program: &Path, arguments: &[String]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(["bench", "--json", "--quiet"]).stdin(Stdio::null()).stderr(Stdio::inherit());
    match arguments.is_empty() {
        true => command.args(TESTS),
        false => command.args(arguments),
    };
    output(&mut command)
}

/// Prints the comparison, and fails if a test is slower.
fn compare(program: &Path, base: &Path, own: &Path, more: &[&str]) -> Result<(), String> {
    let with = |form: &[&str]| {
        let mut command = Command::new(program);
        command.args(["bench", "--compare"]).args([base, own]).args(more).args(form);
        output(&mut command)
    };
    print!("{}", with(&[])?);
    let document: Value = serde_json::from_str(&with(&["--json"])?).map_err(|e| format!("honelm: {e}"))?;
    match slower(&document) {
        names if names.is_empty() => Ok(()),
        names => Err(format!("slower beyond noise: {}", names.join(", "))),
    }
}

/// Returns the names of the tests of a comparison that are slower.
fn slower(document: &Value) -> Vec<&str> {
    let tests = document["tests"].as_array().into_iter().flatten();
    tests.filter(|test| test["verdict"] == "slower").filter_map(|test| test["test"].as_str()).collect()
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env_remove("HONELM_HOME").output().map_err(|e| format!("{name}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{name}: {e}"))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    // A record that a full disk cut short would be compared later.
    let new = file.with_extension(format!("new-{}", std::process::id()));
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, file));
    written.map_err(|e| {
        let _ = fs::remove_file(&new);
        format!("{}: {e}", file.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slower_tests_raise_the_alarm() {
        let document = serde_json::json!({"tests": [
            {"test": "pp512", "verdict": "equal"},
            {"test": "tg64", "verdict": "slower"},
            {"test": "tg64@d512", "verdict": "unknown"},
        ]});
        assert_eq!(slower(&document), ["tg64"]);
        assert_eq!(slower(&Value::Null), Vec::<&str>::new());
    }
}
