//! `cargo xtask cuda`: does the program build for NVIDIA's GPUs, and does it start on a machine without one?
//!
//! The build needs NVIDIA's compiler nvcc. Where there is none it is taken from NVIDIA's packages on PyPI, into
//! `target/cuda`, without touching the system. Building takes a GPU of compute capability 8.0 or later as its
//! aim unless `CUDA_COMPUTE_CAP` says otherwise; none needs to be here.
//!
//! Most of the time goes into kernels for quantised models, which this program never calls; with the compiler from
//! PyPI they are compiled without optimisation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::cargo::cargo;
use crate::python::ran;

/// How to build.
#[derive(Args, Default)]
pub struct Cuda {
    /// Build as for use, with optimisation; takes longer.
    #[arg(long)]
    pub release: bool,
}

/// NVIDIA's compiler and what candle is linked with, in versions that belong together.
const PACKAGES: [&str; 8] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-nvrtc==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-curand==10.4.0.35",
    "nvidia-cublas==13.0.2.14",
];

/// Libraries the linker looks for without a version.
const LIBRARIES: [&str; 5] =
    ["cudart.so.13", "nvrtc.so.13", "curand.so.10", "cublas.so.13", "cublasLt.so.13"];

/// Leaves the device code of the kernels for quantised models to the driver, unoptimised.
const BRIEF_NVCC: &str = r#"#!/bin/sh
case "$*" in
*mmq_gguf*|*moe/*)
    for a; do
        shift
        case "$a" in *code=sm_*) a="${a%code=sm_*}code=compute_${a##*code=sm_}" ;; esac
        set -- "$@" "$a"
    done
    exec nvcc "$@" -Xcicc -O0
    ;;
esac
exec nvcc "$@"
"#;

/// What a build with CUDA finds in its environment.
pub struct Toolkit {
    variables: Vec<(&'static str, String)>,
}

impl Toolkit {
    /// The toolkit of this machine where nvcc is on the path, else one made of PyPI's packages.
    pub fn here(root: &Path) -> Result<Toolkit> {
        let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or("80".to_owned());
        let mut variables = vec![("CUDA_COMPUTE_CAP", capability)];
        if Command::new("nvcc").arg("--version").output().is_err() {
            let dir = root.join("target/cuda");
            let home = toolkit_of_packages(&dir)?;
            let path = std::env::var("PATH").unwrap_or_default();
            variables.push(("PATH", format!("{}:{path}", home.join("bin").display())));
            variables.push(("CUDA_HOME", home.display().to_string()));
            variables.push(("NVCC", dir.join("nvcc-brief").display().to_string()));
        }
        Ok(Toolkit { variables })
    }

    /// Cargo, in a target directory of its own: the two kinds of build would take turns at undoing each other.
    pub fn cargo(&self, root: &Path) -> Command {
        let mut cargo = cargo();
        cargo.current_dir(root).env("CARGO_TARGET_DIR", target(root));
        cargo.envs(self.variables.iter().map(|(name, value)| (name, value)));
        cargo
    }
}

/// Where builds with CUDA lie.
fn target(root: &Path) -> PathBuf {
    root.join("target/cuda/build")
}

/// A directory laid out like an installed toolkit, of NVIDIA's packages on PyPI.
fn toolkit_of_packages(dir: &Path) -> Result<PathBuf> {
    let home = dir.join("toolkit");
    if home.join("lib64/libcuda.so").exists() {
        return Ok(home);
    }
    eprintln!("nvcc is not here; taking it from NVIDIA's packages on PyPI, into {}", dir.display());
    let environment = dir.join("venv");
    ran(Command::new("python3").args(["-m", "venv"]).arg(&environment))
        .context("no Python environment; is python3 installed, with venv?")?;
    let mut install = Command::new(environment.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    ran(install.args(PACKAGES)).context("cannot install NVIDIA's compiler")?;
    let packages = find(&environment.join("lib"), "site-packages/nvidia/cu13")?;
    fs::create_dir_all(home.join("lib64"))?;
    for part in ["bin", "include", "nvvm", "lib"] {
        link(&packages.join(part), &home.join(part))?;
    }
    for library in LIBRARIES {
        let plain = library.split(".so").next().unwrap_or(library);
        let (file, name) = (format!("lib{library}"), format!("lib{plain}.so"));
        link(&packages.join("lib").join(file), &home.join("lib64").join(name))?;
    }
    let brief = dir.join("nvcc-brief");
    fs::write(&brief, BRIEF_NVCC)?;
    ran(Command::new("chmod").arg("+x").arg(&brief))?;
    // The driver is in no package. Its functions are found at run time; the linker asks for a library of its name.
    let mut stub = Command::new("cc");
    stub.args(["-shared", "-x", "c", "/dev/null", "-Wl,-soname,libcuda.so.1", "-o"]);
    ran(stub.arg(home.join("lib64/libcuda.so"))).context("no C compiler; install gcc or clang")?;
    Ok(home)
}

/// `lib/python3.11/site-packages/..`, whatever the version.
fn find(lib: &Path, inner: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(lib).with_context(|| format!("cannot read `{}`", lib.display()))?;
    let found = entries.filter_map(|entry| Some(entry.ok()?.path().join(inner))).find(|path| path.exists());
    found.with_context(|| format!("no `{inner}` under `{}`", lib.display()))
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_file(to); // of an earlier attempt
    std::os::unix::fs::symlink(from, to).with_context(|| format!("cannot make `{}`", to.display()))
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> Result<()> {
    bail!("install CUDA's toolkit, so that nvcc is on the path")
}

impl Cuda {
    /// Builds the program and starts it.
    pub fn run(&self, root: &Path) -> Result<()> {
        let mut build = Toolkit::here(root)?.cargo(root);
        build.args(["build", "--features", "cuda"]);
        if self.release {
            build.arg("--release");
        }
        ran(&mut build).context("the build with CUDA failed")?;
        let program = target(root).join(if self.release { "release" } else { "debug" }).join("microtome");
        links_no_cuda(&program)?;
        let asked = |device: &str| -> Result<(bool, String, String)> {
            let prompt = "When Mary and John went to the store, John gave a drink to";
            let arguments = ["measure", prompt, "--target", " Mary", "--device", device];
            let output =
                Command::new(&program).args(arguments).output().context("the program did not start")?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
        };
        let (done, _, said) = asked("auto")?;
        ensure!(done, "`microtome measure` failed: {said}");
        if said.is_empty() {
            println!("built; a GPU is here and was used");
            return Ok(());
        }
        ensure!(said.contains("computing on the CPU"), "no word on why it computes on the CPU: {said}");
        print!("built; it starts here and says: {said}");
        let (done, _, said) = asked("cuda")?;
        ensure!(
            !done && said.contains("cannot be used"),
            "`--device cuda` did not fail as it should: {said}"
        );
        print!("asked for one all the same: {said}");
        Ok(())
    }
}

/// That the program starts where NVIDIA's libraries are not.
fn links_no_cuda(program: &Path) -> Result<()> {
    let Ok(output) = Command::new("readelf").arg("-d").arg(program).output() else { return Ok(()) };
    let needed = String::from_utf8_lossy(&output.stdout).into_owned();
    let of_cuda = |line: &&str| {
        line.contains("NEEDED")
            && ["cuda", "cublas", "curand", "nvrtc"].iter().any(|name| line.contains(name))
    };
    let found: Vec<&str> = needed.lines().filter(of_cuda).collect();
    if found.is_empty() {
        return Ok(());
    }
    bail!(
        "the program needs libraries of CUDA to start; a function it calls is missing in \
         crates/kernels/src/cuda/functions.rs: {}",
        found.join("; ")
    )
}
