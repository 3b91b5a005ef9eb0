//! A server with OpenAI's interface as a side.

use std::io::Read;
use std::time::{Duration, Instant};

use honelm_gateway::pii::{Api, DetectOptions, Detector, Mode, Redactor, Restorer, Vault};
use honelm_gateway::policy::{Failure, RetrySettings, retry_pause};
use honelm_store::hub::{Header, HttpTransport, Timeouts, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::prompts::Row;
use super::{Answer, Side};
use crate::Error;

/// The longest answer of a server in bytes.
const MOST_BODY: u64 = 4 << 20;
/// The time in which a server must answer one prompt.
const PATIENCE: Duration = Duration::from_secs(300);
/// The retries of one prompt.
const RETRIES: RetrySettings = RetrySettings { retries: 5, first_milliseconds: 500, most_milliseconds: 30_000 };

/// A server that answers prompts, one at a time.
pub(super) struct Remote {
    transport: HttpTransport,
    url: Url,
    model: String,
    headers: Vec<Header>,
    max_tokens: usize,
    /// The detector of private data, and the secret from which surrogates follow.
    redaction: Option<(Detector, [u8; 32])>,
}

/// A failed attempt.
struct Failed {
    failure: Failure,
    retry_after: Option<Duration>,
    problem: String,
}

#[derive(Deserialize)]
struct Body {
    choices: Vec<Choice>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Choice {
    message: Content,
}

#[derive(Deserialize)]
struct Content {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

/// Reads the address before `/chat/completions`.
pub(super) fn address(url: &str) -> Result<Url, Error> {
    Url::parse(url).map_err(|problem| Error::Usage(format!("--cloud-url: found {url:?}, {problem}")))
}

impl Remote {
    /// Creates a side; `url` is the address before `/chat/completions`.
    pub fn new(
        url: &str,
        model: &str,
        key: Option<&str>,
        redaction: Option<[u8; 32]>,
        max_tokens: usize,
    ) -> Result<Self, Error> {
        let timeouts = Timeouts { headers: PATIENCE, ..Timeouts::default() };
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(key.map(|key| ("authorization", format!("Bearer {key}"))));
        let redaction = match redaction {
            Some(key) => Some((Detector::new(DetectOptions::default())?, key)),
            None => None,
        };
        let url = address(url)?.below("/chat/completions", None);
        Ok(Self {
            transport: HttpTransport::with_timeouts(timeouts)?,
            url,
            model: model.to_owned(),
            headers,
            max_tokens,
            redaction,
        })
    }

    /// Returns the body of a request without private data, and what turns the surrogates in its answer back.
    fn body(&self, row: &Row) -> Result<(Value, Option<Restorer>), Error> {
        let messages = &row.messages;
        let mut body =
            json!({ "model": self.model, "messages": messages, "max_tokens": self.max_tokens, "temperature": 0 });
        let Some((detector, key)) = &self.redaction else { return Ok((body, None)) };
        let mut redactor = Redactor::new(detector, Mode::Surrogate, Vault::new(*key));
        redactor.request(Api::Chat, &mut body)?;
        Ok((body, Some(redactor.into_vault().restorer())))
    }

    /// Sends a request once.
    fn send(&self, body: &[u8]) -> Result<Body, Failed> {
        let failed = |failure, problem: String| Failed { failure, retry_after: None, problem };
        let response = self.transport.post(&self.url, &self.headers, body).map_err(|error| {
            failed(if error.passing { Failure::Connect } else { Failure::Status(400) }, error.problem.clone())
        })?;
        if response.status != 200 {
            let seconds = response.header("retry-after").and_then(|text| text.parse().ok());
            return Err(Failed {
                failure: Failure::Status(response.status),
                retry_after: seconds.map(Duration::from_secs),
                problem: format!("found status {}, expected 200", response.status),
            });
        }
        let mut bytes = Vec::new();
        let read = response.body.take(MOST_BODY + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(Failure::Broken, format!("the answer broke off: {error}")))?;
        if bytes.len() as u64 > MOST_BODY {
            return Err(failed(Failure::Status(400), format!("found an answer of more than {MOST_BODY} bytes")));
        }
        let expected = "expected a chat completion with `choices[0].message.content`";
        let body: Body = serde_json::from_slice(&bytes)
            .map_err(|error| failed(Failure::Broken, format!("found {error}; {expected}")))?;
        if body.choices.is_empty() {
            Err(failed(Failure::Broken, format!("found no choices; {expected}")))
        } else {
            Ok(body)
        }
    }

    /// Sends a request, again and again while that may help.
    fn patiently(&self, row: &Row, body: &[u8]) -> Result<Body, Error> {
        let begin = Instant::now();
        for retried in 0.. {
            let Failed { failure, retry_after, problem } = match self.send(body) {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            let left = PATIENCE.saturating_sub(begin.elapsed());
            // The largest pause: nothing else waits for this server.
            match retry_pause(&RETRIES, retried, failure, retry_after, 1.0, left) {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(Error::Cloud { url: self.url.to_string(), line: row.line, problem }),
            }
        }
        Err(Error::Interrupted)
    }

    fn answer_one(&self, row: &Row) -> Result<Answer, Error> {
        let (body, restorer) = self.body(row)?;
        let what = "a request";
        let bytes = serde_json::to_vec(&body).map_err(|source| Error::Serialise { what, source })?;
        let Body { choices, usage } = self.patiently(row, &bytes)?;
        let text = choices.into_iter().next().and_then(|choice| choice.message.content).unwrap_or_default();
        Ok(Answer {
            text: restorer.map_or_else(|| text.clone(), |restorer| restorer.text(&text)),
            confidence: None,
            prompt_tokens: usage.as_ref().and_then(|usage| usage.prompt_tokens),
            completion_tokens: usage.as_ref().and_then(|usage| usage.completion_tokens),
            sample_tokens: 0,
        })
    }
}

impl Side for Remote {
    fn answer(&mut self, rows: &[Row], progress: &mut dyn FnMut(usize) -> bool) -> Result<Vec<Option<Answer>>, Error> {
        let mut found = Vec::with_capacity(rows.len());
        for (done, row) in rows.iter().enumerate() {
            if !progress(done) {
                return Err(Error::Interrupted);
            }
            found.push(Some(self.answer_one(row)?));
        }
        progress(rows.len());
        Ok(found)
    }
}
