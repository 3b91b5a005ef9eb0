//! HTTP addresses, read strictly: an address that two programs could read differently is refused.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Host;

/// The characters that [`escape`] replaces: all but the unreserved ones of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An absolute `http` or `https` address without user name and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url(url::Url);

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Url {
    /// Parses an absolute address.
    ///
    /// # Errors
    /// A clause that says what is wrong, such as "which is not an http or https address".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let is_http = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        // The URL standard drops further slashes; other parsers take an empty host.
        if !is_http || rest.starts_with('/') {
            return Err("which is not an http or https address");
        }
        check_characters(text)?;
        Self::checked(url::Url::parse(text))
    }

    /// Resolves `location`, as a redirect gives it, against this address.
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub fn join(&self, location: &str) -> Result<Self, &'static str> {
        check_characters(location)?;
        Self::checked(self.0.join(location))
    }

    fn checked(parsed: Result<url::Url, url::ParseError>) -> Result<Self, &'static str> {
        let mut url = parsed.map_err(|error| match error {
            url::ParseError::InvalidPort => "whose port is not a number",
            _ => "which cannot be parsed",
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("which is not an http or https address");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("which contains a user name");
        }
        if url.port() == Some(0) {
            return Err("whose port is 0");
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// Returns the address of `path`, which is percent-encoded and begins with `/`, below this one.
    #[must_use]
    pub fn below(&self, path: &str, query: Option<&str>) -> Self {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        url.set_query(query);
        Self(url)
    }

    /// Returns scheme, host and port, which decide who receives the token; the scheme's default port is left out.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// Returns the host's name or address, in lower case.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Returns the parts of the path between its slashes, percent-decoded.
    pub(crate) fn segments(&self) -> Vec<String> {
        let segments = self.0.path_segments().into_iter().flatten();
        segments.map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()).collect()
    }

    /// Returns `true` if the address has a query.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.0.query().is_some()
    }

    /// Returns `true` if the connection is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Returns `true` if the host is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
    }
}

/// Refuses characters that the URL standard drops or replaces silently.
fn check_characters(text: &str) -> Result<(), &'static str> {
    let is_plain = |b: u8| (0x21..0x7f).contains(&b) && !matches!(b, b'\\' | b'"' | b'<' | b'>');
    if text.bytes().all(is_plain) { Ok(()) } else { Err("which contains a character that addresses must not have") }
}

/// Percent-encodes `text` as one part of a path.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Percent-encodes the parts of a path and keeps the slashes between them.
#[must_use]
pub(crate) fn escape_path(path: &str) -> String {
    path.split('/').map(escape).collect::<Vec<_>>().join("/")
}

/// Prepares a text for a message that should be an address but may not be one: user name and password are removed, and
/// the query, which may hold a token.
pub(crate) fn without_secrets(text: &str) -> String {
    // A password may contain '@', so the last '@' ends it.
    let shown = match text.rfind('@') {
        None => text.to_owned(),
        Some(at) => {
            let (secret, rest) = text.split_at(at);
            let scheme = secret.find("//").map_or("", |end| &secret[..end + 2]);
            // An '@' behind a '?' may belong to the query.
            format!("{scheme}***{}", if secret.contains('?') { "" } else { rest })
        }
    };
    match shown.split_once('?') {
        Some((address, _)) => format!("{address}?***"),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        Url::parse(text).expect(text).to_string()
    }

    #[test]
    fn addresses_have_one_form() {
        assert_eq!(parse("https://Huggingface.co"), "https://huggingface.co/");
        assert_eq!(parse("HTTP://127.0.0.1:8080/a?b=c#d"), "http://127.0.0.1:8080/a?b=c");
        assert_eq!(parse("https://host:443/x"), "https://host/x");
        assert_eq!(parse("https://[::1]:9/x"), "https://[::1]:9/x");
        assert_eq!(parse("https://host?x=1"), "https://host/?x=1");
        assert_eq!(parse("https://host/a?b=%2F&c=d+e"), "https://host/a?b=%2F&c=d+e");
    }

    #[test]
    fn ambiguous_addresses_are_refused() {
        for text in [
            "",
            "host/x",
            "ftp://host/",
            "file:///etc/passwd",
            "https://",
            "https:///host",
            "https://a@b/",
            "https://a:b@c/",
            "https://host:0/",
            "https://host:99999/",
            "https://host:x/",
            "https://ho st/",
            "https://host\\evil/",
            "https://host/\r\nX: y",
            "https://host/a b",
            "https://[evil]/",
            "https://hôst/",
            "javascript:alert(1)",
        ] {
            Url::parse(text).expect_err(text);
        }
    }

    #[test]
    fn redirects_are_resolved_as_browsers_do() {
        let from = Url::parse("https://hub.co/org/repo/resolve/main/a.json?x").expect("valid");
        let to = |location: &str| from.join(location).expect(location).to_string();
        assert_eq!(to("/api/x?y=1"), "https://hub.co/api/x?y=1");
        assert_eq!(to("b.json"), "https://hub.co/org/repo/resolve/main/b.json");
        assert_eq!(to("../b.json"), "https://hub.co/org/repo/resolve/b.json");
        assert_eq!(to("//cdn.co/x"), "https://cdn.co/x");
        assert_eq!(to("http://cdn.co/x"), "http://cdn.co/x");
        from.join("file:///etc/passwd").expect_err("a file");
        from.join("/a\nb").expect_err("a line break");
        from.join("//user@cdn.co/").expect_err("a user name");
    }

    #[test]
    fn loopback_addresses_are_recognised() {
        for (text, own) in [("http://localhost/", true), ("http://127.0.0.1:80/", true), ("http://[::1]/", true)]
            .into_iter()
            .chain([("http://10.0.0.1/", false), ("https://localhost.evil.co/", false)])
        {
            assert_eq!(Url::parse(text).expect(text).is_loopback(), own, "{text}");
        }
    }

    #[test]
    fn messages_show_no_secret_of_an_address() {
        for (text, shown) in [
            ("https://hub.co/x", "https://hub.co/x"),
            ("https://user:secret@hub.co/x", "https://***@hub.co/x"),
            ("https://user:se/cr@et@hub.co", "https://***@hub.co"),
            ("user:secret@hub.co", "***@hub.co"),
            ("https:/user:secret@hub.co", "***@hub.co"),
            ("https://hub.co/x?token=secret", "https://hub.co/x?***"),
            ("https://user:sec?ret@hub.co/", "https://***"),
            ("https://hub.co/?token=a@secret", "https://***"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn parts_are_escaped() {
        assert_eq!(escape("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(escape_path("a b/c?d#é.json"), "a%20b/c%3Fd%23%C3%A9.json");
        let base = Url::parse("http://127.0.0.1:9/hub/").expect("valid");
        let file = base.below(&format!("/org/{}", escape_path("a b+c.json")), Some("x=1"));
        assert_eq!(file.to_string(), "http://127.0.0.1:9/hub/org/a%20b%2Bc.json?x=1");
    }
}
