//! Tables and lists of facts that fit the width of the terminal.

use honelm::printable;
use unicode_width::UnicodeWidthStr;

use crate::wrap::wrapped;

/// The spaces between two columns.
const GAP: usize = 2;

/// A table whose first column names the rows.
///
/// If a table is too wide, its titles wrap at spaces, then columns of a higher rank move into tables of their own
/// below, and last every row becomes a list of names and values. Words and numbers are never broken.
pub struct Table {
    titles: Vec<String>,
    /// The rank of each column. Columns of the highest rank are the first to leave a table that is too wide.
    ranks: Vec<u8>,
    rows: Vec<Vec<String>>,
}

/// A column as it is laid out.
struct Column {
    index: usize,
    width: usize,
    is_right: bool,
}

impl Table {
    /// Creates a table. Cells are shown as [`printable`] shows them, so that their widths are known.
    pub fn new(titles: &[&str], rows: &[Vec<String>]) -> Self {
        let shown = |row: &Vec<String>| row.iter().map(|cell| printable(cell).replace(['\n', '\t'], " ")).collect();
        Self {
            titles: titles.iter().map(|title| (*title).to_owned()).collect(),
            ranks: vec![0; titles.len()],
            rows: rows.iter().map(shown).collect(),
        }
    }

    /// Sets the rank of the columns with these titles.
    pub fn rank(mut self, rank: u8, titles: &[&str]) -> Self {
        for (column, title) in self.ranks.iter_mut().zip(&self.titles) {
            if titles.contains(&title.as_str()) {
                *column = rank;
            }
        }
        self
    }

    /// Lays the table out in at most `width` columns, without a newline at the end.
    pub fn fit(&self, width: usize) -> String {
        let all = (0..self.titles.len()).collect();
        self.tables(all, width).map_or_else(|| self.records(width), |tables| tables.join("\n\n"))
    }

    /// Lays out `wanted` columns in one table or several; `None` where a table would still be too wide.
    fn tables(&self, wanted: Vec<usize>, width: usize) -> Option<Vec<String>> {
        let rank = |index: &usize| self.ranks.get(*index).copied().unwrap_or(0);
        let mut ranks: Vec<u8> = wanted.iter().map(rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        for highest in ranks.into_iter().rev() {
            let (here, rest): (Vec<usize>, Vec<usize>) = wanted.iter().partition(|i| **i == 0 || rank(i) <= highest);
            let Some(columns) = self.columns(&here, width) else { continue };
            if here.len() < 2 && !rest.is_empty() {
                return None;
            }
            let mut tables = vec![self.drawn(&columns)];
            if !rest.is_empty() {
                tables.extend(self.tables(std::iter::once(0).chain(rest).collect(), width)?);
            }
            return Some(tables);
        }
        None
    }

    fn cells(&self, index: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().map(move |row| row.get(index).map_or("", String::as_str))
    }

    /// Finds widths for columns: as wide as their contents, else with titles that wrap, else with names of rows that wrap
    /// too.
    fn columns(&self, wanted: &[usize], width: usize) -> Option<Vec<Column>> {
        let title = |index: usize| self.titles.get(index).map_or("", String::as_str);
        let widest = |index: usize| self.cells(index).map(UnicodeWidthStr::width).max().unwrap_or(0);
        let word = |text: &str| text.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0);
        let whole = |index: usize| widest(index).max(title(index).width());
        let narrow = |index: usize| widest(index).max(word(title(index)));
        let first = |index: usize| self.cells(index).map(word).max().unwrap_or(0).max(word(title(index)));
        let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let mut widths: Vec<usize> = wanted.iter().map(|&i| whole(i)).collect();
        if total(&widths) > width {
            widths = wanted.iter().map(|&i| narrow(i)).collect();
        }
        if total(&widths) > width
            && let (Some(column), Some(&index)) = (widths.first_mut(), wanted.first())
        {
            *column = first(index);
            // The names get what the others leave.
            let spare = width.saturating_sub(total(&widths));
            widths[0] += spare.min(widest(index).saturating_sub(widths[0]));
        }
        let column = |(&index, &width): (&usize, &usize)| Column { index, width, is_right: self.is_right(index) };
        (total(&widths) <= width).then(|| wanted.iter().zip(&widths).map(column).collect())
    }

    /// Returns `true` for a column of figures, which end at the right.
    fn is_right(&self, index: usize) -> bool {
        let figure = |cell: &str| cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c));
        self.cells(index).all(figure)
    }

    fn drawn(&self, columns: &[Column]) -> String {
        let rule = "─".repeat(columns.iter().map(|c| c.width).sum::<usize>() + GAP * columns.len().saturating_sub(1));
        let mut lines = vec![rule.clone()];
        let titles: Vec<&str> = columns.iter().filter_map(|c| self.titles.get(c.index).map(String::as_str)).collect();
        lines.extend(lines_of(columns, &titles));
        lines.push(rule.clone());
        for row in &self.rows {
            let cells: Vec<&str> = columns.iter().map(|c| row.get(c.index).map_or("", String::as_str)).collect();
            lines.extend(lines_of(columns, &cells));
        }
        lines.push(rule);
        lines.join("\n")
    }

    /// One list of facts per row.
    fn records(&self, width: usize) -> String {
        let record = |row: &Vec<String>| {
            let facts: Vec<(&str, String)> = self.titles.iter().map(String::as_str).zip(row.iter().cloned()).collect();
            let told: Vec<_> = facts.into_iter().filter(|(_, value)| !value.is_empty() && value != "-").collect();
            facts_in(&told, width)
        };
        self.rows.iter().map(record).collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }
}

/// The lines of a row whose cells are as wide as their columns, or wrap at spaces.
fn lines_of(columns: &[Column], cells: &[&str]) -> Vec<String> {
    let cells: Vec<Vec<String>> = columns
        .iter()
        .zip(cells)
        .map(|(column, cell)| wrapped(cell, column.width, 0).lines().map(str::to_owned).collect())
        .collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let line = |at: usize| {
        let mut line = String::new();
        for (i, (column, cell)) in columns.iter().zip(&cells).enumerate() {
            let text = cell.get(at).map_or("", String::as_str);
            let pad = " ".repeat(column.width.saturating_sub(text.width()));
            let gap = " ".repeat(if i > 0 { GAP } else { 0 });
            let (left, right) = if column.is_right { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.extend([&gap, left, text, right]);
        }
        line.trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// Lists names and values in at most `width` columns; values of several lines stay in their column. Ends with a newline.
pub fn facts_in(rows: &[(&str, String)], width: usize) -> String {
    let indent = rows.iter().map(|(name, _)| name.width()).max().unwrap_or(0) + GAP;
    let mut out = String::new();
    for (name, value) in rows {
        let room = width.saturating_sub(indent).max(1);
        let lines = wrapped(&printable(value), room, 0);
        for (i, line) in lines.split('\n').enumerate() {
            let name = if i == 0 { name } else { "" };
            let pad = " ".repeat(indent.saturating_sub(name.width()));
            out.push_str(format!("{name}{pad}{line}").trim_end());
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TITLES: [&str; 8] =
        ["model", "size", "perplexity", "upper 95%", "same top", "load", "prefill", "first token"];

    fn table() -> Table {
        let row = |cells: [&str; 8]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["original", "16.8 MB", "42.930 ± 0.812", "-", "-", "8 ms", "2345 tok/s", "12 ms"]),
            row([
                "Q4_0 (rejected early)",
                "5.1 MB",
                "43.799 ± 0.95",
                "+1.021",
                "91.2%",
                "4 ms",
                "2801 tok/s (1.19x)",
                "9 ms",
            ]),
        ];
        Table::new(&TITLES, &rows).rank(1, &["load", "prefill", "first token"])
    }

    /// Checks that a layout fits and has every word and number of the table in one piece.
    fn check(text: &str, width: usize) {
        assert!(text.lines().all(|line| line.width() <= width), "{width}:\n{text}");
        let found: Vec<&str> = text.split_whitespace().collect();
        let table = table();
        let cells = table.rows.iter().flatten().filter(|cell| *cell != "-");
        for word in cells.flat_map(|cell| cell.split(' ')).chain(TITLES.iter().flat_map(|title| title.split(' '))) {
            assert!(found.contains(&word), "{word} is broken at {width}:\n{text}");
        }
    }

    #[test]
    fn no_width_breaks_a_word_or_a_number() {
        for width in 30..=200 {
            check(&table().fit(width), width);
        }
    }

    #[test]
    fn a_narrow_table_becomes_two_and_a_narrower_one_a_list_per_row() {
        let tables = |width| table().fit(width).matches("model").count();
        let has_rules = |width| table().fit(width).contains('─');
        assert_eq!((tables(200), tables(100), tables(80)), (1, 1, 2));
        assert!(has_rules(60) && !has_rules(40), "{}\n{}", table().fit(60), table().fit(40));
        assert!(table().fit(40).starts_with("model        original\nsize         16.8 MB\n"), "{}", table().fit(40));
    }

    #[test]
    fn figures_end_at_the_right_and_words_begin_at_the_left() {
        let rows = [["cpu", "always", "9 B"], ["gpu:0", "passed", "10 B"]].map(|row| row.map(str::to_owned).to_vec());
        let text = Table::new(&["device", "tested", "memory"], &rows).fit(80);
        assert!(text.contains("cpu     always     9 B\ngpu:0   passed    10 B\n"), "{text}");
    }

    #[test]
    fn values_stay_in_their_column() {
        let rows = [("name", "one two three".to_owned()), ("a longer name", "x\ny".to_owned())];
        assert_eq!(
            facts_in(&rows, 24),
            "name           one two\n               three\na longer name  x\n               y\n"
        );
    }
}
