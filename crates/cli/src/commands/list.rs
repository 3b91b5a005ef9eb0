//! `honelm list`: the models that can be used by name.

use std::path::Path;

use clap::Args;
use honelm::{ListedModel, Listing};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  honelm list
  honelm list --model-dir DIR
  honelm list --json          paths, revisions and files, for programs

The names are those that all commands take as MODEL. Models are looked for in the model folders (--model-dir, HONELM_HOME,
`models` beside the executable, in the current folder or above it) and in the Hugging Face cache. Only headers are read. A
model that cannot be opened is listed with the reason.";

/// List the models that can be used by name, with their format, size and place
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct List {}

impl List {
    pub fn run(self, global: &Global) -> Result<u8, Failure> {
        let found = honelm::list(global.model_dir.as_deref());
        if global.json {
            output::json(&found)?;
        } else {
            output::write(&text(&found))?;
        }
        Ok(0)
    }
}

fn text(found: &Listing) -> String {
    if found.models.is_empty() {
        return "no models; fetch one with `honelm pull ORG/REPO`\n".to_owned();
    }
    let mut out = String::new();
    for models in found.models.chunk_by(|a, b| a.folder == b.folder) {
        if !out.is_empty() {
            out.push('\n');
        }
        match models.first().and_then(|model| model.folder.as_deref()) {
            Some(folder) => out.push_str(&folder_text(folder, models)),
            None => out.push_str(&cache_text(&found.cache, models)),
        }
    }
    let problems = found.models.iter().filter_map(|m| Some(format!("{}: {}", m.name, m.problem.as_ref()?)));
    let problems: Vec<String> = problems.collect();
    if !problems.is_empty() {
        out.push_str(&format!("\nCannot be opened\n{}\n", problems.join("\n")));
    }
    out
}

fn folder_text(folder: &Path, models: &[ListedModel]) -> String {
    let rows: Vec<Vec<String>> = models.iter().map(|m| vec![m.name.clone(), kind(m), size(m)]).collect();
    let table = output::fitted(output::table(&["name", "format", "size"], &rows));
    format!("Models in {}\n{table}\n", folder.display())
}

fn cache_text(cache: &Path, models: &[ListedModel]) -> String {
    let row = |m: &ListedModel| {
        let commit: String = m.commit.iter().flat_map(|commit| commit.chars().take(8)).collect();
        let revision = m.revision.as_ref().map_or_else(|| commit.clone(), |name| format!("{name} ({commit})"));
        vec![m.name.clone(), kind(m), size(m), revision, m.files.len().to_string()]
    };
    let rows: Vec<Vec<String>> = models.iter().map(row).collect();
    let table = output::fitted(output::table(&["name", "format", "size", "revision", "files"], &rows));
    format!("Models in the Hugging Face cache, {}\n{table}\n", cache.display())
}

/// Returns container and encoding, such as `gguf Q4_K`.
fn kind(model: &ListedModel) -> String {
    let parts = [&model.container, &model.encoding];
    let text = parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
    if model.problem.is_some() { format!("{text} (problem)").trim_start().to_owned() } else { text }
}

fn size(model: &ListedModel) -> String {
    honelm::units::bytes(model.size_bytes)
}
