//! The checks of a request before its body is read: the host that it addresses, the page that it comes from, its key, and
//! its encoding.
//!
//! A page of another site could reach a server on this machine through a name that resolves to it (DNS rebinding), or
//! simply send requests to it. The first has a foreign `Host`, the second a foreign `Origin`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, AUTHORIZATION, CONTENT_ENCODING, HOST, ORIGIN, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::ApiError;
use crate::config::Config;

/// Paths that need no key: they tell nothing about models or requests.
const PUBLIC: [&str; 5] = ["/", "/gateway", "/health", "/index.html", "/status"];

/// A name or an address of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

/// The rules.
#[derive(Debug, Clone)]
pub struct Security {
    key: Option<String>,
    /// The keys of a gateway's clients.
    clients: Vec<Zeroizing<String>>,
    hosts: Vec<Host>,
    origins: Vec<String>,
    any_origin: bool,
    /// `true` if the server listens beyond this machine.
    is_public: bool,
    /// `true` on a Unix socket, which no browser reaches.
    is_socket: bool,
}

/// The headers that let a page of an allowed origin read a response.
pub type Cors = Option<HeaderValue>;

impl Security {
    /// Creates the rules of a configuration that was checked.
    #[must_use]
    pub fn new(config: &Config, key: Option<String>) -> Self {
        let address = config.host.parse::<IpAddr>();
        let is_loopback = config.host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        Self {
            key,
            clients: Vec::new(),
            hosts: config.allow_hosts.iter().filter_map(|host| host_name(host)).collect(),
            origins: config.allow_origins.iter().filter_map(|origin| origin_of(origin)).collect(),
            any_origin: config.allow_origins.iter().any(|origin| origin == "*"),
            is_public: !is_loopback && config.bind.is_none(),
            is_socket: config.bind.is_some(),
        }
    }

    /// Adds the keys of a gateway's clients. They open the protocols alone, not what tells about all clients.
    pub(crate) fn add_clients(&mut self, keys: &[Zeroizing<String>]) {
        self.clients = keys.to_vec();
    }

    /// Returns `true` if clients must send a key.
    pub(crate) fn asks_for_key(&self) -> bool {
        self.key.is_some()
    }

    /// Checks a request. Returns the headers for its response. The files of the page need no key: `is_page` says that the
    /// request can reach nothing else.
    ///
    /// # Errors
    /// 403 for a foreign host or origin, 401 for a missing or wrong key, 415 for a compressed body.
    pub fn check(&self, request: &Parts, is_page: bool) -> Result<Cors, ApiError> {
        let headers = &request.headers;
        let host = self.check_host(request)?;
        let cors = self.check_origin(headers, host.as_deref())?;
        self.check_site(request, cors.is_some())?;
        check_encoding(headers)?;
        if request.method != Method::OPTIONS && !is_page && !PUBLIC.contains(&request.uri.path()) {
            self.check_key(headers, request.uri.path())?;
        }
        Ok(cors)
    }

    /// Checks the host that a request addresses, and returns it with its port in normal form.
    fn check_host(&self, request: &Parts) -> Result<Option<String>, ApiError> {
        let mut named = request.headers.get_all(HOST).iter();
        let (first, second) = (named.next(), named.next());
        let header = match (first, second) {
            (_, Some(_)) => return Err(forbidden("host", "found more than one Host header")),
            (Some(value), None) => value.to_str().ok(),
            (None, None) => None,
        };
        // A request for an absolute URL addresses that host.
        let target = request.uri.authority().map(|authority| authority.as_str());
        if self.is_socket {
            return Ok(header.or(target).and_then(authority).map(|(host, port)| shown(&host, port)));
        }
        let mut found = None;
        for text in header.into_iter().chain(target) {
            let Some((host, port)) = authority(text) else {
                return Err(forbidden("host", "the Host header is not a host with a port"));
            };
            if !self.allows(&host) {
                let hint = "this server answers only to names of this machine; --allow-host adds one";
                return Err(forbidden("host", hint));
            }
            found = Some(shown(&host, port));
        }
        if found.is_none() {
            return Err(forbidden("host", "found no Host header"));
        }
        Ok(found)
    }

    fn allows(&self, host: &Host) -> bool {
        let is_local = match host {
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            // Rebinding needs a name: the address of a public server is its own.
            Host::Address(address) => address.is_loopback() || self.is_public,
        };
        is_local || self.hosts.contains(host)
    }

    /// Checks the page that sent a request, if a page did.
    fn check_origin(&self, headers: &HeaderMap, host: Option<&str>) -> Result<Cors, ApiError> {
        let mut given = headers.get_all(ORIGIN).iter();
        let Some(value) = given.next() else { return Ok(None) };
        if given.next().is_some() {
            return Err(forbidden("origin", "found more than one Origin header"));
        }
        let origin = value.to_str().ok().and_then(origin_of);
        // Behind a proxy with TLS, the origin has another port than the host, which names none.
        let own = |origin: &str| match (origin.split_once("://"), host) {
            (Some((_, of)), Some(host)) => {
                of == host || of.strip_suffix(":443").is_some_and(|of| Some(of) == host.strip_suffix(":80"))
            }
            _ => false,
        };
        let is_allowed =
            self.any_origin || origin.as_ref().is_some_and(|origin| self.origins.contains(origin) || own(origin));
        if is_allowed {
            Ok(Some(value.clone()))
        } else {
            Err(forbidden("origin", "requests of this page are not allowed; --allow-origin adds an origin"))
        }
    }

    /// Refuses what browsers mark as loaded by a page of another site without an `Origin`, such as an image. Links to
    /// pages are allowed.
    fn check_site(&self, request: &Parts, has_origin: bool) -> Result<(), ApiError> {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let foreign = matches!(header("sec-fetch-site"), Some("cross-site" | "same-site"));
        let is_link = header("sec-fetch-mode") == Some("navigate") && PUBLIC.contains(&request.uri.path());
        if foreign && !has_origin && !is_link {
            return Err(forbidden("origin", "pages of other sites may not load this"));
        }
        Ok(())
    }

    /// Checks the key. Without one of its own, a server refuses only keys that no client has.
    fn check_key(&self, headers: &HeaderMap, path: &str) -> Result<(), ApiError> {
        if self.key.is_none() && self.clients.is_empty() {
            return Ok(());
        }
        let Some(given) = given_key(headers) else {
            return match &self.key {
                None => Ok(()),
                Some(_) => {
                    Err(unauthorized("this server needs an API key: Authorization: Bearer KEY, or x-api-key: KEY"))
                }
            };
        };
        let is = |key: &str| bool::from(given.ct_eq(key.as_bytes()));
        let is_protocol = path.starts_with("/v1/") || path.starts_with("/api/") && path != "/api/pull";
        // All keys are compared, so that the time does not tell which one is right.
        let is_client = self.clients.iter().fold(false, |found, key| found | is(key));
        match self.key.as_deref().is_some_and(is) || is_client && (is_protocol || self.key.is_none()) {
            true => Ok(()),
            false => Err(unauthorized("the API key is wrong")),
        }
    }
}

/// Returns the key of a request.
pub(crate) fn given_key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, token) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes))
}

fn forbidden(what: &str, message: &str) -> ApiError {
    let code = if what == "host" { "host_not_allowed" } else { "origin_not_allowed" };
    ApiError::new(StatusCode::FORBIDDEN, code, message)
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
}

fn check_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let is_plain = |value: &HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Ok(());
    }
    let message = "found a compressed body, expected one without Content-Encoding";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "compressed_body", message))
}

/// Adds the headers that let the page of an allowed origin read a response.
pub fn add_cors(headers: &mut HeaderMap, cors: &HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, cors.clone());
    headers.append(VARY, HeaderValue::from_static("origin"));
}

/// Adds the headers that answer the question of a browser whether a page may send a request.
pub fn add_preflight(headers: &mut HeaderMap, asked: &HeaderMap) {
    let any = HeaderValue::from_static("authorization, content-type, x-api-key");
    let wanted = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned().unwrap_or(any);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    // Chromium asks before a page of the internet reaches this machine.
    if asked.contains_key("access-control-request-private-network") {
        let name = HeaderName::from_static("access-control-allow-private-network");
        headers.insert(name, HeaderValue::from_static("true"));
    }
}

/// Parses a host without a port.
pub(crate) fn host_name(text: &str) -> Option<Host> {
    authority(text).filter(|(_, port)| port.is_none()).map(|(host, _)| host)
}

/// Parses `host` or `host:port`. Names are in lower case and without the dot of the root.
fn authority(text: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let address = address.parse::<Ipv6Addr>().ok()?;
            (Host::Address(unmapped(address)), rest)
        }
        None => {
            let (name, rest) = text.find(':').map_or((text, ""), |at| text.split_at(at));
            (named(name)?, rest)
        }
    };
    let port = match port {
        "" => None,
        port => {
            let digits = port.strip_prefix(':')?;
            let is_plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            Some(digits.parse().ok().filter(|_| is_plain)?)
        }
    };
    Some((host, port))
}

/// Returns an IPv4 address that an IPv6 address stands for.
fn unmapped(address: Ipv6Addr) -> IpAddr {
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

fn named(name: &str) -> Option<Host> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return None;
    }
    match name.parse::<Ipv4Addr>() {
        Ok(address) => Some(Host::Address(address.into())),
        // `127.1` and `0x7f.1` are addresses to a resolver; no name ends in a number.
        Err(_)
            if name.rsplit('.').next().is_some_and(|last| last.bytes().next().is_some_and(|b| b.is_ascii_digit())) =>
        {
            None
        }
        Err(_) => Some(Host::Name(name)),
    }
}

fn shown(host: &Host, port: Option<u16>) -> String {
    let host = match host {
        Host::Name(name) => name.clone(),
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        Host::Address(address) => address.to_string(),
    };
    format!("{host}:{}", port.unwrap_or(80))
}

/// Parses an origin into its normal form, `scheme://host:port`.
pub(crate) fn origin_of(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        // Extensions of browsers and editors, whose host is their id.
        _ if scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !scheme.is_empty() => 0,
        _ => return None,
    };
    let (host, port) = authority(rest)?;
    let host = shown(&host, Some(port.unwrap_or(usual)));
    Some(format!("{scheme}://{host}"))
}
