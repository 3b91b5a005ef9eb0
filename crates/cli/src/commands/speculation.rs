//! The table of `honelm bench --speculate`.

use honelm::{SpeculationOptions, SpeculationRow};

use crate::arguments::Global;
use crate::commands::rows::measured;
use crate::failure::Failure;
use crate::output;

/// The number of depths whose acceptance the table shows.
const DEPTHS: usize = 4;

/// Measures all classes of prompts and prints a table, or a JSON document for each class.
pub fn run(options: &SpeculationOptions, global: &Global) -> Result<u8, Failure> {
    let rows = measured(global, |events, on_row| honelm::speculation(options, events, on_row))?;
    if !global.json {
        print(&rows)?;
    }
    Ok(0)
}

fn print(rows: &[SpeculationRow]) -> Result<(), Failure> {
    let titles =
        ["prompts", "plain tok/s", "tok/s", "speed-up", "at least", "tokens/step", "acceptance by depth", "equal"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let depths = row.acceptance.iter().take(DEPTHS).map(|share| format!("{:.0}%", 100.0 * share));
            vec![
                row.class.to_owned(),
                format!("{:.1}", row.plain_tokens_per_second),
                format!("{:.1}", row.tokens_per_second),
                format!("{:.2}x", row.speedup),
                format!("{:.2}x", row.speedup_lower95),
                format!("{:.2}", row.tokens_per_step),
                depths.collect::<Vec<_>>().join(" "),
                format!("{} of {}", row.equal, row.rounds),
            ]
        })
        .collect();
    output::line(&output::fitted(output::table(&titles, &cells).rank(1, &["acceptance by depth", "equal"])))?;
    let Some(first) = rows.first() else { return Ok(()) };
    let draft = first.draft.as_ref().map_or_else(String::new, |draft| format!(" with {}", honelm::printable(draft)));
    let model = honelm::printable(&first.model);
    output::line(&format!("{model}{draft}, --speculate {}; {}", first.speculate, first.device))
}
