//! Slow servers and clients, and full disks.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::gguf::Tiny;
use crate::common::{honelm, status, stderr};

/// `honelm web` with a page and a model.
struct Web {
    child: Child,
    address: String,
    dir: tempfile::TempDir,
}

impl Web {
    /// Starts the server. `prepare` may change the folders `page` and `model`.
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, contents) in [("page/index.html", "a page"), ("model/config.json", "{\"a\": 1}"), ("secret", "x")] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, contents).expect("written");
        }
        prepare(dir.path());
        let mut command = honelm();
        command.args(["web", "model", "--page", "page", "--port", "0", "--no-open"]).current_dir(dir.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        let mut url = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut url).expect("a line");
        let address = url.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { child, address, dir }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    }

    /// Returns the status and the body of a response.
    fn get(&self, path: &str, header: &str) -> (u16, String) {
        let mut stream = self.connect();
        let host = &self.address;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}Connection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
    }

    /// Sends SIGINT; returns the exit status and the time until the end.
    fn stop(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
        (self.child.wait().expect("it ends").code(), begun.elapsed())
    }
}

#[test]
fn only_regular_files_below_the_folders_are_served() {
    let web = Web::start(|dir| {
        let model = dir.join("model");
        fs::create_dir(model.join(".git")).expect("a folder");
        for name in [".env", ".git/config"] {
            fs::write(model.join(name), "x").expect("written");
        }
        symlink("../secret", model.join("out.json")).expect("linked");
        symlink("/etc", model.join("etc")).expect("linked");
        symlink("config.json", model.join("in.json")).expect("linked");
        assert!(Command::new("mkfifo").arg(model.join("pipe")).status().expect("it runs").success());
    });
    assert_eq!(web.get("/", ""), (200, "a page".to_owned()));
    assert_eq!(web.get("/models/model/in.json", "").0, 200);
    for name in [".env", ".git/config", "out.json", "etc/passwd", "pipe", "../secret", "%2e%2e/secret", "pipe"] {
        assert_eq!(web.get(&format!("/models/model/{name}"), "").0, 404, "{name}");
    }
    // Still there, with ranges, after a pipe was asked for.
    assert_eq!(web.get("/models/model/config.json", "Range: bytes=1-3\r\n"), (206, "\"a\"".to_owned()));
    assert!(web.dir.path().join("secret").exists());
    assert_eq!(web.stop().0, Some(0));
}

#[test]
fn ctrl_c_ends_the_server_though_a_header_is_half_sent() {
    let web = Web::start(|_| {});
    let mut half = web.connect();
    half.write_all(b"GET / HTTP/1.1\r\nHost: 127").expect("sent");
    let _idle = web.connect();
    assert_eq!(web.get("/", "").0, 200, "others are answered meanwhile");
    let (status, took) = web.stop();
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn the_password_of_the_endpoint_is_in_no_message() {
    for more in [&[][..], &["--json"], &["-v"]] {
        let mut command = honelm();
        command.args(["pull", "org/tiny"]).args(more).env("HF_ENDPOINT", "https://me:pa55word@hub.co");
        let output = command.output().expect("it runs");
        assert_eq!(status(&output), 1);
        let said = [&output.stdout[..], &output.stderr].concat();
        let text = String::from_utf8_lossy(&said);
        assert!(!text.contains("pa55word") && text.contains("***@hub.co"), "{text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_said_on_stderr_with_status_1() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("model.gguf");
    Tiny { says: b"abc", ..Tiny::default() }.write(&path);
    let model = path.to_str().expect("UTF-8");
    for (arguments, expected) in [
        (&["inspect", model, "--json"][..], 1),
        (&["inspect", model], 1),
        (&["run", model, "--raw", "-p", "a", "--temperature", "0", "-q"], 1),
        (&["tokenize", model, "-p", "a", "--json"], 1),
        (&["tokenize", model, "--decode", "-p", "100"], 1),
        (&["--help"], 1),
        (&["--version"], 1),
        (&["completions", "bash"], 1),
        (&["inspect", "no-such-model", "--json"], 1),
        (&["inspect", "--no-such-option", "--json"], 2),
    ] {
        let full = fs::File::options().write(true).open("/dev/full").expect("a device");
        let output = honelm().args(arguments).stdout(full).output().expect("it runs");
        assert_eq!(status(&output), expected, "{arguments:?}");
        let said = stderr(&output);
        assert!(said.contains("error: stdout: No space left on device"), "{arguments:?}: {said}");
    }
}
