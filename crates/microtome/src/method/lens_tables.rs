//! What a lens read, as tables: by row and position, by row and prompt, and where it converges.

use super::lens_rows::{Cell, LensRow, LensRows};
use super::logit_lens::{ANSWER_REACHES, LogitLens, TOP1_PROB, TOP1_SETTLES};
use super::sweep;
use crate::experiment::Experiment;
use crate::metric::MetricId;
use crate::record::{Axis, Basis, Quantity, Table};
use crate::stats::over_prompts;
use crate::text_model::Tokens;

/// What was read of one text.
pub(crate) struct Reading {
    /// `[row][position]`, of the rows that were finished.
    pub cells: Vec<Vec<Cell>>,
    /// The model's own most probable token, by position.
    pub output_top: Vec<u32>,
}

impl Reading {
    /// The first row from which on the model's own top token is the row's too.
    fn settles(&self, place: usize) -> Option<usize> {
        let own = self.output_top[place];
        let same = |row: &Vec<Cell>| row[place].top.first().is_some_and(|&(id, _)| id == own);
        let differs = self.cells.iter().rposition(|row| !same(row));
        let first = differs.map_or(0, |last| last + 1);
        (first < self.cells.len()).then_some(first)
    }

    /// The first row in which the answer has this probability.
    fn reaches(&self, place: usize, threshold: f64) -> Option<usize> {
        self.cells.iter().position(|row| row[place].answer >= threshold)
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
        let axes = vec![self.row_axis(), sweep::position_axis(tokens)];
        let n_cells = self.rows.len() * tokens.ids.len();
        let mut tables = Vec::new();
        for column in self.columns() {
            let values = |reading: &Reading| {
                let mut values: Vec<Option<f64>> =
                    reading.cells.iter().flatten().map(|cell| Some((column.of)(cell))).collect();
                values.resize(n_cells, None);
                values
            };
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
            let by_prompt: Vec<Vec<f64>> = read
                .iter()
                .map(|reading| reading.cells.iter().map(|row| (column.of)(&row[0])).collect())
                .collect();
            let (means, spread) = over_prompts(&by_prompt, seed);
            let title = format!("{}, mean over prompts", column.title);
            let mut mean =
                self.table(&column, title, vec![self.row_axis()], means.into_iter().map(Some).collect());
            mean.spread = spread.into_iter().map(Some).collect();
            let title = format!("{}, by prompt", column.title);
            let each = by_prompt.concat().into_iter().map(Some).collect();
            tables.push(mean);
            tables.push(self.table(&column, title, vec![prompts.clone(), self.row_axis()], each));
        }
        let places: Vec<_> = read.iter().map(|reading| (reading, 0)).collect();
        tables.extend(self.convergence(prompts, &places));
        tables
    }

    fn columns(&self) -> Vec<Column<'_>> {
        let whose = match (self.asked.rows, self.asked.cut.is_empty()) {
            (LensRows::Contributions, true) => "part by part",
            (LensRows::Contributions, false) => "part by part with components cut",
            (_, true) => "logit lens",
            (_, false) => "logit lens with components cut",
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
        let table = |metric: &str, title: String, rows: Vec<Option<usize>>| Table {
            metric: metric.to_owned(),
            quantity: Quantity::Value,
            title,
            unit: "layers".to_owned(),
            baseline: "layers that came before; 0 = the embedding; empty = never".to_owned(),
            basis: Basis::Exact,
            axes: vec![axis.clone()],
            values: rows.into_iter().map(|row| row.map(|row| self.rows[row].layers)).collect(),
            spread: vec![],
        };
        let rows = |of: &dyn Fn(&Reading, usize) -> Option<usize>| -> Vec<Option<usize>> {
            places.iter().map(|&(reading, place)| of(reading, place)).collect()
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

    fn row_axis(&self) -> Axis {
        Axis { name: "layer".to_owned(), labels: self.rows.iter().map(|row| row.label.clone()).collect() }
    }
}
