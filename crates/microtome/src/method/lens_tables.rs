//! What a lens read, as tables: by row and position, by row and prompt, and where it converges.

use super::lens_rows::{Cell, LensRow, LensRows};
use super::logit_lens::{ANSWER_REACHES, LogitLens, TOP1_PROB, TOP1_SETTLES};
use super::sweep;
use crate::experiment::Experiment;
use crate::metric::MetricId;
use crate::record::{Axis, Basis, Quantity, Table};
use crate::stats::over_prompts;
use crate::text_model::Tokens;

/// The axis of lenses.
pub const LENS_AXIS: &str = "lens";

/// Its labels.
pub const LENSES: [&str; 2] = ["logit lens", "tuned lens"];

/// What was read of one text.
pub(crate) struct Reading {
    /// `[row][position]`, of the rows that were finished.
    pub cells: Vec<Vec<Cell>>,
    /// The same rows through a tuned lens, where there is one.
    pub tuned: Option<Vec<Vec<Cell>>>,
    /// The model's own most probable token, by position.
    pub output_top: Vec<u32>,
}

impl Reading {
    /// The rows of every lens, the logit lens first.
    fn lenses(&self) -> impl Iterator<Item = &Vec<Vec<Cell>>> {
        std::iter::once(&self.cells).chain(&self.tuned)
    }

    /// Of every lens, the first row from which on the model's own top token is the row's too.
    fn settles(&self, place: usize) -> Vec<Option<usize>> {
        let own = self.output_top[place];
        let same = |row: &Vec<Cell>| row[place].top.first().is_some_and(|&(id, _)| id == own);
        let of = |cells: &Vec<Vec<Cell>>| {
            let first = cells.iter().rposition(|row| !same(row)).map_or(0, |last| last + 1);
            (first < cells.len()).then_some(first)
        };
        self.lenses().map(of).collect()
    }

    /// Of every lens, the first row in which the answer has this probability.
    fn reaches(&self, place: usize, threshold: f64) -> Vec<Option<usize>> {
        let reached = |row: &Vec<Cell>| row[place].answer >= threshold;
        self.lenses().map(|cells| cells.iter().position(reached)).collect()
    }
}

/// Makes the tables of a lens.
pub(crate) struct Tables<'a> {
    pub asked: &'a LogitLens,
    pub experiment: &'a Experiment,
    pub metrics: &'a [MetricId],
    pub rows: &'a [LensRow],
}

/// One number of every cell, with its names.
struct Column<'a> {
    metric: &'a str,
    title: String,
    unit: &'a str,
    of: Box<dyn Fn(&Cell) -> f64 + 'a>,
}

impl Tables<'_> {
    /// Of one prompt, and of the other one it is compared with.
    pub fn of_prompt(&self, read: &Reading, other: Option<&Reading>, tokens: &Tokens) -> Vec<Table> {
        let axes = self.by_lens(vec![self.row_axis(), sweep::position_axis(tokens)]);
        let n_cells = self.rows.len() * tokens.ids.len();
        let mut tables = Vec::new();
        for column in self.columns() {
            let of_lens = |cells: &Vec<Vec<Cell>>| {
                let mut values: Vec<Option<f64>> =
                    cells.iter().flatten().map(|cell| Some((column.of)(cell))).collect();
                values.resize(n_cells, None);
                values
            };
            let values = |reading: &Reading| reading.lenses().flat_map(of_lens).collect::<Vec<_>>();
            let clean = values(read);
            if let Some(other) = other {
                let apart = clean.iter().zip(values(other)).map(|(a, b)| Some((*a)? - b?)).collect();
                let title = format!("{}, clean minus corrupt", column.title);
                let mut table = self.table(&column, title, axes.clone(), apart);
                table.quantity = Quantity::Change;
                table.baseline = "0 = the same in both prompts".to_owned();
                tables.push(table);
            }
            tables.push(self.table(&column, column.title.clone(), axes.clone(), clean));
        }
        // Convergence is known when all rows are.
        if read.cells.len() == self.rows.len() {
            let places: Vec<_> = (0..tokens.ids.len()).map(|place| (read, place)).collect();
            tables.extend(self.convergence(sweep::position_axis(tokens), &places));
        }
        tables
    }

    /// Of several prompts: the mean by row with its interval, then each prompt.
    pub fn of_prompts(&self, read: &[Reading], seed: u64) -> Vec<Table> {
        let prompts = Axis {
            name: "prompt".to_owned(),
            labels: (1..=read.len()).map(|n| format!("prompt {n}")).collect(),
        };
        let mut tables = Vec::new();
        for column in self.columns() {
            let of_prompt = |reading: &Reading| -> Vec<f64> {
                reading.lenses().flatten().map(|row| (column.of)(&row[0])).collect()
            };
            let by_prompt: Vec<Vec<f64>> = read.iter().map(of_prompt).collect();
            let (means, spread) = over_prompts(&by_prompt, seed);
            let title = format!("{}, mean over prompts", column.title);
            let axes = self.by_lens(vec![self.row_axis()]);
            let mut mean = self.table(&column, title, axes.clone(), means.into_iter().map(Some).collect());
            mean.spread = spread.into_iter().map(Some).collect();
            let title = format!("{}, by prompt", column.title);
            let each = by_prompt.concat().into_iter().map(Some).collect();
            tables.push(mean);
            let axes = std::iter::once(prompts.clone()).chain(axes).collect();
            tables.push(self.table(&column, title, axes, each));
        }
        let places: Vec<_> = read.iter().map(|reading| (reading, 0)).collect();
        tables.extend(self.convergence(prompts, &places));
        tables
    }

    fn columns(&self) -> Vec<Column<'_>> {
        let which = match (self.asked.rows, &self.asked.tuned) {
            (LensRows::Contributions, _) => "part by part",
            (_, None) => LENSES[0],
            (_, Some(_)) => "logit lens and tuned lens",
        };
        let whose = match &self.asked.cut[..] {
            [] => which.to_owned(),
            _ => format!("{which} with components cut"),
        };
        let top = |cell: &Cell| cell.top.first().map_or(f64::NAN, |(_, prob)| *prob);
        let title = format!("Probability of the most probable next token, {whose}");
        let mut columns = vec![Column { metric: TOP1_PROB, title, unit: "", of: Box::new(top) }];
        columns.extend(self.metrics.iter().enumerate().map(|(m, metric)| Column {
            metric: metric.name(),
            title: format!("{}, {whose}", sweep::capitalised(metric.title())),
            unit: metric.unit(),
            of: Box::new(move |cell: &Cell| cell.values[m]),
        }));
        // What was asked for by name is shown first, and of parts what they share out.
        let first = match self.asked.rows {
            LensRows::Contributions => self.metrics.first(),
            _ => self.experiment.metrics.first(),
        };
        columns.sort_by_key(|column| Some(column.metric) != first.map(|metric| metric.name()));
        columns
    }

    fn table(&self, column: &Column, title: String, axes: Vec<Axis>, values: Vec<Option<f64>>) -> Table {
        let last = self.rows.last().map_or("the last row", |row| &row.label);
        let (quantity, baseline) = match self.asked.rows {
            // A share: signed about 0.
            LensRows::Contributions if column.metric != TOP1_PROB => {
                (Quantity::Change, "0 = adds nothing; all rows sum to the model's own".to_owned())
            }
            LensRows::Contributions => (Quantity::Value, "of each part alone".to_owned()),
            _ => (Quantity::Value, format!("{last} is the model's own output")),
        };
        Table {
            metric: column.metric.to_owned(),
            quantity,
            title,
            unit: column.unit.to_owned(),
            baseline,
            basis: Basis::Exact,
            axes,
            values,
            spread: vec![],
        }
    }

    /// Where each of these places, of a text read, converges.
    fn convergence(&self, axis: Axis, places: &[(&Reading, usize)]) -> Vec<Table> {
        if self.asked.rows == LensRows::Contributions {
            return vec![];
        }
        let axes = self.by_lens(vec![axis]);
        let table = |metric: &str, title: String, rows: Vec<Option<usize>>| Table {
            metric: metric.to_owned(),
            quantity: Quantity::Value,
            title,
            unit: "layers".to_owned(),
            baseline: "layers that came before; 0 = the embedding; empty = never".to_owned(),
            basis: Basis::Exact,
            axes: axes.clone(),
            values: rows.into_iter().map(|row| row.map(|row| self.rows[row].layers)).collect(),
            spread: vec![],
        };
        // Every place of one lens, then every place of the next.
        let rows = |of: &dyn Fn(&Reading, usize) -> Vec<Option<usize>>| -> Vec<Option<usize>> {
            let by_place: Vec<Vec<Option<usize>>> =
                places.iter().map(|&(reading, place)| of(reading, place)).collect();
            (0..self.n_lenses()).flat_map(|lens| by_place.iter().map(move |rows| rows[lens])).collect()
        };
        let title = "Layers after which the model's own top token stays on top".to_owned();
        let mut tables = vec![table(TOP1_SETTLES, title, rows(&|reading, place| reading.settles(place)))];
        if self.experiment.prompts.iter().all(|prompt| !prompt.answers.is_empty()) {
            let threshold = self.asked.threshold();
            let title = format!("Layers after which the answer first has a probability of {threshold}");
            let found = rows(&|reading, place| reading.reaches(place, threshold));
            tables.push(table(ANSWER_REACHES, title, found));
        }
        tables
    }

    fn n_lenses(&self) -> usize {
        1 + usize::from(self.asked.tuned.is_some())
    }

    /// These axes, with that of the lenses in front where there are two.
    fn by_lens(&self, mut axes: Vec<Axis>) -> Vec<Axis> {
        if self.asked.tuned.is_some() {
            axes.insert(0, Axis { name: LENS_AXIS.to_owned(), labels: LENSES.map(str::to_owned).to_vec() });
        }
        axes
    }

    fn row_axis(&self) -> Axis {
        Axis { name: "layer".to_owned(), labels: self.rows.iter().map(|row| row.label.clone()).collect() }
    }
}
