//! Requests to the Hub: redirects, which never receive the token, retries, and the errors that statuses mean.

use std::io::Read;
use std::time::Duration;

use super::pace::Paced;
use super::transport::{Header, Method, Response, Transport};
use super::url::{Url, without_secrets};
use super::{HubSettings, ModelSpec, PullEvent, PullEvents, Token};
use crate::StoreError;

/// The policy for retries and slow connections.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The number of failures in a row, without progress in between, after which a pull gives up.
    pub failures: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_wait: Duration,
    /// The longest wait, including waits that the server asks for.
    pub longest_wait: Duration,
    /// The lowest rate of a connection in bytes per second; 0 allows any rate.
    pub slowest: u64,
    /// The time over which the rate is measured.
    pub window: Duration,
}

impl Patience {
    /// Returns the number of bytes that the slowest allowed connection brings in a window. Fewer do not count as
    /// progress.
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

/// The time between two calls that may stop a wait.
const SLICE: Duration = Duration::from_millis(100);
const MOST_REDIRECTS: usize = 8;

/// A client of the Hub for one repository.
pub(crate) struct Client<'a> {
    transport: &'a dyn Transport,
    settings: &'a HubSettings,
    patience: Patience,
    /// The repository's page, on which users ask for access.
    page: String,
}

/// An answer with status 200 or 206.
pub(crate) struct Answer {
    pub response: Response,
    /// The origin of the last server, after all redirects.
    pub host: String,
    /// The id of the file that the Hub redirected to.
    pub linked_etag: Option<String>,
    /// The length of that file in bytes.
    pub linked_size: Option<u64>,
}

impl<'a> Client<'a> {
    pub fn new(transport: &'a dyn Transport, settings: &'a HubSettings, spec: &ModelSpec, patience: Patience) -> Self {
        let page = settings.endpoint.below(&format!("/{}", spec.id()), None).to_string();
        Self { transport, settings, patience, page }
    }

    pub fn endpoint(&self) -> &Url {
        &self.settings.endpoint
    }

    fn token(&self) -> Option<&Token> {
        self.settings.token.as_ref()
    }

    /// Returns the address of a file at a commit.
    pub fn file_url(&self, spec: &ModelSpec, commit: &str, path: &str) -> Url {
        let path = super::url::escape_path(path);
        self.endpoint().below(&format!("/{}/resolve/{commit}/{path}", spec.id()), None)
    }

    pub fn invalid(&self, what: &str, url: &Url, problem: String) -> StoreError {
        StoreError::InvalidAnswer { what: what.to_owned(), host: url.origin(), problem }
    }

    /// Sends a request for `what`, which errors name, and follows redirects. Only the endpoint receives the token.
    pub fn send(&self, what: &str, method: Method, url: &Url, extra: &[Header]) -> Result<Answer, StoreError> {
        let mut url = url.clone();
        let (mut linked_etag, mut linked_size) = (None, None);
        for _ in 0..MOST_REDIRECTS {
            let own = url.origin() == self.endpoint().origin();
            let mut headers = extra.to_vec();
            headers.extend(self.token().filter(|_| own).map(|token| ("Authorization", token.bearer())));
            let mut response = self.transport.send(method, &url, &headers).map_err(|e| StoreError::Connection {
                host: url.origin(),
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
                    return Ok(Answer { response, host: url.origin(), linked_etag, linked_size });
                }
            };
            url = self.redirected(what, &url, location.unwrap_or_default())?;
        }
        Err(refused(what, &url, "…", "which is one redirect too many"))
    }

    fn redirected(&self, what: &str, from: &Url, location: &str) -> Result<Url, StoreError> {
        let to = from.join(location).map_err(|problem| refused(what, from, location, problem))?;
        if from.is_https() && !to.is_https() {
            return Err(refused(what, from, &to.origin(), "which is not encrypted although this connection is"));
        }
        Ok(to)
    }

    /// Checks the status and the type of an answer.
    fn check(&self, what: &str, url: &Url, response: &Response) -> Result<(), StoreError> {
        let (what_, host) = (what.to_owned(), url.origin());
        let code = response.header("x-error-code").unwrap_or_default();
        let status = response.status;
        Err(match status {
            200 | 206 if is_page(response) && !names_page(what) => StoreError::WebPage { what: what_, host },
            200 | 206 => {
                let encoding = response.header("content-encoding").unwrap_or("identity");
                if encoding.eq_ignore_ascii_case("identity") {
                    return Ok(());
                }
                self.invalid(what, url, format!("found the content encoding '{encoding}', expected none"))
            }
            401 => self.unauthorized(what_, host, code),
            403 if code == "GatedRepo" => StoreError::Gated { what: what_, host, page: self.page.clone() },
            403 => StoreError::Forbidden { what: what_, host, page: self.page.clone() },
            404 if code == "RepoNotFound" => StoreError::NoRepository { what: what_, host, status },
            404 => StoreError::NotFound { what: what_, host },
            429 => {
                let after = response.header("retry-after").and_then(|v| v.parse().ok()).map(Duration::from_secs);
                StoreError::TooManyRequests { what: what_, host, after }
            }
            408 | 500..600 => StoreError::Server { what: what_, host, status },
            _ => StoreError::Status { what: what_, host, status },
        })
    }

    /// Returns the meaning of a 401. Without a token, the Hub gives the same answer for private repositories and for
    /// those that do not exist.
    fn unauthorized(&self, what: String, host: String, code: &str) -> StoreError {
        let token_file = self.settings.token_file.clone();
        match self.token() {
            None if code == "GatedRepo" => StoreError::GatedLogin { what, host, page: self.page.clone(), token_file },
            None => StoreError::Login { what, host, token_file },
            Some(_) if code == "RepoNotFound" => StoreError::NoRepository { what, host, status: 401 },
            Some(token) => StoreError::TokenRefused { what, host, token: token.source().to_owned() },
        }
    }

    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Reads a document of at most `limit` bytes.
    pub fn read(&self, what: &str, url: &Url, limit: u64, events: PullEvents<'_>) -> Result<Vec<u8>, StoreError> {
        self.retrying(events, &mut || {
            let answer = self.send(what, Method::Get, url, &[])?;
            let mut bytes = Vec::new();
            let end = answer.response.body.take(limit + 1).read_to_end(&mut bytes);
            end.map_err(|e| StoreError::Connection { host: answer.host, problem: e.to_string(), passing: true })?;
            if bytes.len() as u64 > limit {
                return Err(self.invalid(what, url, format!("longer than {limit} bytes")));
            }
            Ok(bytes)
        })
    }

    /// Calls `call` until it succeeds, fails permanently, or the policy gives up.
    pub fn retrying<T>(
        &self,
        events: PullEvents<'_>,
        call: &mut dyn FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut failures = 0;
        loop {
            match call() {
                // An unreachable host usually means a wrong name or no network, so one retry is enough.
                Err(error @ StoreError::Connection { .. }) if failures > 0 => return Err(error),
                Err(error) => self.wait_after(error, &mut failures, events)?,
                done => return done,
            }
        }
    }

    /// Waits for another attempt after `error`, or returns `error` if there is to be none.
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
        // The advice after the first semicolon applies only once the pull has given up.
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
    StoreError::Redirect { what: what.to_owned(), host: from.origin(), to, problem }
}

fn is_page(response: &Response) -> bool {
    response.header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}

fn names_page(what: &str) -> bool {
    let what = what.to_ascii_lowercase();
    what.ends_with(".html") || what.ends_with(".htm")
}
