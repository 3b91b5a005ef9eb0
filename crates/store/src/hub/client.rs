//! Requests to the Hub: redirects that keep the token at home, errors that say what to do, patience.

use std::io::Read;
use std::time::Duration;

use super::pace::Paced;
use super::transport::{Header, Method, Response, Transport};
use super::url::{Origin, Url, without_secrets};
use super::{HubSettings, ModelSpec, PullEvent, PullEvents, Token};
use crate::StoreError;

/// How often and how long to try, and how slow a connection may be.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Failures in a row, without progress in between, until it is given up.
    pub failures: u32,
    /// The wait after the first one; it doubles with each.
    pub first_wait: Duration,
    /// The longest wait, also where the server asks for one.
    pub longest_wait: Duration,
    /// Bytes a second that a connection has to bring; 0 puts up with any rate.
    pub slowest: u64,
    /// Time over which the rate is measured.
    pub window: Duration,
}

impl Patience {
    /// Bytes that the slowest connection brings in a window. Fewer are no progress.
    pub(crate) fn least_progress(&self) -> u64 {
        (self.slowest as f64 * self.window.as_secs_f64()) as u64
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            failures: 6,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(120),
            slowest: 1000,
            window: Duration::from_secs(30),
        }
    }
}

/// Between two looks at whether to go on.
const SLICE: Duration = Duration::from_millis(100);
const MOST_REDIRECTS: usize = 8;

/// One repository's side of the Hub.
pub(crate) struct Client<'a> {
    transport: &'a dyn Transport,
    endpoint: &'a Url,
    token: Option<&'a Token>,
    patience: Patience,
    /// Where access is asked for.
    page: String,
}

/// An answer with status 200 or 206.
pub(crate) struct Answer {
    pub response: Response,
    /// Who gave it in the end.
    pub host: Origin,
    /// The id and the length of what the Hub redirected to.
    pub linked_etag: Option<String>,
    pub linked_size: Option<u64>,
}

impl<'a> Client<'a> {
    pub fn new(transport: &'a dyn Transport, settings: &'a HubSettings, spec: &ModelSpec, patience: Patience) -> Self {
        let page = settings.endpoint.at(&format!("/{}", spec.id())).to_string();
        Self { transport, endpoint: &settings.endpoint, token: settings.token.as_ref(), patience, page }
    }

    pub fn endpoint(&self) -> &Url {
        self.endpoint
    }

    /// The address of a file at a commit.
    pub fn file_url(&self, spec: &ModelSpec, commit: &str, path: &str) -> Url {
        self.endpoint.at(&format!("/{}/resolve/{commit}/{}", spec.id(), super::url::escape(path, true)))
    }

    pub fn invalid(&self, what: &str, url: &Url, problem: String) -> StoreError {
        StoreError::InvalidAnswer { what: what.to_owned(), host: url.origin.to_string(), problem }
    }

    /// Sends a request for `what` and follows redirects. The token goes to the endpoint alone.
    pub fn send(&self, what: &str, method: Method, url: &Url, extra: &[Header]) -> Result<Answer, StoreError> {
        let mut url = url.clone();
        let (mut linked_etag, mut linked_size) = (None, None);
        for _ in 0..MOST_REDIRECTS {
            let own = url.origin == self.endpoint.origin;
            let mut headers = extra.to_vec();
            headers.extend(self.token.filter(|_| own).map(|token| ("Authorization", token.bearer())));
            let mut response = self.transport.send(method, &url, &headers).map_err(|e| StoreError::Connection {
                host: url.origin.to_string(),
                problem: e.problem,
                passing: e.passing,
            })?;
            response.body = Box::new(Paced::new(response.body, self.patience));
            if own {
                linked_etag = linked_etag.or_else(|| response.header("x-linked-etag").map(str::to_owned));
                linked_size = linked_size.or_else(|| response.header("x-linked-size")?.parse().ok());
            }
            let location = match response.status {
                301 | 302 | 303 | 307 | 308 => response.header("location"),
                _ => {
                    self.check(what, &url, &response)?;
                    return Ok(Answer { response, host: url.origin, linked_etag, linked_size });
                }
            };
            url = self.redirected(what, &url, location.unwrap_or_default())?;
        }
        Err(refused(what, &url, "…", "once too often"))
    }

    fn redirected(&self, what: &str, from: &Url, location: &str) -> Result<Url, StoreError> {
        let to = from.join(location).map_err(|problem| refused(what, from, location, problem))?;
        if from.origin.https && !to.origin.https {
            return Err(refused(what, from, &to.origin.to_string(), "from an encrypted connection to an open one"));
        }
        Ok(to)
    }

    /// What the status and the kind of an answer mean.
    fn check(&self, what: &str, url: &Url, response: &Response) -> Result<(), StoreError> {
        let (what_, host) = (what.to_owned(), url.origin.to_string());
        let code = response.header("x-error-code").unwrap_or_default();
        let status = response.status;
        Err(match status {
            200 | 206 if is_page(response) && !names_page(what) => StoreError::WebPage { what: what_, host },
            200 | 206 => {
                let encoding = response.header("content-encoding").unwrap_or("identity");
                if encoding.eq_ignore_ascii_case("identity") {
                    return Ok(());
                }
                self.invalid(what, url, format!("it is encoded as '{encoding}', which was not asked for"))
            }
            401 | 403 if code == "GatedRepo" => StoreError::Forbidden { what: what_, host, page: self.page.clone() },
            401 | 404 if code == "RepoNotFound" => StoreError::NoRepository { what: what_, host, status },
            401 if self.token.is_none() => StoreError::NoRepository { what: what_, host, status },
            401 => StoreError::TokenRefused { what: what_, host },
            403 => StoreError::Forbidden { what: what_, host, page: self.page.clone() },
            404 => StoreError::NotFound { what: what_, host },
            429 => {
                let after = response.header("retry-after").and_then(|v| v.parse().ok()).map(Duration::from_secs);
                StoreError::TooManyRequests { what: what_, host, after }
            }
            408 | 500..600 => StoreError::Server { what: what_, host, status },
            _ => StoreError::Status { what: what_, host, status },
        })
    }

    /// How often and how long to try.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// The whole of a small document.
    pub fn read(&self, what: &str, url: &Url, limit: u64, events: PullEvents<'_>) -> Result<Vec<u8>, StoreError> {
        self.retrying(events, &mut || {
            let answer = self.send(what, Method::Get, url, &[])?;
            let mut bytes = Vec::new();
            let end = answer.response.body.take(limit + 1).read_to_end(&mut bytes);
            end.map_err(|e| StoreError::Connection {
                host: answer.host.to_string(),
                problem: e.to_string(),
                passing: true,
            })?;
            if bytes.len() as u64 > limit {
                return Err(self.invalid(what, url, format!("it is longer than {limit} bytes")));
            }
            Ok(bytes)
        })
    }

    /// Calls until it succeeds, fails for good, or patience is at its end.
    pub fn retrying<T>(
        &self,
        events: PullEvents<'_>,
        call: &mut dyn FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut failures = 0;
        loop {
            match call() {
                // A host that cannot be reached at all is mostly a wrong name or no network: one more try is enough.
                Err(error @ StoreError::Connection { .. }) if failures > 0 => return Err(error),
                Err(error) => self.wait_after(error, &mut failures, events)?,
                done => return done,
            }
        }
    }

    /// Waits for another attempt after `error`; gives it back where there is none.
    pub fn wait_after(&self, error: StoreError, failures: &mut u32, events: PullEvents<'_>) -> Result<(), StoreError> {
        let asked = match &error {
            StoreError::TooManyRequests { after, .. } => *after,
            _ => None,
        };
        let Patience { failures: most, first_wait, longest_wait, .. } = self.patience;
        *failures += 1;
        if !error.is_passing() || *failures >= most || asked.is_some_and(|asked| asked > longest_wait) {
            return Err(error);
        }
        let doubled = first_wait.saturating_mul(1 << (*failures - 1).min(16));
        let mut left = asked.unwrap_or(doubled).min(longest_wait);
        // What the user could do comes after the first semicolon, and is not yet due.
        let text = error.to_string();
        events(&PullEvent::Retry { problem: text.split(';').next().unwrap_or(&text), wait: left });
        while !left.is_zero() {
            let slice = left.min(SLICE);
            self.transport.wait(slice);
            left -= slice;
            if !events(&PullEvent::Waiting) {
                return Err(StoreError::Interrupted);
            }
        }
        Ok(())
    }
}

fn refused(what: &str, from: &Url, to: &str, problem: &'static str) -> StoreError {
    let to = without_secrets(to).chars().take(200).flat_map(char::escape_debug).collect();
    StoreError::Redirect { what: what.to_owned(), host: from.origin.to_string(), to, problem }
}

fn is_page(response: &Response) -> bool {
    response.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}

fn names_page(what: &str) -> bool {
    let what = what.to_ascii_lowercase();
    what.ends_with(".html") || what.ends_with(".htm")
}
