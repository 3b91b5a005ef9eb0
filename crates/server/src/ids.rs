//! Ids that nobody can guess, and times.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns `prefix` and 32 random hexadecimal digits.
#[must_use]
pub fn new(prefix: &str) -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Without a source of randomness, ids are at least unique.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        bytes = since.as_nanos().to_le_bytes();
    }
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{digits}")
}

/// Returns a time in RFC 3339, in UTC.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = i128::try_from(since.as_nanos()).unwrap_or(0);
    jiff::Timestamp::from_nanosecond(nanoseconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_times_are_in_utc() {
        let (a, b) = (new("resp_"), new("resp_"));
        assert_ne!(a, b);
        assert!(a.len() == 37 && a[5..].bytes().all(|byte| byte.is_ascii_hexdigit()), "{a}");
        let time = UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_250);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.25Z");
    }
}
