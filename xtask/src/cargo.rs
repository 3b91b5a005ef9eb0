//! Runs of Cargo that behave as if started from a shell.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns a Cargo command without the variables that `cargo run` sets for this package. With them, Cargo would
/// rebuild build scripts that read them, and everything that depends on these, both now and in the next call from a
/// shell.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let prefixes = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Returns the `honelm` program at a path, or builds it for release.
pub fn program(given: Option<&Path>, root: &Path, target: &Path) -> Result<PathBuf, String> {
    if let Some(given) = given {
        return std::fs::canonicalize(given).map_err(|e| format!("{}: {e}", given.display()));
    }
    let arguments = ["build", "--release", "--quiet", "--package", "honelm-cli", "--bin", "honelm"];
    let status = cargo().args(arguments).current_dir(root).status().map_err(|e| format!("cargo: {e}"))?;
    match status.success() {
        true => Ok(target.join("release").join(format!("honelm{}", std::env::consts::EXE_SUFFIX))),
        false => Err(format!("cargo build: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_gets_no_variables_of_this_package() {
        // `cargo test` sets the same variables as `cargo run`.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let cargo = cargo();
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR"] {
            assert!(cargo.get_envs().any(|(removed, value)| removed == name && value.is_none()), "{name}");
        }
    }
}
