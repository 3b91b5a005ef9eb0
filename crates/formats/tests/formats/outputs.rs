//! Output paths, locks and final names.

use std::fs;
use std::path::Path;

use honelm_formats::{AtomicDir, FormatError, LockFile, OutputGate, publish, remove_output};

fn code<T>(result: Result<T, FormatError>) -> &'static str {
    result.err().map_or("written", |error| error.code())
}

/// Writes a folder as [`AtomicDir`] does.
fn model_folder(path: &Path, contents: &str) {
    let folder = AtomicDir::create(path).unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/weights"), contents).unwrap();
    fs::write(folder.path().join("config.json"), contents).unwrap();
    folder.commit().unwrap();
}

#[test]
fn a_gate_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let gate = OutputGate::new(false);
    gate.gguf(&dir.path().join("m.gguf"), true).unwrap();
    gate.gguf(&dir.path().join("new/m.gguf"), true).unwrap();
    gate.folder(&dir.path().join("m")).unwrap();
    gate.work_folder(&dir.path().join("m"), &|_| false).unwrap();
    gate.work_folder(dir.path(), &|_| false).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn earlier_parts_of_a_model_are_outputs_too() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, part) = (dir.path().join("m.gguf"), dir.path().join("m-00002-of-00003.gguf"));
    fs::write(&part, "GGUF").unwrap();
    fs::write(dir.path().join("mm-00001-of-00001.gguf"), "GGUF").unwrap();
    let gate = OutputGate::new(false);
    assert_eq!(code(gate.gguf(&whole, false)), "written");
    assert_eq!(code(gate.gguf(&whole, true)), "output-exists");
    let gate = OutputGate::new(true);
    assert_eq!(code(gate.gguf(&whole, true)), "written");
    assert_eq!(code(gate.with_input(&part).gguf(&whole, true)), "output-is-input");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_told_before_the_work() {
    if cfg!(not(target_os = "linux")) {
        eprintln!("SKIPPED a_folder_that_cannot_be_written_to_is_told_before_the_work: needs /proc");
        return;
    }
    let (gate, path) = (OutputGate::new(false), Path::new("/proc/honelm"));
    for result in [gate.gguf(path, false), gate.folder(path), gate.work_folder(path, &|_| false)] {
        let error = result.unwrap_err();
        assert!(matches!(error, FormatError::Io { .. }), "{error}");
        assert!(error.to_string().contains("/proc/"), "{error}");
    }
}

#[test]
fn a_name_that_is_taken_meanwhile_is_not_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("from"), "new").unwrap();
    fs::write(path("to"), "theirs").unwrap();
    assert_eq!(code(publish(&path("from"), &path("to"), false)), "output-exists");
    assert_eq!((fs::read(path("from")).unwrap(), fs::read(path("to")).unwrap()), (b"new".into(), b"theirs".into()));
    publish(&path("from"), &path("to"), true).unwrap();
    assert_eq!(fs::read(path("to")).unwrap(), b"new");
    publish(&path("to"), &path("other"), false).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    model_folder(&path("a"), "new");
    model_folder(&path("b"), "old");
    assert_eq!(code(publish(&path("a"), &path("b"), false)), "output-exists");
    assert_eq!(code(publish(&path("a"), &path("other"), true)), "io-error");
    publish(&path("a"), &path("b"), true).unwrap();
    assert_eq!(fs::read(path("b/sub/weights")).unwrap(), b"new");
    fs::create_dir(path("empty")).unwrap();
    publish(&path("b"), &path("empty"), false).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_folder_with_files_of_others_is_neither_replaced_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("thesis.txt"), "thesis").unwrap();
    let gate = OutputGate::new(true);
    let refused = |folder: &Path| {
        assert_eq!(code(gate.folder(folder)), "folder-not-ours");
        assert_eq!(code(remove_output(folder)), "folder-not-ours");
        let new = AtomicDir::create(folder).unwrap();
        fs::write(new.path().join("weights"), "new").unwrap();
        let error = new.commit().unwrap_err();
        assert_eq!(error.code(), "folder-not-ours");
        error.to_string()
    };
    assert!(refused(&theirs).contains("thesis.txt"));
    for foreign in ["notes.txt", "sub/notes.txt", "sub/deeper/notes.txt", "empty/"] {
        model_folder(&ours, "model");
        gate.folder(&ours).unwrap();
        let path = ours.join(foreign);
        if foreign.ends_with('/') {
            fs::create_dir(&path).unwrap();
        } else {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "mine").unwrap();
        }
        assert!(refused(&ours).contains(foreign.trim_end_matches('/')));
        assert!(path.exists());
        fs::remove_dir_all(&ours).unwrap();
    }
    // An unreadable marker marks nothing.
    model_folder(&ours, "model");
    fs::write(ours.join(".honelm"), "{").unwrap();
    refused(&ours);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
#[cfg(unix)]
fn links_and_pipes_are_neither_followed_nor_replaced() {
    use honelm_formats::{AtomicFile, refuse_special};
    use std::os::unix::fs::symlink;

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("victim"), "precious").unwrap();
    fs::write(path("new"), "new").unwrap();
    symlink(path("victim"), path("link")).unwrap();
    symlink(path("nowhere"), path("dangling")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for name in ["link", "dangling", "socket"] {
        let target = path(name);
        assert_eq!(code(refuse_special(&target)), "output-is-special", "{name}");
        assert_eq!(code(AtomicFile::create(&target)), "output-is-special", "{name}");
        assert_eq!(code(AtomicDir::create(&target)), "output-is-special", "{name}");
        assert_eq!(code(publish(&path("new"), &target, true)), "output-is-special", "{name}");
        assert_eq!(code(remove_output(&target)), "output-is-special", "{name}");
        assert_eq!(code(LockFile::acquire(&target)), "not-a-file", "{name}");
        assert!(fs::symlink_metadata(&target).is_ok_and(|metadata| !metadata.is_file()), "{name}");
    }
    drop(socket);
    assert_eq!(fs::read(path("victim")).unwrap(), b"precious");
    assert!(!path("nowhere").exists());
    // A pipe with the name of a temporary file does not block the next write.
    let pipe = path(".m.1.1.partial");
    if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED links_and_pipes_are_neither_followed_nor_replaced: needs mkfifo for the rest");
        return;
    }
    drop(AtomicFile::create(path("m")).unwrap());
    assert!(fs::symlink_metadata(&pipe).is_ok());
}

#[test]
fn a_lock_keeps_everybody_out_until_its_holder_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let first = LockFile::acquire(&path).unwrap().expect("free");
    assert!(LockFile::acquire(&path).unwrap().is_none());
    drop(first);
    let second = LockFile::acquire(&path).unwrap().expect("free again");
    second.remove().unwrap();
    assert!(!path.exists());
    // A lock on a removed file excludes no one.
    let gone = fs::File::create(&path).unwrap();
    gone.lock().unwrap();
    fs::remove_file(&path).unwrap();
    assert!(LockFile::acquire(&path).unwrap().is_some());
}
