//! What a person repeats: `cargo xtask --help`.

mod budgets;
mod fuzz;
mod layers;
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
    let arguments = ["test", "--workspace", "--test", "reference", "--test", "support"];
    let mut cargo = std::process::Command::new(env!("CARGO"));
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
