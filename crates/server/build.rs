//! Builds the web page into the program: npm runs where the page's sources have changed.
//!
//! `MICROTOME_NO_PAGE=1` builds without it, for a machine that has no Node.js and wants the server alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What the page is made of, under `web/`.
const SOURCES: [&str; 8] = [
    "src",
    "public",
    "index.html",
    "docs.html",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
];

fn main() {
    println!("cargo:rerun-if-env-changed=MICROTOME_NO_PAGE");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate's folder"));
    let web = here.join("../../web");
    let page =
        PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder for what is built")).join("page");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", web.join(source).display());
    }
    fs::create_dir_all(&page).expect("the build folder can be written");
    if env::var_os("MICROTOME_NO_PAGE").is_some_and(|value| !value.is_empty()) {
        let text = "<!doctype html><title>microtome</title><p>This server was built without its page.";
        fs::write(page.join("index.html"), text).expect("the build folder can be written");
        return;
    }
    if let Err(problem) = build(&web, &page) {
        eprintln!("{problem}");
        std::process::exit(1);
    }
}

fn build(web: &Path, page: &Path) -> Result<(), String> {
    // As npm leaves it, this file is newer than the lock it installed.
    let installed = modified(&web.join("node_modules/.package-lock.json"));
    if installed.is_none() || installed < modified(&web.join("package-lock.json")) {
        npm(web, &["ci", "--no-audit", "--no-fund"])?;
    }
    let out = page.to_string_lossy();
    npm(web, &["run", "build", "--", "--outDir", &out, "--emptyOutDir"])
}

fn modified(file: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

fn npm(web: &Path, arguments: &[&str]) -> Result<(), String> {
    let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let output = Command::new(program).args(arguments).current_dir(web).output().map_err(|error| {
        format!(
            "cannot start npm ({error}): the web page is built with Node.js 20 or later. Install it, or set \
             MICROTOME_NO_PAGE=1 to build without the page"
        )
    })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "`npm {}` failed in {}:\n{}\n{}",
            arguments.join(" "),
            web.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
