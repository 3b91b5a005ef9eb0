//! Inputs without an end, special files in the place of regular ones, and huge numbers.

use std::fs;
use std::path::Path;

use super::gguf::Tiny;
use crate::common::{assert_fails, document, run};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_wide_model_of_few_bytes_takes_little_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("wide.gguf");
    Tiny { width: 2, ffn: 1 << 18, ..Tiny::default() }.write(&path);
    let inspected = document(&run(&["inspect", text(&path), "--json"]));
    // A step of 512 rows would take 1.1 GB.
    let scratch = inspected["memory"][0]["scratch_bytes"].as_u64().expect("a number");
    assert!(scratch < 256 << 20, "{scratch}");
    for job in inspected["jobs"].as_array().into_iter().flatten().filter(|job| job["job"] != "quantize --calibration") {
        assert!(job["peak_bytes"].as_u64().expect("a number") < 768 << 20, "{job}");
    }
}

#[test]
fn numbers_without_a_meaning_are_refused() {
    let most = u64::MAX.to_string();
    for (arguments, word) in [
        (&["run", "-p", "x", "--threads", "10000"][..], "from 1 to 1024"),
        (&["run", "-p", "x", "--threads", &most], "from 1 to 1024"),
        (&["run", "-p", "x", "--threads", "0"], "--threads"),
        (&["web", "--port", "65536"], "--port"),
        (&["pull", "org/repo", "--min-speed=-1"], "--min-speed"),
    ] {
        assert_fails(&run(arguments), 2, &[word]);
    }
    for arguments in [
        &["run", "-p", "x", "--context", &most][..],
        &["bench", "-p", "1", "-n", &most, "-d", &most],
        &["bench", "-p", &most, "-n", &most],
        &["eval", "--protocol", &format!("hf-stride-{most}")],
        &["eval", "--protocol", &format!("llama.cpp-{most}")],
    ] {
        assert_fails(&run(arguments), 1, &["context"]);
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

    use honelm_testing::pocket_dir;

    use super::*;
    use crate::common::{honelm, run_with, status, stderr};

    fn fifo(path: &Path) {
        assert!(Command::new("mkfifo").arg(path).status().expect("it runs").success());
    }

    /// Creates a folder of links to the files of the shipped model.
    fn linked(folder: &Path) {
        fs::create_dir(folder).expect("a folder");
        for entry in pocket_dir().canonicalize().expect("there").read_dir().expect("the shipped model") {
            let path = entry.expect("an entry").path();
            symlink(&path, folder.join(path.file_name().expect("a name"))).expect("linked");
        }
    }

    #[test]
    fn a_pipe_in_a_model_folder_is_refused_by_name_and_at_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("model");
        linked(&folder);
        fs::create_dir(folder.join("additional_chat_templates")).expect("a folder");
        for name in [
            "config.json",
            "generation_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
            "additional_chat_templates/tool.jinja",
            "model.safetensors",
        ] {
            let (path, kept) = (folder.join(name), dir.path().join("kept"));
            let was_there = fs::rename(&path, &kept).is_ok();
            fifo(&path);
            let file = name.rsplit('/').next().expect("a name");
            assert_fails(&run(&["run", text(&folder), "-p", "x", "-n", "1"]), 1, &[file, "a named pipe"]);
            fs::remove_file(&path).expect("removed");
            if was_there {
                fs::rename(&kept, &path).expect("put back");
            }
        }
    }

    #[test]
    fn devices_and_pipes_without_a_writer_are_no_texts() {
        let dir = tempfile::tempdir().expect("a folder");
        let pipe = dir.path().join("pipe.jinja");
        fifo(&pipe);
        let out = dir.path().join("out.gguf");
        for (path, words) in [("/dev/zero", &["a device"][..]), (text(dir.path()), &[]), (text(&pipe), &[])] {
            for arguments in [
                &["eval", "--text", path][..],
                &["prompt", "pocket", "-m", path],
                &["prompt", path, "-m", "-"],
                &["quantize", "pocket", "--to", "q8_0", "--calibration", path, "-o", text(&out)],
            ] {
                let output = run_with(arguments, b"{\"messages\": []}");
                if path == text(&pipe) && arguments[1] == path {
                    // A template may come through a pipe; one that nobody writes to is empty.
                    assert_eq!((status(&output), output.stdout.len()), (0, 0), "{}", stderr(&output));
                } else {
                    assert_fails(&output, 1, words);
                }
            }
        }
    }

    #[test]
    fn a_pipe_that_a_user_names_is_read() {
        let line =
            format!("'{}' prompt pocket -m <(echo '[]') --template <(echo -n made)", env!("CARGO_BIN_EXE_honelm"));
        let output = Command::new("bash").args(["-c", &line]).env("HONELM_DEVICE", "cpu").output();
        let Ok(output) = output else { honelm_testing::skip!("a_pipe_that_a_user_names_is_read", "bash") };
        assert_eq!((status(&output), output.stdout.as_slice()), (0, &b"made"[..]), "{}", stderr(&output));
    }

    #[test]
    fn a_stdin_without_an_end_is_refused() {
        for arguments in [&["run", "-p", "-"][..], &["chat", "--no-history"]] {
            let zero = fs::File::open("/dev/zero").expect("a device");
            let output = honelm().args(arguments).stdin(Stdio::from(zero)).output().expect("it runs");
            assert_fails(&output, 1, &["stdin"]);
        }
        assert_fails(&run_with(&["run", "-p", "-"], b"a\0b"), 1, &["stdin"]);
    }
}
