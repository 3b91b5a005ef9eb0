use serde::{Deserialize, Serialize};

/// A request for bytes of a file, and what is known of the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The first byte that was asked for.
    pub offset: u64,
    /// The number of bytes that were asked for; `None` for the rest of the file.
    pub length: Option<u64>,
    /// The size of the file, if it is known.
    pub total: Option<u64>,
    /// The version of the file that earlier bytes came from.
    pub validator: Option<String>,
}

/// The status and headers of a server's answer. A header is `None` if it is missing, or hidden from other sites.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the fields are named as the headers")]
pub struct Reply {
    pub status: u16,
    pub content_range: Option<String>,
    pub content_length: Option<u64>,
    pub content_type: Option<String>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// The meaning of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The body is the part that was asked for, possibly cut by the end of the file.
    Part {
        /// The size of the file, if the server tells it.
        total: Option<u64>,
    },
    /// The body is the whole file.
    Whole {
        /// The size of the file, if the server tells it.
        total: Option<u64>,
    },
    /// The server's file is not the one that earlier bytes came from.
    Changed,
    /// The file is empty.
    Empty,
    /// There is no such file.
    Missing,
    /// The body is a web page, not a model.
    Html,
    /// The body is another part than the one asked for.
    OtherPart,
    /// The server refuses, with this status.
    Refused {
        /// The status.
        status: u16,
    },
}

impl Reply {
    /// Returns the version of the file, if the server tells it.
    #[must_use]
    pub fn validator(&self) -> Option<String> {
        validator(self.etag.as_deref(), self.last_modified.as_deref())
    }

    /// Returns what the answer to `asked` means.
    #[must_use]
    pub fn judge(&self, asked: &Asked) -> Verdict {
        match self.status {
            404 | 410 => return Verdict::Missing,
            416 if asked.offset == 0 && asked.total.unwrap_or(0) == 0 => return Verdict::Empty,
            416 => return Verdict::Changed,
            200 | 206 => {}
            status => return Verdict::Refused { status },
        }
        let kind = self.content_type.as_deref().unwrap_or_default().trim_start();
        if kind.get(..9).is_some_and(|start| start.eq_ignore_ascii_case("text/html")) {
            return Verdict::Html;
        }
        let differs = |known: &Option<String>, found: Option<String>| {
            known.as_ref().zip(found).is_some_and(|(known, found)| *known != found)
        };
        if differs(&asked.validator, self.validator()) {
            return Verdict::Changed;
        }
        if self.status == 200 { self.whole(asked) } else { self.part(asked) }
    }

    fn whole(&self, asked: &Asked) -> Verdict {
        match (asked.total, self.content_length) {
            (Some(known), Some(found)) if known != found => Verdict::Changed,
            (_, total) => Verdict::Whole { total },
        }
    }

    fn part(&self, asked: &Asked) -> Verdict {
        let Some(text) = &self.content_range else {
            // The header is hidden from other sites; the length of the body is compared when it arrives.
            return Verdict::Part { total: asked.total };
        };
        let Some(found) = ContentRange::parse(text) else { return Verdict::OtherPart };
        let total = found.total.or(asked.total);
        if asked.total.zip(found.total).is_some_and(|(known, found)| known != found) {
            return Verdict::Changed;
        }
        let end = asked.length.map(|length| asked.offset.saturating_add(length));
        let end = end.into_iter().chain(total).min();
        // A file of unknown size can end earlier.
        let fits = end.is_none_or(|end| found.last + 1 == end || (total.is_none() && found.last < end));
        if found.start == asked.offset && fits { Verdict::Part { total } } else { Verdict::OtherPart }
    }
}

/// Returns the version of a file by its headers: the entity tag, else the time of its last change.
#[must_use]
pub fn validator(etag: Option<&str>, last_modified: Option<&str>) -> Option<String> {
    [etag, last_modified].into_iter().flatten().map(str::trim).find(|text| !text.is_empty()).map(str::to_owned)
}

/// The value of the header `Content-Range` of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub last: u64,
    /// The size of the whole file, if it is given.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Parses `bytes START-LAST/TOTAL`, where TOTAL can be `*`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (extent, total) = text.strip_prefix("bytes ")?.trim().split_once('/')?;
        let (start, last) = extent.split_once('-')?;
        let total = if total == "*" { None } else { Some(total.parse().ok()?) };
        let found = Self { start: start.parse().ok()?, last: last.parse().ok()?, total };
        (found.start <= found.last && found.last < total.unwrap_or(u64::MAX)).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        let found = |text| ContentRange::parse(text).map(|r| (r.start, r.last, r.total));
        assert_eq!(found("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(found("bytes 0-9/*"), Some((0, 9, None)));
        let bad = [
            "",
            "bytes */10",
            "bytes 5-9",
            "bytes -9/10",
            "bytes a-b/c",
            "5-9/10",
            "bytes 5-9/-1",
            "bytes 9-5/10",
            "bytes 5-9/9",
        ];
        for text in bad {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn answers_are_judged() {
        let reply = |status, range: &str, etag: &str| Reply {
            status,
            content_range: Some(range.to_owned()).filter(|r| !r.is_empty()),
            etag: Some(etag.to_owned()).filter(|e| !e.is_empty()),
            content_length: (status == 200).then_some(100),
            ..Reply::default()
        };
        let asked =
            |offset, length, total| Asked { offset, length: Some(length), total, validator: Some("\"a\"".to_owned()) };
        let cases = [
            (reply(206, "bytes 10-19/100", "\"a\""), asked(10, 10, Some(100)), Verdict::Part { total: Some(100) }),
            (reply(206, "bytes 90-99/100", "\"a\""), asked(90, 20, None), Verdict::Part { total: Some(100) }),
            (reply(206, "bytes 10-19/*", ""), asked(10, 10, Some(100)), Verdict::Part { total: Some(100) }),
            (reply(206, "", "\"a\""), asked(10, 10, Some(100)), Verdict::Part { total: Some(100) }),
            (reply(206, "bytes 0-9/100", "\"a\""), asked(10, 10, Some(100)), Verdict::OtherPart),
            (reply(206, "bytes 10-18/100", "\"a\""), asked(10, 10, Some(100)), Verdict::OtherPart),
            (reply(206, "nonsense", "\"a\""), asked(10, 10, Some(100)), Verdict::OtherPart),
            (reply(206, "bytes 10-19/101", "\"a\""), asked(10, 10, Some(100)), Verdict::Changed),
            (reply(206, "bytes 10-19/100", "\"b\""), asked(10, 10, Some(100)), Verdict::Changed),
            (reply(200, "", "\"a\""), asked(10, 10, Some(100)), Verdict::Whole { total: Some(100) }),
            (reply(200, "", "\"b\""), asked(10, 10, Some(100)), Verdict::Changed),
            (reply(200, "", ""), asked(10, 10, Some(99)), Verdict::Changed),
            (reply(416, "", ""), asked(10, 10, Some(100)), Verdict::Changed),
            (reply(416, "bytes */0", ""), asked(0, 10, None), Verdict::Empty),
            (reply(404, "", ""), asked(0, 10, None), Verdict::Missing),
            (reply(403, "", ""), asked(0, 10, None), Verdict::Refused { status: 403 }),
            (reply(301, "", ""), asked(0, 10, None), Verdict::Refused { status: 301 }),
        ];
        for (reply, asked, expected) in cases {
            assert_eq!(reply.judge(&asked), expected, "{reply:?} {asked:?}");
        }
        let page = Reply { status: 200, content_type: Some("Text/HTML; charset=utf-8".to_owned()), ..Reply::default() };
        assert_eq!(page.judge(&Asked::default()), Verdict::Html);
    }

    #[test]
    fn the_version_is_the_entity_tag_or_the_time() {
        assert_eq!(validator(Some("W/\"x\""), Some("Tue")).as_deref(), Some("W/\"x\""));
        assert_eq!(validator(Some(" "), Some("Tue")).as_deref(), Some("Tue"));
        assert_eq!(validator(None, None), None);
    }
}
