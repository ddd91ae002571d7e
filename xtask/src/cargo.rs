//! Cargo, started from a program that Cargo started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

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

/// Builds with cargo and says where the program of this name and kind is. `--workspace` is the selection of all steps:
/// any other has other features, and compiles most of it again.
pub fn built(root: &Path, words: &[&str], (name, kind): (&str, &str)) -> Result<PathBuf> {
    let output = cargo()
        .args(words)
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`{name}` does not build");
    }
    executable(&output.stdout, name, kind)
        .with_context(|| format!("cargo says of no `{name}` that it built it"))
}

/// The program as it is released, which benches time.
pub fn released(root: &Path) -> Result<PathBuf> {
    built(root, &["build", "--release", "--workspace", "--bin", "microtome"], ("microtome", "bin"))
}

/// An example, optimised as the program is.
pub fn released_example(root: &Path, name: &str) -> Result<PathBuf> {
    built(root, &["build", "--release", "--workspace", "--example", name], (name, "example"))
}

/// The path of a program in what cargo says of a build.
fn executable(messages: &[u8], name: &str, kind: &str) -> Option<PathBuf> {
    let messages = String::from_utf8_lossy(messages);
    let values = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let is_it = |value: &serde_json::Value| {
        let of_a_test = value["profile"]["test"] != serde_json::Value::Bool(false);
        value["target"]["name"] == name && value["target"]["kind"][0] == kind && !of_a_test
    };
    let mut programs = values.filter(is_it);
    programs.find_map(|value| value["executable"].as_str().map(PathBuf::from))
}
