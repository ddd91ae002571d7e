//! `microtome train induction` and `microtome train shakespeare`: their reports, to read.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use microtome::Component;
use microtome::plot::{AxisLabels, Heatmap, ScaleKind, render_heatmap};
use microtome_train::study::induction::Verdict;
use microtome_train::study::{Ended, HeadRow, ROLE, induction, shakespeare};
use microtome_train::{Evaluation, Observer, Progress, Start, Telemetry};

use crate::lens_train;
use crate::output::{STOPPED, duration, print, term_options};
use crate::progress;
use crate::train::Screen;

/// Columns of the steps in a terminal's grid.
const COLUMNS: usize = 14;

#[derive(clap::Subcommand)]
pub enum Study {
    Induction(InductionArgs),
    Shakespeare(ShakespeareArgs),
    Lens(lens_train::Args),
}

/// Watch an induction head form in two layers of attention, on random tokens that repeat
///
/// Trains the model (under three minutes on two cores) and reports whether a head with an induction score above
/// 0.8 formed, whether the loss fell as it did, and how much of the gain is undone without it. The folder
/// gets study.json and the picture study.png (and .svg) beside the run.
#[derive(clap::Args)]
pub struct InductionArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Folder of the run
    #[arg(short, long, value_name = "DIR", default_value = "runs/induction")]
    out: PathBuf,
    /// Number of updates
    #[arg(long, value_name = "N", default_value_t = induction::STEPS)]
    steps: u64,
}

/// Train a small model on a text and see what its heads are for
///
/// Reports the validation loss, every head's role with its scores, the loss change on ablating it, and texts
/// the model goes on with. The folder gets study.json and the picture study.png (and .svg) beside the run.
#[derive(clap::Args)]
pub struct ShakespeareArgs {
    /// The text, a file
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Read byte pairs, so many, learnt from the text instead of characters
    #[arg(long, value_name = "N")]
    bpe: Option<usize>,
    #[command(flatten)]
    run: RunArgs,
    /// Folder of the run
    #[arg(short, long, value_name = "DIR", default_value = "runs/shakespeare")]
    out: PathBuf,
    /// Number of updates
    #[arg(long, value_name = "N", default_value_t = shakespeare::STEPS)]
    steps: u64,
}

#[derive(clap::Args)]
struct RunArgs {
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Throw away the run that is in the folder
    #[arg(long)]
    fresh: bool,
    /// Print nothing on the way
    #[arg(short, long)]
    quiet: bool,
}

pub fn run(study: &Study) -> Result<ExitCode> {
    match study {
        Study::Lens(args) => lens_train::run(args),
        Study::Induction(args) => {
            let config = induction::config(&args.out, args.run.seed, args.steps);
            let ended = watched(&args.run, |start, screen| Ok(induction::run(&config, start, screen)?))?;
            finish(ended, &args.out, induction_text)
        }
        Study::Shakespeare(args) => {
            let seed = args.run.seed;
            let config = shakespeare::config(&args.text, args.bpe, &args.out, seed, args.steps);
            let ended = watched(&args.run, |start, screen| Ok(shakespeare::run(&config, start, screen)?))?;
            finish(ended, &args.out, shakespeare_text)
        }
    }
}

/// Runs a study with a bar or lines.
fn watched<R>(
    args: &RunArgs,
    study: impl FnOnce(Start, &mut dyn Observer) -> Result<Ended<R>>,
) -> Result<Ended<R>> {
    progress::catch_ctrl_c();
    let start = if args.fresh { Start::Fresh } else { Start::Continue };
    let mut lines = Lines { screen: Screen::new(args.quiet), evaluation: None };
    let ended = study(start, &mut lines);
    lines.screen.clear();
    ended
}

fn finish<R>(ended: Ended<R>, out: &std::path::Path, text: impl Fn(&R) -> String) -> Result<ExitCode> {
    match ended {
        Ended::Stopped(step) => {
            eprintln!("stopped after step {step}; the same command goes on from there");
            Ok(ExitCode::from(STOPPED))
        }
        Ended::Whole(report) => {
            let out = out.display();
            let files =
                format!("\npicture  {out}/study.png\nnumbers  {out}/study.json\nmodel    {out}/last\n");
            print(&(text(&report) + &files))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A run as a study shows it: one line at each evaluation.
struct Lines {
    screen: Screen,
    evaluation: Option<Evaluation>,
}

impl Observer for Lines {
    fn note(&mut self, message: &str) {
        self.screen.note(message);
    }

    fn update(&mut self, progress: &Progress) {
        self.screen.update(progress);
    }

    fn evaluation(&mut self, evaluation: &Evaluation) {
        self.evaluation = Some(*evaluation);
    }

    fn telemetry(&mut self, telemetry: &Telemetry) {
        let (Some(evaluation), Some((layer, head, score))) = (self.evaluation, telemetry.best_induction())
        else {
            return;
        };
        self.screen.say(&format!(
            "step {:5}  validation {:.3}  random tokens {:.3}, said again {:.3}  best induction head \
             L{layer}H{head} {score:.3}",
            telemetry.step, evaluation.validation_loss, telemetry.first_loss, telemetry.second_loss
        ));
    }

    fn should_stop(&mut self) -> bool {
        self.screen.should_stop()
    }
}

fn induction_text(report: &induction::Report) -> String {
    let model = &report.model;
    let mut out = format!(
        "\n{} layers of {} heads, attention only, {} wide, {} tokens in the vocabulary, context {}\n{} steps in \
         {}, seed {}\n\n",
        model.n_layers,
        model.n_heads,
        model.d_model,
        model.d_vocab,
        model.n_ctx,
        report.steps,
        duration(report.elapsed_secs),
        report.seed
    );
    let _ = writeln!(out, "loss in nats                 step 0  step {}", report.steps);
    for (name, [before, after]) in
        [("random tokens, first time", report.first_loss), ("said again", report.second_loss)]
    {
        let _ = writeln!(out, "{name:26}  {before:7.3}  {after:9.3}");
    }
    let _ = writeln!(out, "\n{}", grid(&report.timeline));
    let _ = writeln!(out, "head   previous  duplicate  induction  said again without it  gain undone");
    for row in &report.heads {
        let HeadRow { head, previous, duplicate, induction, loss_without, .. } = row;
        let undone = percent(report.undone_without(row));
        let _ = writeln!(
            out,
            "{:6}{previous:9.3}{duplicate:11.3}{induction:11.3}{loss_without:23.3}{undone:>13}",
            head.to_string()
        );
    }
    let _ = writeln!(out);
    for (verdict, claim) in report.verdicts().into_iter().zip(claims(report)) {
        let mark = match verdict {
            Verdict::Holds => "yes ",
            Verdict::Fails => "NO  ",
            Verdict::Open => "open",
        };
        let _ = writeln!(out, "{mark}  {}", claim.replace('\n', "\n      "));
    }
    out
}

/// The study's claims with the run's numbers.
fn claims(report: &induction::Report) -> [String; 4] {
    let head = report.strongest;
    let formed = format!(
        "An induction head formed: {head} has an induction score of {:.3}, and {} is asked for.",
        report.score,
        induction::FORMED
    );
    let coincides = match &report.formation {
        None => {
            format!("The loss fell as it formed: {head}'s score did not rise, so nothing can be compared.")
        }
        Some(formation) => format!(
            "The loss fell as it formed: fastest between steps {} and {}, {head}'s score passing half of its \
             final value at step {:.0}.\nIn the fifth of the steps around that ({:.0} to {:.0}) the loss makes {} \
             of its whole fall.",
            formation.steepest.start,
            formation.steepest.end,
            formation.half,
            formation.around.start,
            formation.around.end,
            percent(formation.share_of_fall)
        ),
    };
    let [before, after] = report.second_loss;
    let undone = format!(
        "Without induction heads most of the gain is undone: without {} the loss is {:.3}; before training it was \
         {before:.3}, after it {after:.3}.\nThat undoes {} of the gain. They are the heads with at least half of \
         {head}'s score.",
        names(&report.ablated.heads),
        report.ablated.loss,
        percent(report.ablated.undone)
    );
    let most = report.controls.iter().max_by(|a, b| a.undone.total_cmp(&b.undone));
    let others = "Heads that are neither those nor previous-token heads matter less";
    let controls = match most {
        None => format!("{others}: there are none."),
        Some(control) => format!(
            "{others}: without one of them {} of the gain is undone at most ({}).",
            percent(control.undone),
            names(&control.heads)
        ),
    };
    [formed, coincides, undone, controls]
}

fn shakespeare_text(report: &shakespeare::Report) -> String {
    let [windows, length] = report.windows;
    let mut out = format!(
        "\n{} steps in {}; validation loss {:.4} nats a token, the mean over {} tokens\n\n{}\n",
        report.steps,
        duration(report.elapsed_secs),
        report.validation_loss,
        windows * length,
        grid(&report.timeline)
    );
    let _ = writeln!(out, "head   role             previous  duplicate  induction  loss change without it");
    for row in &report.heads {
        let HeadRow { head, role, previous, duplicate, induction, change, .. } = row;
        let _ = writeln!(
            out,
            "{:6} {:15}{previous:10.3}{duplicate:11.3}{induction:11.3}{change:+24.4}",
            head.to_string(),
            role.name()
        );
    }
    let _ = writeln!(
        out,
        "\nA role is the highest of the three scores, from {ROLE} on: shares of attention on random tokens said twice.\n"
    );
    out.push_str(render_heatmap(&report.heatmap(), term_options()).trim_end());
    let _ = writeln!(out, "\n\nsamples");
    for sample in &report.samples {
        let _ = writeln!(out, "  {}", sample.replace('\n', "\n  "));
    }
    out
}

/// Induction scores by head and step as a terminal draws them.
fn grid(timeline: &[Telemetry]) -> String {
    let last = timeline.len().saturating_sub(1);
    let columns = COLUMNS.min(timeline.len());
    let at = |column: usize| (column * last) / columns.saturating_sub(1).max(1);
    let lines: Vec<&Telemetry> = (0..columns).filter_map(|column| timeline.get(at(column))).collect();
    let Some(first) = lines.first() else { return String::new() };
    let heads: Vec<(usize, usize)> = (first.induction.iter().enumerate())
        .flat_map(|(layer, row)| (0..row.len()).map(move |head| (layer, head)))
        .collect();
    let score =
        |line: &Telemetry, (layer, head): (usize, usize)| line.induction.get(layer)?.get(head).copied();
    let heatmap = Heatmap {
        title: "Induction score by head and step".to_owned(),
        subtitle: String::new(),
        rows: AxisLabels { name: "head".to_owned(), labels: heads.iter().map(|&head| name(head)).collect() },
        cols: AxisLabels {
            name: "step".to_owned(),
            labels: lines.iter().map(|line| line.step.to_string()).collect(),
        },
        values: heads.iter().flat_map(|&head| lines.iter().map(move |line| score(line, head))).collect(),
        unit: "share of attention".to_owned(),
        baseline: "attention from a token said again to the token that stood behind it".to_owned(),
        scale: ScaleKind::Sequential,
    };
    render_heatmap(&heatmap, term_options())
}

fn name((layer, head): (usize, usize)) -> String {
    Component::Head { layer, head }.to_string()
}

fn names(heads: &[Component]) -> String {
    heads.iter().map(Component::to_string).collect::<Vec<_>>().join(", ")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}
