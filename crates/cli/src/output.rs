//! Stdout and stderr without panics, and tables.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use honelm::{acts_on_terminals, printable};
use serde::Serialize;

use crate::failure::Failure;

/// Writes text for people to stdout at once, as [`printable`] shows it.
pub fn write(text: &str) -> Result<(), Failure> {
    raw(printable(text).as_bytes())
}

/// Writes contents to stdout at once, such as an answer or a prompt: to the byte, or where stdout is a terminal as
/// [`printable`] shows them.
pub fn contents(bytes: &[u8]) -> Result<(), Failure> {
    if io::stdout().is_terminal() { raw(shown(bytes).as_bytes()) } else { raw(bytes) }
}

/// Bytes as a terminal may have them: what is no text as `\xE2`.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&printable(chunk.valid()));
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02X}")));
    }
    out
}

/// Writes bytes to stdout as they are, at once: for our own control sequences.
pub fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::output)
}

/// Writes a line to stdout.
pub fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

/// Writes a document to stdout, laid out for people too.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    json_text(serde_json::to_string_pretty(document))
}

/// Writes a document to stdout as one line.
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

/// The same document without a character that a terminal obeys. Such characters stand in strings alone, where JSON has
/// escapes for them; those below 0x20 have become escapes already.
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

/// Tells the user something on stderr, as [`printable`] shows it; a stderr that is closed is nobody's loss.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// A line below the titles and around the whole, none between rows.
const LINES: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// A table whose first column is text and whose others are figures. Cells are as [`printable`] shows them, so that their
/// widths are known.
pub fn table(titles: &[&str], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_style(LINES).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(titles.to_vec());
    table.add_rows(rows.iter().map(|row| row.iter().map(|cell| printable(cell).into_owned())));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A list of names and values.
pub fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows {
        // Values of several lines stay in their column.
        let value = value.replace('\n', &format!("\n{:width$}  ", ""));
        text.push_str(&format!("{name:width$}  {value}\n"));
    }
    text
}

/// The table as text; where it is wider than the terminal, its cells wrap.
pub fn fitted(mut table: Table) -> String {
    if !fits(&table) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.trim_fmt()
}

/// Whether a table can be shown without wrapping.
pub fn fits(table: &Table) -> bool {
    let wanted = table.lines().map(|line| line.trim_end().chars().count()).max().unwrap_or(0);
    // Piped output has no width; what is wider than a screen is hard to read there too.
    wanted <= table.width().map_or(PIPED_WIDTH, usize::from)
}

/// Columns that are taken for granted where stdout is no terminal.
const PIPED_WIDTH: usize = 120;

/// Whether stderr shows moving things.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
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
        assert!(!obeyed(&fitted(table(&["name"], &[vec![COPIES.to_owned()]]))));
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
