//! The `microtome` command: parse, call the library, show. No subcommand holds science.

mod ablate;
mod activations;
mod answer;
mod args;
mod attention;
mod attribute;
mod attribution_patch;
mod card;
mod circuit;
mod circuit_files;
mod composition;
mod device;
mod edges;
mod edit;
mod export;
mod features_text;
mod generate;
mod head;
mod heads;
mod heads_text;
mod hooks;
mod importance;
mod induction;
mod info;
mod lens;
mod lens_text;
mod lens_train;
mod measure;
mod metrics;
mod neurons;
mod neurons_text;
mod output;
mod pairs;
mod patch;
mod path_patch;
mod progress;
mod promotes;
mod recall;
mod replay;
mod run;
mod sae;
mod sae_attribute;
mod sae_edits;
mod sae_feature;
mod sae_train;
mod scan;
mod serve;
mod steer;
mod study;
mod task;
mod tokens;
mod train;
mod verify;
mod whole_file;

use clap::{Parser, Subcommand};
use microtome::model::DeviceChoice;

/// Large activations come and go by the thousand; this allocator keeps their pages instead of giving
/// them back to the system and faulting them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A workbench for mechanistic interpretability of GPT-2-family transformers.
///
/// Without a subcommand it opens the workbench in the browser: `microtome serve`.
///
/// Models are demo (inside this program, and the default), a directory or checkpoint file (Hugging Face,
/// nanoGPT, TransformerLens), or a Hugging Face id such as gpt2. Heads are written 8.11 or L8H11, MLPs m3,
/// attention layers a3, neurons L3N120; all count from 0.
#[derive(Parser)]
#[command(name = "microtome", version, max_term_width = 100)]
struct Cli {
    /// Where models compute: auto (a GPU where this build can use one and one is there), cpu, cuda, cuda:1, metal
    #[arg(long, env = "MICROTOME_DEVICE", value_name = "DEVICE", global = true, default_value_t)]
    device: DeviceChoice,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Info(info::Args),
    Hooks(hooks::Args),
    Tokens(tokens::Args),
    Task(task::Args),
    Measure(measure::Args),
    Ablate(ablate::Args),
    Pairs(pairs::Args),
    Attribute(attribute::Args),
    Patch(patch::Args),
    AttributionPatch(attribution_patch::Args),
    PathPatch(path_patch::Args),
    Edges(edges::Args),
    Circuit(circuit::Args),
    Edit(edit::Args),
    Generate(generate::Args),
    Neurons(neurons::Args),
    Promotes(promotes::Args),
    Steer(steer::Args),
    Sae(sae::Args),
    Lens(lens::Args),
    Importance(importance::Args),
    Heads(heads::Args),
    Attention(attention::Args),
    Head(head::Args),
    Composition(composition::Args),
    Induction(induction::Args),
    Recall(recall::Args),
    Activations(activations::Args),
    Run(run::Args),
    Replay(replay::Args),
    Verify(verify::Args),
    Train(train::Args),
    Metrics(metrics::Args),
    Export(export::Args),
    Card(card::Args),
}

/// How long a server keeps memory that is free: longer than a sweep takes, so that its chunks do not fault their
/// pages in again, and short enough that one without work gives them back. Other commands keep it until they end.
const KEPT: std::time::Duration = std::time::Duration::from_secs(10);

fn main() -> std::process::ExitCode {
    microtome_kernels::settle_thread_count();
    // With as much stack as a main thread has, since commands run on them; before anybody asked for the pool.
    let _ = rayon::ThreadPoolBuilder::new().stack_size(8 << 20).build_global();
    let Cli { device, command } = Cli::parse();
    device::choose(device);
    let command = command.unwrap_or_else(|| Command::Serve(serve::Args::default()));
    microtome_kernels::keep_free_memory(matches!(command, Command::Serve(_)).then_some(KEPT));
    let result = match command {
        // Its requests come from threads of their own, and share the pool in small pieces.
        Command::Serve(args) => serve::run(&args),
        // On a thread of the pool itself: from any other, each of the hundred parallel loops of a pass would be
        // handed over to the pool and waited for.
        command => rayon::scope(|_| run(command)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", message(&error));
            match error.downcast_ref() {
                Some(microtome::Error::StoppedEarly) => output::STOPPED.into(),
                Some(microtome::Error::NoTokenizer { .. }) => {
                    eprintln!("\n  tip: write token ids as 84,55,23 and add --ids");
                    std::process::ExitCode::FAILURE
                }
                _ => std::process::ExitCode::FAILURE,
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<std::process::ExitCode> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Hooks(args) => hooks::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Tokens(args) => tokens::run(&args),
        Command::Task(args) => task::run(&args),
        Command::Measure(args) => measure::run(&args),
        Command::Ablate(args) => ablate::run(&args),
        Command::Pairs(args) => pairs::run(&args),
        Command::Attribute(args) => attribute::run(&args),
        Command::Patch(args) => patch::run(&args),
        Command::AttributionPatch(args) => attribution_patch::run(&args),
        Command::PathPatch(args) => path_patch::run(&args),
        Command::Edges(args) => edges::run(&args),
        Command::Circuit(args) => circuit::run(&args),
        Command::Edit(args) => edit::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Neurons(args) => neurons::run(&args),
        Command::Promotes(args) => promotes::run(&args),
        Command::Steer(args) => steer::run(&args),
        Command::Sae(args) => sae::run(&args),
        Command::Lens(args) => lens::run(&args),
        Command::Importance(args) => importance::run(&args),
        Command::Heads(args) => heads::run(&args),
        Command::Attention(args) => attention::run(&args),
        Command::Head(args) => head::run(&args),
        Command::Composition(args) => composition::run(&args),
        Command::Induction(args) => induction::run(&args),
        Command::Recall(args) => recall::run(&args),
        Command::Activations(args) => activations::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Metrics(args) => metrics::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Card(args) => card::run(&args),
    }
}

/// What was wrong and why, without causes that the message above them has quoted already.
fn message(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |message, cause| {
        let cause = cause.to_string();
        if message.contains(cause.trim_end()) { message } else { format!("{message}: {cause}") }
    })
}
