//! An upstream in the test process that answers by a script, and fails by it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// What an upstream does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Answers with the words.
    Answer,
    /// Answers, a byte at a time, with comments, `\r\n`, and without a content type.
    Odd,
    /// Answers with the words, and calls a tool with these arguments.
    Call(Value),
    /// Answers with this text in pieces of so many bytes.
    Text(String, usize),
    /// Breaks the connection off after so many words.
    Cut(usize),
    /// Breaks the connection off after a text.
    CutText(String),
    /// Sends so many words, each the time in microseconds, with a pause before each.
    Clock(usize, Duration),
    /// Says nothing more after so many words, for a time.
    Silence(usize, Duration),
    /// Sends an event that is no JSON after so many words.
    Malformed(usize),
    /// Sends an error as an event after so many words.
    ErrorEvent(usize),
    /// Calls a tool and breaks off within its arguments.
    CutCall,
    /// Refuses with a status, and perhaps a `Retry-After`.
    Status(u16, Option<u32>),
    /// Waits before the first byte.
    Slow(Duration),
    /// Closes the connection without an answer.
    Close,
    /// Answers with something that is not HTTP.
    Garbage,
    /// Redirects to another address.
    Redirect,
}

/// A request that an upstream got.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: Value,
    /// The time of its arrival, by [`micros`].
    pub at: u128,
    /// All bytes, as they came.
    pub bytes: Vec<u8>,
}

type Script = dyn Fn(usize, &Received) -> Act + Send + Sync;

/// An upstream that runs until it is dropped.
pub struct Upstream {
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    stops: Arc<AtomicBool>,
}

impl Upstream {
    /// Starts an upstream whose answers consist of `words`. The script has the number of the request.
    pub fn start(words: &[&str], script: impl Fn(usize, &Received) -> Act + Send + Sync + 'static) -> Self {
        Self::start_at(0, words, script)
    }

    /// Starts an upstream at a port.
    pub fn start_at(
        port: u16,
        words: &[&str],
        script: impl Fn(usize, &Received) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let words: Arc<Vec<String>> = Arc::new(words.iter().map(|word| (*word).to_owned()).collect());
        let (received, stops) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (script, count): (Arc<Script>, _) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
        let (of_thread, stopped) = (Arc::clone(&received), Arc::clone(&stops));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                // Words leave at once, unless the client is gone already.
                let _ = stream.set_nodelay(true);
                let (script, count, words) = (Arc::clone(&script), Arc::clone(&count), Arc::clone(&words));
                let received = Arc::clone(&of_thread);
                // Ends with the connection.
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    while let Some(request) = read(&mut reader) {
                        let act = script(count.fetch_add(1, Ordering::Relaxed), &request);
                        let is_openai = request.head.starts_with("POST /v1/chat/completions");
                        received.lock().unwrap().push(request);
                        if !answer(&stream, &act, &words, is_openai) {
                            let _ = stream.shutdown(Shutdown::Both);
                            return;
                        }
                    }
                });
            }
        });
        Self { port, received, stops }
    }

    /// Returns the requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Returns the time in microseconds since some time of this process.
pub fn micros() -> u128 {
    static BEGIN: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    BEGIN.elapsed().as_micros()
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let (mut head, mut length) = (String::new(), 0);
    // The first byte of a TLS handshake is no letter.
    reader.fill_buf().ok()?.first().filter(|byte| byte.is_ascii_alphabetic())?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut bytes = head.clone().into_bytes();
    bytes.extend(&body);
    Some(Received { head, body: serde_json::from_slice(&body).unwrap_or_default(), at: micros(), bytes })
}

/// Answers a request. Returns `false` if the connection ends.
fn answer(stream: &TcpStream, act: &Act, words: &[String], is_openai: bool) -> bool {
    let mut out = Out { stream, is_openai, is_odd: matches!(act, Act::Odd), text: String::new() };
    let all: Vec<&str> = words.iter().map(String::as_str).collect();
    match act {
        Act::Status(status, after) => {
            let after = after.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
            // An error often quotes the request.
            let body = "{\"error\": {\"message\": \"you sent: a quoted secret\"}}";
            let length = body.len();
            out.raw(&format!("HTTP/1.1 {status} Bad\r\n{after}content-length: {length}\r\n\r\n{body}"))
        }
        Act::Redirect => {
            let to = "location: http://127.0.0.1:1/elsewhere\r\ncontent-length: 0\r\n\r\n";
            out.raw(&format!("HTTP/1.1 307 Temporary Redirect\r\n{to}"))
        }
        Act::Close => false,
        Act::Garbage => {
            out.raw("SSH-2.0-OpenSSH_9.2\r\n");
            false
        }
        Act::Slow(time) => {
            std::thread::sleep(*time);
            out.whole(&all)
        }
        Act::Answer | Act::Odd => out.whole(&all),
        Act::Text(text, size) => {
            let bytes = text.as_bytes();
            let mut cuts = vec![0];
            for (at, _) in text.char_indices() {
                if at - cuts[cuts.len() - 1] >= *size {
                    cuts.push(at);
                }
            }
            cuts.push(bytes.len());
            let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            out.whole(&pieces)
        }
        Act::Call(arguments) => out.head() && out.words(&all) && out.call(&arguments.to_string()) && out.end("tool"),
        Act::CutCall => {
            out.head();
            out.words(&all);
            out.call("{\"city\": \"Par");
            false
        }
        Act::CutText(text) => {
            out.head();
            out.words(&[text]);
            false
        }
        Act::Clock(count, pause) => {
            out.head();
            for _ in 0..*count {
                std::thread::sleep(*pause);
                out.words(&[&format!("{} ", micros())]);
            }
            out.end("stop")
        }
        Act::Cut(count) => {
            out.head();
            out.words(&all[..*count]);
            false
        }
        Act::Silence(count, time) => {
            out.head();
            out.words(&all[..*count]);
            let pause = Duration::from_millis(100);
            for _ in 0..time.as_millis() / pause.as_millis() {
                std::thread::sleep(pause);
                // A sign of life is no token.
                if !out.chunk(": alive\n\n") {
                    break;
                }
            }
            false
        }
        Act::Malformed(count) => {
            out.head();
            out.words(&all[..*count]);
            out.chunk("data: {\"choices\": [{\"delta\"\n\n");
            out.words(&all[*count..]);
            out.end("stop")
        }
        Act::ErrorEvent(count) => {
            out.head();
            out.words(&all[..*count]);
            out.event("error", &json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}));
            false
        }
    }
}

struct Out<'a> {
    stream: &'a TcpStream,
    is_openai: bool,
    is_odd: bool,
    text: String,
}

impl Out<'_> {
    fn raw(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).is_ok()
    }

    fn chunk(&mut self, text: &str) -> bool {
        if !self.is_odd {
            return self.raw(&format!("{:x}\r\n{text}\r\n", text.len()));
        }
        let text = format!(": odd\r\n{}", text.replace('\n', "\r\n"));
        text.bytes().all(|byte| self.stream.write_all(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']).is_ok())
    }

    fn event(&mut self, name: &str, data: &Value) -> bool {
        let name = if self.is_openai { String::new() } else { format!("event: {name}\n") };
        self.chunk(&format!("{name}data: {data}\n\n"))
    }

    fn whole(&mut self, words: &[&str]) -> bool {
        self.head() && self.words(words) && self.end("stop")
    }

    fn head(&mut self) -> bool {
        let kind = if self.is_odd { "" } else { "content-type: text/event-stream\r\n" };
        if !self.raw(&format!("HTTP/1.1 200 OK\r\n{kind}transfer-encoding: chunked\r\n\r\n")) {
            return false;
        }
        if self.is_openai {
            return self.event("", &json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}));
        }
        let usage = json!({"input_tokens": 90, "cache_read_input_tokens": 10, "output_tokens": 1});
        self.event("message_start", &json!({"type": "message_start", "message": {"usage": usage}}))
            && self.event("ping", &json!({"type": "ping"}))
            && self.begins(0, json!({"type": "text", "text": ""}))
    }

    fn begins(&mut self, index: usize, block: Value) -> bool {
        let data = json!({"type": "content_block_start", "index": index, "content_block": block});
        self.event("content_block_start", &data)
    }

    fn words(&mut self, words: &[&str]) -> bool {
        words.iter().all(|word| {
            self.text.push_str(word);
            if self.is_openai {
                return self.event("", &json!({"choices": [{"index": 0, "delta": {"content": word}}]}));
            }
            let delta = json!({"type": "text_delta", "text": word});
            self.event("content_block_delta", &json!({"type": "content_block_delta", "index": 0, "delta": delta}))
        })
    }

    /// Calls the tool `weather`, in two pieces.
    fn call(&mut self, arguments: &str) -> bool {
        let (first, second) = arguments.split_at(arguments.len() / 2);
        if self.is_openai {
            let function = json!({"name": "weather", "arguments": ""});
            let call = json!({"index": 0, "id": "call_1", "type": "function", "function": function});
            let delta = |call: Value| json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]});
            let fragment = |text: &str| delta(json!({"index": 0, "function": {"arguments": text}}));
            return self.event("", &delta(call))
                && self.event("", &fragment(first))
                && self.event("", &fragment(second));
        }
        let delta = |text: &str| {
            let delta = json!({"type": "input_json_delta", "partial_json": text});
            json!({"type": "content_block_delta", "index": 1, "delta": delta})
        };
        self.begins(1, json!({"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}))
            && self.event("content_block_delta", &delta(first))
            && self.event("content_block_delta", &delta(second))
            && self.event("content_block_stop", &json!({"type": "content_block_stop", "index": 1}))
    }

    fn end(&mut self, reason: &str) -> bool {
        let is_sent = if self.is_openai {
            let reason = if reason == "tool" { "tool_calls" } else { "stop" };
            let details = json!({"cached_tokens": 10});
            let usage = json!({"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": details});
            self.event("", &json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
                && self.event("", &json!({"choices": [], "usage": usage}))
                && self.chunk("data: [DONE]\n\n")
        } else {
            let reason = if reason == "tool" { "tool_use" } else { "end_turn" };
            let delta = json!({"stop_reason": reason, "stop_sequence": null});
            let usage = json!({"output_tokens": 20});
            self.event("content_block_stop", &json!({"type": "content_block_stop", "index": 0}))
                && self.event("message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage}))
                && self.event("message_stop", &json!({"type": "message_stop"}))
        };
        is_sent && self.raw("0\r\n\r\n")
    }
}
