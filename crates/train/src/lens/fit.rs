//! How far a tuned lens and the logit lens are from a model's output on windows of text, as the method `logit_lens` reads them.

use microtome::method::logit_lens::{LogitLens, TOP1_SETTLES};
use microtome::metric::MetricId;
use microtome::tuned_lens::TunedLens;
use microtome::{Bos, Experiment, Method, Prompt, Quantity, Record, Text, TextModel};

use crate::error::{Error, Result};

/// What two lenses are on a text: of every pair the logit lens's number first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LensFit {
    /// Positions measured.
    pub n_positions: usize,
    /// The rows: `embed`, `L0` and so on; the last is the model's output.
    pub layers: Vec<String>,
    /// Mean KL(model's output || lens) of each row, in nats.
    pub kl: Vec<[f64; 2]>,
    /// After how many layers the model's own most probable token stays on top, mean over positions.
    pub settles: [f64; 2],
}

/// Measures a lens on windows, their first `first` positions left out.
///
/// # Errors
/// [`Error::Measure`]: a lens that does not fit the model; [`Error::TooFewWindows`] where there is nothing to measure on.
pub fn lens_fit(model: &TextModel, lens: &TunedLens, windows: &[Vec<u32>], first: usize) -> Result<LensFit> {
    const NAME: &str = "measured";
    let model = model.clone().with_tuned_lens(NAME, lens.clone())?;
    let mut fit = LensFit::default();
    for window in windows {
        let prompt = Prompt {
            clean: Text::Ids(window.clone()),
            corrupt: None,
            answers: vec![],
            wrong_answers: vec![],
        };
        let experiment = Experiment {
            model: model.about().model.clone(),
            weights: model.model().processing(),
            precision: model.model().precision(),
            bos: Bos::Omit,
            prompts: vec![prompt],
            method: Method::LogitLens(LogitLens { tuned: Some(NAME.to_owned()), ..LogitLens::default() }),
            metrics: vec![MetricId::named("kl")?],
            read_at: None,
            seed: 0,
        };
        fit.add(&experiment.run_quietly(&model)?, window.len(), first);
    }
    if fit.n_positions == 0 {
        return Err(Error::TooFewWindows { what: "what is measured on".to_owned(), windows: windows.len() });
    }
    let n = fit.n_positions as f64;
    fit.kl.iter_mut().chain([&mut fit.settles]).flatten().for_each(|sum| *sum /= n);
    Ok(fit)
}

impl LensFit {
    /// Adds the sums of one window.
    fn add(&mut self, record: &Record, len: usize, first: usize) {
        let values =
            |metric: &str| record.table(metric, Quantity::Value).map_or(&[][..], |table| &table.values);
        let sum = |row: &[Option<f64>]| row.iter().skip(first).flatten().sum::<f64>();
        if let Some(lens) = &record.results.lens {
            self.layers.clone_from(&lens.layers);
        }
        let n_rows = self.layers.len();
        self.kl.resize(n_rows, [0.0; 2]);
        for (index, row) in values("kl").chunks(len).enumerate() {
            self.kl[index % n_rows][index / n_rows] += sum(row);
        }
        for (lens, row) in values(TOP1_SETTLES).chunks(len).enumerate() {
            self.settles[lens] += sum(row);
        }
        self.n_positions += len.saturating_sub(first);
    }
}
