//! Tables as pictures: heatmaps, and curves over an axis; estimates against measurements.

use crate::error::{Error, Result};
use crate::method::logit_lens::LENS_AXIS;
use crate::method::remeasure::RemeasuredCell;
use crate::plot::{AxisLabels, Heatmap, LinePlot, Point, ScaleKind, ScatterPlot, Series, Stroke, YScale};
use crate::record::{Axis, Quantity, Record, Table};

impl Record {
    /// A table as curves over its layers, or over its last axis where it has no layers: one curve for every place
    /// on the other axes, with its interval. Of layers and positions it is the last position's. A mean over prompts
    /// has each prompt's curve beside it. Of two lenses the tuned one's curves are dashed.
    ///
    /// # Errors
    /// [`Error::NoCurves`] where there is no axis to draw over, or more curves than can be told apart.
    pub fn curves(&self, table: &Table) -> Result<LinePlot> {
        if let Some(last) = table.at_last_position() {
            return last.curves(&self.subtitle());
        }
        let mut plot = table.curves(&self.subtitle())?;
        let by_prompt = |other: &&Table| {
            let names: Vec<&str> = other.axes.iter().map(|axis| axis.name.as_str()).collect();
            other.metric == table.metric && names == ["prompt", "layer"]
        };
        let is_mean = table.axes.len() == 1 && !table.spread.is_empty();
        if let Some(each) = self.results.tables.iter().find(by_prompt).filter(|_| is_mean) {
            plot.series[0].name = "mean".to_owned();
            if each.axes[0].labels.len() < Table::MOST_CURVES {
                plot.series.extend(each.curves("")?.series);
            }
        }
        Ok(plot)
    }

    /// What was measured against what was estimated; `None` where nothing was.
    pub fn scatter(&self) -> Option<ScatterPlot> {
        let remeasured = self.results.remeasured.as_ref()?;
        let unit = |what: &str| format!("{what}, {}", remeasured.unit).trim_end_matches(", ").to_owned();
        let point = |cell: &RemeasuredCell| Point {
            label: cell.label.clone(),
            x: cell.estimate,
            y: cell.exact,
            interval: cell.spread.map(|spread| (spread.low, spread.high)),
        };
        let correlation = match (remeasured.pearson, remeasured.spearman) {
            (Some(pearson), Some(spearman)) => {
                format!("; Pearson correlation {pearson:.3}, Spearman rank correlation {spearman:.3}")
            }
            _ => String::new(),
        };
        let count = remeasured.cells.len();
        let cells = if count == 1 { "1 cell".to_owned() } else { format!("{count} cells") };
        let table = self.table(&remeasured.metric, Quantity::Change)?;
        Some(ScatterPlot {
            title: format!("{}, against patching", table.title),
            subtitle: self.subtitle(),
            x: unit("estimated"),
            y: unit(&format!("measured change in {}", remeasured.metric)),
            points: remeasured.cells.iter().map(point).collect(),
            note: format!("{cells}{correlation}; dashed: equal."),
        })
    }
}

impl Table {
    /// The table as a heatmap; three axes become two by joining the first with the last, and lenses with the axis beside them.
    pub fn heatmap(&self, subtitle: &str) -> Heatmap {
        let labels = |axis: &Axis| AxisLabels { name: axis.name.clone(), labels: axis.labels.clone() };
        let one = || AxisLabels { name: String::new(), labels: vec![String::new()] };
        let (rows, cols, values) = match &self.axes[..] {
            [only] if only.name == "layer" => (labels(only), one(), self.values.clone()),
            [only] => (one(), labels(only), self.values.clone()),
            [first, second] => (labels(first), labels(second), self.values.clone()),
            [first, second, last] if [first, second].iter().any(|axis| axis.name == LENS_AXIS) => {
                let mut names = Vec::new();
                for outer in &first.labels {
                    names.extend(second.labels.iter().map(|inner| format!("{outer} {inner}")));
                }
                let rows = AxisLabels { name: format!("{}, {}", first.name, second.name), labels: names };
                (rows, labels(last), self.values.clone())
            }
            [layers, positions, heads] => {
                let (n_positions, n_heads) = (positions.labels.len(), heads.labels.len());
                let mut values = Vec::with_capacity(self.values.len());
                let mut names = Vec::new();
                for (l, layer) in layers.labels.iter().enumerate() {
                    for (h, head) in heads.labels.iter().enumerate() {
                        names.push(format!("{layer}{head}"));
                        values.extend(
                            (0..n_positions).map(|p| self.values[(l * n_positions + p) * n_heads + h]),
                        );
                    }
                }
                (AxisLabels { name: "head".to_owned(), labels: names }, labels(positions), values)
            }
            _ => (one(), one(), self.values.iter().take(1).copied().collect()),
        };
        let scale = match self.quantity {
            Quantity::Value => ScaleKind::Sequential,
            Quantity::Change | Quantity::Recovery | Quantity::Interaction => ScaleKind::Diverging,
        };
        Heatmap {
            title: self.title.clone(),
            subtitle: subtitle.to_owned(),
            rows,
            cols,
            values,
            unit: self.unit.clone(),
            baseline: self.baseline.clone(),
            scale,
        }
    }

    /// Of layers and positions, by lens or not, the last position alone.
    fn at_last_position(&self) -> Option<Table> {
        let [rest @ .., layers, positions] = &self.axes[..] else { return None };
        let of_lenses = rest.iter().all(|axis| axis.name == LENS_AXIS);
        if (&*layers.name, &*positions.name) != ("layer", "position") || !of_lenses {
            return None;
        }
        let n = positions.labels.len();
        let last = |row: &[Option<f64>]| row.last().copied().flatten();
        Some(Table {
            title: format!("{}, at the last position", self.title),
            axes: self.axes[..self.axes.len() - 1].to_vec(),
            values: self.values.chunks(n).map(last).collect(),
            spread: self.spread.chunks(n).map(|row| row.last().copied().flatten()).collect(),
            ..self.clone()
        })
    }

    /// More curves than these cannot be told apart.
    const MOST_CURVES: usize = 12;

    fn curves(&self, subtitle: &str) -> Result<LinePlot> {
        let cannot = |reason: String| Err(Error::NoCurves { metric: self.metric.clone(), reason });
        let layers = self.axes.iter().position(|axis| axis.name == "layer");
        let Some(along) = layers.or(self.axes.len().checked_sub(1)) else {
            return cannot("it is a single number".to_owned());
        };
        let axis = &self.axes[along];
        let steps = axis.labels.len();
        let inner: usize = self.axes[along + 1..].iter().map(|axis| axis.labels.len()).product();
        let n_curves = self.values.len() / steps.max(1);
        if steps < 2 {
            return cannot(format!("its axis `{}` has one step only", axis.name));
        }
        if n_curves > Table::MOST_CURVES {
            let most = Table::MOST_CURVES;
            return cannot(format!(
                "it has {n_curves} of them and {most} can be told apart; draw it as a heatmap"
            ));
        }
        let curve = |curve: usize| {
            let cell = |step: usize| (curve / inner * steps + step) * inner + curve % inner;
            let value = |step: usize| self.values[cell(step)].unwrap_or(f64::NAN);
            let bounds = |step: usize| {
                let spread = self.spread.get(cell(step)).copied().flatten();
                spread.map_or((f64::NAN, f64::NAN), |spread| (spread.low, spread.high))
            };
            Series {
                name: self.label_but(along, cell(0)),
                points: (0..steps).map(|step| (step as f64, value(step))).collect(),
                band: (!self.spread.is_empty()).then(|| (0..steps).map(bounds).collect()),
                stroke: self.stroke(cell(0)),
            }
        };
        let ends = [&axis.labels[0], &axis.labels[steps - 1]];
        let unit = if self.unit.is_empty() { String::new() } else { format!(", {}", self.unit) };
        Ok(LinePlot {
            title: self.title.clone(),
            subtitle: subtitle.to_owned(),
            x: format!("{}, 0 = {} to {} = {}", axis.name, ends[0], steps - 1, ends[1]),
            y: format!("{}{unit}", self.metric),
            series: (0..n_curves).map(curve).collect(),
            y_scale: YScale::Linear,
            marks: vec![],
        })
    }

    /// The tuned lens's curves are dashed.
    fn stroke(&self, cell: usize) -> Stroke {
        let lens = self.axes.iter().position(|axis| axis.name == LENS_AXIS);
        let inner = |at: usize| self.axes[at + 1..].iter().map(|axis| axis.labels.len()).product::<usize>();
        match lens.map(|at| cell / inner(at) % self.axes[at].labels.len()) {
            None | Some(0) => Stroke::Solid,
            Some(_) => Stroke::Dashed,
        }
    }

    /// What a cell is called by its other axes.
    fn label_but(&self, along: usize, cell: usize) -> String {
        let mut rest = cell;
        let mut parts = Vec::new();
        for (a, axis) in self.axes.iter().enumerate().rev() {
            if a != along {
                parts.push(axis.labels[rest % axis.labels.len()].as_str());
            }
            rest /= axis.labels.len();
        }
        parts.reverse();
        parts.join(" ")
    }
}
