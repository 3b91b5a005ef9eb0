//! `honelm serve`, `ps` and `stop` as users run them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{honelm, run};

/// A running server with the first line of its stdout, its address.
struct Serving {
    child: Child,
    address: String,
}

fn serve(arguments: &[&str]) -> Serving {
    let mut command = honelm();
    command.args(["serve", "--port", "0", "--context", "256"]).args(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut address = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut address).expect("an address");
    Serving { child, address: address.trim().to_owned() }
}

impl Serving {
    /// Sends a request and returns the whole response.
    fn post(&self, path: &str, body: &str) -> String {
        let host = self.address.strip_prefix("http://").expect("an address");
        let mut stream = TcpStream::connect(host).expect("a server");
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        stream.write_all((head + body).as_bytes()).expect("sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("a response");
        response
    }

    /// Sends SIGTERM, and returns what the server wrote to stderr.
    fn end(mut self) -> String {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(0));
        let mut said = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        said
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
#[cfg(unix)]
fn a_server_answers_tells_its_models_and_ends_well() {
    const CANARY: &str = "CANARY-51c0";
    let server = serve(&["pocket", "--only", "--log-format", "json"]);
    assert!(server.address.starts_with("http://127.0.0.1:"), "{}", server.address);
    let ask = format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"{CANARY}\"}}], \"max_tokens\": 3}}");
    let response = server.post("/v1/chat/completions", &ask);
    assert!(response.starts_with("HTTP/1.1 200") && response.contains("\"chat.completion\""), "{response}");
    assert!(server.post(&format!("/{CANARY}"), &format!("{{\"{CANARY}\": 1}}")).starts_with("HTTP/1.1 404"));
    assert!(server.post("/v1/chat/completions", CANARY).starts_with("HTTP/1.1 400"));

    let shown = run(&["ps", "--server", &server.address]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("pocket") && shown.contains("loaded"), "{shown}");
    let stopped = run(&["stop", "pocket", "--server", &server.address, "--json"]);
    let stopped: Value = serde_json::from_slice(&stopped.stdout).expect("JSON");
    assert_eq!(stopped["was_loaded"], true);
    let shown = run(&["ps", "--server", &server.address]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "no model is loaded\n");
    let unknown = run(&["stop", "other", "--server", &server.address]);
    assert_eq!(unknown.status.code(), Some(1));

    let said = server.end();
    assert!(said.contains("curl http://127.0.0.1:"), "{said}");
    assert!(!said.contains(CANARY), "no text of a request is in the log: {said}");
    let logged: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let chat = logged.iter().find(|line| line["path"] == "/v1/chat/completions").expect("a line");
    assert_eq!((&chat["method"], &chat["status"]), (&"POST".into(), &200.into()));
}

#[test]
fn settings_come_from_the_file_the_environment_and_flags() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("honelm.toml");
    std::fs::write(&file, "port = 1001\nparallel = 3\nhost = \"::1\"\n[limits]\nqueue = 7\n").expect("written");
    let mut command = honelm();
    command.args(["serve", "--print-config", "--port", "1003", "--config"]).arg(&file);
    command.env("HONELM_PORT", "1002").env("HONELM_PARALLEL", "5");
    let printed = command.output().expect("the command starts");
    let text = String::from_utf8_lossy(&printed.stdout);
    for line in
        ["port = 1003", "parallel = 5", "host = \"::1\"", "queue = 7", "body_bytes = 16777216", "# memory_bytes = "]
    {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}: {text}");
    }
    // The printed file can be read again.
    std::fs::write(&file, text.as_bytes()).expect("written");
    let again = run(&["serve", "--print-config", "--config", &file.display().to_string()]);
    assert_eq!(String::from_utf8_lossy(&again.stdout), text);
}

#[test]
fn wrong_settings_and_a_port_in_use_are_errors() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let broken = dir.path().join("broken.gguf");
    std::fs::write(&broken, b"GGUF\x03\0\0\0").expect("written");
    let broken = broken.to_string_lossy();
    let cases: [(&[&str], i32, &str); 7] = [
        (&[&broken, "--port", "0"], 1, "broken.gguf"),
        (&["--port", &port], 1, "another program uses it"),
        (&["no-such-model", "--port", "0"], 1, "no-such-model"),
        (&["--allow-origin", "example.com"], 2, "allow_origins"),
        (&["--bind", "tcp:1"], 2, "unix:PATH"),
        (&["--memory", "lots"], 2, "500M"),
        (&["--config", "/no/such/file"], 1, "/no/such/file"),
    ];
    for (arguments, status, part) in cases {
        let ended = run(&[&["serve"], arguments].concat());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    let nobody = run(&["ps", "--server", "http://127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert!(said.contains("127.0.0.1:1") && said.contains("no server listens there"), "{said}");
}

#[test]
#[cfg(unix)]
fn a_gateway_answers_from_another_server_and_logs_nothing_private() {
    const SECRET: &str = "ottilie.brandvold@kelterborn-mail.de";
    let cloud = serve(&["pocket", "--only"]);
    let dir = tempfile::tempdir().expect("a folder");
    let (file, records) = (dir.path().join("gateway.toml"), dir.path().join("records.db"));
    let url = format!("sqlite:{}", records.display());
    let text = format!(
        "policy = \"cloud-first\"\n[local]\nmodel = \"pocket\"\ncontext = 256\n[[upstream]]\nname = \"other\"\napi = \"openai\"\n\
         url = \"{}/v1\"\nmodel = \"pocket\"\nkey = \"none\"\nprice = {{ input = 1, output = 2 }}\ncontext = 256\n\
         [records]\nurl = \"{url}\"\n",
        cloud.address
    );
    std::fs::write(&file, &text).expect("written");
    let path = file.display().to_string();
    let server = serve(&["--only", "--log-format", "json", "--gateway", &path]);
    let ask =
        format!("{{\"messages\": [{{\"role\": \"user\", \"content\": \"Write to {SECRET}\"}}], \"max_tokens\": 5}}");
    let response = server.post("/v1/chat/completions", &ask);
    assert!(response.contains("x-honelm: route=cloud; reason=cloud-first"), "{response}");
    assert!(response.contains("\"EMAIL_ADDRESS\":1"), "{response}");
    drop(cloud);
    let response = server.post("/v1/chat/completions", &ask);
    assert!(response.contains("\"degraded\":true") && response.contains("\"route\":\"local\""), "{response}");
    let said = server.end();
    assert!(said.contains("other") && said.contains("left alone") && !said.contains("brandvold"), "{said}");
    let used = run(&["usage", "--records", &url, "--json"]);
    let used: Value = serde_json::from_slice(&used.stdout).expect("JSON");
    assert_eq!((&used["total"]["requests"], &used["total"]["degraded_requests"]), (&2.into(), &1.into()), "{used}");
    let kept = std::fs::read(&records).expect("records");
    assert!(!kept.windows(9).any(|part| part == b"brandvold"), "a record holds private data");

    // What is wrong in a gateway file is named before the server starts.
    let wrong = [("key = \"none\"", "key = { env = \"HONELM_NO_SUCH_KEY\" }", "HONELM_NO_SUCH_KEY is not set")];
    for (right, bad, expected) in wrong {
        std::fs::write(&file, text.replace(right, bad)).expect("written");
        let failed = run(&["serve", "--port", "0", "--gateway", &path]);
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(failed.status.code() != Some(0) && said.contains(expected), "{said}");
    }
}
