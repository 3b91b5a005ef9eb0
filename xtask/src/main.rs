//! The tasks of this repository: `cargo xtask --help`.

mod bench_compare;
mod budgets;
mod cargo;
mod errors;
mod export;
mod fuzz;
mod layers;
mod prove;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The tasks of this repository.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the crate layers and the line limits of files.
    Check,
    /// Write the generated documents `docs/cli.md`, `docs/support.md` and `docs/errors.md`.
    Generate,
    /// Fuzz the parsers, starting from the committed corpus. Needs a C++ compiler.
    Fuzz {
        /// Targets to fuzz [default: all].
        targets: Vec<String>,
        /// Seconds per target.
        #[arg(long, default_value_t = 20)]
        seconds: u32,
        /// Number of targets to fuzz at the same time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Seed of the random numbers; 0 uses a different seed each time.
        #[arg(long, default_value_t = 0)]
        seed: u32,
    },
    /// Run the long proofs and print each figure beside its bound. A part that needs something this machine lacks is
    /// skipped, which does not count as passed.
    Prove {
        /// Parts to run [default: all].
        parts: Vec<String>,
        /// List the parts and what they need, without running them.
        #[arg(long)]
        list: bool,
        /// Print JSON lines instead of a table.
        #[arg(long)]
        json: bool,
        /// Use reduced settings, which show that a part works but prove nothing.
        #[arg(long)]
        quick: bool,
        /// The `honelm` program to test [default: a release build].
        #[arg(long, value_name = "PATH")]
        binary: Option<std::path::PathBuf>,
    },
    /// Compare the speed of this build with a saved record, or with another build in turns. Fails only if a test is slower beyond noise.
    BenchCompare {
        /// The record to compare with, which `--save` has written on this machine.
        #[arg(long, value_name = "FILE", conflicts_with = "base")]
        record: Option<std::path::PathBuf>,
        /// The `honelm` program of another build, whose runs take turns with those of this build.
        #[arg(long, value_name = "PATH")]
        base: Option<std::path::PathBuf>,
        /// Save the record of this build.
        #[arg(long, value_name = "FILE", required_unless_present_any = ["record", "base"])]
        save: Option<std::path::PathBuf>,
        /// Runs of each program.
        #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(3..))]
        rounds: u16,
        /// The `honelm` program of this build [default: a release build].
        #[arg(long, value_name = "PATH")]
        binary: Option<std::path::PathBuf>,
        /// Arguments of `honelm bench` [default: pocket -r 3].
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Build the browser package and its page in `web/dist`. Needs node with npm, and a wasm32 target from rustup or
    /// from Debian's packages rustc-web, cargo-web, rust-web-src and lld-19.
    Web {
        /// Build only the wasm package (`web/pkg`), not the page.
        #[arg(long)]
        package_only: bool,
        /// Copy the page to this new folder, for any host of files.
        #[arg(long, value_name = "DIR", conflicts_with = "package_only")]
        out: Option<std::path::PathBuf>,
        /// Models to copy too: GGUF files or folders. May be given several times.
        #[arg(long = "model", value_name = "PATH", requires = "out")]
        models: Vec<std::path::PathBuf>,
        /// Split files of models that are larger than this, 1MiB to 64MiB, for hosts with a limit on files or without byte ranges, and
        /// write manifests with the hashes of all files.
        #[arg(long, value_name = "SIZE", requires = "models", value_parser = export::chunk_bytes)]
        split: Option<u64>,
        /// Turn compiled modules into a package. This task runs itself with this option.
        #[arg(long, hide = true, value_name = "DIR")]
        bind: Option<std::path::PathBuf>,
    },
    /// List the crates by crate layer.
    Layers {
        /// List only crate layers below this one.
        #[arg(long)]
        below: Option<u8>,
        /// Print `-p NAME` arguments for cargo.
        #[arg(long)]
        as_packages: bool,
    },
}

fn main() -> ExitCode {
    if let Some(status) = fuzz::compile() {
        return status;
    }
    let result = match Arguments::parse().task {
        Task::Check => check(),
        Task::Generate => generate(),
        Task::Fuzz { targets, seconds, jobs, seed } => fuzz::run(&targets, seconds, jobs, seed),
        Task::Prove { list: true, .. } => {
            prove::list();
            Ok(())
        }
        Task::Prove { parts, json, quick, binary, .. } => prove::run(&parts, prove::Settings { json, quick, binary }),
        Task::BenchCompare { record, base, save, rounds, binary, arguments } => {
            bench_compare::run(&bench_compare::Settings {
                record,
                base,
                save,
                rounds: rounds.into(),
                binary,
                arguments,
            })
        }
        Task::Web { bind: Some(compiled), .. } => web::bind(&compiled),
        Task::Web { out: Some(out), models, split, .. } => web::export(&out, &models, split),
        Task::Web { package_only, .. } => web::build(package_only),
        Task::Layers { below, as_packages } => layers::print(below, as_packages),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<(), String> {
    let metadata = layers::metadata()?;
    let mut problems = layers::violations(&metadata);
    problems.extend(budgets::violations(metadata.workspace_root.as_std_path())?);
    problems.extend(errors::violations(metadata.workspace_root.as_std_path())?);
    if problems.is_empty() {
        println!("the layer rule, the line limits and the list of error codes hold");
        return Ok(());
    }
    Err(format!("{} problems:\n  {}", problems.len(), problems.join("\n  ")))
}

/// Runs the tests that compare the documents, with the variable that makes them write the documents instead.
fn generate() -> Result<(), String> {
    let metadata = layers::metadata()?;
    let root = metadata.workspace_root.as_std_path();
    std::fs::write(root.join("docs/errors.md"), errors::document(root)?).map_err(|e| format!("docs/errors.md: {e}"))?;
    // The whole workspace is tested, so that the features are those of all other builds.
    let arguments = ["test", "--workspace", "--test", "cli", "--test", "honelm", "--", "reference::", "support::"];
    let mut cargo = cargo::cargo();
    let status = cargo.args(arguments).env("HONELM_UPDATE_DOCS", "1").status().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err("cannot write the documents; see the output of the tests".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_depend_on_lower_layers_only() {
        let metadata = layers::metadata().expect("cargo metadata");
        assert_eq!(layers::violations(&metadata), Vec::<String>::new());
    }

    #[test]
    fn files_keep_to_their_limits() {
        let metadata = layers::metadata().expect("cargo metadata");
        let root = metadata.workspace_root.as_std_path();
        assert_eq!(budgets::violations(root).expect("readable sources"), Vec::<String>::new());
    }
}
