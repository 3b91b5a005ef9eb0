//! Shared helpers of the parts: the program to test, test data, scratch folders, peak memory.

use std::cell::OnceCell;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::{Settings, Stop};
use crate::cargo::{cargo, program};
use crate::layers;

/// The interval at which the peak memory of a process is read. An increase after the last reading is missed.
const SAMPLE: Duration = Duration::from_millis(5);

/// The marker of the line in which an ignored test prints its figures as JSON.
const FIGURES: &str = "proof: ";

/// A run of `prove`.
pub struct Context {
    /// The root of the checkout.
    pub root: PathBuf,
    /// `true` for reduced settings.
    pub quick: bool,
    target: PathBuf,
    given: Option<PathBuf>,
    binary: OnceCell<PathBuf>,
    page: OnceCell<()>,
}

impl Context {
    pub fn new(settings: Settings) -> Result<Self, String> {
        let metadata = layers::metadata()?;
        Ok(Self {
            root: metadata.workspace_root.into_std_path_buf(),
            quick: settings.quick,
            target: metadata.target_directory.into_std_path_buf(),
            given: settings.binary,
            binary: OnceCell::new(),
            page: OnceCell::new(),
        })
    }

    /// Returns the full or the reduced setting.
    pub fn or_quick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Returns the `honelm` program to test, and builds it if none was given.
    pub fn binary(&self) -> Result<&Path, Stop> {
        if let Some(built) = self.binary.get() {
            return Ok(built);
        }
        let path = program(self.given.as_deref(), &self.root, &self.target)?;
        Ok(self.binary.get_or_init(|| path))
    }

    /// Builds the page, once.
    pub fn page(&self) -> Result<(), Stop> {
        if self.page.get().is_none() {
            let own = env::current_exe().map_err(|e| format!("the path of xtask: {e}"))?;
            succeed(Command::new(own).arg("web").current_dir(&self.root))?;
            self.page.get_or_init(|| ());
        }
        Ok(())
    }

    /// Returns an empty folder for a part, on the disk of the target folder.
    pub fn scratch(&self, part: &str) -> Result<PathBuf, Stop> {
        let folder = self.target.join("prove").join(part);
        let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(failed)?;
        }
        fs::create_dir_all(&folder).map_err(failed)?;
        Ok(folder)
    }

    /// Returns a folder that is kept from one run to the next.
    pub fn kept(&self, name: &str) -> Result<PathBuf, Stop> {
        let folder = self.target.join("prove").join(name);
        fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(folder)
    }

    /// Returns a path in the folder that `HONELM_TEST_DATA` names.
    pub fn data(&self, path: &str) -> Result<PathBuf, Stop> {
        let folder = env::var_os("HONELM_TEST_DATA").filter(|folder| !folder.is_empty());
        let folder = folder.ok_or_else(|| Stop::Needs(format!("HONELM_TEST_DATA (with {path})")))?;
        let found = Path::new(&folder).join(path);
        if found.exists() { Ok(found) } else { Err(Stop::Needs(format!("{}", found.display()))) }
    }

    /// Returns the folder of the shipped model.
    pub fn pocket(&self) -> PathBuf {
        self.root.join("models/pocket")
    }

    /// Returns a command for the program without the variables of the environment that affect it.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Command, Stop> {
        let mut command = Command::new(self.binary()?);
        for name in ["HONELM_DEVICE", "HONELM_HOME"] {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(&self.root).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs the program with `--json` and returns its JSON document, the last line if there are several.
    pub fn document<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value, Stop> {
        let output = self.command(arguments)?.arg("--json").output().map_err(|e| format!("honelm: {e}"))?;
        parse(&output, "honelm")
    }

    /// Runs as [`Context::document`] does, and also returns the peak resident memory of the process.
    pub fn measured<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<(Value, f64), Stop> {
        let (output, peak) = run_measured(self.command(arguments)?.arg("--json"))?;
        let peak = peak.ok_or_else(|| Stop::Needs("Linux, which reports the peak memory of a process".to_owned()))?;
        Ok((parse(&output, "honelm")?, peak as f64))
    }

    /// Fails if there is no GPU adapter.
    pub fn needs_gpu(&self) -> Result<(), Stop> {
        let devices = self.document(&["devices"])?;
        if devices["gpus"].as_array().is_some_and(|gpus| !gpus.is_empty()) {
            return Ok(());
        }
        Err(Stop::Needs("a GPU adapter (such as Mesa's lavapipe in software)".to_owned()))
    }

    /// Runs an ignored test and returns the figures that it prints. `module` is the file of the test: a module of the
    /// package's test binary, or a binary of its own.
    pub fn test(&self, package: &str, module: &str, name: &str, variables: &[(&str, &OsStr)]) -> Result<Value, Stop> {
        let packages = layers::metadata()?.packages;
        let targets = packages.iter().filter(|p| p.name.as_str() == package).flat_map(|p| &p.targets);
        let alone = targets.filter(|target| target.is_test()).any(|target| target.name == module);
        let binary = if alone { module } else { package.trim_start_matches("honelm-") };
        let mut cargo = cargo();
        // The whole workspace is tested, so that the features are those of all other test builds.
        cargo.args(["test", "--quiet", "--workspace", "--test", binary, "--"]);
        cargo.args(["--ignored", "--nocapture", name]).current_dir(&self.root);
        let output = cargo.envs(variables.iter().copied()).output().map_err(|e| format!("cargo: {e}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if let Some(need) = said.lines().find_map(|line| line.split_once("SKIPPED ")?.1.split_once(": needs ")) {
            return Err(Stop::Needs(need.1.to_owned()));
        }
        let figures = String::from_utf8_lossy(&output.stdout);
        let figures = figures.lines().filter_map(|line| line.split_once(FIGURES)).next_back();
        match figures {
            Some((_, json)) if output.status.success() => {
                serde_json::from_str(json).map_err(|e| Stop::Failed(format!("the test {name}: {e}: {json}")))
            }
            _ => Err(Stop::Failed(format!("the test {name} ended with {}:\n{}", output.status, said.trim_end()))),
        }
    }
}

/// Returns a number from a document.
pub fn number(document: &Value, key: &str) -> Result<f64, Stop> {
    document[key].as_f64().ok_or_else(|| Stop::Failed(format!("found no number `{key}` in {document}")))
}

/// Returns `true` if a program is on the path.
pub fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(format!("{program}{}", env::consts::EXE_SUFFIX)).is_file())
}

/// Runs a command and discards its stdout.
fn succeed(command: &mut Command) -> Result<(), Stop> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdout(Stdio::null()).status().map_err(|e| format!("{program}: {e}"))?;
    if status.success() { Ok(()) } else { Err(Stop::Failed(format!("{program} ended with {status}"))) }
}

/// Returns the JSON document that a program wrote, the last line if there are several.
pub fn parse(output: &Output, program: &str) -> Result<Value, Stop> {
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        let said = if said.trim().is_empty() { out } else { said };
        return Err(Stop::Failed(format!("{program} ended with {}: {}", output.status, said.trim())));
    }
    let whole = serde_json::from_str(&out);
    let value = whole.or_else(|_| serde_json::from_str(out.trim_end().lines().next_back().unwrap_or_default()));
    value.map_err(|e| Stop::Failed(format!("{program} wrote no JSON: {e}: {out}")))
}

/// Runs a command to its end and measures its peak memory, which is `None` if the platform does not report it.
fn run_measured(command: &mut Command) -> Result<(Output, Option<u64>), String> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = None;
            while !ended.load(Ordering::Relaxed) {
                peak = peak.max(high_water(&status));
                std::thread::sleep(SAMPLE);
            }
            peak
        });
        let output = child.wait_with_output();
        ended.store(true, Ordering::Relaxed);
        let peak = watcher.join().map_err(|_| "the thread that measures memory panicked".to_owned())?;
        Ok((output.map_err(|e| e.to_string())?, peak))
    })
}

/// Returns the peak resident memory so far, in bytes.
fn high_water(status: &Path) -> Option<u64> {
    let status = fs::read_to_string(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
