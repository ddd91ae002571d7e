//! `cargo xtask gpu`: on a machine with a GPU, whether it computes what the processor computes, and how fast.
//!
//! 1. `build`: the program, the tests and the benches, with the feature `cuda`, into `target/gpu`. That folder holds
//!    all the later steps run, this program among it, so it can be made elsewhere: copy it and the working tree, and
//!    run `target/gpu/xtask gpu --step parity` there, without Rust and without a network.
//! 2. `parity`: the engine's laws in f32 and bf16, and the reference numbers in f32, on the GPU.
//! 3. `bench`: the tasks of `bench-peer` at GPT-2 small's shape and at GPT-2 XL's, in f32 and in bf16. Compared are
//!    the processor (small, f32) and, where a Python with torch can use the GPU, torch.
//!
//! Each step ends within ten minutes on a machine with 16 cores. What was found is added to a report in Markdown.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::bench_peer::{BenchPeer, Peer};
use crate::cuda::Toolkit;
use crate::make_model::Shape;

/// Which steps, and where their report goes.
#[derive(Args)]
pub struct Gpu {
    /// One step; all of them in turn where left out.
    #[arg(long, value_enum)]
    step: Option<Step>,
    /// One shape of the bench; both where left out.
    #[arg(long, value_enum)]
    shape: Option<Shape>,
    /// Turns of every engine at every task.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// A Python with torch that can use the GPU; without one there is no comparison with torch.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Where the report is written; a step adds to what stands there.
    #[arg(long, default_value = "target/gpu/report.md")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    Build,
    Parity,
    Bench,
}

/// What the steps run, by the name it has in the folder.
const PROGRAM: &str = "microtome";
const TASKS: &str = "peer_tasks";
const LAWS: &str = "engine";
const REFERENCE: &str = "suite";

impl Gpu {
    /// Takes the steps and says where the report is.
    pub fn run(&self, root: &Path) -> Result<()> {
        // The program may have been built elsewhere, where the repository had another place.
        let root = if root.join("Cargo.toml").exists() { root.to_owned() } else { std::env::current_dir()? };
        let bin = root.join("target/gpu");
        let wants = |step: Step| self.step.is_none_or(|only| only == step);
        if wants(Step::Build) {
            build(&root, &bin)?;
        }
        if self.step == Some(Step::Build) {
            println!("{} holds all that the other steps run", bin.display());
            return Ok(());
        }
        ensure!(bin.join(PROGRAM).exists(), "`{}` is empty; run --step build first", bin.display());
        let gpu = find_gpu(&bin)?;
        println!("{gpu}");
        if wants(Step::Parity) {
            let found = parity(&root, &bin);
            let said = match &found {
                Ok(lines) => lines.join("\n"),
                Err(error) => format!("FAILED: {error:#}"),
            };
            self.report(&root, &format!("## Parity\n\n{gpu}\n\n{said}\n"))?;
            found?;
        }
        if wants(Step::Bench) {
            self.bench(&root, &bin, &gpu)?;
        }
        println!("the report is in {}", root.join(&self.out).display());
        Ok(())
    }

    fn report(&self, root: &Path, text: &str) -> Result<()> {
        let path = root.join(&self.out);
        let so_far = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, so_far + text + "\n")
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        println!("{text}");
        Ok(())
    }

    fn bench(&self, root: &Path, bin: &Path, gpu: &str) -> Result<()> {
        let torch = has_torch(&self.python);
        if !torch {
            println!("`{}` has no torch that can use the GPU: nobody to compare with", self.python.display());
        }
        let shapes = match self.shape {
            Some(shape) => vec![shape],
            None => vec![Shape::Gpt2Small, Shape::Gpt2Xl],
        };
        for shape in shapes {
            for precision in ["f32", "bf16"] {
                let mut peers = if torch { vec![Peer::Torch] } else { vec![] };
                if shape == Shape::Gpt2Small && precision == "f32" {
                    peers.insert(0, Peer::Cpu);
                }
                let bench = BenchPeer::on_gpu(
                    (shape, precision),
                    self.rounds,
                    peers,
                    bin.join(TASKS),
                    self.python.clone(),
                );
                let found = bench.measured(root)?;
                let title = format!("## {}, {precision}", shape.name());
                self.report(root, &format!("{title}\n\n{gpu}\n\n{found}"))?;
            }
        }
        Ok(())
    }
}

/// The GPU in words.
fn find_gpu(bin: &Path) -> Result<String> {
    let asked = Command::new(bin.join(PROGRAM))
        .args(["measure", "a", "--device", "cuda"])
        .output()
        .context("the program does not start")?;
    if !asked.status.success() {
        let said = String::from_utf8_lossy(&asked.stderr).trim().to_owned();
        bail!("no GPU to measure on: {said}");
    }
    let mut described = Command::new("nvidia-smi");
    described.args(["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]);
    let described = described.output().ok().filter(|output| output.status.success());
    let described = described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Ok(described.unwrap_or("an NVIDIA GPU (nvidia-smi is not here to say which)".to_owned()))
}

fn has_torch(python: &Path) -> bool {
    let asked = Command::new(python).args(["-c", "import torch; assert torch.cuda.is_available()"]).output();
    asked.is_ok_and(|output| output.status.success())
}

/// Builds what the steps run and gathers it in one folder.
fn build(root: &Path, bin: &Path) -> Result<()> {
    // In one command: asked for by themselves, the tests would have their dependencies compiled once more, with other
    // features. The trainer has tests of the same names.
    let mut build = Toolkit::here(root)?.cargo(root);
    build.args(["build", "--release", "--workspace", "--exclude", "microtome-train", "--features", "cuda"]);
    build.args(["--bin", PROGRAM, "--example", TASKS, "--test", LAWS, "--test", REFERENCE]);
    build.args(["--message-format", "json"]).env("MICROTOME_NO_PAGE", "1");
    let output = build.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the build failed");
    fs::create_dir_all(bin).with_context(|| format!("cannot make `{}`", bin.display()))?;
    let mut files = executables(&String::from_utf8_lossy(&output.stdout));
    for name in [PROGRAM, TASKS, LAWS, REFERENCE] {
        let found = files.iter().filter(|(_, built)| built == name).count();
        ensure!(found == 1, "the build made {found} programs named `{name}`; one was expected");
    }
    files.push((std::env::current_exe()?, "xtask".to_owned()));
    for (from, name) in files {
        let to = bin.join(name);
        fs::copy(&from, &to).with_context(|| format!("cannot copy `{}`", from.display()))?;
        // Smaller to carry; where it is missing they are carried whole.
        let _ = Command::new("strip").arg(&to).status();
    }
    Ok(())
}

/// Programs and their names, from what cargo says of a build.
fn executables(messages: &str) -> Vec<(PathBuf, String)> {
    let of = |line: &str| -> Option<(PathBuf, String)> {
        let message: Value = serde_json::from_str(line).ok()?;
        let program = message.get("executable")?.as_str()?;
        Some((PathBuf::from(program), message["target"]["name"].as_str()?.to_owned()))
    };
    messages.lines().filter_map(of).collect()
}

/// Runs the tests on the GPU; a line for each program.
fn parity(root: &Path, bin: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let golden = ["shared/golden/tiny", "../shared/golden/tiny"].map(|dir| root.join(dir));
    let golden = golden.into_iter().find(|dir| dir.exists());
    let mut tests =
        vec![(LAWS, "devices", "the engine's laws, in f32 and bf16, on the processor and the GPU")];
    match &golden {
        Some(_) => tests.push((REFERENCE, "golden", "TransformerLens's numbers, in f32 on the GPU")),
        None => {
            lines.push("- not compared: TransformerLens's numbers, which are not on this machine".to_owned())
        }
    }
    for (program, filter, what) in tests {
        let begun = Instant::now();
        let mut test = Command::new(bin.join(program));
        test.arg(filter).arg("--nocapture").env("MICROTOME_TEST_ON", "cuda").env("CI", "true");
        if let Some(golden) = &golden {
            test.env("MICROTOME_GOLDEN", golden);
        }
        let output = test.output().with_context(|| format!("cannot start `{program}`"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
        let result = said.lines().rfind(|line| line.starts_with("test result")).unwrap_or("no result");
        ensure!(output.status.success(), "{what}: {result}\n{all}");
        ensure!(!all.contains("not on a GPU"), "{what}: the tests did not find the GPU\n{all}");
        lines.push(format!("- {what}: {result} ({:.0} s)", begun.elapsed().as_secs_f64()));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_tests_are_read_from_what_cargo_says() {
        let said = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"half"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"engine"},"executable":"/t/engine-1f"}"#,
            "\n{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(executables(said), [(PathBuf::from("/t/engine-1f"), "engine".to_owned())]);
    }
}
