//! The crate layers: a crate depends only on crates of lower crate layers. Dev-dependencies are exempt.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The crate layer of every library and binary crate. Crates for tests and tasks only are outside the layers.
const LAYERS: &[(&str, u8)] = &[
    ("honelm-tensor", 0),
    ("honelm-chunks", 0),
    ("honelm-blocks", 1),
    ("honelm-formats", 2),
    ("honelm-backend", 2),
    ("honelm-jinja", 2),
    ("honelm-cpu", 3),
    ("honelm-gpu", 3),
    ("honelm-text", 3),
    ("honelm-model", 3),
    ("honelm-grammar", 4),
    ("honelm-plan", 4),
    ("honelm-train", 4),
    ("honelm-engine", 5),
    ("honelm-gateway", 5),
    ("honelm-eval", 6),
    ("honelm-store", 6),
    ("honelm-compress", 7),
    ("honelm-bench", 7),
    ("honelm", 8),
    ("honelm-server", 9),
    ("honelm-web", 9),
    ("honelm-web-gateway", 9),
    ("honelm-cli", 10),
];
const OUTSIDE: &[&str] = &["honelm-fuzz", "honelm-testing", "xtask"];

pub fn metadata() -> Result<Metadata, String> {
    MetadataCommand::new().no_deps().exec().map_err(|e| e.to_string())
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(n, _)| *n == name).map(|(_, layer)| *layer)
}

/// Returns one line per violation of the rule.
pub fn violations(metadata: &Metadata) -> Vec<String> {
    metadata.packages.iter().filter(|p| !OUTSIDE.contains(&p.name.as_str())).flat_map(of_package).collect()
}

fn of_package(package: &Package) -> Vec<String> {
    let name = package.name.as_str();
    let Some(own) = layer(name) else { return vec![format!("{name}: found no crate layer in xtask/src/layers.rs")] };
    let inside = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
    inside
        .filter_map(|d| {
            if OUTSIDE.contains(&d.name.as_str()) {
                return Some(format!("{name} depends on {}, which is for tests only", d.name));
            }
            let other = layer(&d.name)?;
            (other >= own).then(|| format!("{name} (crate layer {own}) depends on {} (crate layer {other})", d.name))
        })
        .collect()
}

pub fn print(below: Option<u8>, as_packages: bool) -> Result<(), String> {
    let chosen = LAYERS.iter().filter(|(_, layer)| below.is_none_or(|b| *layer < b));
    for (name, layer) in chosen {
        if as_packages { println!("-p {name}") } else { println!("{layer} {name}") }
    }
    Ok(())
}
