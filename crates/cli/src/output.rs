//! Stdout and stderr without panics, and tables.

use std::io::{self, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::failure::Failure;

/// Writes to stdout at once.
pub fn write(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Writes bytes to stdout as they are, at once.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Failure::output)
}

/// Writes a line to stdout.
pub fn line(text: &str) -> Result<(), Failure> {
    write(&format!("{text}\n"))
}

/// Writes a document to stdout, laid out for people too.
pub fn json(document: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(document).map_err(|e| Failure::Io("JSON".to_owned(), e.into()))?)
}

/// Writes a document to stdout as one line.
pub fn json_line(document: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string(document).map_err(|e| Failure::Io("JSON".to_owned(), e.into()))?)
}

/// Tells the user something on stderr; a stderr that is closed is nobody's loss.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A line below the titles and around the whole, none between rows.
const LINES: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// A table whose first column is text and whose others are figures.
pub fn table(titles: &[&str], rows: &[Vec<String>]) -> Table {
    let mut table = Table::new();
    table.load_style(LINES).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(titles.to_vec());
    table.add_rows(rows.iter().cloned());
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
