//! A report as Markdown, for people.

use std::collections::HashSet;
use std::fmt::Write as _;

use honelm_formats::printable;

use super::report::{Report, Sample};
use super::tables::Table;
use super::{REPORT, REPORT_PLOT};

impl Report {
    /// Returns the report as Markdown: the verdict, the circumstances, the tables and what their columns mean, a link
    /// to the plot, the texts, and the answers of both models.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n**{}**\n\n", one_line(&self.model), self.summary());
        self.circumstances(&mut out);
        let of_steps = self.steps(&mut out);
        let (quality, speed) = (self.quality_table(), self.speed_table());
        let comparison = self.comparison_table();
        if let Some(table) = &comparison {
            let title = if table.columns[0].title == "recipe" { "Recipes" } else { "Comparison" };
            let _ = write!(out, "\n## {title}\n\n{}", markdown(table));
        }
        let _ = write!(out, "\n## Quality\n\n{}\n## Size and speed\n\n{}", markdown(&quality), markdown(&speed));
        if let Some(line) = self.speed_summary() {
            let _ = writeln!(out, "\n{line}");
        }
        for allocation in &self.allocations {
            let (name, summary) = (one_line(&allocation.name), allocation.summary());
            let _ = write!(out, "\n## Encodings of {name}\n\n{summary}\n\n{}", markdown(&allocation.table()));
        }
        if let Some((table, reason)) = self.calibration_table() {
            let _ = write!(out, "\n## Calibration\n\n{}\n{reason}\n", markdown(&table));
        }
        let shown =
            if self.pipeline.is_some() { "Steps" } else { "Size against KL divergence and perplexity difference" };
        let _ = writeln!(out, "\n## Plot\n\n![{shown}]({REPORT_PLOT})");
        let (texts, tasks) = (self.texts_table(), self.tasks_table());
        for (title, table) in [("Further texts", &texts), ("Tasks", &tasks)] {
            if let Some(table) = table {
                let _ = write!(out, "\n## {title}\n\n{}", markdown(table));
            }
        }
        list(&mut out, "Gates", &self.gate_lines());
        let times = self.times_table();
        if let Some(table) = &times {
            let _ = write!(out, "\n## Time\n\n{}", markdown(table));
        }
        out.push_str("\n## Columns\n\n");
        let mut shown = HashSet::new();
        let of_recipes = comparison.iter().flat_map(|table| table.columns);
        let of_gates = [&texts, &tasks].into_iter().flatten().flat_map(|table| table.columns);
        let of_encodings = self.allocations.iter().take(1).flat_map(|allocation| allocation.table().columns);
        let of_steps = of_steps.iter().flat_map(|table| table.columns);
        let columns = of_steps
            .chain(of_recipes)
            .chain(quality.columns)
            .chain(&speed.columns[1..])
            .chain(of_gates)
            .chain(of_encodings);
        let columns = columns.chain(times.iter().flat_map(|table| table.columns));
        for column in columns.filter(|c| shown.insert(c.title)) {
            let _ = writeln!(out, "- **{}**: {}", column.title, column.meaning);
        }
        self.method(&mut out);
        list(&mut out, "Fallbacks", &self.fallback_lines());
        list(&mut out, "Warnings", &self.warnings);
        if let Some(sample) = &self.sample {
            answers(&mut out, sample, self.chosen.as_deref().unwrap_or("published"));
        }
        // Names and answers come from the model. Control characters among them must not reach a terminal.
        printable(&out).into_owned()
    }

    /// Writes the tables of a pipeline and what each step said, and returns the tables.
    fn steps(&self, out: &mut String) -> Vec<Table> {
        let Some(pipeline) = &self.pipeline else { return Vec::new() };
        let tables = [
            ("Steps", self.steps_table()),
            ("Pruned and quantised against quantised alone, at equal bytes", self.equal_bytes_table()),
            ("Drafts", pipeline.drafts_table()),
        ];
        let mut written = Vec::new();
        for (title, table) in tables.into_iter().filter_map(|(title, table)| Some((title, table?))) {
            let _ = write!(out, "\n## {title}\n\n{}", markdown(&table));
            written.push(table);
            if title == "Steps" {
                let _ = writeln!(out);
                pipeline.lines().iter().for_each(|line| {
                    let _ = writeln!(out, "- {}", one_line(line));
                });
            }
        }
        written
    }

    fn circumstances(&self, out: &mut String) {
        let model = one_line(&self.model);
        let _ = writeln!(out, "- model: {model}, {:.2} M parameters", self.parameters as f64 / 1e6);
        let _ = writeln!(out, "- machine: {}", one_line(&self.machine.describe()));
        let _ = writeln!(out, "- back end: {}", self.compute);
        if let Some(command) = &self.command {
            let _ = writeln!(out, "- command: {}", code(command));
        }
        let _ = writeln!(out, "- version: honelm {}", self.version);
        let _ = writeln!(out, "- date: {}", self.date);
    }

    /// Writes how the figures were found, with the digests that identify model and texts.
    fn method(&self, out: &mut String) {
        let bos = if self.bos { "BOS first" } else { "no BOS" };
        let _ = writeln!(out, "\n## Method\n");
        let _ = writeln!(out, "- budget: an increase in perplexity of {:+}", self.budget);
        let _ = writeln!(out, "- protocol: {}, context {}, {bos}", self.protocol, self.context);
        for (title, card) in [("held-out text", &self.evaluation), ("calibration text", &self.calibration)] {
            let name = one_line(&card.name);
            let _ = writeln!(out, "- {title}: {name}, {} tokens, SHA-256 {}", card.tokens, card.sha256);
        }
        if let Some(drift) = self.drift_sentence() {
            let _ = writeln!(out, "- {drift}");
        }
        let original = self.original().map(|row| &row.findings);
        for text in original.iter().flat_map(|findings| &findings.texts) {
            let _ = writeln!(out, "- further text: {}, SHA-256 {}", one_line(&text.text), text.sha256);
        }
        if let Some(found) = original.and_then(|findings| findings.accuracy.as_ref()) {
            let _ = writeln!(out, "- tasks: {}, SHA-256 {}", one_line(&found.tasks_file), found.tasks_sha256);
        }
        let _ = writeln!(out, "- model: SHA-256 {}", self.model_digest);
        let _ = writeln!(out, "- tokenizer: SHA-256 {}", self.tokenizer_digest);
        for published in &self.published {
            let _ = writeln!(out, "- published {}: SHA-256 {}", published.path.display(), published.sha256);
        }
        let _ = writeln!(out, "\nAll figures are in [{REPORT}]({REPORT}).");
    }
}

/// Returns a table as Markdown. The numbers are aligned to the right.
fn markdown(table: &Table) -> String {
    let titles = table.titles();
    let mut out = format!("| {} |\n|---|{}\n", titles.join(" | "), "--:|".repeat(titles.len() - 1));
    for row in &table.rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out
}

fn list(out: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let _ = writeln!(out, "\n## {title}\n");
        lines.iter().for_each(|line| {
            let _ = writeln!(out, "- {}", one_line(line));
        });
    }
}

fn answers(out: &mut String, sample: &Sample, chosen: &str) {
    let _ = writeln!(out, "\n## Answers to \"{}\"", sample.prompt);
    for (name, answer) in [("original", &sample.original), (chosen, &sample.chosen)] {
        let _ = writeln!(out, "\n{name}:\n\n> {}", answer.trim().replace('\n', "\n> "));
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Returns a code span: its fence is longer than any run of backticks in the text.
fn code(text: &str) -> String {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{}{space}{fence}", one_line(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_span_holds_any_command() {
        assert_eq!(code("honelm optimize"), "`honelm optimize`");
        assert_eq!(code("a `b` ``c``\nd"), "``` a `b` ``c`` d ```");
    }
}
