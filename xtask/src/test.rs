//! `cargo xtask test`: every check in order, each with its time, up to the first that fails.
//!
//! The steps are a list ([`steps`]); a check of another kind is one more
//! entry. What a command prints goes through untouched.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cargo::forget_ourselves;
use crate::{tidy, web};

/// One check.
struct Step {
    name: &'static str,
    action: Action,
}

enum Action {
    /// A check of this program.
    Here(fn(&Path) -> Result<()>),
    /// A command with its arguments and what it finds in its environment.
    Command { words: Vec<&'static str>, env: &'static [(&'static str, &'static str)] },
}

/// All checks, the quick ones first.
fn steps() -> Vec<Step> {
    let command = |name, words: &[&'static str]| Step {
        name,
        action: Action::Command { words: words.to_vec(), env: &[] },
    };
    vec![
        command("fmt", &["cargo", "fmt", "--all", "--check"]),
        Step { name: "tidy", action: Action::Here(tidy::run) },
        command("clippy", &["cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        tests(),
        // nextest runs none of these.
        command("doc tests", &["cargo", "test", "--workspace", "--doc"]),
        Step {
            name: "doc",
            action: Action::Command {
                words: vec!["cargo", "doc", "--workspace", "--no-deps"],
                env: &[("RUSTDOCFLAGS", "-D warnings")],
            },
        },
        Step { name: "api", action: Action::Here(web::check_api) },
        Step { name: "web", action: Action::Here(web::check) },
        Step { name: "browser", action: Action::Here(web::browse) },
    ]
}

/// The tests, by nextest where it is installed.
fn tests() -> Step {
    let probe = Command::new("cargo").args(["nextest", "--version"]).output();
    let words = match probe.is_ok_and(|output| output.status.success()) {
        true => vec!["cargo", "nextest", "run", "--workspace"],
        false => vec!["cargo", "test", "--workspace", "--lib", "--bins", "--tests", "--examples"],
    };
    Step { name: "tests", action: Action::Command { words, env: &[] } }
}

impl Action {
    fn describe(&self) -> String {
        match self {
            Action::Here(_) => "checks of cargo xtask".to_owned(),
            Action::Command { words, env } => {
                let set = env.iter().map(|(name, value)| format!("{name}={value:?}"));
                set.chain(words.iter().map(|word| (*word).to_owned())).collect::<Vec<_>>().join(" ")
            }
        }
    }

    fn run(&self, root: &Path) -> Result<()> {
        match self {
            Action::Here(check) => check(root),
            Action::Command { words, env } => {
                let [program, arguments @ ..] = &words[..] else { bail!("a step without a command") };
                let mut command = Command::new(program);
                forget_ourselves(&mut command);
                let status = command
                    .args(arguments)
                    .envs(env.iter().copied())
                    .current_dir(root)
                    .status()
                    .with_context(|| format!("cannot start `{program}`; is it installed?"))?;
                match status.success() {
                    true => Ok(()),
                    false => bail!("`{}` ended with {status}", words.join(" ")),
                }
            }
        }
    }
}

/// Runs every step from the repository's root.
pub fn run(root: &Path) -> Result<()> {
    run_steps(&steps(), root)
}

fn run_steps(steps: &[Step], root: &Path) -> Result<()> {
    let started = Instant::now();
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for step in steps {
        println!("==> {}: {}", step.name, step.action.describe());
        let begun = Instant::now();
        let outcome = step.action.run(root);
        let took = begun.elapsed();
        if let Err(error) = outcome {
            summary(&done);
            let left: Vec<&str> = steps.iter().skip(done.len() + 1).map(|step| step.name).collect();
            println!("    {:<10} FAILED {:>7.1} s", step.name, took.as_secs_f64());
            if !left.is_empty() {
                println!("    not run: {}", left.join(", "));
            }
            return Err(error.context(format!("step `{}` failed", step.name)));
        }
        println!("    {} ok, {:.1} s\n", step.name, took.as_secs_f64());
        done.push((step.name, took));
    }
    summary(&done);
    println!("all {} steps passed in {:.1} s", done.len(), started.elapsed().as_secs_f64());
    Ok(())
}

fn summary(done: &[(&str, Duration)]) {
    println!("==> summary");
    for (name, took) in done {
        println!("    {name:<10} ok     {:>7.1} s", took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn the_first_failure_stops_the_run_and_names_its_step() {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let count = |_: &Path| {
            RUNS.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let steps = [
            Step { name: "first", action: Action::Here(count) },
            Step { name: "second", action: Action::Here(|_| bail!("reason")) },
            Step { name: "third", action: Action::Here(count) },
        ];
        let message = format!("{:#}", run_steps(&steps, Path::new(".")).unwrap_err());
        assert_eq!(message, "step `second` failed: reason");
        assert_eq!(RUNS.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_command_that_is_not_installed_is_an_error_that_names_it() {
        let action = Action::Command { words: vec!["no-such-program-anywhere"], env: &[] };
        let message = format!("{:#}", action.run(Path::new(".")).unwrap_err());
        assert!(message.contains("`no-such-program-anywhere`"), "{message}");
    }
}
