//! Addresses: no more of them than HTTP needs, and strictly, so that nobody reads another host in one than we do.

use std::fmt;

/// Scheme, host and port: what a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Whether the connection is encrypted.
    pub https: bool,
    /// Lower case; an IPv6 address in brackets.
    pub host: String,
    /// Also where it is the scheme's own.
    pub port: u16,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, own) = if self.https { ("https", 443) } else { ("http", 80) };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port == own { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Origin {
    /// Whether it is this very machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let address = self.host.trim_start_matches('[').trim_end_matches(']');
        self.host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// An `http` or `https` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whom it asks.
    pub origin: Origin,
    /// Path and query, from `/` on.
    pub target: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.target)
    }
}

impl Url {
    /// Parses an absolute address.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err("which is no http or https address"),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (host, port) = split_port(authority)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let valid = match address {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(plain),
        };
        if !valid {
            return Err("whose host is no plain name");
        }
        let port = port.unwrap_or(if https { 443 } else { 80 });
        let origin = Origin { https, host: host.to_ascii_lowercase(), port };
        Ok(Self { origin, target: checked_target(target)? })
    }

    /// Where `location`, as a redirect gives it, leads from here.
    pub fn join(&self, location: &str) -> Result<Self, &'static str> {
        if location.split(['/', '?', '#']).next().is_some_and(|start| start.contains(':')) {
            return Self::parse(location);
        }
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", if self.origin.https { "https" } else { "http" }));
        }
        let target = if location.starts_with('/') {
            location.to_owned()
        } else {
            let path = self.target.split(['?', '#']).next().unwrap_or("/");
            format!("{}/{location}", path.rsplit_once('/').map_or("", |(folder, _)| folder))
        };
        Ok(Self { origin: self.origin.clone(), target: checked_target(&target)? })
    }

    /// The address of `path` below this one.
    #[must_use]
    pub fn at(&self, path: &str) -> Self {
        Self { origin: self.origin.clone(), target: format!("{}{path}", self.target.trim_end_matches('/')) }
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    // What stands before an '@' reads like a host and is none.
    if authority.contains('@') {
        return Err("which has a user name in it");
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let port = port.parse().ok().filter(|&p| digits && p > 0).ok_or("whose port is no number")?;
            Ok((host, Some(port)))
        }
        _ => Ok((authority, None)),
    }
}

fn checked_target(target: &str) -> Result<String, &'static str> {
    let target = target.split('#').next().unwrap_or_default();
    if !target.bytes().all(|b| (0x21..0x7f).contains(&b) && !matches!(b, b'\\' | b'"' | b'<' | b'>')) {
        return Err("which has a character that no address should have");
    }
    Ok(if target.starts_with('/') { target.to_owned() } else { format!("/{target}") })
}

/// `text` as a part of an address; with `path`, its slashes stay.
#[must_use]
pub fn escape(text: &str, path: bool) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') || (path && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// An address for a message, whether or not it is one: without a user's name and password, and without a query, which
/// may hold a token.
pub(crate) fn without_secrets(text: &str) -> String {
    // A password may hold any character, so it is the last '@' that ends it.
    let shown = match text.rfind('@') {
        None => text.to_owned(),
        Some(at) => {
            let (secret, rest) = text.split_at(at);
            let scheme = secret.find("//").map_or("", |end| &secret[..end + 2]);
            // After a '?' it may as well be a part of a query.
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
    }

    #[test]
    fn refuses_what_may_be_read_in_two_ways() {
        for text in [
            "",
            "host/x",
            "ftp://host/",
            "file:///etc/passwd",
            "https://",
            "https://a@b/",
            "https://a:b@c/",
            "https://host:0/",
            "https://host:/",
            "https://host:99999/",
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
    fn redirects_lead_where_browsers_go() {
        let from = Url::parse("https://hub.co/org/repo/resolve/main/a.json?x").expect("valid");
        let to = |location: &str| from.join(location).expect(location).to_string();
        assert_eq!(to("/api/x?y=1"), "https://hub.co/api/x?y=1");
        assert_eq!(to("b.json"), "https://hub.co/org/repo/resolve/main/b.json");
        assert_eq!(to("//cdn.co/x"), "https://cdn.co/x");
        assert_eq!(to("http://cdn.co/x"), "http://cdn.co/x");
        from.join("file:///etc/passwd").expect_err("a file");
        from.join("/a\nb").expect_err("a line break");
    }

    #[test]
    fn knows_this_machine() {
        for (text, own) in [("http://localhost/", true), ("http://127.0.0.1:80/", true), ("http://[::1]/", true)]
            .into_iter()
            .chain([("http://10.0.0.1/", false), ("https://localhost.evil.co/", false)])
        {
            assert_eq!(Url::parse(text).expect(text).origin.is_loopback(), own, "{text}");
        }
    }

    #[test]
    fn no_secret_of_an_address_is_shown() {
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
        assert_eq!(escape("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(escape("a b/c?d#é.json", true), "a%20b/c%3Fd%23%C3%A9.json");
    }
}
