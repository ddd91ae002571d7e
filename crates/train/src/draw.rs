//! Pictures of a run: its losses by step, and its heads by step.
//!
//! Three curves of head scores stand above each other with what the model makes of its context, so that
//! what happens at one step can be seen together. Heads that score highest at some step have a line of
//! their own; all others are one band.

use std::path::Path;

use microtome::plot::{LinePlot, Series, YScale, stack, svg_to_png};
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::run_dir::{RunDir, write_whole};
use crate::telemetry::Telemetry;
use crate::train::LossLine;

/// Heads with a line of their own.
const NAMED: usize = 6;

/// A head's highest induction score from which it counts as an induction head in a picture's mark.
const FORMED: f64 = 0.3;

/// Points of the training curve; longer ones are means of neighbours.
const CURVE: usize = 400;

/// A line of `losses.jsonl`.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
enum Line {
    Update(LossLine),
    Evaluation(Evaluation),
}

/// Draws `losses.svg`, `losses.png`, and from telemetry `heads.svg` and `heads.png`.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`], [`Error::Measure`].
pub(crate) fn draw(dir: &RunDir, title: &str) -> Result<()> {
    let losses: Vec<Line> = lines(&dir.path("losses.jsonl"))?;
    write(dir, "losses", &losses_plot(&losses, title).to_svg())?;
    let telemetry: Vec<Telemetry> = lines(&dir.path("telemetry.jsonl"))?;
    if telemetry.is_empty() {
        return Ok(());
    }
    let pictures: Vec<String> = heads_plots(&telemetry, title).iter().map(LinePlot::to_svg).collect();
    write(dir, "heads", &stack(&pictures))
}

fn write(dir: &RunDir, name: &str, svg: &str) -> Result<()> {
    write_whole(&dir.path(&format!("{name}.svg")), svg.as_bytes())?;
    let png = svg_to_png(svg, 1.5).map_err(microtome::Error::from)?;
    write_whole(&dir.path(&format!("{name}.png")), &png)
}

/// The lines of a log; none where there is no such file.
pub(crate) fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    let line = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| Error::Damaged {
            path: path.to_owned(),
            problem: format!("has something else than the trainer writes in line {}: {e}", i + 1),
        })
    };
    text.lines().enumerate().map(line).collect()
}

fn losses_plot(lines: &[Line], title: &str) -> LinePlot {
    let mut updates = Vec::new();
    let (mut training, mut validation) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            Line::Update(line) => updates.push((line.step as f64, line.loss)),
            Line::Evaluation(evaluation) => {
                training.push((evaluation.step as f64, evaluation.train_loss));
                validation.push((evaluation.step as f64, evaluation.validation_loss));
            }
        }
    }
    let length = updates.len().div_ceil(CURVE).max(1);
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        (part.iter().map(|p| p.0).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n)
    };
    let curve = updates.chunks(length).map(mean).collect();
    let name = match length {
        1 => "batches".to_owned(),
        _ => format!("batches, means of {length}"),
    };
    let series = [(name, curve), ("training".to_owned(), training), ("validation".to_owned(), validation)];
    LinePlot {
        title: format!("Loss of {title}"),
        subtitle: String::new(),
        x: "step".to_owned(),
        y: "loss (nats)".to_owned(),
        series: series.map(|(name, points)| Series { name, points, ..Series::default() }).into(),
        y_scale: YScale::Linear,
        marks: vec![],
    }
}

fn heads_plots(lines: &[Telemetry], title: &str) -> Vec<LinePlot> {
    let marks: Vec<(f64, String)> = formation(lines).into_iter().collect();
    let plot = |title: String, y: &str, series: Vec<Series>| LinePlot {
        title,
        subtitle: String::new(),
        x: "step".to_owned(),
        y: y.to_owned(),
        series,
        y_scale: YScale::Linear,
        marks: marks.clone(),
    };
    let curve = |name: &str, value: &dyn Fn(&Telemetry) -> f64| {
        let points = lines.iter().map(|line| (line.step as f64, value(line))).collect();
        Series { name: name.to_owned(), points, ..Series::default() }
    };
    let share = "share of attention";
    vec![
        plot(format!("Induction scores of {title}"), share, by_head(lines, |line| &line.induction)),
        plot("Previous-token scores".to_owned(), share, by_head(lines, |line| &line.previous)),
        plot("Duplicate-token scores".to_owned(), share, by_head(lines, |line| &line.duplicate)),
        plot(
            "What the context is worth".to_owned(),
            "nats",
            vec![
                curve("in-context score, validation", &|line| line.in_context_score),
                curve("random sequence: first saying less second", &|line| {
                    line.first_loss - line.second_loss
                }),
            ],
        ),
    ]
}

/// Where the best head first has half of the highest induction score, if that is high.
fn formation(lines: &[Telemetry]) -> Option<(f64, String)> {
    let best = |line: &Telemetry| line.best_induction().map_or(0.0, |(_, _, score)| score);
    let highest = lines.iter().map(best).fold(0.0, f64::max);
    let (layer, head, _) =
        lines.iter().filter_map(Telemetry::best_induction).max_by(|a, b| a.2.total_cmp(&b.2))?;
    let first = lines.iter().find(|line| best(line) >= highest / 2.0)?;
    (highest >= FORMED).then(|| (first.step as f64, format!("induction, later L{layer}H{head}")))
}

/// A line for each of the highest heads, and one for the mean of the others in the band they lie in.
pub(crate) fn by_head(lines: &[Telemetry], scores: impl Fn(&Telemetry) -> &Vec<Vec<f64>>) -> Vec<Series> {
    let score = |line: &Telemetry, (layer, head): (usize, usize)| {
        scores(line).get(layer).and_then(|row| row.get(head)).copied().unwrap_or(f64::NAN)
    };
    let Some(first) = lines.first() else { return vec![] };
    let mut heads: Vec<(usize, usize)> = (scores(first).iter().enumerate())
        .flat_map(|(layer, row)| (0..row.len()).map(move |head| (layer, head)))
        .collect();
    let highest = |head: (usize, usize)| lines.iter().map(|line| score(line, head)).fold(0.0, f64::max);
    heads.sort_by(|&a, &b| highest(b).total_cmp(&highest(a)));
    let named = if heads.len() <= NAMED + 1 { heads.len() } else { NAMED };
    let mut series: Vec<Series> = heads[..named]
        .iter()
        .map(|&(layer, head)| Series {
            name: format!("L{layer}H{head}"),
            points: lines.iter().map(|line| (line.step as f64, score(line, (layer, head)))).collect(),
            ..Series::default()
        })
        .collect();
    let others = &heads[named..];
    if !others.is_empty() {
        let values =
            |line: &Telemetry| -> Vec<f64> { others.iter().map(|&head| score(line, head)).collect() };
        let mean = |line| values(line).iter().sum::<f64>() / others.len() as f64;
        let bounds = |line| {
            let values = values(line);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            (low, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        };
        series.push(Series {
            name: format!("the other {}", others.len()),
            points: lines.iter().map(|line| (line.step as f64, mean(line))).collect(),
            band: Some(lines.iter().map(bounds).collect()),
            ..Series::default()
        });
    }
    series
}
