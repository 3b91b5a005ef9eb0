//! The packages with which people reach other servers, from their registries: `openai`, `anthropic` and `ollama` for Python,
//! `openai` for Node. Prints `SKIPPED` where they cannot be installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use honelm::RunOptions;

use crate::common::{config, run_options, start_with};

const KEY: &str = "a key for the tests";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Returns the folder in which `name` is installed. It is kept for the next run.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs an installation, unless `list` is what was installed before. Returns `false`, and says so, if it fails.
fn install(what: &str, folder: &Path, list: &Path, commands: &mut [Command]) -> bool {
    let (wanted, done) = (std::fs::read_to_string(list).unwrap(), folder.join("installed"));
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return true;
    }
    for command in commands {
        let problem = match command.output() {
            Ok(output) if output.status.success() => continue,
            Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned(),
            Err(error) => error.to_string(),
        };
        println!("SKIPPED: {what} (they cannot be installed here: {problem})");
        return false;
    }
    std::fs::write(done, wanted).unwrap();
    true
}

fn python() -> Option<PathBuf> {
    let folder = folder("python-clients");
    let list = scripts().join("requirements.txt");
    let program = folder.join("bin/python");
    let (mut create, mut fill) = (Command::new("python3"), Command::new(&program));
    create.args(["-m", "venv"]).arg(&folder);
    fill.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&list);
    install("the Python clients", &folder, &list, &mut [create, fill]).then_some(program)
}

fn node() -> Option<PathBuf> {
    let folder = folder("node-clients");
    let list = scripts().join("package.json");
    std::fs::copy(&list, folder.join("package.json")).unwrap();
    let mut fill = Command::new("npm");
    fill.args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(&folder);
    install("the Node client", &folder, &list, &mut [fill]).then_some(folder)
}

fn check(name: &str, begin: Instant, output: std::io::Result<Output>) {
    let output = output.unwrap();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{name}:\n{}{}", shown(&output.stdout), shown(&output.stderr));
    println!("{name}: {:.1} s\n{}", begin.elapsed().as_secs_f64(), shown(&output.stdout));
}

#[test]
fn real_clients_use_every_endpoint() {
    let run = RunOptions { context: None, ..run_options() };
    let registry = honelm_server::models(&config(), &run, None).unwrap();
    let server = start_with(config(), registry, Some(KEY.to_owned()));
    if let Some(python) = python() {
        for name in ["openai_client.py", "anthropic_client.py", "ollama_client.py"] {
            let begin = Instant::now();
            let run = Command::new(&python).arg(scripts().join(name)).args([&server.address, KEY]).output();
            check(name, begin, run);
        }
    }
    if let Some(folder) = node() {
        let (name, begin) = ("openai_client.mjs", Instant::now());
        // Node looks for packages beside the script.
        std::fs::copy(scripts().join(name), folder.join(name)).unwrap();
        let run = Command::new("node").arg(folder.join(name)).args([&server.address, KEY]).output();
        check(name, begin, run);
    }
}
