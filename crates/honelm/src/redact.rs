//! Replacing the private data of a text of any length, a few paragraphs at a time.

use std::io::BufRead;

use honelm_gateway::pii::{DetectOptions, Detector, Mode, Redactor, Span, Vault, in_characters};

use crate::Error;

/// The size from which on a piece of text ends at the next blank line.
const PIECE: usize = 32 << 10;
/// The size at which a piece ends with its line, and the most bytes of a line. A longer line is cut between words.
const LONGEST: usize = 1 << 20;

/// The number of values after which those of the pieces before are forgotten. Their surrogates stay the same, as they
/// follow from the key.
const REMEMBERED: usize = 10_000;

/// A piece of a text whose private data is replaced.
#[derive(Debug)]
pub struct RedactedPiece {
    /// The piece with replacements.
    pub text: String,
    /// The private data that was found, in characters of the whole input.
    pub spans: Vec<Span>,
}

/// Settings of [`redact`].
#[derive(Debug, Clone)]
pub struct RedactOptions {
    /// Which private data is found.
    pub detect: DetectOptions,
    /// The way to deal with it.
    pub mode: Mode,
    /// A secret from which surrogates follow.
    pub key: [u8; 32],
}

/// Reads a text to its end, replaces its private data, and calls `sink` with each piece, so that memory is bounded. In [`Mode::Block`], everything is read and
/// checked before the first piece is passed on.
///
/// # Errors
///
/// Those of reading, of text that is not UTF-8, [`honelm_gateway::GatewayError`], and those of `sink`.
pub fn redact<E: From<Error>>(
    mut input: impl BufRead,
    name: &str,
    options: RedactOptions,
    mut sink: impl FnMut(RedactedPiece) -> Result<(), E>,
) -> Result<(), E> {
    let detector = Detector::new(options.detect).map_err(Error::from)?;
    let mut redactor = Redactor::new(&detector, options.mode, Vault::new(options.key));
    let (mut bytes_before, mut characters) = (0, 0);
    let mut held = Vec::new();
    let mut rest = Vec::new();
    while let Some(piece) = next_piece(&mut input, &mut rest, name)? {
        if redactor.vault().len() > REMEMBERED {
            redactor = Redactor::new(&detector, options.mode, Vault::new(options.key));
        }
        let text = str::from_utf8(&piece).map_err(|e| Error::Text {
            path: name.to_owned(),
            problem: format!("not UTF-8 from byte {} on", bytes_before + e.valid_up_to()),
        })?;
        let (replaced, found) = redactor.text_with_spans(text).map_err(Error::from)?;
        let spans = in_characters(text, &found);
        let spans =
            spans.into_iter().map(|s| Span { start: s.start + characters, end: s.end + characters, ..s }).collect();
        bytes_before += piece.len();
        characters += text.chars().count();
        let piece = RedactedPiece { text: replaced, spans };
        if options.mode == Mode::Block { held.push(piece) } else { sink(piece)? }
    }
    held.into_iter().try_for_each(sink)
}

/// Reads lines up to a blank one. `rest` keeps what was read of the next piece.
fn next_piece(input: &mut impl BufRead, rest: &mut Vec<u8>, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut piece = std::mem::take(rest);
    loop {
        let read = read_line(input, &mut piece).map_err(|source| Error::Io { path: name.into(), source })?;
        let blank = piece.ends_with(b"\n\n") || piece.ends_with(b"\n\r\n");
        if read == 0 || piece.len() >= PIECE && blank || piece.len() >= LONGEST && piece.ends_with(b"\n") {
            return Ok((!piece.is_empty()).then_some(piece));
        }
        if piece.len() >= LONGEST {
            let space = piece.iter().rposition(|b| *b == b' ').filter(|&at| at > LONGEST / 2);
            // Without a space, between two characters.
            let character = (1..=4).map(|n| piece.len() - n).find(|&at| piece[at] & 0xc0 != 0x80);
            *rest = piece.split_off(space.map_or_else(|| character.unwrap_or(piece.len()), |at| at + 1));
            return Ok(Some(piece));
        }
    }
}

/// Appends a line to `piece`, or the part of it until `piece` is [`LONGEST`]; returns the number of bytes.
fn read_line(input: &mut impl BufRead, piece: &mut Vec<u8>) -> std::io::Result<usize> {
    let before = piece.len();
    while piece.len() < LONGEST {
        let available = match input.fill_buf() {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let room = available.len().min(LONGEST - piece.len());
        let end = available[..room].iter().position(|b| *b == b'\n').map_or(room, |at| at + 1);
        piece.extend_from_slice(&available[..end]);
        let line = piece.ends_with(b"\n");
        input.consume(end);
        if end == 0 || line {
            break;
        }
    }
    Ok(piece.len() - before)
}

#[cfg(test)]
mod tests {
    use honelm_gateway::pii::Kind;

    use super::*;

    fn run(text: &str, mode: Mode) -> Result<(String, Vec<Span>), Error> {
        // The identifiers alone: the tagger may take a word for a name.
        let kinds = Some(vec![Kind::Email, Kind::Iban]);
        let detect = DetectOptions { kinds, ..DetectOptions::default() };
        let options = RedactOptions { detect, mode, key: [7; 32] };
        let (mut out, mut spans) = (String::new(), Vec::new());
        redact(text.as_bytes(), "test", options, |piece| {
            out.push_str(&piece.text);
            spans.extend(piece.spans);
            Ok::<(), Error>(())
        })?;
        Ok((out, spans))
    }

    #[test]
    fn pieces_do_not_show_and_positions_are_those_of_the_whole_text() {
        let line = "Größe ist egal, schreib an jörg@example.org.\n";
        for gap in ["\n", "", "\r\n"] {
            let text = format!("{line}{gap}").repeat(60_000 / line.len()) + &"x".repeat(LONGEST + 5) + " a@b.example\n";
            let (out, spans) = run(&text, Mode::Mask).expect("a redaction");
            assert!(!out.contains('@') && out.matches("<EMAIL_ADDRESS>").count() == spans.len());
            let characters: Vec<char> = text.chars().collect();
            for span in &spans {
                let value: String = characters[span.start..span.end].iter().collect();
                assert!(value == "jörg@example.org" || value == "a@b.example", "{value}");
            }
        }
    }

    #[test]
    fn a_blocked_text_gives_nothing_and_bytes_that_are_no_text_are_an_error() {
        let text = "harmless\n\n".repeat(8000) + "IBAN GB82 WEST 1234 5698 7654 32";
        assert_eq!(run(&text, Mode::Block).expect_err("private data").code(), "private-data");
        let mut sink = 0;
        let options = RedactOptions { detect: DetectOptions::default(), mode: Mode::Mask, key: [7; 32] };
        let failed = redact(&b"abc\xff"[..], "test", options, |_| {
            sink += 1;
            Ok::<(), Error>(())
        });
        assert_eq!((failed.expect_err("bytes").to_string().as_str(), sink), ("test: not UTF-8 from byte 3 on", 0));
    }
}
