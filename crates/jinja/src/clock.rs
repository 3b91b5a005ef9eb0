//! The time that `strftime_now` shows.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::Offset;

/// The largest ratio between the lengths of a formatted time and of its format, in bytes.
pub(crate) const MAX_GROWTH: usize = 64;

/// A local date and time, given by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock(DateTime);

impl Clock {
    /// Makes a clock from Unix time and the local time's offset from UTC, both in seconds.
    ///
    /// Times outside of the years -9999 to 9999 become the first or last one that can be represented. Offsets of more
    /// than a day count as UTC.
    #[must_use]
    pub fn new(unix_seconds: i64, utc_offset_seconds: i32) -> Self {
        let last = if unix_seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let time = Timestamp::from_second(unix_seconds).unwrap_or(last);
        Self(Offset::from_seconds(utc_offset_seconds).unwrap_or(Offset::UTC).to_datetime(time))
    }

    /// Parses a date, `2024-02-29`, or a date and time, `2024-02-29 12:34` or `2024-02-29T12:34:56`. Returns `None` for
    /// anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The parser would pass over time zones.
        let text = text.strip_suffix('Z').filter(|text| text.contains(':')).unwrap_or(text);
        let local = text.bytes().all(|byte| byte.is_ascii_digit() || b"-: T".contains(&byte));
        text.parse().ok().filter(|_| local).map(Self)
    }

    /// Formats the time as C's `strftime` does in the C locale. Unknown directives are copied. The time has no zone, so
    /// that `%Z` and `%z` are empty, as for Python's `datetime.now()`.
    #[must_use]
    pub fn strftime(self, format: &str) -> String {
        let config = Config::new().custom(PosixCustom::new()).lenient(true);
        let time = BrokenDownTime::from(self.0);
        let formatted = format.split("%%").map(|part| {
            let part = part.replace("%Z", "").replace("%z", "");
            time.to_string_with_config(&config, &part).unwrap_or(part)
        });
        formatted.collect::<Vec<_>>().join("%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_as_python_does() {
        // python3: datetime.fromtimestamp(1709210096, timezone.utc).strftime(...)
        let clock = Clock::new(1_709_210_096, 0);
        assert_eq!(clock.strftime("%d %b %Y"), "29 Feb 2024");
        assert_eq!(clock.strftime("%A %B %-d, %H:%M:%S %j %p %I %y"), "Thursday February 29, 12:34:56 060 PM 12 24");
        assert_eq!(
            clock.strftime("%e|%h|%a|%w|%u|%D|%T|%R|%n|%t|%%"),
            "29|Feb|Thu|4|4|02/29/24|12:34:56|12:34|\n|\t|%"
        );
        assert_eq!(clock.strftime("%c|%x|%X|%G-W%V"), "Thu Feb 29 12:34:56 2024|02/29/24|12:34:56|2024-W09");
        assert_eq!(Clock::new(1_709_210_096, 43_200).strftime("%F %R"), "2024-03-01 00:34");
        assert_eq!(Clock::new(-1, 0).strftime("%F %T %a"), "1969-12-31 23:59:59 Wed");
        assert_eq!(Clock::new(1_704_067_200, 0).strftime("%j %-H"), "001 0");
        // A time without a zone has no name and no offset.
        assert_eq!(clock.strftime("%H:%M %Z%z."), "12:34 .");
        assert_eq!(clock.strftime("%%Z %%%H%%"), "%Z %12%");
        assert_eq!(clock.strftime("100% %! %"), "100% %! %");
    }

    #[test]
    fn the_output_is_bounded_by_the_format() {
        let clock = Clock::new(0, 0);
        for format in ["%A", "%c", "%255d", "%255A", "%9999d", "%255c", "%255Z", "%9f", "%0255Y"] {
            assert!(clock.strftime(format).len() <= MAX_GROWTH * format.len(), "{format}");
        }
    }

    #[test]
    fn dates_are_read_back() {
        assert_eq!(Clock::parse("2024-02-29 12:34:56"), Some(Clock::new(1_709_210_096, 0)));
        assert_eq!(Clock::parse("2024-02-29T12:34:56Z"), Some(Clock::new(1_709_210_096, 0)));
        assert_eq!(Clock::parse("2024-02-29 12:34"), Clock::parse("2024-02-29 12:34:00"));
        assert_eq!(Clock::parse("1970-01-01"), Some(Clock::new(0, 0)));
        for text in ["1600-02-29T23:59:59", "1999-12-31T00:00:00", "2100-02-28T12:00:00", "0001-01-01T00:00:00"] {
            let clock = Clock::parse(text).expect("a date");
            assert_eq!(clock.strftime("%Y-%m-%dT%H:%M:%S").trim_start_matches('0'), text.trim_start_matches('0'));
        }
        for text in [
            "",
            "2023-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "24:00",
            "2024-01-01 24:00",
            "2024-1",
            "2024-01-01T",
            "2024-01-01Z",
            "2024-01-01 12:00+05:00",
            "2024-01-01 12:00[Europe/Berlin]",
            "99999999999999999999-01-01",
            "-1-01-01",
            "2024-01-99999999999999",
            "٢٠٢٤-01-01",
        ] {
            assert_eq!(Clock::parse(text), None, "{text}");
        }
    }

    #[test]
    fn absurd_times_do_not_panic() {
        for (seconds, offset) in
            [(i64::MIN, -1), (i64::MAX, -1), (i64::MIN, i32::MIN), (i64::MAX, i32::MAX), (i64::MAX, 90_000)]
        {
            assert!(!Clock::new(seconds, offset).strftime("%F").is_empty());
        }
    }
}
