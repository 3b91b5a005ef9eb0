//! A large model in the browser's store.

use serde_json::{Value, json};

use super::context::{Context, number};
use super::report::{Report, Unit};
use super::{Part, Stop, browser};

pub const PART: Part = Part {
    name: "stored",
    claim: "a browser stores a file of 2.3 GB whose tab is killed at half of it, checks and deletes it",
    needs: "node with npm, Chromium, a wasm32 target, 2.5 GB of space",
    run,
};

/// The bytes of the file.
const BYTES: usize = 2_300_000_000;
/// The bytes of a chunk of a file of this size.
const CHUNK: f64 = 8_388_608.0;

fn run(context: &Context, report: &mut Report<'_>) -> Result<(), Stop> {
    let bytes = context.or_quick(BYTES, 100_000_000);
    let found: Value = browser::run(context, "store", &json!({"bytes": bytes}))?;
    let again = number(&found, "sent")? - number(&found, "bytes")?;
    report.at_most("bytes that were sent twice", again, CHUNK, Unit::Megabytes);
    report.at_most("bytes that were lost with the tab", number(&found, "lost")?, CHUNK, Unit::Megabytes);
    report.equal("damaged chunks", found["damaged"].to_string(), "0".to_owned());
    report.at_most("space that the site uses after the deletion", number(&found, "used")?, 50e6, Unit::Megabytes);
    Ok(())
}
