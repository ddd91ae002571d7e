//! What a sweep costs, against what it is of: lanes, tokens, layers, threads, and the memory it may use.
//!
//!     cargo run --release -p microtome --example scaling -- docs/scaling
//!
//! On random weights of GPT-2 small's shape. Writes a picture for each and `scaling.md`, which holds the numbers; prints
//! the latter. `cargo xtask bench-scaling` builds and runs it.
//!
//! Each time is the shortest of a few, since what else the machine does only ever adds to it. Whether a line is
//! straight is told by the arithmetic too, which the engine counts.

use std::error::Error;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use microtome::model::{
    Activation, Change, Config, Edit, Lane, LaneEvent, LaneOptions, LaneRun, MlpConfig, Model, NormConfig,
    Positions, Precision, Processing, RunOptions, Site, Weights,
};
use microtome::plot::{LinePlot, Series, YScale};

/// As in the command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Result<(), String> {
    microtome_kernels::keep_free_memory(None);
    // On a thread of the pool itself, as in the command.
    rayon::scope(|_| measure().map_err(|error| error.to_string()))
}

fn measure() -> Outcome<()> {
    let dir = std::env::args_os().nth(1).ok_or("usage: scaling DIRECTORY [TRIES]")?;
    let tries = std::env::args().nth(2).map_or(Ok(3), |text| text.parse())?;
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    let threads = rayon::current_num_threads();
    let whole = model(12)?;
    let mut text = format!(
        "Random weights of GPT-2 small's shape, {threads} threads unless said, {}; the shortest of {tries} tries. \
         Products in the nearest cache: {:.0} GFLOP/s.\n",
        microtome::model::InstructionSet::current(),
        microtome_kernels::peak_gflops()
    );

    // First, while nothing is free that was in use before.
    let memory = memory_table(&whole)?;
    let by_lanes = by_lanes(&whole, tries)?;
    let by_tokens = by_tokens(&whole, tries)?;
    let by_layers = by_layers(tries)?;
    for study in [by_lanes, by_tokens, by_layers] {
        study.write(dir, &mut text)?;
    }
    threads_table(&whole, tries, &mut text)?;
    text += &memory;
    std::fs::write(dir.join("scaling.md"), &text)?;
    print!("{text}");
    Ok(())
}

fn model(n_layers: usize) -> Outcome<Model> {
    let config = Config {
        n_layers,
        n_heads: 12,
        d_model: 768,
        d_head: 64,
        d_vocab: 50257,
        n_ctx: 1024,
        mlp: Some(MlpConfig { d_mlp: 3072, activation: Activation::GeluNew }),
        norm: Some(NormConfig { eps: 1e-5 }),
    };
    let weights = Weights::random(&config, 0, 0.7)?;
    Ok(Model::new(config, weights, Processing::Raw)?.packed(Precision::F32)?)
}

fn tokens(len: usize) -> Vec<u32> {
    (0..len).map(|i| ((i * 7919 + 11) % 50_000) as u32).collect()
}

/// Lanes that each lose one head.
fn lanes(heads: impl IntoIterator<Item = (usize, usize)>, at: &Positions) -> Vec<Lane> {
    let lane = |(layer, head): (usize, usize)| Lane {
        prompt: 0,
        edits: vec![Edit::new(Site::Z.at(layer), Change::Zero).units([head]).positions(at.clone())],
    };
    heads.into_iter().map(lane).collect()
}

/// Seconds, and floating-point operations, of one run of these lanes.
fn run(model: &Model, len: usize, lanes: &[Lane], memory_budget: usize) -> Outcome<(f64, f64)> {
    let prompt = tokens(len);
    let begun = Instant::now();
    let run = LaneRun::new(model, &[prompt], lanes, &Positions::Last)?;
    let keep_going = |_: LaneEvent| Ok::<_, microtome::model::Error>(ControlFlow::Continue(()));
    let options = LaneOptions { memory_budget, cancel: None };
    let flop = run.run(&options, keep_going)?.flop as f64;
    Ok((begun.elapsed().as_secs_f64(), flop))
}

/// The shortest of some tries.
fn shortest(tries: usize, mut once: impl FnMut() -> Outcome<(f64, f64)>) -> Outcome<(f64, f64)> {
    let mut best = once()?;
    for _ in 1..tries {
        let (secs, flop) = once()?;
        best = (best.0.min(secs), flop);
    }
    Ok(best)
}

/// Curves over one quantity.
struct Study {
    name: &'static str,
    title: &'static str,
    x: &'static str,
    curves: Vec<Curve>,
}

struct Curve {
    name: &'static str,
    /// The quantity, seconds, floating-point operations.
    points: Vec<(usize, f64, f64)>,
}

impl Study {
    fn write(&self, dir: &Path, text: &mut String) -> Outcome<()> {
        let series = |curve: &Curve| Series {
            name: curve.name.to_owned(),
            points: curve.points.iter().map(|(x, secs, _)| (*x as f64, *secs)).collect(),
            ..Series::default()
        };
        let plot = LinePlot {
            title: self.title.to_owned(),
            subtitle: "GPT-2 small's shape, random weights".to_owned(),
            x: self.x.to_owned(),
            y: "seconds".to_owned(),
            series: self.curves.iter().map(series).collect(),
            y_scale: YScale::Linear,
            marks: vec![],
        };
        std::fs::write(dir.join(format!("{}.svg", self.name)), plot.to_svg())?;
        writeln!(text, "\n### {}\n\n![{}]({}.svg)\n", self.title, self.title, self.name)?;
        writeln!(
            text,
            "| {} | what | time | GFLOP | GFLOP/s | off a straight line, of the longest |\n|---|---|---|---|---|---|",
            self.x
        )?;
        for curve in &self.curves {
            let line = fitted(&curve.points);
            let longest = curve.points.iter().map(|point| point.1).fold(0.0, f64::max);
            for &(x, secs, flop) in &curve.points {
                let off = 100.0 * (secs - line(x as f64)) / longest;
                let (gflop, rate) = (flop / 1e9, flop / 1e9 / secs);
                let name = curve.name;
                writeln!(text, "| {x} | {name} | {} | {gflop:.1} | {rate:.0} | {off:+.0} % |", time(secs))?;
            }
        }
        Ok(())
    }
}

/// The line of least squares through points.
fn fitted(points: &[(usize, f64, f64)]) -> impl Fn(f64) -> f64 {
    let n = points.len() as f64;
    let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(a, b), (x, y, _)| (a + *x as f64 / n, b + y / n));
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y, _) in points {
        let from_mean = *x as f64 - mean_x;
        xy += from_mean * (y - mean_y);
        xx += from_mean * from_mean;
    }
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    move |x| mean_y + slope * (x - mean_x)
}

fn time(secs: f64) -> String {
    if secs < 1.0 { format!("{:.1} ms", 1e3 * secs) } else { format!("{secs:.2} s") }
}

/// All lanes begin in the first layer, so that each costs as much as any other.
fn by_lanes(model: &Model, tries: usize) -> Outcome<Study> {
    let curve = |name, at: Positions, counts: [usize; 5]| -> Outcome<Curve> {
        let mut points = vec![];
        for n in counts {
            let lanes = lanes((0..n).map(|i| (0, i % 12)), &at);
            let (secs, flop) = shortest(tries, || run(model, 16, &lanes, 512 << 20))?;
            points.push((n, secs, flop));
        }
        Ok(Curve { name, points })
    };
    let curves = vec![
        curve("all positions", Positions::All, [12, 24, 48, 72, 96])?,
        curve("last position", Positions::Last, [12, 48, 96, 192, 288])?,
    ];
    Ok(Study { name: "lanes", title: "Cost against the number of lanes, 16 tokens", x: "lanes", curves })
}

fn by_tokens(model: &Model, tries: usize) -> Outcome<Study> {
    let mut curves = vec![];
    let heads = |n: usize| (0..n).map(|i| (i / 12, i % 12));
    for (name, n_lanes) in [("one forward pass", 0), ("24 heads of the first two layers", 24)] {
        let mut points = vec![];
        for len in [8, 16, 32, 64, 128] {
            let lanes = lanes(heads(n_lanes), &Positions::All);
            let once = || match n_lanes {
                0 => plain(model, len),
                _ => run(model, len, &lanes, 512 << 20),
            };
            let (secs, flop) = shortest(tries, once)?;
            points.push((len, secs, flop));
        }
        curves.push(Curve { name, points });
    }
    Ok(Study { name: "tokens", title: "Cost against the length of the prompt", x: "tokens", curves })
}

/// One forward pass with logits at the last position. Its arithmetic is that of a run without lanes.
fn plain(model: &Model, len: usize) -> Outcome<(f64, f64)> {
    let options = RunOptions { logits: Positions::Last, ..Default::default() };
    let prompt = tokens(len);
    let begun = Instant::now();
    model.run(&prompt, &options)?;
    let secs = begun.elapsed().as_secs_f64();
    Ok((secs, run(model, len, &[], 512 << 20)?.1))
}

fn by_layers(tries: usize) -> Outcome<Study> {
    let mut curves =
        [("one forward pass, 64 tokens", vec![]), ("24 lanes from the first layer, 16 tokens", vec![])];
    for n_layers in [2, 4, 6, 8, 10, 12] {
        let model = model(n_layers)?;
        let (secs, flop) = shortest(tries, || plain(&model, 64))?;
        curves[0].1.push((n_layers, secs, flop));
        let lanes = lanes((0..24).map(|i| (0, i % 12)), &Positions::All);
        let (secs, flop) = shortest(tries, || run(&model, 16, &lanes, 512 << 20))?;
        curves[1].1.push((n_layers, secs, flop));
    }
    let curves = curves.map(|(name, points)| Curve { name, points }).into();
    Ok(Study { name: "layers", title: "Cost against the number of layers", x: "layers", curves })
}

/// One thread against two, and as many as there are.
fn threads_table(model: &Model, tries: usize, text: &mut String) -> Outcome<()> {
    let all = rayon::current_num_threads();
    let mut counts = vec![1, 2, all];
    counts.dedup();
    let heads = || (0..144).map(|i| (i / 12, i % 12));
    writeln!(text, "\n### One thread against two\n")?;
    let heads_of: Vec<String> =
        counts.iter().map(|n| format!("{n} thread{}", if *n == 1 { "" } else { "s" })).collect();
    writeln!(text, "| task, 16 tokens | {} | one / two |", heads_of.join(" | "))?;
    writeln!(text, "|---|{}---|", "---|".repeat(counts.len()))?;
    let tasks: [(&str, Option<Positions>); 3] = [
        ("one forward pass, last position", None),
        ("144 heads zeroed, last position", Some(Positions::Last)),
        ("144 heads zeroed, all positions", Some(Positions::All)),
    ];
    for (name, at) in tasks {
        let mut times = vec![];
        for &n in &counts {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build()?;
            let once = || -> Outcome<(f64, f64)> {
                // What a pool's thread gives back must be fit to be sent.
                let of = || -> Result<(f64, f64), String> {
                    match &at {
                        None => plain(model, 16),
                        Some(at) => run(model, 16, &lanes(heads(), at), 512 << 20),
                    }
                    .map_err(|error| error.to_string())
                };
                Ok(pool.install(of)?)
            };
            times.push(shortest(tries, once)?.0);
        }
        let cells: Vec<String> = times.iter().map(|secs| time(*secs)).collect();
        let ratio = times.get(1).map_or(1.0, |two| times[0] / two);
        writeln!(text, "| {name} | {} | {ratio:.2} x |", cells.join(" | "))?;
    }
    Ok(())
}

/// The most memory a sweep adds to what the model takes, against the budget it was given.
fn memory_table(model: &Model) -> Outcome<String> {
    let mut text = String::new();
    writeln!(text, "\n### Memory against the budget\n")?;
    writeln!(
        text,
        "144 heads zeroed at all positions, 64 tokens. What is free is kept for a while, so the sizes rise.\n"
    )?;
    writeln!(
        text,
        "| budget, MiB | most memory in use, MiB | above what was in use before, MiB | time |\n|---|---|---|---|"
    )?;
    let lanes = lanes((0..144).map(|i| (i / 12, i % 12)), &Positions::All);
    for budget in [16, 64, 256, 1024] {
        let before = memory("VmRSS");
        // The highest mark begins anew, where the system has one.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        let (secs, _) = run(model, 64, &lanes, budget << 20)?;
        let (peak, before) = (memory("VmHWM"), before);
        let mib = |x: Option<u64>| x.map_or("-".to_owned(), |x| x.to_string());
        let above = peak.zip(before).map(|(peak, before)| peak.saturating_sub(before));
        writeln!(text, "| {budget} | {} | {} | {} |", mib(peak), mib(above), time(secs))?;
    }
    Ok(text)
}

/// A line of what the system says of this process, MiB.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}
