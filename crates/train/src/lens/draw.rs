//! Pictures of a run: how far each layer's lens is from the model's output, by step and by layer.

use microtome::plot::{LinePlot, Series, Stroke, YScale, stack, svg_to_png};
use serde::Deserialize;

use super::run::{LensEvaluation, LensLine};
use crate::draw::lines;
use crate::error::Result;
use crate::run_dir::{RunDir, write_whole};

/// A line of `losses.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    #[allow(dead_code)]
    Update(LensLine),
    Evaluation(LensEvaluation),
}

/// Draws `curves.svg` and `curves.png`.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), [`Error::Damaged`](crate::Error::Damaged), [`Error::Measure`](crate::Error::Measure).
pub(super) fn draw(dir: &RunDir, title: &str) -> Result<()> {
    let evaluations: Vec<LensEvaluation> = lines(&dir.path("losses.jsonl"))?
        .into_iter()
        .filter_map(|line| match line {
            Line::Update(_) => None,
            Line::Evaluation(evaluation) => Some(evaluation),
        })
        .collect();
    let (Some(first), Some(last)) = (evaluations.first(), evaluations.last()) else { return Ok(()) };
    let plot = |title: String, x: &str, series: Vec<Series>| LinePlot {
        title,
        subtitle: String::new(),
        x: x.to_owned(),
        y: "KL(output || lens) in nats".to_owned(),
        series,
        y_scale: YScale::Log,
        marks: vec![],
    };
    let by_layer = |name: &str, stroke: Stroke, evaluation: &LensEvaluation| {
        let points = evaluation.kl.iter().enumerate().map(|(layer, &kl)| (layer as f64, kl)).collect();
        Series { name: name.to_owned(), points, stroke, ..Series::default() }
    };
    let by_step = |layer: usize| {
        let points = evaluations.iter().map(|e| (e.step as f64, e.kl[layer])).collect();
        Series { name: format!("entering L{layer}"), points, ..Series::default() }
    };
    let plots = [
        plot(
            format!("Tuned lens {title}, validation"),
            "layers that came before",
            vec![by_layer("logit lens", Stroke::Solid, first), by_layer("tuned lens", Stroke::Dashed, last)],
        ),
        plot("By step".to_owned(), "step", (0..last.kl.len()).map(by_step).collect()),
    ];
    let svg = stack(&plots.map(|plot| plot.to_svg()));
    write_whole(&dir.path("curves.svg"), svg.as_bytes())?;
    let png = svg_to_png(&svg, 1.5).map_err(microtome::Error::from)?;
    write_whole(&dir.path("curves.png"), &png)
}
