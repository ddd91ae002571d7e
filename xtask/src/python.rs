//! The Python environment that the peers run in.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// PyTorch, and what it is fed with.
pub const TORCH: [&str; 2] = ["torch==2.15.0", "numpy"];

/// The Python of an environment under `target/` with these packages, made where there is none yet.
pub fn environment(root: &Path, packages: &[&str]) -> Result<PathBuf> {
    let dir = root.join("target/peers");
    let python = dir.join("bin/python");
    if !python.exists() {
        let made = ran(Command::new("python3").args(["-m", "venv"]).arg(&dir));
        made.context("no Python environment; is python3 installed, with venv? Or name one with --python")?;
    }
    install(&python, packages)?;
    Ok(python)
}

/// Installs packages with their dependencies; what is there already stays as it is.
fn install(python: &Path, packages: &[&str]) -> Result<()> {
    let installed = ran(pip_install(python).args(packages));
    installed.with_context(|| format!("cannot install {}", packages.join(", ")))
}

/// A directory under `target/` with these packages and nothing they depend on, for a version beside the
/// environment's own.
pub fn beside(root: &Path, python: &Path, name: &str, packages: &[&str]) -> Result<PathBuf> {
    let dir = root.join("target/peers-beside").join(name);
    if !dir.exists() {
        let part = dir.with_added_extension("part");
        let installed = ran(pip_install(python).args(["--no-deps", "--target"]).arg(&part).args(packages));
        installed.with_context(|| format!("cannot install {}", packages.join(", ")))?;
        std::fs::rename(&part, &dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    }
    Ok(dir)
}

fn pip_install(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    command
}

/// Runs a command to its end.
pub fn ran(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    match status.success() {
        true => Ok(()),
        false => bail!("{:?} ended with {status}", command.get_program()),
    }
}
