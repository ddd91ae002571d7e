//! `cargo xtask bench-scaling`: what sweeps cost against lanes, tokens, layers, threads and memory, as pictures and
//! tables. What is measured stands in the example `scaling` of the crate `microtome`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::bench_peer::machine;
use crate::cargo::released_example;
use crate::python::ran;

/// Where it goes, and how often each is measured.
#[derive(Args)]
pub struct BenchScaling {
    /// A directory for the pictures and `scaling.md`.
    #[arg(long, default_value = "docs/scaling")]
    out: PathBuf,
    /// Times each is measured; the shortest counts.
    #[arg(long, default_value_t = 3)]
    tries: usize,
}

impl BenchScaling {
    /// Builds the example and runs it.
    pub fn run(&self, root: &Path) -> Result<()> {
        let program = released_example(root, "scaling")?;
        let load = |load: Option<f64>| load.map_or("unknown".to_owned(), |load| format!("{load:.1}"));
        println!("{}; load average {} before", machine::described(), load(machine::load_average()));
        let mut command = Command::new(program);
        ran(command.arg(&self.out).arg(self.tries.to_string()).current_dir(root))
    }
}
