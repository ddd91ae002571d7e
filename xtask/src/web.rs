//! What the web page needs: its packages, a browser, and the types generated from the API.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo::built;

/// Browsers looked for, in this order.
const BROWSERS: [&str; 4] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/opt/google/chrome/chrome"];

/// Installs the packages that the lock file names, where they are not there already.
pub fn install(root: &Path) -> Result<()> {
    let modified =
        |file: &str| fs::metadata(root.join("web").join(file)).and_then(|file| file.modified()).ok();
    let installed = modified("node_modules/.package-lock.json");
    if installed.is_some() && installed >= modified("package-lock.json") {
        return Ok(());
    }
    npm(root, &["ci"])
}

/// Writes the OpenAPI document and the types made from it.
pub fn gen_api(root: &Path) -> Result<()> {
    let document = document(root)?;
    fs::write(root.join(DOCUMENT), document).with_context(|| format!("cannot write {DOCUMENT}"))?;
    install(root)?;
    npm(root, &["run", "types"])
}

/// Whether the types are those of the document. Whether the document is what the code says is a test of the server.
pub fn check_api(root: &Path) -> Result<()> {
    install(root)?;
    npm(root, &["run", "types", "--", "--check"])
        .context("web/src/api/types.ts is out of date; run `cargo xtask gen-api`")
}

const DOCUMENT: &str = "crates/server/openapi.json";

fn document(root: &Path) -> Result<Vec<u8>> {
    let example = built(root, &["build", "--workspace", "--example", "openapi"], ("openapi", "example"))?;
    let output = Command::new(example).output().context("cannot start the server's example")?;
    if !output.status.success() {
        bail!("the server does not say its document:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}

/// The page's types, rules and unit tests.
pub fn check(root: &Path) -> Result<()> {
    install(root)?;
    npm(root, &["run", "check"])?;
    npm(root, &["test"])
}

/// The page in a browser, through the real server.
pub fn browse(root: &Path) -> Result<()> {
    install(root)?;
    let browser = browser()?;
    let program = built(root, &["test", "--workspace", "--no-run"], ("microtome", "bin"))?;
    ran(npm_command(root, &["run", "e2e"]).env("CHROMIUM", browser).env("MICROTOME_BIN", program))
}

/// A browser: the one named, one that is installed, or Debian's, installed now.
fn browser() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Ok(named.into());
    }
    let found = || BROWSERS.iter().map(PathBuf::from).find(|path| path.exists());
    if let Some(path) = found() {
        return Ok(path);
    }
    println!("    no Chromium is installed; asking apt-get for it");
    let quiet = |words: &[&str]| {
        Command::new("apt-get").args(words).env("DEBIAN_FRONTEND", "noninteractive").status()
    };
    let installed = quiet(&["update", "-qq"]).is_ok_and(|status| status.success())
        && quiet(&["install", "-y", "-qq", "chromium"]).is_ok_and(|status| status.success());
    match found() {
        Some(path) if installed => Ok(path),
        _ => bail!(
            "the browser tests need Chromium or Chrome; install it (Debian: apt-get install chromium) or name it \
             with CHROMIUM=/path"
        ),
    }
}

fn npm(root: &Path, words: &[&str]) -> Result<()> {
    ran(&mut npm_command(root, words))
}

fn npm_command(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.args(words).current_dir(root.join("web"));
    command
}

fn ran(command: &mut Command) -> Result<()> {
    let said = format!("{command:?}");
    let status = command.status().with_context(|| {
        format!("cannot start {said}; the web page is built and tested with Node.js 20 or later")
    })?;
    match status.success() {
        true => Ok(()),
        false => bail!("{said} ended with {status}"),
    }
}
