//! The text after the options in `--help`: examples and explanations, laid out for the width of the terminal.

use unicode_width::UnicodeWidthStr;

use crate::output;
use crate::table::facts_in;
use crate::wrap::wrapped;

/// The most columns that help uses, as clap's own help does.
const WIDEST: usize = 100;
/// The spaces before an example and between its command and its comment.
const INDENT: usize = 2;

/// Lays out examples (command lines with comments, which may be empty) and the paragraphs after them.
pub fn notes(examples: &[(&str, &str)], paragraphs: &[&str]) -> String {
    let width = output::width().min(WIDEST);
    let paragraphs = paragraphs.iter().map(|text| wrapped(text, width, 0));
    std::iter::once(examples_in(examples, width)).chain(paragraphs).collect::<Vec<_>>().join("\n\n")
}

/// Lays out names and their explanations, with a title.
pub fn list(title: &str, rows: &[(&str, &str)]) -> String {
    let width = output::width().min(WIDEST) - INDENT;
    let rows: Vec<(&str, String)> = rows.iter().map(|(name, text)| (*name, (*text).to_owned())).collect();
    let lines = facts_in(&rows, width);
    lines.lines().fold(format!("{title}:"), |out, line| format!("{out}\n{:INDENT$}{line}", ""))
}

fn examples_in(examples: &[(&str, &str)], width: usize) -> String {
    let fits = |(command, comment): &&(&str, &str)| {
        !comment.is_empty() && INDENT + command.width() + INDENT + comment.width() <= width
    };
    let longest = |limit: usize| {
        let commands = examples.iter().filter(fits).map(|(command, _)| command.width());
        commands.filter(|columns| *columns <= limit).max().unwrap_or(0)
    };
    // The widest column of commands that leaves room for every comment that fits at all.
    let room = examples.iter().filter(fits).map(|(_, comment)| width - 2 * INDENT - comment.width()).min();
    let column = longest(room.unwrap_or(0));
    let example = |row: &(&str, &str)| {
        let (command, comment) = row;
        if comment.is_empty() {
            format!("\n{:INDENT$}{command}", "")
        } else if fits(&row) && command.width() <= column {
            format!("\n{:INDENT$}{command:column$}{:INDENT$}{comment}", "", "")
        } else {
            format!("\n{:INDENT$}{command}\n{:6}{comment}", "", "")
        }
    };
    examples.iter().fold("Examples:".to_owned(), |out, row| out + &example(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLES: [(&str, &str); 3] = [
        ("honelm optimize", "compress the shipped model"),
        ("honelm chat", ""),
        ("honelm optimize path/to/a/model --budget 0.2", "allow less loss of quality"),
    ];

    #[test]
    fn comments_stand_beside_commands_or_below_them() {
        let wide = examples_in(&EXAMPLES, 80);
        assert!(
            wide.contains("  honelm optimize                               compress the shipped model\n"),
            "{wide}"
        );
        assert!(wide.ends_with("  honelm optimize path/to/a/model --budget 0.2  allow less loss of quality"), "{wide}");
        let narrow = examples_in(&EXAMPLES, 60);
        assert!(narrow.contains("  honelm optimize  compress the shipped model\n  honelm chat\n"), "{narrow}");
        assert!(examples_in(&EXAMPLES, 40).starts_with("Examples:\n  honelm optimize\n      compress"));
        assert!(narrow.ends_with("--budget 0.2\n      allow less loss of quality"), "{narrow}");
    }
}
