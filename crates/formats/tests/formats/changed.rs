//! Files that change while they are mapped.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use honelm_formats::{FileStamp, FileWatch, map_file};

/// Writes a file of two pages that was last modified a minute ago.
fn file(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("model.gguf");
    fs::write(&path, vec![1; 8192]).unwrap();
    let then = SystemTime::now() - Duration::from_secs(60);
    File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
    path
}

#[test]
fn a_mapped_file_that_is_written_to_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let data = map_file(&path).unwrap();
    let watch = data.watch();
    watch.check().unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().write_all(b"x").unwrap();
    let error = watch.check().unwrap_err();
    assert_eq!(error.code(), "file-changed");
    let said = error.to_string();
    assert!(said.contains("model.gguf") && said.contains("was written to"), "{said}");
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"x").unwrap();
    assert!(watch.check().unwrap_err().to_string().contains("from 8192 to 8193 bytes"));
}

#[test]
fn a_mapped_file_that_is_replaced_by_rename_is_unchanged_but_has_lost_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let data = map_file(&path).unwrap();
    let (watch, stamp) = (data.watch(), FileStamp::of(&path).unwrap());
    watch.check_names().unwrap();
    // Changes to the file's names by other programs do not matter.
    fs::hard_link(&path, folder.path().join("second")).unwrap();
    watch.check_names().unwrap();
    fs::write(folder.path().join("new"), vec![2; 8192]).unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    watch.check().unwrap();
    assert_eq!(data.bytes().unwrap()[0], 1);
    for error in [watch.check_names().unwrap_err(), stamp.check().unwrap_err()] {
        assert_eq!(error.code(), "file-changed");
    }
    fs::remove_file(&path).unwrap();
    assert!(stamp.check().unwrap_err().to_string().contains("can no longer be found"));
}

#[test]
fn a_map_that_nothing_views_is_not_watched() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let data = map_file(&path).unwrap();
    let (watch, view) = (FileWatch::of([&data]), data.bytes().unwrap().slice(..10));
    drop(data);
    fs::write(&path, b"other").unwrap();
    watch.check().unwrap_err();
    drop(view);
    watch.check().unwrap();
}

/// The child process of the test below: maps the file, cuts it short and reads on.
#[test]
#[cfg(unix)]
fn child_that_loses_a_page() {
    let Some(path) = std::env::var_os("HONELM_TEST_LOST_PAGE") else { return };
    let to_stdout = std::env::var_os("HONELM_TEST_STDOUT").is_some();
    honelm_formats::report_lost_pages(honelm_formats::LostPage {
        to_stdout,
        before: "[before ",
        problem: " was lost",
        after: " after]\n",
        status: 77,
    });
    let data = map_file(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    let sum: u64 = data.bytes().unwrap().iter().map(|&b| u64::from(b)).sum();
    panic!("the lost page was read: {sum}");
}

#[test]
#[cfg(unix)]
fn a_file_cut_short_while_mapped_ends_the_process_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for stream in ["stderr", "stdout"] {
        let path = file(folder.path());
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "changed::child_that_loses_a_page", "--nocapture"]).env("HONELM_TEST_LOST_PAGE", &path);
        if stream == "stdout" {
            child.env("HONELM_TEST_STDOUT", "1");
        }
        let output = child.output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{output:?}");
        let said = if stream == "stdout" { output.stdout } else { output.stderr };
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(&format!("[before {} was lost after]", path.display())), "{said}");
    }
}
