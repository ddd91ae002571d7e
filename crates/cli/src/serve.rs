//! `microtome serve`, and `microtome` alone: the workbench in the browser.

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use microtome::TextModel;
use microtome::model::demo::NAME as DEMO;
use microtome::model::{Preparation, device_name};
use microtome::sae::{Sae, SaeChoice};
use microtome::tuned_lens::TunedLens;
use microtome_server::{App, Guard, Models, Served, Settings};
use tracing_subscriber::EnvFilter;

use crate::args::{PrecisionArg, WeightsArg, load, open_sae};
use crate::device;

/// Open the workbench: the web page and the REST server behind it
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome serve
  microtome serve --model demo --model gpt2 --port 8000 --no-open
  microtome serve --host 0.0.0.0 --token \"$(openssl rand -hex 16)\" --allow-host lab.example --no-open

The log goes to standard error; RUST_LOG=debug says more, RUST_LOG=off nothing.")]
pub struct Args {
    /// A model to serve: demo, a checkpoint file or directory, or a Hugging Face id; several times for several,
    /// the first is the default. Requests can name no other
    #[arg(
        short,
        long,
        env = "MICROTOME_MODEL",
        value_name = "MODEL",
        value_delimiter = ',',
        default_value = "demo"
    )]
    model: Vec<String>,
    /// A sparse autoencoder to open beside the model it was trained on: a folder, release/id or org/repo/folder;
    /// several times for several, the first is the default. Where left out, the demo model's own, if that is served
    #[arg(long, env = "MICROTOME_SAE", value_name = "SAE", value_delimiter = ',')]
    sae: Vec<String>,
    /// A tuned lens to open beside the models it fits: a folder, by which requests name it; several times for several, the first
    /// is the default. Where left out, the demo model's own, if that is served
    #[arg(long, value_name = "LENS", value_delimiter = ',')]
    tuned_lens: Vec<String>,
    /// Weight processing: folded as in published GPT-2 results, or raw as in the file
    #[arg(long, value_enum, default_value_t = WeightsArg::Folded)]
    weights: WeightsArg,
    /// What the numbers of the matrices are kept as: bf16 takes half the memory and rounds each to eight
    /// significant bits, which changes results
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    precision: PrecisionArg,
    /// Address to listen on; any but loopback needs --token
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 for any that is free
    #[arg(long, default_value_t = 8642)]
    port: u16,
    /// Do not open the page in the browser
    #[arg(long)]
    no_open: bool,
    /// What clients must show: as `Authorization: Bearer`, or once as ?token= in the page's address
    #[arg(long, env = "MICROTOME_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,
    /// A name this server is asked by, beside its address; several times for several
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// A page served elsewhere that may ask this server, as http://host:port; several times for several
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Experiments computed at once [default: half the cores, two at least]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Experiments that may wait; one more is turned away
    #[arg(long, value_name = "N", default_value_t = 64)]
    queue: usize,
    /// Longest an experiment may run, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    time_limit: u64,
    /// Memory for activations of one sweep, MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    memory: usize,
    /// Log as JSON, one object a line
    #[arg(long)]
    log_json: bool,
}

impl Default for Args {
    /// What `microtome serve` means without options.
    fn default() -> Args {
        use clap::{Args as _, FromArgMatches as _};
        let command = Args::augment_args(clap::Command::new("serve"));
        let matches = command.get_matches_from(["serve"]);
        Args::from_arg_matches(&matches).expect("every option has a default")
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    log(args.log_json);
    let settings = settings(args)?;
    let open = device::quietly()?;
    match &open.fallback {
        Some(problem) => tracing::warn!("computing on the CPU: {problem}"),
        None => tracing::info!(device = device_name(&open.device), "computing"),
    }
    let models = models(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the server's threads")?;
    let done = runtime.block_on(serve(args, App::new(models, settings)));
    // What has not noticed by now that it was stopped ends with the program.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn serve(args: &Args, app: App) -> Result<ExitCode> {
    let server = microtome_server::bind(&args.host, args.port).await.with_context(|| {
        let (host, port) = (&args.host, args.port);
        format!("cannot listen on {host}:{port}; if it is taken choose another with --port, or 0 for any that is free")
    })?;
    let address = server.address();
    let host = match address.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    };
    let page = format!("http://{host}:{}/", address.port());
    // Whoever starts this from a script reads the address here.
    println!("microtome is at {page} (Ctrl-C stops it)");
    let _ = std::io::stdout().flush();
    if !args.no_open {
        let with_token = args.token.as_ref().map_or(page.clone(), |token| format!("{page}?token={token}"));
        if let Err(error) = open::that_detached(with_token) {
            tracing::info!(%error, "no browser could be opened; open the address yourself");
        }
    }
    server.run(app, stop()).await;
    Ok(ExitCode::SUCCESS)
}

/// Until Ctrl-C, or whoever started this asks it to end. Asked twice, it ends at once.
async fn stop() {
    asked_to_end().await;
    tokio::spawn(async {
        asked_to_end().await;
        std::process::exit(130);
    });
}

async fn asked_to_end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

fn settings(args: &Args) -> Result<Settings> {
    let loopback = args.host == "localhost" || args.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if args.token.as_ref().is_some_and(|token| token.len() < 8) {
        bail!("the token is shorter than 8 characters; make one with: openssl rand -hex 16");
    }
    let usable = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    if args.token.as_ref().is_some_and(|token| !token.chars().all(usable)) {
        bail!("the token must be letters, digits, -, ., _ and ~, since it goes into addresses and cookies");
    }
    if !loopback && args.token.is_none() {
        bail!(
            "{} can be reached by others, so a token is needed; add --token \"$(openssl rand -hex 16)\", or leave \
             out --host to serve this machine alone",
            args.host
        );
    }
    for origin in &args.allow_origin {
        let rest = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains('/')) {
            bail!("`{origin}` is no origin; write it as http://host:port, without a path");
        }
    }
    if args.workers == Some(0) {
        bail!("with no worker nothing is computed; give --workers 1 or more");
    }
    let mut hosts = args.allow_host.clone();
    if !loopback && args.host.parse::<IpAddr>().is_err() {
        hosts.push(args.host.clone());
    }
    let guard = Guard {
        hosts,
        any_address: !loopback,
        origins: args.allow_origin.clone(),
        token: args.token.clone(),
    };
    let defaults = Settings::default();
    Ok(Settings {
        guard,
        workers: args.workers.unwrap_or(defaults.workers),
        queue: args.queue,
        time_limit: Duration::from_secs(args.time_limit),
        memory_budget: args.memory << 20,
        ..defaults
    })
}

fn models(args: &Args) -> Result<Models> {
    let prepared = Preparation { processing: args.weights.into(), precision: args.precision.into() };
    let mut models = args.model.iter().map(|id| load(id, prepared)).collect::<Result<Vec<_>>>()?;
    for name in &args.sae {
        let sae = Arc::new(open_sae(&SaeChoice(name.clone()))?);
        open_beside(&mut models, &format!("the autoencoder `{}`", sae.name()), |model| {
            model.with_sae(sae.clone())
        })?;
    }
    if args.sae.is_empty() {
        // Weights processed otherwise than those it was trained on go without.
        let own = Arc::new(Sae::demo()?);
        for model in &mut models {
            if let Ok(opened) = model.clone().with_sae(own.clone()) {
                *model = opened;
            }
        }
    }
    for name in &args.tuned_lens {
        let lens = Arc::new(TunedLens::open(name)?);
        open_beside(&mut models, &format!("the tuned lens `{name}`"), |model| {
            model.with_tuned_lens(name, lens.clone())
        })?;
    }
    if args.tuned_lens.is_empty() {
        // It fits the weights it was trained on and no others.
        let own = Arc::new(TunedLens::demo()?);
        for model in &mut models {
            if let Ok(opened) = model.clone().with_tuned_lens(DEMO, own.clone()) {
                *model = opened;
            }
        }
    }
    let served = |(id, model): (&String, TextModel)| Served { id: id.clone(), model };
    let mut ready = args.model.iter().zip(models).map(served);
    let first = ready.next().context("no model to serve; name one with --model")?;
    Ok(ready.fold(Models::new(first), Models::and))
}

/// Opens something beside every model that it fits; there must be one.
fn open_beside(
    models: &mut [TextModel],
    what: &str,
    open: impl Fn(TextModel) -> microtome::Result<TextModel>,
) -> Result<()> {
    let mut refused = vec![];
    for model in models.iter_mut() {
        match open(model.clone()) {
            Ok(opened) => *model = opened,
            Err(error) => refused.push(format!("{}: {error}", model.about().model)),
        }
    }
    if refused.len() == models.len() {
        bail!("{what} fits no model served: {}", refused.join("; "));
    }
    Ok(())
}

/// Requests and experiments are logged, unless RUST_LOG says otherwise.
fn log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second server in one process, as in tests, logs through the first's.
    let _ = match json {
        true => log.json().try_init(),
        false => log.with_target(false).try_init(),
    };
}
