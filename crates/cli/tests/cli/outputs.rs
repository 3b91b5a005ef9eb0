//! The results of `quantize -o X` and `optimize -o X` for every kind of X, and the fate of existing files.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::SystemTime;

use crate::common::{assert_fails, honelm, stderr};
use serde_json::Value;

/// A text beside the model that is too short for anything.
const SHORT: &str = "short.txt";

/// A copy of the shipped model in `models/pocket`, which no command may change.
fn model() -> &'static Path {
    static MODEL: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MODEL.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pocket");
        let path = dir.path().canonicalize().expect("a path").join("models/pocket");
        fs::create_dir_all(&path).expect("a folder");
        for entry in fs::read_dir(shipped).expect("the shipped model") {
            let from = entry.expect("an entry").path();
            fs::copy(&from, path.join(from.file_name().expect("a name"))).expect("copied");
        }
        fs::write(path.with_file_name(SHORT), "A few words.").expect("written");
        (dir, path)
    });
    path
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Gguf,
    Gptq,
    Optimize,
}

const JOBS: [Job; 3] = [Job::Gguf, Job::Gptq, Job::Optimize];

impl Job {
    /// Runs in `here` with output to `x`.
    fn run(self, here: &Path, x: &OsStr, more: &[&str]) -> Output {
        let mut command = honelm();
        match self {
            Self::Gguf => command.args(["quantize", "--to", "q8_0"]),
            Self::Gptq => command.args(["quantize", "--to", "gptq"]),
            Self::Optimize => command.arg("optimize"),
        };
        command.arg(model()).arg("-o").arg(x).args(more).args(["--json", "-q"]);
        command.current_dir(here).output().expect("it runs")
    }

    /// As [`Job::run`], with a text that is too short for any work, which is said when the output has been accepted.
    fn try_out(self, here: &Path, x: &OsStr) -> Output {
        let text = model().with_file_name(SHORT);
        let text = text.to_str().expect("UTF-8");
        match self {
            Self::Gguf | Self::Gptq => self.run(here, x, &["--calibration", text, "--length", "512"]),
            Self::Optimize => self.run(here, x, &["--text", text, "--samples", "1"]),
        }
    }
}

/// The end of a run: `written`, `accepted` where only the text was too short, else the error's code.
fn outcome(output: &Output) -> String {
    let found: Value = serde_json::from_slice(&output.stdout).expect("a document");
    match found["error"]["code"].as_str() {
        None => "written".to_owned(),
        Some("text-too-short" | "calibration-too-short") => "accepted".to_owned(),
        Some(code) => code.to_owned(),
    }
}

/// Everything below a folder: what it is, and what is in it.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let metadata = fs::symlink_metadata(&path).expect("metadata");
        let what = if metadata.is_dir() {
            out.extend(snapshot(&path));
            "folder".to_owned()
        } else if metadata.is_file() {
            let mut hasher = DefaultHasher::new();
            fs::read(&path).expect("readable").hash(&mut hasher);
            format!("{} bytes, {}", metadata.len(), hasher.finish())
        } else {
            format!("{:?}", metadata.file_type())
        };
        out.insert(path, what);
    }
    out
}

/// Names, lengths and times of the model's files.
fn model_files() -> Vec<(PathBuf, u64, SystemTime)> {
    let entries = fs::read_dir(model()).expect("the model").map(|entry| entry.expect("an entry"));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let metadata = entry.metadata().expect("metadata");
            (entry.path(), metadata.len(), metadata.modified().expect("a time"))
        })
        .collect();
    files.sort();
    files
}

/// The effect of each command on an output path in a folder that was prepared for it.
struct Row {
    name: &'static str,
    x: OsString,
    prepare: fn(&Path),
    expected: [&'static str; 3],
}

fn row(name: &'static str, x: impl Into<OsString>, prepare: fn(&Path), expected: [&'static str; 3]) -> Row {
    Row { name, x: x.into(), prepare, expected }
}

fn nothing(_: &Path) {}

fn check(rows: &[Row]) {
    let original = model_files();
    for row in rows {
        for (job, expected) in JOBS.into_iter().zip(row.expected) {
            let dir = tempfile::tempdir().expect("a folder");
            let here = dir.path().join("here");
            fs::create_dir(&here).expect("a folder");
            (row.prepare)(&here);
            let before = snapshot(dir.path());
            let output = job.try_out(&here, &row.x);
            let said = format!("{job:?} {}: {}", row.name, String::from_utf8_lossy(&output.stdout));
            assert_eq!(outcome(&output), expected, "{said}{}", stderr(&output));
            assert_eq!(snapshot(dir.path()), before, "{said}");
        }
        assert_eq!(model_files(), original, "{}", row.name);
    }
}

#[test]
fn outputs_are_written_only_where_nothing_is_lost() {
    let long = |bytes: usize| OsString::from("x".repeat(bytes));
    let file: fn(&Path) = |here| fs::write(here.join("x"), "thesis").expect("written");
    let folder: fn(&Path) = |here| fs::create_dir(here.join("x")).expect("a folder");
    let full: fn(&Path) = |here| {
        fs::create_dir(here.join("x")).expect("a folder");
        fs::write(here.join("x/thesis.txt"), "thesis").expect("written");
    };
    check(&[
        row("new", "x", nothing, ["accepted"; 3]),
        row("new, in new folders", "a/b/x", nothing, ["accepted"; 3]),
        row("an empty folder", "x", folder, ["output-of-another-kind", "accepted", "accepted"]),
        row(
            "an empty file",
            "x",
            |here| fs::write(here.join("x"), "").expect("written"),
            ["accepted", "output-of-another-kind", "output-of-another-kind"],
        ),
        row("a folder of other files", "x", full, ["output-of-another-kind", "folder-not-ours", "folder-not-ours"]),
        row("another file", "x", file, ["output-of-another-kind"; 3]),
        row("below a file", "x/y", file, ["io-error"; 3]),
        row("the current folder, empty", ".", nothing, ["output-without-name", "output-is-current-folder", "accepted"]),
        row(
            "the current folder, full",
            ".",
            file,
            ["output-without-name", "output-is-current-folder", "folder-not-ours"],
        ),
        row("the folder above", "..", nothing, ["output-without-name", "output-is-current-folder", "folder-not-ours"]),
        row(
            "the file system's root",
            "/",
            nothing,
            ["output-without-name", "output-is-current-folder", "output-is-input"],
        ),
        row("no name", "", nothing, ["usage"; 3]),
        row("stdout", "-", nothing, ["output-is-stdout"; 3]),
        row("a file called -", "./-", nothing, ["accepted"; 3]),
        row("a name with room for the names of unfinished files", long(224), nothing, ["accepted"; 3]),
        row("a name of 240 bytes", long(240), nothing, ["output-name-too-long", "output-name-too-long", "accepted"]),
        row("a name of 256 bytes", long(256), nothing, ["output-name-too-long"; 3]),
    ]);
}

#[test]
fn an_output_never_is_the_input_nor_in_it_nor_around_it() {
    let below = |name: &str| model().join(name).into_os_string();
    let above = |up: usize| model().ancestors().nth(up).expect("a folder").as_os_str().to_owned();
    let refused = ["output-is-input"; 3];
    check(&[
        row("the input", above(0), nothing, refused),
        row("the input by another way", model().join("../pocket").into_os_string(), nothing, refused),
        row("its parent", above(1), nothing, refused),
        row("its parent's parent", above(2), nothing, refused),
        row("a file in it", below("model.safetensors"), nothing, refused),
        row("a new name in it", below("small"), nothing, refused),
        row("a new name in a new folder in it", below("new/small"), nothing, refused),
    ]);
    // Other files that are read are inputs too.
    let dir = tempfile::tempdir().expect("a folder");
    let text = dir.path().join("text.gguf");
    fs::write(&text, "GGUF are the first letters of this text").expect("written");
    for out in [&text, &dir.path().to_owned()] {
        for command in [&["quantize", "pocket", "--to", "q8_0", "--force"][..], &["optimize"]] {
            let output = honelm().args(command).arg("--calibration").arg(&text).arg("-o").arg(out).output();
            let output = output.expect("it runs");
            assert_fails(&output, 1, &["which is an input", "text.gguf"]);
        }
    }
    assert!(fs::read(&text).expect("still there").starts_with(b"GGUF are"));
}

#[cfg(unix)]
#[test]
fn links_and_special_files_are_neither_followed_nor_replaced() {
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::fs::symlink;

    let special = ["output-is-special"; 3];
    check(&[
        row("a device", "/dev/null", nothing, special),
        row("a pipe", "x", |here| make_pipe(&here.join("x")), special),
        row(
            "a socket",
            "x",
            |here| drop(std::os::unix::net::UnixListener::bind(here.join("x")).expect("a socket")),
            special,
        ),
        row("a link to nothing", "x", |here| symlink("nowhere", here.join("x")).expect("a link"), special),
        row(
            "a link to a file",
            "x",
            |here| {
                fs::write(here.join("m.gguf"), "GGUF").expect("written");
                symlink("m.gguf", here.join("x")).expect("a link");
            },
            special,
        ),
        row(
            "a link to an empty folder",
            "x",
            |here| {
                fs::create_dir(here.join("empty")).expect("a folder");
                symlink("empty", here.join("x")).expect("a link");
            },
            special,
        ),
        row("a link to the input", "x", |here| symlink(model(), here.join("x")).expect("a link"), special),
        row(
            "a second name of the input's file",
            "x",
            |here| fs::hard_link(model().join("config.json"), here.join("x")).expect("a second name"),
            ["output-is-input"; 3],
        ),
        row(
            "in a folder that is a link",
            "link/x",
            |here| {
                fs::create_dir(here.join("far")).expect("a folder");
                symlink("far", here.join("link")).expect("a link");
            },
            ["accepted"; 3],
        ),
        row(
            "in the input through a link",
            "link/x",
            |here| symlink(model(), here.join("link")).expect("a link"),
            ["output-is-input"; 3],
        ),
        row("no UTF-8", OsString::from_vec(b"caf\xe9".to_vec()), nothing, ["output-not-utf8"; 3]),
    ]);
}

/// Makes a named pipe.
#[cfg(unix)]
fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
}

#[test]
fn an_earlier_file_is_replaced_only_with_force() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |more: &[&str]| Job::Gguf.run(dir.path(), "x.gguf".as_ref(), more);
    assert_eq!(outcome(&run(&[])), "written");
    let first = snapshot(dir.path());
    assert_eq!(outcome(&run(&[])), "output-exists");
    assert_eq!(snapshot(dir.path()), first);
    fs::write(dir.path().join("x.gguf"), "GGUF of before").expect("written");
    assert_eq!(outcome(&run(&["--force"])), "written");
    assert_eq!(snapshot(dir.path()), first);
    // Parts have names of their own.
    assert_eq!(outcome(&Job::Gguf.run(dir.path(), "y.gguf".as_ref(), &["--max-shard-size", "4M"])), "written");
    let parts = snapshot(dir.path());
    assert_eq!(parts.len(), 4, "{:?}", parts.keys());
    assert_eq!(outcome(&Job::Gguf.run(dir.path(), "y.gguf".as_ref(), &["--max-shard-size", "4M"])), "output-exists");
    assert_eq!(snapshot(dir.path()), parts);
}

#[test]
fn an_earlier_folder_is_replaced_only_with_force_and_with_nothing_else_in_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = |more: &[&str]| outcome(&Job::Gptq.run(dir.path(), "x".as_ref(), more));
    assert_eq!(run(&[]), "written");
    let first = snapshot(dir.path());
    assert_eq!(run(&[]), "output-exists");
    let notes = dir.path().join("x/notes.txt");
    fs::write(&notes, "mine").expect("written");
    assert_eq!(run(&["--force"]), "folder-not-ours");
    assert_eq!(fs::read(&notes).expect("still there"), b"mine");
    fs::remove_file(&notes).expect("removed");
    assert_eq!(snapshot(dir.path()), first);
    assert_eq!(run(&["--force"]), "written");
    assert_eq!(snapshot(dir.path()), first);
}

/// A card as an earlier run of `optimize` leaves it.
fn mark(folder: &Path) {
    fs::create_dir_all(folder.join(".work")).expect("a folder");
    let card = r#"{"model": "another", "model_digest": "0", "key": "0"}"#;
    fs::write(folder.join(".work/job.json"), card).expect("written");
}

#[test]
fn optimize_goes_on_in_a_folder_of_its_own_only() {
    let prepared = |prepare: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().expect("a folder");
        let x = dir.path().join("x");
        fs::create_dir(&x).expect("a folder");
        prepare(&x);
        let before = snapshot(dir.path());
        let output = Job::Optimize.try_out(dir.path(), "x".as_ref());
        assert_eq!(snapshot(dir.path()), before, "{}", stderr(&output));
        outcome(&output)
    };
    assert_eq!(prepared(&|x| mark(x)), "accepted");
    let theirs = |x: &Path, name: &str| fs::write(x.join(name), "theirs").expect("written");
    // A folder called `.work` is not ours by its name.
    let foreign = |x: &Path| {
        fs::create_dir(x.join(".work")).expect("a folder");
        theirs(x, ".work/plan.txt");
    };
    assert_eq!(prepared(&foreign), "folder-not-ours");
    let with_a_card_of_theirs = |x: &Path| {
        foreign(x);
        fs::write(x.join(".work/job.json"), r#"{"job": 1}"#).expect("written");
    };
    assert_eq!(prepared(&with_a_card_of_theirs), "folder-not-ours");
    let beside_files = |x: &Path| {
        fs::create_dir(x.join(".work")).expect("a folder");
        theirs(x, "plan.txt");
    };
    assert_eq!(prepared(&beside_files), "folder-not-ours");
    // A run that ended before it wrote the card leaves no more than this.
    let begun = |x: &Path| {
        fs::create_dir(x.join(".work")).expect("a folder");
        fs::write(x.join(".work/lock"), "").expect("written");
    };
    assert_eq!(prepared(&begun), "accepted");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let elsewhere = tempfile::tempdir().expect("a folder");
        mark(elsewhere.path());
        let linked = |x: &Path| symlink(elsewhere.path().join(".work"), x.join(".work")).expect("a link");
        assert_eq!(prepared(&linked), "folder-not-ours");
        let result = |x: &Path| {
            mark(x);
            symlink(elsewhere.path(), x.join("gptq")).expect("a link");
        };
        assert_eq!(prepared(&result), "output-is-special");
        let report = |x: &Path| {
            mark(x);
            make_pipe(&x.join("report.json"));
        };
        assert_eq!(prepared(&report), "output-is-special");
    }
}

#[test]
fn one_run_at_a_time_works_on_an_output() {
    let dir = tempfile::tempdir().expect("a folder");
    let work = dir.path().join(".x.gguf.work");
    mark(dir.path());
    fs::rename(dir.path().join(".work"), &work).expect("moved");
    let lock = fs::File::create(work.join("lock")).expect("a lock file");
    lock.lock().expect("locked");
    let before = snapshot(dir.path());
    let run = || outcome(&Job::Gguf.run(dir.path(), "x.gguf".as_ref(), &[]));
    assert_eq!(run(), "folder-busy");
    assert_eq!(snapshot(dir.path()), before);
    in_another_pid_namespace(dir.path());
    drop(lock);
    assert_eq!(run(), "written");
    assert_eq!(snapshot(dir.path()).len(), 1, "the model and nothing else");
}

/// The same where the lock's holder cannot be seen.
#[cfg(target_os = "linux")]
fn in_another_pid_namespace(here: &Path) {
    let unshared = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--pid", "--fork"]).current_dir(here);
        command
    };
    if !unshared().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED in_another_pid_namespace: needs `unshare` and the right to use it");
        return;
    }
    let mut command = unshared();
    command.arg(env!("CARGO_BIN_EXE_honelm")).args(["quantize", "--to", "q8_0", "-o", "x.gguf", "--json", "-q"]);
    let output = command.arg(model()).output().expect("it runs");
    assert_eq!(outcome(&output), "folder-busy");
}

#[cfg(not(target_os = "linux"))]
fn in_another_pid_namespace(_here: &Path) {}

#[cfg(unix)]
#[test]
fn a_lock_that_is_a_link_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let work = dir.path().join(".x.gguf.work");
    mark(dir.path());
    fs::rename(dir.path().join(".work"), &work).expect("moved");
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").expect("written");
    std::os::unix::fs::symlink(&victim, work.join("lock")).expect("a link");
    let before = snapshot(dir.path());
    assert_eq!(outcome(&Job::Gguf.run(dir.path(), "x.gguf".as_ref(), &[])), "output-is-special");
    assert_eq!(snapshot(dir.path()), before);
    // Nor is a folder of work that is somebody else's, or that is a link.
    fs::remove_dir_all(&work).expect("removed");
    fs::create_dir(dir.path().join("theirs")).expect("a folder");
    std::os::unix::fs::symlink("theirs", &work).expect("a link");
    assert_eq!(outcome(&Job::Gguf.run(dir.path(), "x.gguf".as_ref(), &[])), "output-is-special");
    fs::remove_file(&work).expect("removed");
    fs::create_dir(&work).expect("a folder");
    fs::write(work.join("thesis.txt"), "thesis").expect("written");
    assert_eq!(outcome(&Job::Gguf.run(dir.path(), "x.gguf".as_ref(), &[])), "folder-not-ours");
    assert_eq!(fs::read(work.join("thesis.txt")).expect("still there"), b"thesis");
}

#[test]
fn what_a_failed_job_began_is_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    let before = snapshot(dir.path());
    for job in JOBS {
        let output = job.try_out(dir.path(), "new/x".as_ref());
        assert_eq!(outcome(&output), "accepted");
        assert_eq!(snapshot(dir.path()), before, "{job:?}");
    }
    // Weights that cannot be rounded are found in the middle of the work, which is kept up to there.
    let broken = dir.path().join("broken");
    fs::create_dir(&broken).expect("a folder");
    for (from, ..) in model_files() {
        fs::copy(&from, broken.join(from.file_name().expect("a name"))).expect("copied");
    }
    let weights = broken.join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&[0x00, 0x7e]); // a half-precision NaN
    fs::write(&weights, bytes).expect("written");
    let out = dir.path().join("x.gguf");
    let mut command = honelm();
    command.arg("quantize").arg(&broken).args(["--to", "q8_0", "-o"]).arg(&out);
    assert_fails(&command.output().expect("it runs"), 1, &["tensor"]);
    assert!(!out.exists());
    let model = model().to_str().expect("UTF-8");
    let again = honelm().args(["quantize", model, "--to", "q8_0", "-o"]).arg(&out).output().expect("it runs");
    assert!(again.status.success(), "{}", stderr(&again));
    let names: Vec<_> = fs::read_dir(dir.path()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
