//! Tasks of this repository, run as `cargo xtask <task>`.
//!
//! Rust is needed to run them, and Node.js for what concerns the web page. The crate itself depends on none of the others, so it
//! still builds where they do not, and says which of them is broken.

mod bench_peer;
mod bench_scaling;
mod bench_server;
mod bench_training;
mod cargo;
mod check_sae;
mod cuda;
mod gpu;
mod links;
mod make_model;
mod noise;
mod python;
mod test;
mod tidy;
mod turns;
mod web;

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
    /// Write the OpenAPI document from the server's code, and the page's types from the document.
    GenApi,
    /// Write a Hugging Face GPT-2 checkpoint of random weights, for tests and timing.
    MakeModel(make_model::MakeModel),
    /// Sweeps and other tasks here and in Python, in turns, and whether their answers agree.
    BenchPeer(bench_peer::BenchPeer),
    /// What sweeps cost against lanes, tokens, layers, threads and memory, with pictures.
    BenchScaling(bench_scaling::BenchScaling),
    /// The server under mixed requests from many connections.
    BenchServer(bench_server::BenchServer),
    /// Whether the program builds for NVIDIA's GPUs, and starts where there is none.
    Cuda(cuda::Cuda),
    /// On a machine with a GPU: whether it computes what the processor does, and how fast.
    Gpu(gpu::Gpu),
    /// Train here and in PyTorch, in turns, and compare time and loss.
    BenchTraining(bench_training::BenchTraining),
    /// Train sparse autoencoders, and see whether SAELens reads them as this library does.
    CheckSae(check_sae::CheckSae),
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let done = match Task::parse() {
        Task::Test => test::run(root),
        Task::Tidy => tidy::run(root),
        Task::GenApi => web::gen_api(root),
        Task::MakeModel(make) => make.run(),
        Task::BenchPeer(bench) => bench.run(root),
        Task::BenchScaling(bench) => bench.run(root),
        Task::BenchServer(bench) => bench.run(root),
        Task::Cuda(cuda) => cuda.run(root),
        Task::Gpu(gpu) => gpu.run(root),
        Task::BenchTraining(bench) => bench.run(root),
        Task::CheckSae(check) => check.run(root),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
