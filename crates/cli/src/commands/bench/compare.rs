//! The comparison of two records, or of a record and a run now.

use std::path::Path;

use honelm::bench::{Comparison, Difference, Pairing, Record, Verdict, compare};
use honelm::{BenchRow, Error};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::{input, output};

/// The name of a run now.
const NOW: &str = "this run";

/// Reads a record.
pub fn read(path: &Path) -> Result<Record, Failure> {
    let bytes = input::named(path, input::MOST_JSON)?;
    let name = path.display().to_string();
    let text = String::from_utf8(bytes).map_err(|e| {
        let problem = format!("found no UTF-8 from byte {} on, expected a record", e.utf8_error().valid_up_to());
        Error::Text { path: name.clone(), problem }
    })?;
    Ok(Record::parse(&name, &text).map_err(Error::from)?)
}

/// Compares two records.
pub fn records(first: &Path, second: &Path, paired: bool, global: &Global) -> Result<u8, Failure> {
    shown(&read(first)?, &read(second)?, paired, global)
}

/// Compares a record with the rows of a run now.
pub fn with_run(base: &Record, rows: &[BenchRow], paired: bool, global: &Global) -> Result<u8, Failure> {
    let failed = |source| Error::Serialise { what: "the run", source };
    let lines = rows.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let run = Record::parse(NOW, &lines.join("\n")).map_err(Error::from)?;
    shown(base, &run, paired, global)
}

fn shown(first: &Record, second: &Record, paired: bool, global: &Global) -> Result<u8, Failure> {
    let pairing = if paired { Pairing::Paired } else { Pairing::Unpaired };
    let found = compare(first, second, pairing).map_err(Error::from)?;
    if global.json {
        output::json(&found)?;
    } else {
        output::write(&text(&found))?;
    }
    Ok(0)
}

fn text(found: &Comparison) -> String {
    let titles = ["test", "unit", "first", "second", "ratio", "95% interval", "second is"];
    let cells: Vec<Vec<String>> = found.tests.iter().map(cells).collect();
    let mut out = output::fitted(output::table(&titles, &cells).rank(1, &["unit"]));
    out.push_str("\n\n");
    let names = ["first ", "second"];
    for (name, (record, program)) in names.iter().zip(found.records.iter().zip(&found.programs)) {
        out.push_str(&format!("{name}  {record}, {program}\n"));
    }
    let differ: Vec<&Difference> = found.tests.iter().filter(|test| test.setups[0] != test.setups[1]).collect();
    match differ.first() {
        Some(Difference { setups: [a, b], .. }) => out.push_str(&format!("The first is of {a}; the second of {b}.\n")),
        None => out.push_str(&found.tests.first().map_or_else(String::new, |test| format!("{}.\n", test.setups[0]))),
    }
    if !found.unmatched.is_empty() {
        out.push_str(&format!("Only in one record: {}\n", found.unmatched.join("; ")));
    }
    if found.tests.iter().any(|test| test.verdict == Verdict::Unknown) {
        out.push_str("An interval needs at least 2 repetitions in both records.\n");
    }
    out
}

fn cells(test: &Difference) -> Vec<String> {
    let figure = |value: f64| format!("{value:.*}", if value < 10.0 { 4 } else { 1 });
    let interval = test.lower95.zip(test.upper95);
    vec![
        test.test.clone(),
        test.unit.to_owned(),
        figure(test.first),
        figure(test.second),
        format!("{:.3}", test.ratio),
        interval.map_or_else(|| "-".to_owned(), |(lower, upper)| format!("{lower:.3} to {upper:.3}")),
        match test.verdict {
            Verdict::Slower => "slower",
            Verdict::Faster => "faster",
            Verdict::Equal => "equal up to noise",
            Verdict::Unknown => "not known",
        }
        .to_owned(),
    ]
}
