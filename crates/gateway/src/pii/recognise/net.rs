//! Addresses of networks: e-mail, web, IP and hardware addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Found, Kind, Scan};

/// The longest local part of an e-mail address (RFC 5321).
const LOCAL: usize = 64;
/// The longest domain name (RFC 1035), and the most bytes of a path that are looked at.
const DOMAIN: usize = 253;
const PATH: usize = 2048;
/// Top-level domains that make a name with full stops a domain name even without `https://`.
const DOMAINS: &[&str] = &[
    "com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "io", "dev", "app", "xyz", "online", "site",
    "shop", "tech", "cloud", "store", "blog", "eu", "uk", "de", "fr", "nl", "ch", "es", "ca", "au", "ru", "jp", "cn",
    "br", "il", "kr", "tv", "me",
];

/// Finds the e-mail address around the `@` at `at`, and returns its end.
pub(super) fn email(scan: &mut Scan<'_>, at: usize) -> usize {
    let local = |c: &char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(*c);
    let length: usize = scan.text[..at].chars().rev().take(LOCAL).take_while(local).map(char::len_utf8).sum();
    let part = &scan.text[at - length..at];
    // Marks in front belong to the text around: quotes, list marks, cells of tables, slashes of paths.
    let outer = part.rfind(|c| "|/`'{}=?&*".contains(c)).map_or(0, |n| n + 1);
    let inner = part[outer..].find(char::is_alphanumeric).map_or(length, |n| outer + n);
    let start = at - length + inner;
    let Some(end) = domain(scan, at + 1).filter(|_| start < at && scan.bytes[at - 1] != b'.') else { return at };
    scan.add(Found { start, end, kind: Kind::Email, score: 1.0 });
    end
}

/// Returns the end of the domain name at `at`, which has at least two labels and ends with letters.
fn domain(scan: &Scan<'_>, at: usize) -> Option<usize> {
    let mut end = None;
    let mut label = at;
    loop {
        let part = |c: &char| c.is_alphanumeric() || *c == '-';
        let length: usize = scan.text[label..].chars().take(63).take_while(part).map(char::len_utf8).sum();
        let next = label + length;
        let text = scan.text[label..next].trim_end_matches('-');
        let stop = label + text.len();
        if text.is_empty() {
            return end;
        }
        let letters = text.chars().filter(|c| c.is_alphabetic()).count();
        let top = letters == text.chars().count() && letters >= 2 || text.starts_with("xn--");
        if label > at && top {
            end = Some(stop);
        }
        if scan.byte(next) != b'.' || stop < next || next - at > DOMAIN {
            return end;
        }
        label = next + 1;
    }
}

/// Looks at a colon: a web address, an IPv6 address or a hardware address. Returns the end of what was found.
pub(super) fn colon(scan: &mut Scan<'_>, at: usize) -> usize {
    if scan.bytes[at..].starts_with(b"://") {
        return url(scan, at);
    }
    let hex = |b: u8| b.is_ascii_hexdigit() || b == b':';
    if !(at == 0 || hex(scan.bytes[at - 1]) || !scan.is_word(at - 1)) || !hex(scan.byte(at + 1)) {
        return at;
    }
    let mut start = at;
    while start > 0 && hex(scan.bytes[start - 1]) && at - start < 40 {
        start -= 1;
    }
    // A label may stand in front: `server:fe80::1`.
    if scan.byte(start) == b':' && scan.byte(start + 1) != b':' {
        start += 1;
    }
    let mut end = at.max(start);
    while (hex(scan.byte(end)) || scan.byte(end) == b'.') && end - at < 64 {
        end += 1;
    }
    while end > start && matches!(scan.bytes[end - 1], b'.') {
        end -= 1;
    }
    if !scan.begins(start) || scan.bytes[start..end].iter().filter(|b| **b == b':').count() < 2 {
        return at;
    }
    if hardware(scan, start, end, b':') {
        return end;
    }
    // A colon at the end may belong to the sentence.
    let stops = [end, end.saturating_sub(1)];
    let Some(stop) =
        stops.into_iter().find(|&e| scan.text.get(start..e).is_some_and(|t| t.parse::<Ipv6Addr>().is_ok()))
    else {
        return at;
    };
    if scan.is_word(stop) && scan.byte(stop) != b'%' {
        return at;
    }
    // `std::vec` and `a::b` are names in programs.
    if scan.bytes[start..stop].len() > 2 && !scan.bytes[start..stop].iter().any(u8::is_ascii_digit) {
        return at;
    }
    let mut end = stop;
    if scan.byte(end) == b'%' {
        end += 1;
        while scan.is_word(end) {
            end += 1;
        }
    }
    end = length(scan, end, 128);
    let score = if &scan.bytes[start..stop] == b"::" { 0.1 } else { 0.9 };
    scan.add(Found { start, end, kind: Kind::Ip, score });
    end
}

/// Returns the end of the length of a network, `/24`, at `at`.
fn length(scan: &Scan<'_>, at: usize, most: u32) -> usize {
    let digits = scan.bytes[at..].iter().skip(1).take(3).take_while(|b| b.is_ascii_digit()).count();
    let within = scan.text.get(at + 1..at + 1 + digits).and_then(|n| n.parse().ok()).is_some_and(|n: u32| n <= most);
    if scan.byte(at) == b'/' && within && !scan.is_word(at + 1 + digits) { at + 1 + digits } else { at }
}

/// Finds an IPv4 address at `start`, and returns its end.
pub(super) fn ip4(scan: &mut Scan<'_>, start: usize) -> Option<usize> {
    let mut end = start;
    for part in 0..4 {
        let digits = scan.bytes[end..].iter().take(4).take_while(|b| b.is_ascii_digit()).count();
        end += digits;
        if !(1..=3).contains(&digits) || part < 3 && scan.byte(end) != b'.' {
            return None;
        }
        end += usize::from(part < 3);
    }
    let longer = scan.byte(end) == b'.' && scan.byte(end + 1).is_ascii_digit() || scan.is_word(end);
    let inside = start > 0
        && matches!(scan.bytes[start - 1], b'.' | b':')
        && start > 1
        && scan.bytes[start - 2].is_ascii_digit();
    let address: Ipv4Addr = scan.text[start..end].parse().ok().filter(|_| !longer && !inside)?;
    let end = length(scan, end, 32);
    let score = if address.is_unspecified() { 0.1 } else { 0.9 };
    scan.add(Found { start, end, kind: Kind::Ip, score });
    Some(end)
}

/// Looks at a hyphen for a hardware address such as `00-1A-2B-3C-4D-5E`, and returns its end.
pub(super) fn hyphen(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let shaped = at >= 2 && scan.byte(at + 3) == b'-' && scan.byte(at + 6) == b'-' && scan.begins(at - 2);
    (shaped && hardware(scan, at - 2, at + 15, b'-')).then_some(at + 15)
}

/// Adds the six pairs of hexadecimal digits `start..end` with this separator, but for the addresses of all and of none.
fn hardware(scan: &mut Scan<'_>, start: usize, end: usize, separator: u8) -> bool {
    let Some(bytes) = scan.bytes.get(start..end).filter(|b| b.len() == 17) else { return false };
    let shaped =
        bytes.iter().enumerate().all(|(i, b)| if i % 3 == 2 { *b == separator } else { b.is_ascii_hexdigit() });
    if !shaped || scan.is_word(end) || scan.byte(end) == separator {
        return false;
    }
    let plain = bytes.iter().filter(|b| **b != separator).all(|b| *b == b'0')
        || bytes.iter().filter(|b| **b != separator).all(|b| b.eq_ignore_ascii_case(&b'f'));
    if !plain {
        scan.add(Found { start, end, kind: Kind::Mac, score: 0.9 });
    }
    !plain
}

/// Finds a hardware address such as `0012.3456.789a` whose first full stop is at `at`, and returns its end.
pub(super) fn dotted(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let start = at.checked_sub(4).filter(|&start| scan.byte(at + 5) == b'.' && scan.begins(start))?;
    let bytes = scan.bytes.get(start..start + 14)?;
    let shaped = bytes.iter().enumerate().all(|(i, b)| if i % 5 == 4 { *b == b'.' } else { b.is_ascii_hexdigit() });
    (shaped && !scan.is_word(start + 14)).then(|| {
        scan.add(Found { start, end: start + 14, kind: Kind::Mac, score: 0.6 });
        start + 14
    })
}

/// Looks at a full stop for a domain name without `https://`.
pub(super) fn stop(scan: &mut Scan<'_>, at: usize) {
    if at == 0 || !scan.is_word(at - 1) || !scan.is_word(at + 1) || dotted(scan, at).is_some() {
        return;
    }
    let part = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let mut start = at;
    while start > 0 && part(scan.bytes[start - 1]) && at - start < 63 {
        start -= 1;
    }
    // Only the first full stop of a name leads to it.
    if start > 0
        && (matches!(scan.bytes[start - 1], b'.' | b'@' | b'/' | b'_' | b'\\' | b'=' | b'?' | b'&')
            || scan.bytes[start - 1] >= 0x80)
    {
        return;
    }
    let Some(end) = domain(scan, start).filter(|&end| !part(scan.byte(end)) && scan.byte(end) != b'@') else { return };
    let name = &scan.text[start..end];
    let top = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let web = name.len() > 4 && name.as_bytes()[..4].eq_ignore_ascii_case(b"www.");
    let labels = name.split('.').count();
    let known = DOMAINS.contains(&top.as_str());
    let letters = name.split('.').rev().nth(1).is_some_and(|label| label.bytes().any(|b| b.is_ascii_alphabetic()));
    if (web && labels > 2 || known) && letters && !(web && labels < 3) {
        let end = path(scan, end);
        let score = if web || end > start + name.len() { 0.8 } else { 0.6 };
        scan.add(Found { start, end, kind: Kind::Url, score });
    }
}

/// Finds the web address whose `://` is at `at`, and returns its end.
fn url(scan: &mut Scan<'_>, at: usize) -> usize {
    let mut start = at;
    while start > 0 && scan.bytes[start - 1].is_ascii_alphabetic() && at - start < 12 {
        start -= 1;
    }
    // A line break escaped in JSON may stand in front of the scheme.
    let schemes = ["https", "http", "ftps", "ftp", "sftp", "ws", "wss", "ssh"];
    let scheme = scan.text[start..at].to_ascii_lowercase();
    let Some(known) = schemes.iter().find(|s| scheme.ends_with(*s)) else { return at };
    start = at - known.len();
    let mut host = at + 3;
    // A name and a password before the host.
    let authority = scan.bytes[host..]
        .iter()
        .take(DOMAIN)
        .take_while(|b| b.is_ascii_graphic() && !b"/?#\"'<>`".contains(b))
        .count();
    if let Some(sign) = scan.bytes[host..host + authority].iter().rposition(|b| *b == b'@') {
        host += sign + 1;
    }
    let numeric = scan.bytes[host..].iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    let ip = scan.text.get(host..host + numeric).is_some_and(|t| t.parse::<Ipv4Addr>().is_ok());
    let end = if ip { Some(host + numeric) } else { domain(scan, host) };
    let Some(end) = end else { return at };
    let web = scan.bytes[host..end].get(..4).is_some_and(|b| b.eq_ignore_ascii_case(b"www."));
    if web && scan.text[host..end].split('.').count() < 3 {
        return at;
    }
    let end = path(scan, end);
    scan.add(Found { start, end, kind: Kind::Url, score: 0.9 });
    end
}

/// Returns the end of the port and path behind a host.
fn path(scan: &Scan<'_>, at: usize) -> usize {
    let mut end = at;
    if scan.byte(end) == b':' && scan.byte(end + 1).is_ascii_digit() {
        end += 1;
        while scan.byte(end).is_ascii_digit() {
            end += 1;
        }
    }
    if !matches!(scan.byte(end), b'/' | b'?' | b'#') {
        return end;
    }
    let rest = &scan.text[end..];
    let ends = |c: &char| c.is_whitespace() || c.is_control() || "\"'<>`|\\^{}".contains(*c);
    let stop = rest.chars().take(PATH).take_while(|c| !ends(c)).map(char::len_utf8).sum();
    let mut path = &rest[..stop];
    // A closing bracket belongs to the address if it has the opening one.
    loop {
        let trimmed = path.trim_end_matches(['.', ',', ';', ':', '!', '?', '*']);
        let open = trimmed.ends_with(')') && trimmed.matches('(').count() < trimmed.matches(')').count();
        let trimmed = if open || trimmed.ends_with(']') { &trimmed[..trimmed.len() - 1] } else { trimmed };
        if trimmed.len() == path.len() {
            return end + path.len();
        }
        path = trimmed;
    }
}
