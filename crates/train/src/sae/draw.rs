//! Pictures of a run: what an autoencoder keeps, and how sparsely, by step.

use microtome::plot::{LinePlot, Series, YScale, stack, svg_to_png};
use serde::Deserialize;

use super::run::{SaeEvaluation, SaeLine};
use crate::draw::lines;
use crate::error::Result;
use crate::run_dir::{RunDir, write_whole};

/// Points of a curve of batches; longer ones are means of neighbours.
const CURVE: usize = 400;

/// A line of `losses.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Update(SaeLine),
    Evaluation(SaeEvaluation),
}

/// Draws `curves.svg` and `curves.png`.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), [`Error::Damaged`](crate::Error::Damaged), [`Error::Measure`](crate::Error::Measure).
pub(super) fn draw(dir: &RunDir, title: &str) -> Result<()> {
    let (mut updates, mut evaluations) = (vec![], vec![]);
    for line in lines(&dir.path("losses.jsonl"))? {
        match line {
            Line::Update(line) => updates.push(line),
            Line::Evaluation(evaluation) => evaluations.push(evaluation),
        }
    }
    let pictures: Vec<String> = plots(&updates, &evaluations, title).iter().map(LinePlot::to_svg).collect();
    let svg = stack(&pictures);
    write_whole(&dir.path("curves.svg"), svg.as_bytes())?;
    let png = svg_to_png(&svg, 1.5).map_err(microtome::Error::from)?;
    write_whole(&dir.path("curves.png"), &png)
}

fn plots(updates: &[SaeLine], evaluations: &[SaeEvaluation], title: &str) -> Vec<LinePlot> {
    let length = updates.len().div_ceil(CURVE).max(1);
    let name = if length == 1 { "batches".to_owned() } else { format!("batches, means of {length}") };
    let batches = |value: &dyn Fn(&SaeLine) -> f64| {
        let mean = |part: &[SaeLine]| {
            let n = part.len() as f64;
            let step = part.iter().map(|line| line.step as f64).sum::<f64>() / n;
            (step, part.iter().map(value).sum::<f64>() / n)
        };
        Series { name: name.clone(), points: updates.chunks(length).map(mean).collect(), ..Series::default() }
    };
    let measured = |name: &str, value: &dyn Fn(&SaeEvaluation) -> Option<f64>| {
        let points = evaluations.iter().filter_map(|e| Some((e.step as f64, value(e)?))).collect();
        Series { name: name.to_owned(), points, ..Series::default() }
    };
    let plot = |title: String, y: &str, y_scale: YScale, series: Vec<Series>| LinePlot {
        title,
        subtitle: String::new(),
        x: "step".to_owned(),
        y: y.to_owned(),
        series,
        y_scale,
        marks: vec![],
    };
    let validation = "validation";
    vec![
        plot(
            format!("Squared error of {title}"),
            "|x - reconstruction|^2",
            YScale::Log,
            vec![batches(&|line| line.mse), measured(validation, &|e| Some(e.mse))],
        ),
        plot(
            "Sum of feature activations (L1)".to_owned(),
            "per position",
            YScale::Linear,
            vec![batches(&|line| line.l1), measured(validation, &|e| Some(e.l1))],
        ),
        plot(
            "Active features (L0)".to_owned(),
            "per position",
            YScale::Log,
            vec![batches(&|line| line.l0), measured(validation, &|e| Some(e.l0))],
        ),
        plot(
            "What the reconstruction keeps, validation".to_owned(),
            "share",
            YScale::Linear,
            vec![
                measured("explained variance", &|e| e.explained_variance),
                measured("loss recovered from 0", &|e| e.recovered_from_zero),
                measured("loss recovered from the mean", &|e| e.recovered_from_mean),
            ],
        ),
        plot("Dead features".to_owned(), "features", YScale::Linear, vec![batches(&|line| line.dead as f64)]),
    ]
}
