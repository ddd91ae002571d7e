//! Cargo, started from a program that Cargo started.

use std::process::Command;

/// `cargo`, without what it says of this program to it: a build script that looks at such a variable (ring's does) would
/// run again, and everything that depends on it be built anew, each time it is another program that starts it.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    forget_ourselves(&mut command);
    command
}

/// Takes away what `cargo run` says of this program.
pub fn forget_ourselves(command: &mut Command) {
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    std::env::vars().filter(|(name, _)| ours(name)).for_each(|(name, _)| {
        command.env_remove(name);
    });
}
