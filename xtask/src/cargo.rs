//! Cargo, as a person would start it.

use std::process::Command;

/// Cargo without what `cargo run` tells the chore of the chore's own package: build scripts that look at it, and all that depends on
/// them, would be built again, now and by the next cargo that a person starts.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let told = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| told.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.env_remove(name);
        }
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_not_told_of_the_chores_package() {
        // `cargo test` tells the same as `cargo run`.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let cargo = cargo();
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR"] {
            assert!(cargo.get_envs().any(|(removed, value)| removed == name && value.is_none()), "{name}");
        }
    }
}
