//! What a person repeats: `cargo xtask --help`.

mod budgets;
mod cargo;
mod fuzz;
mod layers;
mod prove;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of this repository.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Checks the layer rule and the file budgets.
    Check,
    /// Writes the generated documents: `docs/cli.md`, `docs/support.md`.
    Generate,
    /// Fuzzes parsers, beginning with the committed corpus. Needs a C++ compiler.
    Fuzz {
        /// Targets; all of them by default.
        targets: Vec<String>,
        /// Seconds for each.
        #[arg(long, default_value_t = 20)]
        seconds: u32,
        /// How many at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Where chance begins: the same number tries the same inputs; by default another one each time.
        #[arg(long, default_value_t = 0)]
        seed: u32,
    },
    /// Runs the long proofs, and prints each figure beside its bound. Parts that need what is not here are skipped, which is not passed.
    Prove {
        /// Parts; all of them by default.
        parts: Vec<String>,
        /// Only lists the parts, and what they need.
        #[arg(long)]
        list: bool,
        /// JSON lines on stdout instead of a table.
        #[arg(long)]
        json: bool,
        /// Reduced settings, which show that a part works and prove nothing.
        #[arg(long)]
        quick: bool,
        /// The `honelm` that is tried; by default a release build.
        #[arg(long, value_name = "PATH")]
        binary: Option<std::path::PathBuf>,
    },
    /// Builds the browser package and its page into `web/dist`. Needs node with npm, and a wasm32 target: rustup's, else
    /// Debian's packages rustc-web, cargo-web, rust-web-src and lld-19.
    Web {
        /// The wasm package alone (`web/pkg`), without the page.
        #[arg(long)]
        package_only: bool,
        /// Only turns the module that was compiled into a package: what the chore calls itself with.
        #[arg(long, hide = true, value_name = "WASM")]
        bind: Option<std::path::PathBuf>,
    },
    /// Lists the crates by layer.
    Layers {
        /// Only layers below this one.
        #[arg(long)]
        below: Option<u8>,
        /// As `-p NAME` arguments for cargo.
        #[arg(long)]
        as_packages: bool,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().chore {
        Chore::Check => check(),
        Chore::Generate => generate(),
        Chore::Fuzz { targets, seconds, jobs, seed } => fuzz::run(&targets, seconds, jobs, seed),
        Chore::Prove { list: true, .. } => {
            prove::list();
            Ok(())
        }
        Chore::Prove { parts, json, quick, binary, .. } => prove::run(&parts, prove::Settings { json, quick, binary }),
        Chore::Web { bind: Some(module), .. } => web::bind(&module),
        Chore::Web { package_only, bind: None } => web::build(package_only),
        Chore::Layers { below, as_packages } => layers::print(below, as_packages),
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
    if problems.is_empty() {
        println!("layer rule and file budgets hold");
        return Ok(());
    }
    Err(format!("{} problems\n  {}", problems.len(), problems.join("\n  ")))
}

/// The tests that hold the documents write them when asked to.
fn generate() -> Result<(), String> {
    // Of the whole workspace, whose features are those that everything else is built with.
    let arguments = ["test", "--workspace", "--test", "cli", "--test", "honelm", "--", "reference::", "support::"];
    let mut cargo = cargo::cargo();
    let status = cargo.args(arguments).env("HONELM_UPDATE_DOCS", "1").status().map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err("the documents could not be written".to_owned()) }
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
    fn files_keep_their_budgets() {
        let metadata = layers::metadata().expect("cargo metadata");
        let root = metadata.workspace_root.as_std_path();
        assert_eq!(budgets::violations(root).expect("readable sources"), Vec::<String>::new());
    }
}
