//! Server-sent events, from bytes that arrive in pieces of any size.

use std::collections::VecDeque;

/// The most bytes of an event.
const MOST: usize = 8 << 20;

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// The name; empty if it has none.
    pub name: String,
    /// The data, its lines joined.
    pub data: String,
}

/// Bytes that are no stream of events: no UTF-8, or an event without an end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoEvents;

/// A parser, as the HTML standard describes it (section 9.2.6).
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// `true` if the last byte was a carriage return, which a line feed may follow.
    after_return: bool,
    has_begun: bool,
    name: String,
    data: Option<String>,
    ready: VecDeque<Event>,
}

impl Parser {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), NoEvents> {
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => self.end_line()?,
                byte => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > MOST {
                return Err(NoEvents);
            }
        }
        Ok(())
    }

    /// Returns the next complete event.
    pub fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// Ends the stream. An event whose empty line is missing counts.
    pub fn finish(&mut self) -> Result<(), NoEvents> {
        if !self.line.is_empty() {
            self.end_line()?;
        }
        self.end_event();
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), NoEvents> {
        let line = String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| NoEvents)?;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let line = if is_first { line.trim_start_matches('\u{feff}') } else { line.as_str() };
        if line.is_empty() {
            self.end_event();
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // Comments have an empty name; ids and times to reconnect mean nothing here.
            _ => {}
        }
        Ok(())
    }

    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        if let Some(data) = self.data.take() {
            self.ready.push_back(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\r\nevent: a\r\ndata: {\"x\":\r\ndata: 1}\r\n\r\n: alive\n\ndata:two\n\nid: 3\nretry: 9\n\n\
                          event: only a name\n\ndata: \u{e9}\rdata\r\rdata: last";

    fn events(pieces: &[&[u8]]) -> Vec<Event> {
        let mut parser = Parser::default();
        for piece in pieces {
            parser.push(piece).expect("events");
        }
        parser.finish().expect("events");
        std::iter::from_fn(|| parser.next()).collect()
    }

    #[test]
    fn cuts_do_not_matter() {
        let event = |name: &str, data: &str| Event { name: name.to_owned(), data: data.to_owned() };
        let expected = [event("a", "{\"x\":\n1}"), event("", "two"), event("", "\u{e9}\n"), event("", "last")];
        let bytes = STREAM.as_bytes();
        assert_eq!(events(&[bytes]), expected);
        for at in 0..=bytes.len() {
            assert_eq!(events(&[&bytes[..at], &bytes[at..]]), expected, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(events(&single), expected);
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        assert_eq!(Parser::default().push(b"data: \xff\n"), Err(NoEvents));
        assert_eq!(Parser::default().push(&vec![b'a'; MOST + 1]), Err(NoEvents));
    }
}
