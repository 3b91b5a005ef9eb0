//! `honelm measure`, hidden: `optimize` starts it for each measurement, so that the peak memory is that of one model.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use honelm::bench::Speed;
use serde_json::Value;

use crate::arguments::Global;
use crate::failure::{Failure, INTERRUPTED};
use crate::{interrupt, output};

/// Print load time, speed and peak memory of a model as JSON
#[derive(Debug, Args)]
pub struct Measure {
    /// The model: a folder or a GGUF file
    model: PathBuf,
}

impl Measure {
    pub fn run(&self, global: &Global) -> Result<u8, Failure> {
        // No file is written: Ctrl-C may end the command at any time.
        interrupt::watched(false);
        output::json_line(&honelm::measure(&self.model, &global.run_options())?)?;
        Ok(0)
    }
}

/// Measures a model in a child process.
pub fn in_own_process(global: &Global, path: &Path) -> Result<Speed, honelm::Error> {
    let failed = |problem: String| honelm::Error::Measure { path: path.to_owned(), problem };
    let program = own_program().map_err(|e| failed(format!("the path of this program: {e}")))?;
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
    serde_json::from_slice(&child.stdout).map_err(|e| failed(format!("the child process printed no valid JSON: {e}")))
}

/// Returns a path of this program. Linux has one that stays if the file is replaced during a long job, as by an update.
fn own_program() -> std::io::Result<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && running.exists() { Ok(running) } else { std::env::current_exe() }
}

/// Returns the error message of a child process that failed.
fn problem(stdout: &[u8], stderr: &[u8], status: std::process::ExitStatus) -> String {
    let document: Option<Value> = serde_json::from_slice(stdout).ok();
    let message = document.as_ref().and_then(|d| d["error"]["message"].as_str());
    let said = String::from_utf8_lossy(stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    message.or(last).map_or_else(|| format!("the child process ended with {status}"), str::to_owned)
}
