//! Writing to stdout and stderr without panics, and without a character that a terminal would obey.

use std::io::{self, IsTerminal, Write};

use honelm::{acts_on_terminals, printable};
use serde::Serialize;
use serde_json::json;
use terminal_size::{Width, terminal_size_of};

use crate::failure::Failure;
use crate::table::{Table, facts_in};
use crate::wrap::wrapped;

/// The columns of output that does not go to a terminal.
const PIPED_WIDTH: usize = 100;
/// The columns of a terminal that does not say, or that claims to have fewer than [`NARROWEST`].
const USUAL_WIDTH: usize = 80;
/// The fewest columns that are believed: some terminals report 0.
const NARROWEST: usize = 20;

/// Writes text for people to stdout at once, as [`printable`] shows it.
pub fn write(text: &str) -> Result<(), Failure> {
    raw(printable(text).as_bytes())
}

/// Writes contents, such as an answer or a prompt, to stdout at once: the exact bytes, or where stdout is a terminal as
/// [`printable`] shows them.
pub fn contents(bytes: &[u8]) -> Result<(), Failure> {
    if io::stdout().is_terminal() { raw(shown(bytes).as_bytes()) } else { raw(bytes) }
}

/// Converts bytes into text for a terminal. Bytes that are not UTF-8 become `\xE2`.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&printable(chunk.valid()));
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02X}")));
    }
    out
}

/// Writes bytes to stdout unchanged and at once. For our own control sequences.
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::output)
}

/// Writes a line to stdout.
pub fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

/// Writes a paragraph to stdout; on a terminal its lines end between words.
pub fn prose(text: &str) -> Result<(), Failure> {
    line(&broken(text))
}

/// Returns text with lines that end between words if stdout is a terminal.
pub fn broken(text: &str) -> String {
    stdout_columns().map_or_else(|| text.to_owned(), |width| wrapped(text, width, 0))
}

/// Creates a table.
pub fn table(titles: &[&str], rows: &[Vec<String>]) -> Table {
    Table::new(titles, rows)
}

/// Lays out a table in the width of stdout.
pub fn fitted(table: Table) -> String {
    table.fit(width())
}

/// Lists names and values in the width of stdout. Ends with a newline.
pub fn facts(rows: &[(&str, String)]) -> String {
    facts_in(rows, width())
}

/// Writes an indented JSON document to stdout.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    json_text(serde_json::to_string_pretty(document))
}

/// Writes a JSON document to stdout as one line.
pub fn json_line(document: &impl Serialize) -> Result<(), Failure> {
    json_text(serde_json::to_string(document))
}

fn json_text(text: serde_json::Result<String>) -> Result<(), Failure> {
    let mut text = text.map_err(|e| Failure::Io("JSON".to_owned(), e.into()))?;
    if io::stdout().is_terminal() {
        text = json_shown(&text);
    }
    text.push('\n');
    raw(text.as_bytes())
}

/// Returns the same document without a character that a terminal obeys. Such characters occur in strings alone, where
/// JSON has escapes for them; serde_json has already escaped those below 0x20.
fn json_shown(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if acts_on_terminals(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)))
        } else {
            out.push(c)
        }
        out
    })
}

/// Writes a message to stderr, as [`printable`] shows it; on a terminal its lines end between words. A closed stderr is
/// ignored.
pub fn note(text: &str) {
    let text = printable(text);
    let text = stderr_columns().map_or_else(|| text.to_string(), |width| wrapped(&text, width, 0));
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes a command line or a path to stderr, in one piece so that it can be copied.
pub fn note_command(text: &str) {
    let _ = writeln!(io::stderr(), "  {}", printable(text));
}

/// Reports a failure on stderr, or with `json` as the one document on stdout.
pub fn failure(failure: &Failure, json: bool) {
    if matches!(failure, Failure::Closed) {
        return;
    }
    let told = if json { self::json(&json!({ "error": failure.json() })) } else { Ok(()) };
    match told {
        Ok(()) if json => {}
        Ok(()) => note(&format!("error: {}", failure.message())),
        Err(Failure::Closed) => {}
        // The document cannot be written: both problems go to stderr.
        Err(unwritten) => {
            note(&format!("error: {}", failure.message()));
            if unwritten.message() != failure.message() {
                note(&format!("error: {}", unwritten.message()));
            }
        }
    }
}

/// Returns the columns that tables may take on stdout.
pub fn width() -> usize {
    stdout_columns().unwrap_or(PIPED_WIDTH)
}

/// Returns the columns of the terminal on stdout, if there is one.
pub fn stdout_columns() -> Option<usize> {
    let stdout = io::stdout();
    stdout.is_terminal().then(|| columns(terminal_size_of(&stdout)))
}

/// Returns the columns of the terminal on stderr, if there is one.
pub fn stderr_columns() -> Option<usize> {
    let stderr = io::stderr();
    stderr.is_terminal().then(|| columns(terminal_size_of(&stderr)))
}

fn columns<T>(size: Option<(Width, T)>) -> usize {
    size.map(|(Width(columns), _)| usize::from(columns)).filter(|columns| *columns >= NARROWEST).unwrap_or(USUAL_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPIES: &str = "\x1b]52;c;QUJD\x07 \u{9d}52;c;QUJD\u{9c} \u{202e}";

    #[test]
    fn no_control_sequence_reaches_a_terminal() {
        let obeyed = |text: &str| text.chars().any(acts_on_terminals);
        assert!(obeyed(COPIES));
        assert!(!obeyed(&shown(COPIES.as_bytes())));
        assert!(!obeyed(&Table::new(&["name"], &[vec![COPIES.to_owned()]]).fit(80)));
        assert!(!obeyed(&facts_in(&[("name", COPIES.to_owned())], 10)));
        assert_eq!(shown(b"a\xe2b\n"), "a\\xE2b\n");
        // A sequence in pieces, as a model writes it.
        let pieces: String = ["an \x1b", "]5", "2;c;QUJD", "\x07\n"].iter().map(|p| shown(p.as_bytes())).collect();
        assert_eq!(pieces, "an \\u{1b}]52;c;QUJD\\u{7}\n");
    }

    #[test]
    fn a_document_on_a_terminal_is_the_same_document() {
        let document = serde_json::json!({ COPIES: [COPIES, "\u{7f}\r\n\t"] });
        for text in [document.to_string(), serde_json::to_string_pretty(&document).expect("JSON")] {
            let shown = json_shown(&text);
            assert!(!shown.chars().any(acts_on_terminals), "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), document);
        }
    }
}
