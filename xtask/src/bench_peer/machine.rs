//! The machine and the state of the repository, as a report names them.

use std::path::Path;
use std::process::Command;

/// Instruction sets that decide how fast a matrix product can be.
const TOLD: [&str; 6] = ["avx2", "fma", "avx512f", "amx_tile", "asimd", "sve"];

/// The processor, its instruction sets and its cores, as far as the system says.
pub fn described() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    };
    let cpu = field("model name").unwrap_or(std::env::consts::ARCH);
    let flags = field("flags").or(field("Features")).unwrap_or_default();
    let sets: Vec<&str> = flags.split_whitespace().filter(|flag| TOLD.contains(flag)).collect();
    let family = field("cpu family").map(|family| format!(" (family {family})")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let sets = if sets.is_empty() { "no sets told".to_owned() } else { sets.join(", ") };
    format!("{cpu}{family}, {sets}, {cores} cores, {}", std::env::consts::OS)
}

/// Processes that wanted to run in the last minute, on average, where the system says.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The commit, and whether the files are those of it.
pub fn commit(root: &Path) -> Option<String> {
    let output =
        Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
