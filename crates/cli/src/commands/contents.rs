//! The output of `honelm inspect` for files that are no model that can run here.

use std::path::Path;

use honelm::{Contents, StoredTensor};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;

/// Shows the contents of the files and reports `failure`, the reason why they are no model. Without contents, returns the
/// failure.
pub fn show(path: &Path, failure: Failure, global: &Global) -> Result<u8, Failure> {
    let Some(found) = honelm::contents(path) else { return Err(failure) };
    if global.json {
        let mut document = serde_json::to_value(&found).map_err(|e| Failure::Io("JSON".to_owned(), e.into()))?;
        document["error"] = failure.json();
        output::json(&document)?;
    } else {
        output::write(&text(&found, global.verbose > 0))?;
        output::note(&format!("error: {}", failure.message()));
    }
    Ok(failure.status())
}

/// The number of tensors shown without `-v`.
const FEW: usize = 12;

fn text(found: &Contents, all: bool) -> String {
    let size = honelm::units::bytes;
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
    let mut out = output::facts(&[
        ("path", found.path.display().to_string()),
        ("container", or_unknown(&found.container)),
        ("architecture", or_unknown(&found.architecture)),
        ("parameters", format!("{} ({:.2} M)", found.parameters, found.parameters as f64 / 1e6)),
        ("size", size(found.size_bytes)),
    ]);
    let mut part = |title: &str, body: &str| out.push_str(&format!("\n{title}\n{}\n", body.trim_end()));
    if let Some(config) = found.config.as_ref().filter(|_| all) {
        part("Configuration", &serde_json::to_string_pretty(config).unwrap_or_default());
    }
    let shape = |t: &StoredTensor| t.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
    let row = |t: &StoredTensor| vec![t.name.clone(), t.encoding.clone(), shape(t), size(t.bytes)];
    let shown = if all { found.tensors.len() } else { found.tensors.len().min(FEW) };
    let rows: Vec<Vec<String>> = found.tensors[..shown].iter().map(row).collect();
    let mut tensors = output::fitted(output::table(&["name", "encoding", "shape", "size"], &rows));
    if shown < found.tensors.len() {
        tensors.push_str(&format!("\n{} more tensors, shown with -v", found.tensors.len() - shown));
    }
    part("Tensors", if found.tensors.is_empty() { "none" } else { &tensors });
    let tokenizer = match (&found.tokenizer, &found.tokenizer_problem) {
        (Some(facts), _) => format!("{}, {} tokens", facts.family, facts.tokens),
        (None, problem) => problem.clone().unwrap_or_else(|| "none".to_owned()),
    };
    part("Tokenizer", &tokenizer);
    if !found.problems.is_empty() {
        part("Problems", &found.problems.join("\n"));
    }
    out
}
