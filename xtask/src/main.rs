//! Tasks of this repository, run as `cargo xtask <task>`.
//!
//! Nothing but Rust is needed to run them. The crate itself depends on none of the others, so it
//! still builds where they do not, and says which of them is broken.

mod bench_training;
mod links;
mod make_model;
mod noise;
mod test;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

/// What is done to this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Every check, as the continuous integration runs it; stops at the first that fails.
    Test,
    /// The repository's own rules: file lengths, panics in libraries, machine paths, links.
    Tidy,
    /// Write a Hugging Face GPT-2 checkpoint of random weights, for tests and timing.
    MakeModel(make_model::MakeModel),
    /// Train here and in PyTorch, in turns, and compare time and loss.
    BenchTraining(bench_training::BenchTraining),
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let done = match Task::parse() {
        Task::Test => test::run(root),
        Task::Tidy => tidy::run(root),
        Task::MakeModel(make) => make.run(),
        Task::BenchTraining(bench) => bench.run(root),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
