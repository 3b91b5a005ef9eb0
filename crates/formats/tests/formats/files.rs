//! Files on disk: memory maps, and writing that never leaves half a file.

use std::fs;
use std::io::Write;
use std::path::Path;

use honelm_blocks::Encoding;
use honelm_formats::{AtomicDir, AtomicFile, FormatError, gguf, map_file, read_json, write_atomic};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn maps_files_and_refuses_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    fs::write(&path, b"abc").unwrap();
    let map = map_file(&path).unwrap();
    assert_eq!(map.bytes().unwrap().slice(1..), b"bc"[..]);
    fs::write(&path, b"").unwrap();
    assert!(map_file(&path).unwrap().is_empty());
    assert_eq!(map_file(folder.path()).unwrap_err().code(), "not-a-file");
    assert_eq!(map_file(folder.path().join("absent")).unwrap_err().code(), "file-not-found");
}

#[test]
fn a_view_outlives_the_name_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    fs::write(&path, vec![7; 10_000]).unwrap();
    let data = map_file(&path).unwrap();
    let view = data.bytes().unwrap().slice(9_000..);
    fs::remove_file(&path).unwrap();
    assert!(view.iter().all(|&b| b == 7));
    // Released pages are read again.
    data.forget();
    drop(data);
    assert!(view.iter().all(|&b| b == 7));
}

#[test]
fn a_file_appears_only_when_complete() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("model.gguf");
    fs::write(&target, b"old").unwrap();
    let mut file = AtomicFile::create(&target).unwrap();
    file.write_all(b"new").unwrap();
    file.flush().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"old");
    file.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["model.gguf"]);
}

#[test]
fn an_unfinished_file_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("model.gguf");
    let result = write_atomic(&target, |file| {
        file.write_all(b"half").map_err(|error| FormatError::io("write", "model.gguf", error))?;
        Err(FormatError::NoWeights { path: "x".into() })
    });
    assert_eq!(result.unwrap_err().code(), "no-weights");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_a_killed_process_left_is_swept_but_not_what_is_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("m");
    fs::write(folder.path().join(".m.999999.0.partial"), b"dead").unwrap();
    fs::create_dir(folder.path().join(".m.999999.1.partial")).unwrap();
    fs::write(folder.path().join(".m.partial"), b"not ours").unwrap();
    fs::write(folder.path().join(".mm.999999.0.partial"), b"another target's").unwrap();
    let first = AtomicFile::create(&target).unwrap();
    let second = AtomicFile::create(&target).unwrap();
    assert_eq!(names(folder.path()).len(), 4, "{:?}", names(folder.path()));
    first.commit().unwrap();
    second.commit().unwrap();
    assert_eq!(names(folder.path()), [".m.partial", ".mm.999999.0.partial", "m"]);
}

#[test]
fn a_folder_appears_only_when_complete_and_replaces_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("gptq");
    for generation in ["one", "two"] {
        let dir = AtomicDir::create(&target).unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub").join(generation), generation).unwrap();
        assert_eq!(target.join("sub/one").exists(), generation == "two");
        dir.commit().unwrap();
        assert_eq!(names(&target.join("sub")), [generation]);
        assert_eq!(names(folder.path()), ["gptq"]);
    }
    drop(AtomicDir::create(&target).unwrap());
    assert_eq!(names(folder.path()), ["gptq"]);
}

#[test]
fn a_folder_moved_aside_by_a_killed_process_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (target, aside) = (folder.path().join("gptq"), folder.path().join(".gptq.999999.0.old"));
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("model"), b"old").unwrap();
    drop(AtomicDir::create(&target).unwrap());
    assert_eq!(fs::read(target.join("model")).unwrap(), b"old");
    fs::create_dir(&aside).unwrap();
    drop(AtomicDir::create(&target).unwrap());
    assert_eq!(names(folder.path()), ["gptq"]);
}

#[test]
fn errors_of_writing_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let error = AtomicFile::create(folder.path().join("absent/model.gguf")).unwrap_err();
    assert_eq!(error.code(), "file-not-found");
    assert!(error.to_string().contains("absent"), "{error}");
    assert_eq!(AtomicFile::create("..").unwrap_err().code(), "io-error");
    // A file cannot replace a folder, and the partial file is removed.
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/x"), b"").unwrap();
    assert!(AtomicFile::create(folder.path().join("d")).unwrap().commit().is_err());
    assert_eq!(names(folder.path()), ["d"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_by_name() {
    let mut writer = gguf::Writer::new();
    writer.tensor("a", &[1 << 20], Encoding::F32).unwrap();
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let result = writer
        .write_to::<_, FormatError>(&mut full, "m.gguf", |tensor, sink| sink.write(&vec![0; tensor.size as usize]));
    let error = result.unwrap_err();
    assert_eq!(error.code(), "disk-full");
    assert!(error.to_string().contains("m.gguf"), "{error}");
}

#[test]
fn json_files_are_read_with_their_name_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    assert!(read_json(&path).unwrap().is_none());
    fs::write(&path, b"\xef\xbb\xbf{\"a\": 1}").unwrap();
    assert_eq!(read_json(&path).unwrap().unwrap()["a"], 1);
    fs::write(&path, b"{\"a\": ").unwrap();
    let error = read_json(&path).unwrap_err();
    assert_eq!(error.code(), "invalid-json");
    assert!(error.to_string().contains("config.json"), "{error}");
    assert_eq!(read_json(folder.path()).unwrap_err().code(), "not-a-file");
}
