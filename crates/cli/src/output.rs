//! Showing a record: a table to read, files to keep.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use microtome::circuit::factual_recall::Extraction;
use microtome::circuit::induction::Feeding;
use microtome::circuit::search::FoundCircuit;
use microtome::method::generate::Comparison;
use microtome::method::pairs::Backup;
use microtome::method::remeasure::{Remeasured, RemeasuredCell};
use microtome::method::steering::SteeredText;
use microtome::model::Precision;
use microtome::plot::{ColorMode, TermOptions, render_heatmap, svg_to_png};
use microtome::{Method, MetricValue, PromptReport, Quantity, Record, Results, Table, TokenProb, Tokens};

use crate::features_text::all_features_text;
use crate::heads_text::{circuit_text, roles_text};
use crate::lens_text::{lens_text, lenses_text};
use crate::neurons_text::{neuron_text, promotions_text};
use crate::whole_file::write_whole;

/// Where results go besides the terminal.
#[derive(Args, Debug, Clone, Default)]
pub struct OutputArgs {
    /// Show and draw this metric [default: the first measured]
    #[arg(long, value_name = "METRIC", help_heading = "Output")]
    pub show: Option<String>,
    /// Show and draw the metric's value rather than its change or recovery
    #[arg(long, help_heading = "Output")]
    pub value: bool,
    /// Print the record as JSON instead of the table, or write it to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Print all tables as CSV instead of the table, or write them to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-", help_heading = "Output")]
    pub csv: Option<PathBuf>,
    /// Draw the heatmap as PNG
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub png: Option<PathBuf>,
    /// Draw the heatmap as SVG
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub svg: Option<PathBuf>,
    /// Draw curves over the layers, as SVG or PNG by the file's ending
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub curves: Option<PathBuf>,
    /// Write the record, which `microtome replay` runs again
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub record: Option<PathBuf>,
    /// How many of the strongest entries to list
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Output")]
    pub list: usize,
    /// Memory for activations, MiB [default: 512]
    #[arg(long, value_name = "MIB", help_heading = "Output")]
    pub memory: Option<usize>,
}

/// Exit status of a run that was stopped, as shells give it for Ctrl-C.
pub const STOPPED: u8 = 130;

/// Shows a record and writes the files asked for.
pub fn show(record: &Record, args: &OutputArgs) -> Result<ExitCode> {
    let chosen = choose(record, args)?;
    // A full disk leaves the table on the screen, and a closed terminal the files.
    let printed = print(&printout(record, chosen, args)?);
    write_files(record, chosen, args)?;
    printed?;
    if record.is_complete() {
        return Ok(ExitCode::SUCCESS);
    }
    let Results { runs, runs_wanted, .. } = record.results;
    eprintln!("stopped: {runs} of {runs_wanted} runs finished; the others are left empty");
    Ok(ExitCode::from(STOPPED))
}

/// What goes to standard output: JSON or CSV where they are asked for there, or else the table.
fn printout(record: &Record, chosen: Option<&Table>, args: &OutputArgs) -> Result<String> {
    let wanted = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
    Ok(match (wanted(&args.json), wanted(&args.csv)) {
        (true, _) => json(record)?,
        (false, true) => csv(record),
        (false, false) => text(record, chosen, args),
    })
}

fn write_files(record: &Record, chosen: Option<&Table>, args: &OutputArgs) -> Result<()> {
    if let Some(file) = &args.record {
        write_whole(file, json(record)?.as_bytes())?;
    }
    let named = |file: &Option<PathBuf>| file.clone().filter(|file| file != Path::new("-"));
    if let Some(file) = named(&args.json) {
        write_whole(&file, json(record)?.as_bytes())?;
    }
    if let Some(file) = named(&args.csv) {
        write_whole(&file, csv(record).as_bytes())?;
    }
    if let Some(file) = &args.curves {
        let table = chosen.context("nothing to draw: this experiment has no table")?;
        write_picture(file, &record.curves(table)?.to_svg())?;
    }
    if args.svg.is_none() && args.png.is_none() {
        return Ok(());
    }
    let picture =
        chosen.context("nothing to draw: this experiment has no table")?.heatmap(&record.subtitle());
    picture.check()?;
    let svg = picture.to_svg();
    if let Some(file) = &args.svg {
        write_whole(file, svg.as_bytes())?;
    }
    if let Some(file) = &args.png {
        write_whole(file, &svg_to_png(&svg, 2.0)?)?;
    }
    Ok(())
}

/// Writes a picture as PNG where the file's name ends so, as SVG otherwise.
pub fn write_picture(file: &Path, svg: &str) -> Result<()> {
    match file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png")) {
        true => write_whole(file, &svg_to_png(svg, 2.0)?),
        false => write_whole(file, svg.as_bytes()),
    }
}

/// Prints to standard output; a reader that has gone away (`| head`) is no error.
pub fn print(content: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(content.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

fn json(record: &Record) -> Result<String> {
    Ok(serde_json::to_string_pretty(record)? + "\n")
}

/// All tables below each other: a header line before each change of axes.
fn csv(record: &Record) -> String {
    let mut out = String::new();
    let mut last_header: Option<Vec<String>> = None;
    for table in &record.results.tables {
        let header = table.csv_header();
        let csv = table.csv();
        match last_header.as_ref() == Some(&header) {
            true => out.extend(csv.split_inclusive('\n').skip(1)),
            false => out += &csv,
        }
        last_header = Some(header);
    }
    out
}

/// The table to show: of the metric asked for, its change or recovery where it has one.
fn choose<'a>(record: &'a Record, args: &OutputArgs) -> Result<Option<&'a Table>> {
    let tables = &record.results.tables;
    let Some(first) = tables.first() else { return Ok(None) };
    let metric = args.show.as_deref().unwrap_or(&first.metric);
    let mut of_metric = tables.iter().filter(|table| table.metric == metric);
    let found = match args.value {
        true => of_metric.find(|table| table.quantity == Quantity::Value),
        false => of_metric.next(),
    };
    found.map(Some).with_context(|| format!("metric `{metric}` was not measured"))
}

fn text(record: &Record, chosen: Option<&Table>, args: &OutputArgs) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", model_line(record));
    let prompts = &record.results.prompts;
    match &prompts[..] {
        [] => {}
        [one] => prompt_text(&mut out, one),
        [first, ..] => {
            let _ = writeln!(out, "\n{} prompts, the first:", prompts.len());
            prompt_text(&mut out, first);
            let _ = writeln!(out, "\nmeans over the {} prompts", prompts.len());
            for (name, metrics) in record.mean_runs() {
                let _ = writeln!(out, "{name:8} {}", metrics_line(&metrics));
            }
        }
    }
    if let Some(generation) = &record.results.generation {
        let _ = writeln!(out, "\ncontrol  {}", indented(&generation.control_text));
        if !generation.ablated.is_empty() {
            let _ = writeln!(out, "ablated  {}", indented(&generation.ablated_text));
        }
    }
    lens_text(&mut out, record);
    if let Some(comparison) = record.results.generation.as_ref().and_then(|g| g.comparison.as_ref()) {
        comparison_text(&mut out, comparison);
    }
    if let Some(roles) = &record.results.roles {
        roles_text(&mut out, roles);
    }
    if let Some(report) = &record.results.head_circuit {
        circuit_text(&mut out, report, args.list);
    }
    if let Some(report) = &record.results.neuron {
        neuron_text(&mut out, report, record, args.list);
    }
    all_features_text(&mut out, record, args.list);
    match chosen {
        Some(table) if table.axes.is_empty() => single(&mut out, record),
        Some(table) => {
            lenses_text(&mut out, record, table);
            grid(&mut out, table, args);
        }
        None => {}
    }
    backups_text(&mut out, &record.results.backups, args);
    feedings_text(&mut out, &record.results.feedings, args);
    if let Some(remeasured) = &record.results.remeasured {
        remeasured_text(&mut out, remeasured, args);
    }
    promotions_text(&mut out, &record.results.promotions, record.results.prompts.len());
    steered_text(&mut out, &record.results.steered);
    extractions_text(&mut out, &record.results.extractions, args);
    circuits_text(&mut out, record, args);
    let _ = writeln!(out);
    // With tables, what was done; what metrics mean `microtome metrics` says, and the record too.
    let n_notes = match &record.experiment.method {
        _ if record.results.tables.is_empty() => usize::MAX,
        Method::Edit(edit) => 1 + edit.edits.len(),
        Method::FeatureEdit(asked) => 1 + asked.edits.len(),
        Method::FeatureSweep(_) => 3,
        Method::LogitLens(asked) => 1 + usize::from(asked.tuned.is_some()),
        Method::DirectAttribution(_) | Method::Pairs(_) | Method::PathPatch(_) | Method::Steering(_) => 2,
        Method::CircuitSearch(search) => 1 + search.by.len(),
        Method::CircuitCurve(_) | Method::FactualRecall(_) | Method::Features(_) => 2,
        Method::HeadScores(_)
        | Method::CircuitJudgement(_)
        | Method::HeadCircuit(_)
        | Method::Composition(_)
        | Method::Neuron(_)
        | Method::InductionCircuit(_) => 3,
        _ => 1,
    };
    for note in record.results.notes.iter().take(n_notes) {
        let _ = writeln!(out, "{note}");
    }
    let what = match &record.experiment.method {
        Method::Generate(_) => "token",
        Method::HeadCircuit(_) => "row",
        Method::Composition(_) | Method::CircuitSearch(_) | Method::CircuitCurve(_) => "step",
        _ => "run",
    };
    let _ = writeln!(out, "{}, {}", count(record.results.runs, what), duration(record.elapsed_secs));
    out
}

/// Components whose effect grows where another is cut already.
fn backups_text(out: &mut String, backups: &[Backup], args: &OutputArgs) {
    let Some(first) = backups.first() else { return };
    let _ = writeln!(
        out,
        "\n{:28} {:>10} {:>12} {:>12}",
        format!("backups, by {}", first.metric),
        "alone",
        "without it",
        "interaction"
    );
    for Backup { backup, of, alone, without, interaction, spread, .. } in backups.iter().take(args.list) {
        let who = format!("{backup} of {of}");
        let interval = match spread {
            Some(s) => format!("  95% {} to {}", number(s.low), number(s.high)),
            None => String::new(),
        };
        let [alone, without, interaction] = [alone, without, interaction].map(|x| signed(*x));
        let _ = writeln!(out, "  {who:26} {alone:>10} {without:>12} {interaction:>12}{interval}");
    }
}

/// Heads that induction heads read at their keys.
fn feedings_text(out: &mut String, feedings: &[Feeding], args: &OutputArgs) {
    if feedings.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{:28} {:>9} {:>10} {:>8} {:>10}",
        "feeds the key of", "previous", "induction", "K-comp", "recovery"
    );
    for Feeding { from, to, previous_token, induction, k_composition, recovery, spread } in
        feedings.iter().take(args.list)
    {
        let who = format!("{from} of {to}");
        let interval = match spread {
            Some(s) => format!("  95% {} to {}", number(s.low), number(s.high)),
            None => String::new(),
        };
        let composed = k_composition.map_or_else(String::new, number);
        let [previous, induction, recovery] = [previous_token, induction, recovery].map(|x| number(*x));
        let _ =
            writeln!(out, "  {who:26} {previous:>9} {induction:>10} {composed:>8} {recovery:>10}{interval}");
    }
}

/// Estimates beside what patching gives.
fn remeasured_text(out: &mut String, remeasured: &Remeasured, args: &OutputArgs) {
    let Remeasured { metric, cells, pearson, spearman, .. } = remeasured;
    let heading = format!("measured, change in {metric}");
    let _ = writeln!(out, "\n{heading:28} {:>10} {:>10}", "estimate", "exact");
    for RemeasuredCell { label, estimate, exact, spread, .. } in cells.iter().take(args.list.max(1)) {
        let interval = match spread {
            Some(s) => format!("  95% {} to {}", number(s.low), number(s.high)),
            None => String::new(),
        };
        let [estimate, exact] = [estimate, exact].map(|x| signed(*x));
        let _ = writeln!(out, "  {:26} {estimate:>10} {exact:>10}{interval}", visible(label));
    }
    if let (Some(pearson), Some(spearman)) = (pearson, spearman) {
        let [pearson, spearman] = [pearson, spearman].map(|r| format!("{r:.3}"));
        let _ = writeln!(
            out,
            "over {}: Pearson correlation {pearson}, Spearman rank correlation {spearman}",
            count(cells.len(), "cell")
        );
    }
}

/// Texts written with a direction added.
fn steered_text(out: &mut String, texts: &[SteeredText]) {
    for SteeredText { strength, text, perplexity, .. } in texts {
        let _ =
            writeln!(out, "\nstrength {strength}, perplexity {}\n{}", number(*perplexity), text.trim_end());
    }
}

/// Heads that bring a fact to the last position.
fn extractions_text(out: &mut String, extractions: &[Extraction], args: &OutputArgs) {
    if extractions.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{:28} {:>8} {:>21}", "brings it to the end", "lost", "looks at the subject");
    for Extraction { head, lost, spread, attention } in extractions.iter().take(args.list) {
        let interval = match spread {
            Some(s) => format!("  95% {} to {}", number(s.low), number(s.high)),
            None => String::new(),
        };
        let [lost, attention] = [lost, attention].map(|x| number(*x));
        let _ = writeln!(out, "  {:26} {lost:>8} {attention:>21}{interval}", head.to_string());
    }
}

/// Circuits that were found, and the edges of a single one.
fn circuits_text(out: &mut String, record: &Record, args: &OutputArgs) {
    let circuits = &record.results.circuits;
    if circuits.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{:24} {:>8} {:>8} {:>13}", "circuit", "edges", "nodes", "faithfulness");
    for FoundCircuit { name, edges, nodes, faithfulness, spread, begun, .. } in circuits {
        let interval = match spread {
            Some(s) => format!("  95% {} to {}", number(s.low), number(s.high)),
            None => String::new(),
        };
        let rest = match begun {
            Some(begun) => format!("  stopped after {} edges; go on with --resume", begun.decided),
            None => interval,
        };
        let faithfulness = faithfulness.map_or_else(String::new, number);
        let (edges, nodes) = (edges.len(), nodes.len());
        let _ = writeln!(out, "  {name:22} {edges:>8} {nodes:>8} {faithfulness:>13}{rest}");
    }
    let [FoundCircuit { edges, .. }] = &circuits[..] else { return };
    let _ = writeln!(out);
    for edge in edges.iter().take(args.list) {
        let _ = writeln!(out, "  {edge}");
    }
    if edges.len() > args.list {
        let _ = writeln!(out, "  .. and {} more; --list {} shows all", edges.len() - args.list, edges.len());
    }
}

/// How far the cut model is from the whole one.
fn comparison_text(out: &mut String, comparison: &Comparison) {
    let Comparison {
        tokens,
        kl_mean,
        perplexity_control,
        perplexity_ablated,
        perplexity_change,
        top1_changed,
        l2_resid,
    } = comparison;
    let _ = writeln!(
        out,
        "\ncut against whole, both on the control text ({tokens} tokens, means over positions)"
    );
    let _ = writeln!(out, "KL(whole || cut)        {} nats", number(*kl_mean));
    let change = signed(*perplexity_change);
    let ends = format!("{} to {}", number(*perplexity_control), number(*perplexity_ablated));
    let _ = writeln!(out, "perplexity              {ends}, {change}");
    let _ = writeln!(out, "top-1 changed           {:.1} %", 100.0 * top1_changed);
    let _ = writeln!(out, "L2 of last resid_post   {}", number(*l2_resid));
}

/// `1 run`, `144 runs`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Generated text under its first line, beside the name of the run.
fn indented(text: &str) -> String {
    text.replace('\n', "\n         ")
}

/// `gpt2 · 12 layers x 12 heads, 768 wide · folded weights · BOS prepended: <|endoftext|>`
pub fn model_line(record: &Record) -> String {
    let model = &record.model;
    let config = &model.config;
    let precision = match model.precision {
        Precision::F32 => String::new(),
        Precision::Bf16 => format!(" {}", model.precision.name()),
    };
    format!(
        "{} · {} layers x {} heads, {} wide · {}{precision} weights · BOS {}",
        model.about.short_name(),
        config.n_layers,
        config.n_heads,
        config.d_model,
        model.weights.name(),
        model.bos
    )
}

fn prompt_text(out: &mut String, prompt: &PromptReport) {
    match &prompt.corrupt {
        None => {
            let _ = writeln!(out, "\nprompt   {}", tokens_line(&prompt.clean));
        }
        Some(corrupt) => {
            let _ = writeln!(out, "\nclean    {}", tokens_line(&prompt.clean));
            let _ = writeln!(out, "corrupt  {}", tokens_line(corrupt));
        }
    }
    for run in &prompt.runs {
        let _ = writeln!(out, "{:8} {}", run.name, metrics_line(&run.metrics));
        if !run.top.is_empty() {
            let _ = writeln!(out, "         next: {}", top_line(&run.top));
        }
    }
}

/// Tokens as `[a][ b]`; the middle of a long prompt is left out, with its length.
pub fn tokens_line(tokens: &Tokens) -> String {
    const ENDS: usize = 24;
    let show =
        |labels: &[String]| labels.iter().map(|label| format!("[{}]", visible(label))).collect::<String>();
    let labels = &tokens.labels;
    if labels.len() <= 2 * ENDS {
        return show(labels);
    }
    let left_out = labels.len() - 2 * ENDS;
    format!("{} … {left_out} more … {}", show(&labels[..ENDS]), show(&labels[labels.len() - ENDS..]))
}

pub fn visible(label: &str) -> String {
    label.replace('\n', "⏎").replace('\t', "⇥").replace('\r', "␍")
}

fn metrics_line(metrics: &[MetricValue]) -> String {
    let one = |value: &MetricValue| format!("{} {}", value.metric, number(value.value));
    metrics.iter().map(one).collect::<Vec<_>>().join("  ")
}

pub fn top_line(top: &[TokenProb]) -> String {
    let one = |top: &TokenProb| format!("[{}] {:.1}%", visible(&top.token), 100.0 * top.prob);
    top.iter().take(5).map(one).collect::<Vec<_>>().join("  ")
}

/// All numbers of a single edited run, side by side.
fn single(out: &mut String, record: &Record) {
    let _ = writeln!(out);
    for table in &record.results.tables {
        let Some(value) = table.values.first().copied().flatten() else { continue };
        if table.quantity == Quantity::Value && !stands_alone(table, record) {
            continue;
        }
        let quantity = table.quantity.name();
        let interval = match table.spread.first().copied().flatten() {
            Some(s) => format!("  95% {} to {}", number(s.low), number(s.high)),
            None => String::new(),
        };
        let unit = if table.quantity == Quantity::Recovery { "" } else { &table.unit };
        let value = if table.quantity == Quantity::Value { number(value) } else { signed(value) };
        let line = format!("{:12} {quantity:9} {value:>10} {unit}{interval}", table.metric);
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// Values are worth a line of their own only where no change or recovery of the metric is shown.
fn stands_alone(table: &Table, record: &Record) -> bool {
    record
        .results
        .tables
        .iter()
        .all(|other| other.metric != table.metric || other.quantity == Quantity::Value)
}

fn grid(out: &mut String, table: &Table, args: &OutputArgs) {
    let heatmap = table.heatmap("");
    let _ = writeln!(out);
    // A drawing of thousands of columns helps nobody in a terminal; the list and the files do.
    const WIDEST: usize = 400;
    if heatmap.cols.labels.len() <= WIDEST {
        out.push_str(render_heatmap(&heatmap, term_options()).trim_end());
        out.push('\n');
    } else {
        let _ = writeln!(out, "{}\n{}", table.title, table.baseline);
    }
    let _ = writeln!(out, "\nstrongest");
    for (label, value, spread) in table.strongest(args.list) {
        let interval = match spread {
            Some(s) => format!("  ± {}  95% {} to {}", number(s.stderr), number(s.low), number(s.high)),
            None => String::new(),
        };
        let value = if table.quantity == Quantity::Value { number(value) } else { signed(value) };
        let _ = writeln!(out, "  {:14} {value:>10}{interval}", visible(&label));
    }
}

/// The terminal's width, and the colours it takes.
pub fn term_options() -> TermOptions {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let color = match (
        std::io::stdout().is_terminal(),
        std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()),
    ) {
        (true, false) if ["truecolor", "24bit"].contains(&var("COLORTERM").as_str()) => ColorMode::TrueColor,
        (true, false) if var("TERM") != "dumb" => ColorMode::Ansi256,
        _ => ColorMode::None,
    };
    // A pipe has no width; a hundred columns fit most pages.
    let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
    TermOptions { width, color }
}

pub fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".to_owned(),
        // Ranks and other whole numbers.
        a if a < 1e5 && a.fract() == 0.0 => format!("{x:.0}"),
        a if !(1e-3..1e5).contains(&a) => format!("{x:.2e}"),
        a if a >= 100.0 => format!("{x:.1}"),
        _ => format!("{x:.4}"),
    }
}

pub fn signed(x: f64) -> String {
    if x > 0.0 { format!("+{}", number(x)) } else { number(x) }
}

/// `61 ms`, `2.3 s`, `4 min 10 s`.
pub fn duration(secs: f64) -> String {
    match secs {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 60.0 => format!("{s:.2} s"),
        s => format!("{} min {:.0} s", (s / 60.0).floor(), s % 60.0),
    }
}
