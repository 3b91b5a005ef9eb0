//! `strftime_now`, with a time that the caller gives.

/// A moment, as the clock on the wall shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970-01-01 00:00:00, local time counted as if it were UTC.
    local_seconds: i64,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const DAY_SECONDS: i64 = 86_400;

/// A date's parts.
struct Parts {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
    /// From 1.
    day_of_year: i64,
    /// From 0 = Sunday.
    weekday: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Clock {
    /// A moment from Unix time and the local time's offset from UTC, both in seconds.
    #[must_use]
    pub fn new(unix_seconds: i64, utc_offset_seconds: i32) -> Self {
        Self { local_seconds: unix_seconds.saturating_add(utc_offset_seconds.into()) }
    }

    /// A moment from its date, `2024-02-29`, or with the time of day, `2024-02-29 12:34` or `2024-02-29T12:34:56`;
    /// nothing for what is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = match text.split_once(['T', ' ']) {
            Some((date, time)) => (date, time.trim_end_matches('Z')),
            None => (text, "00:00:00"),
        };
        let numbers = |text: &str, separator: char| -> Option<Vec<i64>> {
            let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten();
            text.split(separator).map(digits).collect()
        };
        let [year, month, day] = numbers(date, '-')?.try_into().ok()?;
        let (hour, minute, second) = match numbers(time, ':')?[..] {
            [hour, minute] => (hour, minute, 0),
            [hour, minute, second] => (hour, minute, second),
            _ => return None,
        };
        let is_date = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !is_date || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        // The inverse of `parts`; a day that its month lacks comes back as another one.
        let march_year = year - i64::from(month <= 2);
        let march_month = (month + 9) % 12;
        let days =
            365 * march_year + march_year / 4 - march_year / 100 + march_year / 400 + (153 * march_month + 2) / 5 + day
                - 1
                - 719_468;
        let clock = Self { local_seconds: days * DAY_SECONDS + hour * 3_600 + minute * 60 + second };
        let parts = clock.parts();
        ((parts.year, parts.month, parts.day) == (year, month, day)).then_some(clock)
    }

    /// Formats as C's `strftime` in the C locale; directives that are not known stay as they are.
    #[must_use]
    pub fn strftime(self, format: &str) -> String {
        let parts = self.parts();
        let mut output = String::with_capacity(format.len() * 2);
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                output.push(c);
                continue;
            }
            let directive = chars.next();
            let (directive, padded) = match directive {
                Some('-') => (chars.next(), false),
                other => (other, true),
            };
            match directive {
                None => output.push('%'),
                Some(directive) => match parts.field(directive) {
                    Some(text) if padded => output.push_str(&text),
                    Some(text) => output.push_str(unpadded(&text)),
                    None => {
                        output.push('%');
                        output.extend((!padded).then_some('-'));
                        output.push(directive);
                    }
                },
            }
        }
        output
    }

    /// The calendar's parts (days to civil date, H. Hinnant, "chrono-compatible low-level date algorithms").
    fn parts(self) -> Parts {
        let days = self.local_seconds.div_euclid(DAY_SECONDS);
        let seconds = self.local_seconds.rem_euclid(DAY_SECONDS);
        // Years begin in March here, so that leap days come last.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_march_year + 2) / 153;
        let day = day_of_march_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let day_of_year = if month <= 2 { day_of_march_year - 305 } else { day_of_march_year + 60 + i64::from(leap) };
        Parts {
            year,
            month,
            day,
            day_of_year,
            weekday: (days + 4).rem_euclid(7),
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }
}

impl Parts {
    /// One directive's text.
    fn field(&self, directive: char) -> Option<String> {
        let two = |n: i64| format!("{n:02}");
        let name = |names: &[&'static str], index: i64| {
            usize::try_from(index).ok().and_then(|i| names.get(i)).copied().unwrap_or("")
        };
        let short = |text: &str| text.chars().take(3).collect::<String>();
        let hour12 = (self.hour + 11) % 12 + 1;
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => two(self.year.rem_euclid(100)),
            'm' => two(self.month),
            'd' => two(self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year),
            'H' => two(self.hour),
            'I' => two(hour12),
            'M' => two(self.minute),
            'S' => two(self.second),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_owned(),
            'B' => name(&MONTHS, self.month - 1).to_owned(),
            'b' | 'h' => short(name(&MONTHS, self.month - 1)),
            'A' => name(&DAYS, self.weekday).to_owned(),
            'a' => short(name(&DAYS, self.weekday)),
            'w' => self.weekday.to_string(),
            'u' => ((self.weekday + 6) % 7 + 1).to_string(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
            'R' => format!("{:02}:{:02}", self.hour, self.minute),
            'D' => format!("{:02}/{:02}/{:02}", self.month, self.day, self.year.rem_euclid(100)),
            'Z' | 'z' => String::new(),
            'n' => "\n".to_owned(),
            't' => "\t".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

/// A number without leading zeros or spaces, as glibc's `%-d` gives it.
fn unpadded(text: &str) -> &str {
    let trimmed = text.trim_start_matches(['0', ' ']);
    if trimmed.is_empty() { &text[text.len().saturating_sub(1)..] } else { trimmed }
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
        assert_eq!(Clock::new(1_709_210_096, 43_200).strftime("%F %R"), "2024-03-01 00:34");
        assert_eq!(Clock::new(-1, 0).strftime("%F %T %a"), "1969-12-31 23:59:59 Wed");
        assert_eq!(Clock::new(1_704_067_200, 0).strftime("%j %-H"), "001 0");
        assert_eq!(clock.strftime("100% %Q %"), "100% %Q %");
    }

    #[test]
    fn dates_are_read_back() {
        assert_eq!(Clock::parse("2024-02-29 12:34:56"), Some(Clock::new(1_709_210_096, 0)));
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
        for seconds in [i64::MIN, i64::MAX] {
            assert!(!Clock::new(seconds, -1).strftime("%F").is_empty());
        }
    }
}
