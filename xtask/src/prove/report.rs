//! The table of all parts.

use serde_json::{Value, json};

/// The result of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    Skipped,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// The unit of a number.
#[derive(Debug, Clone, Copy)]
pub enum Unit {
    Count,
    /// Bytes, in millions.
    Megabytes,
    Milliseconds,
    /// A divergence in nats.
    Nats,
    Percent,
    /// A number without a unit.
    Number,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Count => format!("{value}"),
            Self::Megabytes => format!("{:.1} MB", value / 1e6),
            Self::Milliseconds => format!("{value:.2} ms"),
            Self::Nats => format!("{value:.2e} nats"),
            Self::Percent => format!("{value:.3}%"),
            Self::Number => format!("{value:.4}"),
        }
    }
}

/// A table that prints lines as they come and counts them.
pub struct Table {
    json: bool,
    silent: bool,
    verdicts: Vec<Verdict>,
}

impl Table {
    pub fn new(json: bool) -> Self {
        Self { json, silent: false, verdicts: Vec::new() }
    }

    /// Returns a table that prints nothing.
    #[cfg(test)]
    pub fn silent() -> Self {
        Self { json: false, silent: true, verdicts: Vec::new() }
    }

    pub fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.iter().filter(|&&v| v == verdict).count()
    }

    pub fn summary(&self, quick: bool) -> String {
        let [passed, failed, skipped] = [Verdict::Passed, Verdict::Failed, Verdict::Skipped].map(|v| self.count(v));
        let settings = if quick { "; reduced settings, which prove nothing" } else { "" };
        format!("{passed} passed, {failed} failed, {skipped} skipped{settings}")
    }

    fn add(&mut self, line: &Line<'_>) {
        let first = self.verdicts.is_empty();
        self.verdicts.push(line.verdict);
        if self.silent {
            return;
        }
        if self.json {
            println!("{}", line.document());
            return;
        }
        if first {
            println!("{:<10} {:<66} {:>22}  {:<22} verdict", "part", "figure", "found", "bound");
        }
        let note = if line.note.is_empty() { String::new() } else { format!(": {}", line.note) };
        let verdict = line.verdict.name();
        println!("{:<10} {:<66} {:>22}  {:<22} {verdict}{note}", line.part, line.what, line.found, line.bound);
    }
}

struct Line<'a> {
    part: &'a str,
    what: &'a str,
    found: String,
    bound: String,
    /// The number and its limit, if they are numbers.
    numbers: Option<(f64, f64)>,
    verdict: Verdict,
    note: String,
}

impl Line<'_> {
    fn document(&self) -> Value {
        let mut document = json!({"part": self.part, "figure": self.what, "found": self.found, "bound": self.bound});
        if let Some((value, limit)) = self.numbers {
            document["value"] = json!(value);
            document["limit"] = json!(limit);
        }
        document["verdict"] = json!(self.verdict.name());
        if !self.note.is_empty() {
            document["note"] = json!(self.note);
        }
        document
    }
}

/// The lines of one part.
pub struct Report<'a> {
    part: &'static str,
    table: &'a mut Table,
    empty: bool,
}

impl<'a> Report<'a> {
    pub fn new(part: &'static str, table: &'a mut Table) -> Self {
        Self { part, table, empty: true }
    }

    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// Adds a figure that must not be above its bound.
    pub fn at_most(&mut self, what: &str, value: f64, limit: f64, unit: Unit) {
        self.number(what, (value, limit), "at most", value <= limit, unit);
    }

    /// Adds a figure that must not be below its bound.
    pub fn at_least(&mut self, what: &str, value: f64, limit: f64, unit: Unit) {
        self.number(what, (value, limit), "at least", value >= limit, unit);
    }

    /// Adds a value that must equal its bound.
    pub fn equal(&mut self, what: &str, found: impl Into<String>, expected: impl Into<String>) {
        let (found, bound) = (found.into(), expected.into());
        let verdict = if found == bound { Verdict::Passed } else { Verdict::Failed };
        self.add(what, found, bound, None, verdict, "");
    }

    /// Adds a line whose proof succeeded; it would have returned an error otherwise.
    pub fn proved(&mut self, what: &str, found: String, bound: &str) {
        self.add(what, found, bound.to_owned(), None, Verdict::Passed, "");
    }

    /// Adds a line that was not tried.
    pub fn skipped(&mut self, what: &str, need: &str) {
        self.add(what, String::new(), String::new(), None, Verdict::Skipped, &format!("needs {need}"));
    }

    /// Adds a line without a figure because of an error.
    pub fn failed(&mut self, what: &str, problem: &str) {
        self.add(what, String::new(), String::new(), None, Verdict::Failed, problem);
    }

    /// Runs a function that adds one or more lines. An unmet requirement or an error costs only these lines.
    pub fn lines(&mut self, what: &str, run: impl FnOnce(&mut Self) -> Result<(), super::Stop>) {
        match run(self) {
            Ok(()) => {}
            Err(super::Stop::Needs(need)) => self.skipped(what, &need),
            Err(super::Stop::Failed(problem)) => self.failed(what, &problem),
        }
    }

    fn number(&mut self, what: &str, numbers: (f64, f64), word: &str, holds: bool, unit: Unit) {
        let verdict = if holds { Verdict::Passed } else { Verdict::Failed };
        let (found, bound) = (unit.show(numbers.0), format!("{word} {}", unit.show(numbers.1)));
        self.add(what, found, bound, Some(numbers), verdict, "");
    }

    fn add(
        &mut self,
        what: &str,
        found: String,
        bound: String,
        numbers: Option<(f64, f64)>,
        verdict: Verdict,
        note: &str,
    ) {
        self.empty = false;
        self.table.add(&Line { part: self.part, what, found, bound, numbers, verdict, note: note.to_owned() });
    }
}
