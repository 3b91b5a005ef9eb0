//! `honelm measure`, hidden: what `optimize` starts once a row, so that peak memory is that of one model alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use honelm::bench::Speed;
use serde_json::Value;

use crate::arguments::Global;
use crate::failure::{Failure, INTERRUPTED};
use crate::{interrupt, output};

/// Prints load time, speeds and peak memory of a model as JSON
#[derive(Debug, Args)]
pub struct Measure {
    /// A folder or a GGUF file
    model: PathBuf,
}

impl Measure {
    pub fn run(&self, global: &Global) -> Result<u8, Failure> {
        // Nothing is written here: Ctrl-C may end it at any moment.
        interrupt::watched(false);
        output::json_line(&honelm::measure(&self.model, &global.run_options())?)?;
        Ok(0)
    }
}

/// Measures a model in a process of its own.
pub fn in_own_process(global: &Global, path: &Path) -> Result<Speed, honelm::Error> {
    let failed = |problem: String| honelm::Error::Measure { path: path.to_owned(), problem };
    let program = std::env::current_exe().map_err(|e| failed(format!("this program's own path: {e}")))?;
    let child = Command::new(program)
        .args(["--json", "--quiet", "measure"])
        .args(global.for_child())
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    if interrupt::pressed() || child.status.code() == Some(INTERRUPTED.into()) {
        return Err(honelm::Error::Interrupted);
    }
    if !child.status.success() {
        return Err(failed(problem(&child.stdout, &child.stderr, child.status)));
    }
    serde_json::from_slice(&child.stdout).map_err(|e| failed(format!("unreadable answer: {e}")))
}

/// What a child process said before it failed.
fn problem(stdout: &[u8], stderr: &[u8], status: std::process::ExitStatus) -> String {
    let document: Option<Value> = serde_json::from_slice(stdout).ok();
    let message = document.as_ref().and_then(|d| d["error"]["message"].as_str());
    let said = String::from_utf8_lossy(stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    message.or(last).map_or_else(|| format!("the process ended with {status}"), str::to_owned)
}
