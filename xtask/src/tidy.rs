//! `cargo xtask tidy`: rules of this repository that no general tool checks.
//!
//! - No Rust file has more than 600 lines, unless [`LONG_FILES`] says why it may.
//! - Library code does not call `unwrap()`, and `expect(` only with a sentence that says why it cannot
//!   fail. Tests may. This reads text, not syntax: comments are skipped, and everything from a file's
//!   `#[cfg(test)] mod name {` on counts as test.
//! - No file names a directory of somebody's machine.
//! - Every relative link of a Markdown file leads somewhere.
//! - CONTRIBUTING.md has a row for every dependency of the workspace table, and for no other.
//!
//! The files are those Git tracks and those it would track if added.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::links;

const MAX_LINES: usize = 600;

/// Rust files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Directories of one machine or one person, without their slashes so that this file passes.
const MACHINE_DIRS: [&str; 4] = ["home", "work", "root", "Users"];

/// Texts that look like a machine's path and are none, by file.
const INVENTED_PATHS: [(&str, &str); 1] = [("crates/model/tests/load/hub.rs", "ada")];

/// Checks the repository at `root`.
pub fn run(root: &Path) -> Result<()> {
    let files = files(root)?;
    let mut problems = Vec::new();
    for path in &files {
        // What is not text has no lines, links or paths.
        let Ok(text) = std::fs::read_to_string(root.join(path)) else { continue };
        let mut report = |found: Vec<String>| {
            problems.extend(found.into_iter().map(|what| format!("{}: {what}", path.display())));
        };
        report(machine_paths(path, &text));
        match path.extension().and_then(|e| e.to_str()) {
            Some("rs") => {
                report(too_long(path, &text, LONG_FILES));
                if is_library(root, path) {
                    report(panics(&text));
                }
            }
            Some("md") => report(links::broken(root, path, &text)),
            _ => {}
        }
    }
    for (path, _) in LONG_FILES {
        if !files.contains(Path::new(path)) {
            problems.push(format!("{path}: is allowed to be long and does not exist; drop its entry"));
        }
    }
    problems.extend(undocumented_dependencies(root)?);
    if problems.is_empty() {
        println!("tidy: {} files, nothing to complain about", files.len());
        return Ok(());
    }
    problems.iter().for_each(|problem| println!("{problem}"));
    bail!(
        "{} to tidy up",
        if problems.len() == 1 { "1 thing".into() } else { format!("{} things", problems.len()) }
    )
}

/// Paths relative to `root` of the files Git tracks or would track, as far as they exist.
fn files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot start `git`; is it installed?")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(names.split_terminator('\0').map(PathBuf::from).filter(|path| root.join(path).is_file()).collect())
}

fn too_long(path: &Path, text: &str, may_be_long: &[(&str, &str)]) -> Vec<String> {
    let lines = text.lines().count();
    let allowed = may_be_long.iter().any(|(long, _)| path == Path::new(long));
    match (lines > MAX_LINES, allowed) {
        (true, false) => vec![format!(
            "{lines} lines, at most {MAX_LINES}; split it by idea, or say in LONG_FILES why it is one"
        )],
        (false, true) => vec![format!("only {lines} lines now; drop its entry in LONG_FILES")],
        _ => vec![],
    }
}

/// Whether a Rust file is the code of a library rather than of a program, a test or an example.
fn is_library(root: &Path, path: &Path) -> bool {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    match parts[..] {
        ["crates", name, "src", .., file] => {
            root.join("crates").join(name).join("src/lib.rs").exists() && file != "tests.rs"
        }
        _ => false,
    }
}

/// Calls that panic without saying why they cannot.
fn panics(text: &str) -> Vec<String> {
    let code = library_part(text);
    let line_of = |at: usize| code[..at].lines().count().max(1);
    let mut found = Vec::new();
    for (at, _) in code.match_indices(".unwrap()") {
        found.push(format!("line {}: `unwrap()` in library code; return an error", line_of(at)));
    }
    for (at, call) in code.match_indices(".expect(") {
        let argument = code[at + call.len()..].trim_start();
        let reason = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
        if !reason.is_some_and(|reason| reason.trim().contains(' ')) {
            found.push(format!(
                "line {}: `expect` in library code needs a sentence that says why it cannot fail",
                line_of(at)
            ));
        }
    }
    found
}

/// The text before the tests, with comments blanked so that line numbers stay.
fn library_part(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_tests = |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].trim_end().ends_with('{');
    let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
    let blank = |line: &&str| if line.trim_start().starts_with("//") { "" } else { line }.to_owned() + "\n";
    lines[..end].iter().map(blank).collect()
}

fn machine_paths(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for dir in MACHINE_DIRS {
        let needle = format!("/{dir}/");
        for (at, _) in text.match_indices(&needle) {
            let before = text[..at].chars().next_back();
            // `docs/work/x` and `../work/x` are no absolute paths.
            if before
                .is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}' | ')' | '~' | '*'))
            {
                continue;
            }
            let rest = &text[at + needle.len()..];
            let name =
                rest.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_').next().unwrap_or("");
            if INVENTED_PATHS.iter().any(|(file, invented)| path == Path::new(file) && name == *invented) {
                continue;
            }
            let line = text[..at].matches('\n').count() + 1;
            found.push(format!("line {line}: `{needle}{name}` is a path of one machine"));
        }
    }
    found
}

/// Dependencies of the workspace table without a row in CONTRIBUTING.md, and rows without one.
fn undocumented_dependencies(root: &Path) -> Result<Vec<String>> {
    let read =
        |name: &str| std::fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"));
    let (manifest, guide) = (read("Cargo.toml")?, read("CONTRIBUTING.md")?);
    let (used, told) = (workspace_dependencies(&manifest), documented_dependencies(&guide));
    let missing = used.difference(&told).map(|name| {
        format!("CONTRIBUTING.md: no row for the dependency `{name}`: what it saves, and its licence")
    });
    let stale = told
        .difference(&used)
        .map(|name| format!("CONTRIBUTING.md: has a row for `{name}`, which the workspace table does not"));
    Ok(missing.chain(stale).collect())
}

/// Names under `[workspace.dependencies]` that are not crates of this repository.
fn workspace_dependencies(manifest: &str) -> BTreeSet<String> {
    let table = manifest.lines().skip_while(|line| line.trim() != "[workspace.dependencies]").skip(1);
    table
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .filter(|(name, value)| !name.trim_start().starts_with('#') && !value.contains("path = "))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}

/// Names in backticks at the start of a table's row.
fn documented_dependencies(guide: &str) -> BTreeSet<String> {
    let section = guide.lines().skip_while(|line| line.trim() != "## Dependencies").skip(1);
    section
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_count_in_library_code_and_not_in_comments_or_tests() {
        let clean = "/// x.unwrap()\nfn f() {\n    g().expect(\n        \"a map always has it\",\n    );\n}\n\
                     #[cfg(test)]\nmod tests {\n    fn g() { h().unwrap() }\n}\n";
        assert_eq!(panics(clean), [""; 0]);
        let found = panics(
            "fn f() {\n    // why\n    g().unwrap();\n    h().expect(\"word\");\n    i().expect(&m);\n}\n",
        );
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("line 3:") && found[1].starts_with("line 4:"), "{found:?}");
        // A module of tests in its own file does not end the library part.
        assert_eq!(panics("#[cfg(test)]\nmod tests;\nfn f() { g().unwrap() }\n").len(), 1);
    }

    #[test]
    fn absolute_machine_paths_are_found_and_relative_ones_are_not() {
        let path = Path::new("a.md");
        let absolute = format!("see \"/{}/ada/x\" and /{}/y", "home", "work");
        assert_eq!(machine_paths(path, &absolute).len(), 2);
        let relative =
            format!("../{0}/x, docs/{0}/x, ~/{0}/x, {{dir}}/{0}/x, https://example.org/{0}/x", "work");
        assert_eq!(machine_paths(path, &relative), [""; 0]);
    }

    #[test]
    fn a_long_file_needs_an_entry_and_an_entry_a_long_file() {
        let long = "\n".repeat(MAX_LINES + 1);
        let excused = [("long.rs", "a reason")];
        assert_eq!(too_long(Path::new("a.rs"), &long, &excused).len(), 1);
        assert_eq!(too_long(Path::new("a.rs"), "\n", &excused).len(), 0);
        assert_eq!(too_long(Path::new("long.rs"), &long, &excused).len(), 0);
        assert_eq!(too_long(Path::new("long.rs"), "\n", &excused).len(), 1);
    }

    #[test]
    fn every_dependency_has_a_row_and_every_row_a_dependency() {
        let manifest = "[workspace]\nx = 1\n[workspace.dependencies]\nours = { path = \"a\" }\n# b = 1\nc = \"1\"\n\n[profile.x]\nd = 1\n";
        assert_eq!(workspace_dependencies(manifest), BTreeSet::from(["c".to_owned()]));
        let guide = "| `a` |\n## Dependencies\n| Crate | |\n| `c` | `d` |\n## Next\n| `e` |\n";
        assert_eq!(documented_dependencies(guide), BTreeSet::from(["c".to_owned()]));
    }
}
