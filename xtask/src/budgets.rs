//! The line limits of source files. A file above its limit should be split.

use std::path::{Path, PathBuf};

/// The limits, as (part of the path, number of lines). The first matching entry applies. Tests and generated tables
/// have no limit.
const BUDGETS: &[(&str, usize)] = &[("/model/src/arch/", 250), ("/blocks/src/", 300), ("/src/", 500)];
const EXEMPT: &[&str] = &["/tests/", "tests.rs", "/generated/"];

pub fn violations(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(&root.join(folder), &mut files).map_err(|e| format!("{folder}: {e}"))?;
    }
    files.sort();
    let mut problems = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let name = format!("/{}", file.strip_prefix(root).unwrap_or(&file).display());
        let budget = BUDGETS.iter().find(|(part, _)| name.contains(part)).map(|(_, limit)| *limit);
        let lines = code_lines(&text);
        if let Some(limit) = budget
            && lines > limit
            && !EXEMPT.iter().any(|part| name.contains(part))
        {
            problems.push(format!("{}: found {lines} lines, expected at most {limit}", &name[1..]));
        }
    }
    Ok(problems)
}

/// Returns the number of lines before the file's own test module.
fn code_lines(text: &str) -> usize {
    text.lines().take_while(|l| !l.starts_with("#[cfg(test)]")).count()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
    Ok(())
}
