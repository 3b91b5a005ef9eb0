//! `cargo xtask fuzz`: runs libFuzzer on the targets of `honelm-fuzz`. It uses the compiler's own coverage pass, so
//! the stable toolchain suffices.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};

use cargo_metadata::Metadata;

use crate::cargo::cargo;
use crate::layers;

/// The instrumentation that libFuzzer needs: edges, comparisons and tables of program counters.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// The variable in which Cargo's run of this program as a compiler is recognised.
const INSTRUMENT: &str = "HONELM_INSTRUMENT";

/// A run of the fuzzer on one target.
struct Job {
    target: String,
    child: Child,
    log: PathBuf,
}

/// The result of fuzzing a target.
pub struct Outcome {
    pub target: String,
    /// The number of inputs tried.
    pub executions: String,
    per_second: String,
    corpus: String,
    /// `true` if the fuzzer found nothing.
    pub passed: bool,
}

/// Fuzzes as [`each`] does and prints a table. Findings are kept in `target/fuzz/findings`, and inputs that reach
/// new code in `target/fuzz/corpus`.
pub fn run(targets: &[String], seconds: u32, jobs: usize, seed: u32) -> Result<(), String> {
    println!("{:<20} {:>12} {:>10} {:>10}  result", "target", "executions", "per second", "corpus");
    let mut failed = Vec::new();
    each(targets, seconds, jobs, seed, &mut |outcome| {
        println!(
            "{:<20} {:>12} {:>10} {:>10}  {}",
            outcome.target,
            outcome.executions,
            outcome.per_second,
            outcome.corpus,
            if outcome.passed { "nothing found" } else { "FINDING" }
        );
        if !outcome.passed {
            failed.push(outcome.target.clone());
        }
    })?;
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("findings in {}: see target/fuzz/findings and target/fuzz/TARGET.log", failed.join(", ")))
}

/// Fuzzes `targets` (all if the list is empty) for `seconds` each, `jobs` at a time, with random numbers from
/// `seed` (0 for a different seed each time). Calls `tell` with each result.
pub fn each(
    targets: &[String],
    seconds: u32,
    jobs: usize,
    seed: u32,
    tell: &mut dyn FnMut(&Outcome),
) -> Result<(), String> {
    let metadata = layers::metadata()?;
    let root = metadata.workspace_root.as_std_path();
    let corpus = root.join("crates/fuzz/corpus");
    let targets = if targets.is_empty() { names(&corpus)? } else { targets.to_vec() };
    let fuzzer = build(&metadata)?;
    let mut waiting = targets.into_iter();
    loop {
        let running: Vec<Job> = waiting
            .by_ref()
            .take(jobs.max(1))
            .map(|t| start(&fuzzer, root, t, seconds, seed))
            .collect::<Result<_, _>>()?;
        if running.is_empty() {
            return Ok(());
        }
        for job in running {
            tell(&finish(job)?);
        }
    }
}

fn names(corpus: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(corpus).map_err(|e| format!("{}: {e}", corpus.display()))?;
    let mut names: Vec<String> = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Builds the fuzzer and returns its path. Dependencies are those of the tests; only the crates of the workspace are
/// instrumented, by [`compile`].
fn build(metadata: &Metadata) -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|e| format!("the path of xtask: {e}"))?;
    let status = cargo()
        .args(["build", "--quiet", "--workspace", "--bin", "fuzz", "--features", "honelm-fuzz/libfuzzer"])
        .current_dir(&metadata.workspace_root)
        .env("RUSTC_WORKSPACE_WRAPPER", own)
        .env(INSTRUMENT, "1")
        .status()
        .map_err(|e| format!("cargo: {e}"))?;
    if !status.success() {
        return Err(format!("the fuzzer failed to build ({status})"));
    }
    Ok(metadata.target_directory.join("debug/fuzz").into())
}

/// Runs the compiler with the instrumentation if Cargo started this program in its place. Returns its exit status.
pub fn compile() -> Option<ExitCode> {
    env::var_os(INSTRUMENT)?;
    let mut arguments = env::args_os().skip(1);
    let status = Command::new(arguments.next()?).args(arguments).args(FLAGS.split_whitespace()).status();
    let succeeded = status.inspect_err(|e| eprintln!("rustc: {e}")).is_ok_and(|status| status.success());
    Some(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn start(fuzzer: &Path, root: &Path, target: String, seconds: u32, seed: u32) -> Result<Job, String> {
    let work = root.join("target/fuzz");
    let (corpus, findings) = (work.join("corpus").join(&target), work.join("findings").join(&target));
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let log = work.join(format!("{target}.log"));
    let output = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let child = Command::new(fuzzer)
        .arg(corpus)
        .arg(root.join("crates/fuzz/corpus").join(&target))
        .args([
            format!("-seed={seed}"),
            format!("-max_total_time={seconds}"),
            format!("-artifact_prefix={}/", findings.display()),
        ])
        .args(["-max_len=65536", "-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=512", "-print_final_stats=1"])
        .env("HONELM_FUZZ_TARGET", &target)
        .stdout(output.try_clone().map_err(|e| e.to_string())?)
        .stderr(output)
        .spawn()
        .map_err(|e| format!("{}: {e}", fuzzer.display()))?;
    Ok(Job { target, child, log })
}

/// Waits for a run.
fn finish(mut job: Job) -> Result<Outcome, String> {
    let status = job.child.wait().map_err(|e| format!("{}: {e}", job.target))?;
    let log = fs::read_to_string(&job.log).unwrap_or_default();
    let figure = |name: &str| {
        let line = log.lines().rev().find(|line| line.contains(name))?;
        line.split(':').next_back()?.trim().split(' ').next().map(str::to_owned)
    };
    let corpus = log.lines().rev().find_map(|line| line.split("corp: ").nth(1)?.split('/').next());
    Ok(Outcome {
        target: job.target,
        executions: figure("stat::number_of_executed_units").unwrap_or_default(),
        per_second: figure("stat::average_exec_per_sec").unwrap_or_default(),
        corpus: corpus.unwrap_or_default().to_owned(),
        passed: status.success(),
    })
}
