//! One update of all translators of a tuned lens: losses, gradients by hand, Adam.
//!
//! For the translator of layer `l`, `x` a row of the stream entering it, `p` the model's own distribution at that position:
//!
//! ```text
//! h = x + x W^T + b        q = softmax(unembed(ln_final(h)))        loss = mean over rows of KL(p || q)
//! ```
//!
//! The derivative of the loss in the logits is `(q - p) / rows`; it goes back through the unembedding and the final LayerNorm by the
//! kernels' derivatives, and `dW = dh^T x`, `db` the sum of `dh`. Sums have one order whatever the number of threads.

use microtome::TextModel;
use microtome::tuned_lens::{Translator, TunedLens};
use microtome_kernels::{
    Matrix, PackedMatrix, Precision, Then, layer_norm, layer_norm_backward, linear, linear_input_gradient,
    linear_weight_gradient, log_sum_exp,
};
use microtome_model::{Device, Hook, Processing, RunOptions, Site, Tensor, with_rows};
use rayon::prelude::*;

use crate::adamw::{AdamW, AdamWSettings};
use crate::error::{Error, Result};

/// Adam's memories.
const ADAM: AdamWSettings = AdamWSettings { beta1: 0.9, beta2: 0.999, decay: 0.0 };

/// Rows whose logits are held at a time.
const ROWS: usize = 256;

/// The final LayerNorm and the unembedding of a model.
struct Head {
    gain_and_bias: Option<(Vec<f32>, Vec<f32>)>,
    /// `None` in a model without LayerNorms.
    eps: Option<f32>,
    unembed: PackedMatrix,
    bias: Vec<f32>,
    d_model: usize,
}

/// What one batch is made of.
struct Batch {
    /// For each layer the stream entering it, `[rows, d_model]`.
    streams: Vec<Vec<f32>>,
    /// The model's own probabilities, `[rows, d_vocab]`.
    output: Vec<f32>,
    /// Of each row the sum of `p log p`.
    negentropy: Vec<f64>,
    rows: usize,
}

impl Batch {
    /// Probabilities and their sums of `p log p`, of so many rows at a time as logits are held.
    fn parts(&self, d_vocab: usize) -> impl Iterator<Item = (&[f32], &[f64])> {
        self.output.chunks(ROWS * d_vocab).zip(self.negentropy.chunks(ROWS))
    }
}

/// The translators of a model, being trained.
pub struct LensLearner<'m> {
    model: &'m TextModel,
    head: Head,
    /// Of each layer `W`, row after row, and `b`.
    pub(super) translators: Vec<(Vec<f32>, Vec<f32>)>,
    pub(super) optimiser: AdamW,
}

impl<'m> LensLearner<'m> {
    /// Before the first update: the logit lens.
    ///
    /// # Errors
    /// [`Error::Model`] where the model's weights cannot be read.
    pub fn new(model: &'m TextModel) -> Result<LensLearner<'m>> {
        let (d_model, n_layers) = (model.config().d_model, model.config().n_layers);
        let weights = model.model().weights();
        let unembed = weights.unembed.unpacked()?;
        let values = |tensor: &Tensor| -> Result<Vec<f32>> { Ok(with_rows(tensor, <[f32]>::to_vec)?) };
        let matrix = values(&unembed.w)?;
        let d_vocab = matrix.len() / d_model;
        let affine = weights.ln_final.as_ref();
        let head = Head {
            gain_and_bias: affine
                .map(|affine| Ok::<_, Error>((values(&affine.w)?, values(&affine.b)?)))
                .transpose()?,
            eps: model.config().norm.map(|norm| norm.eps as f32),
            unembed: PackedMatrix::new(Matrix::dense(&matrix, d_model, d_vocab), Precision::F32),
            bias: values(&unembed.b)?,
            d_model,
        };
        let translators = vec![(vec![0.0; d_model * d_model], vec![0.0; d_model]); n_layers];
        let lengths = (0..n_layers).flat_map(|_| [d_model * d_model, d_model]);
        Ok(LensLearner { model, head, translators, optimiser: AdamW::of_lengths(lengths, ADAM) })
    }

    /// Makes update number `step`, counted from 0, from windows, and gives each layer's loss before it, in nats. The first `first`
    /// positions of each window are not learnt from.
    ///
    /// # Errors
    /// [`Error::NotFinite`], nothing being changed; [`Error::Model`].
    pub fn update(
        &mut self,
        step: u64,
        windows: &[Vec<u32>],
        first: usize,
        learning_rate: f64,
    ) -> Result<Vec<f64>> {
        let (losses, gradients) = self.gradients(windows, first)?;
        if let Some(&value) = losses.iter().find(|loss| !loss.is_finite()) {
            return Err(Error::NotFinite { what: "loss", step: step + 1, value, checkpoint: None });
        }
        let pairs = self.translators.iter_mut().zip(&gradients);
        let mut pairs: Vec<(&mut [f32], &[f32])> =
            pairs.flat_map(|((w, b), (dw, db))| [(&mut w[..], &dw[..]), (&mut b[..], &db[..])]).collect();
        self.optimiser.update_numbers(&mut pairs, learning_rate);
        Ok(losses)
    }

    /// Each layer's mean loss on windows, in nats, and its gradients in `W` and `b`.
    ///
    /// # Errors
    /// [`Error::Model`].
    #[allow(clippy::type_complexity)]
    pub fn gradients(
        &self,
        windows: &[Vec<u32>],
        first: usize,
    ) -> Result<(Vec<f64>, Vec<(Vec<f32>, Vec<f32>)>)> {
        let batch = self.read(windows, first)?;
        let per_layer = batch.streams.iter().zip(&self.translators).map(|(x, translator)| {
            let d = self.head.d_model;
            let h = translated(x, translator, d);
            let (loss, dh) = self.head.loss_and_gradient(&h, &batch);
            let dw = linear_weight_gradient(Matrix::dense(&dh, batch.rows, d), x, d);
            let mut db = vec![0.0; d];
            for row in dh.chunks_exact(d) {
                db.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            (loss, (dw, db))
        });
        Ok(per_layer.unzip())
    }

    /// Of each layer `W`, row after row, and `b`.
    pub fn translators(&self) -> &[(Vec<f32>, Vec<f32>)] {
        &self.translators
    }

    /// Each layer's mean loss on windows, in nats, and how many positions that is over.
    ///
    /// # Errors
    /// [`Error::Model`].
    pub fn losses(&self, windows: &[Vec<u32>], first: usize) -> Result<(Vec<f64>, usize)> {
        let mut sums = vec![0.0; self.translators.len()];
        let mut rows = 0;
        for windows in windows.chunks(16) {
            let batch = self.read(windows, first)?;
            rows += batch.rows;
            for ((sum, x), translator) in sums.iter_mut().zip(&batch.streams).zip(&self.translators) {
                let h = translated(x, translator, self.head.d_model);
                *sum += self.head.loss(&h, &batch) * batch.rows as f64;
            }
        }
        Ok((sums.into_iter().map(|sum| sum / rows as f64).collect(), rows))
    }

    /// The lens as it is now; of folded weights with rows that sum to 0, so that it reads raw ones too.
    ///
    /// # Errors
    /// [`Error::Measure`].
    pub fn lens(&self) -> Result<TunedLens> {
        let d = self.head.d_model;
        let translator = |(w, b): &(Vec<f32>, Vec<f32>)| -> Result<Translator> {
            let weight = Tensor::from_slice(w, (d, d), &Device::Cpu)?;
            Ok(Translator { weight, bias: Tensor::from_slice(b, d, &Device::Cpu)? })
        };
        let translators = self.translators.iter().map(translator).collect::<Result<_>>()?;
        let lens = TunedLens::for_model(self.model, translators)?;
        let centred = self.model.model().processing() == Processing::Folded && self.head.eps.is_some();
        Ok(if centred { lens.without_mean()? } else { lens })
    }

    fn read(&self, windows: &[Vec<u32>], first: usize) -> Result<Batch> {
        let hooks: Vec<Hook> = (0..self.translators.len()).map(|layer| Site::ResidPre.at(layer)).collect();
        let options = RunOptions { reads: hooks.clone(), ..RunOptions::default() };
        let d = self.head.d_model;
        let streams = vec![vec![]; hooks.len()];
        let mut batch = Batch { streams, output: vec![], negentropy: vec![], rows: 0 };
        for run in self.model.model().run_batch(windows, &options)? {
            for (stream, hook) in batch.streams.iter_mut().zip(&hooks) {
                with_rows(run.cache.get(*hook)?, |rows| stream.extend_from_slice(&rows[first * d..]))?;
            }
            let d_vocab = self.head.bias.len();
            with_rows(run.logits()?, |rows| batch.output.extend_from_slice(&rows[first * d_vocab..]))?;
        }
        batch.negentropy = batch.output.par_chunks_mut(self.head.bias.len()).map(to_probabilities).collect();
        batch.rows = batch.negentropy.len();
        Ok(batch)
    }
}

/// `x + x W^T + b`.
fn translated(x: &[f32], (w, b): &(Vec<f32>, Vec<f32>), d: usize) -> Vec<f32> {
    let w = PackedMatrix::new(Matrix::dense(w, d, d).transposed(), Precision::F32);
    linear(Matrix::dense(x, x.len() / d, d), &w, 0..d, b, Then::AddTo(x))
}

impl Head {
    /// Mean KL of rows that stand for the stream, and its gradient in them.
    fn loss_and_gradient(&self, h: &[f32], batch: &Batch) -> (f64, Vec<f32>) {
        let (d, v) = (self.d_model, self.bias.len());
        let (mut sum, mut gradient) = (0.0, Vec::with_capacity(h.len()));
        for (h, output) in h.chunks(ROWS * d).zip(batch.parts(v)) {
            let mut logits = self.logits(h);
            let rows = logits.par_chunks_mut(v).zip(output.0.par_chunks(v)).zip(output.1);
            let loss = |((logits, p), &negentropy): ((&mut [f32], &[f32]), &f64)| {
                kl_and_gradient(logits, p, negentropy, batch.rows as f32)
            };
            sum += rows.map(loss).collect::<Vec<f64>>().iter().sum::<f64>();
            let dn = linear_input_gradient(&self.unembed, &logits);
            gradient.extend(match self.eps {
                Some(eps) => layer_norm_backward(h, d, self.affine().map(|affine| affine.0), eps, &dn).x,
                None => dn,
            });
        }
        (sum / batch.rows as f64, gradient)
    }

    /// Mean KL of rows that stand for the stream.
    fn loss(&self, h: &[f32], batch: &Batch) -> f64 {
        let (d, v) = (self.d_model, self.bias.len());
        let mut sum = 0.0;
        for (h, output) in h.chunks(ROWS * d).zip(batch.parts(v)) {
            let logits = self.logits(h);
            let rows = logits.par_chunks(v).zip(output.0.par_chunks(v)).zip(output.1);
            let loss = |((logits, p), &negentropy): ((&[f32], &[f32]), &f64)| kl(logits, p, negentropy);
            sum += rows.map(loss).collect::<Vec<f64>>().iter().sum::<f64>();
        }
        sum / batch.rows as f64
    }

    /// The logits of rows that stand for the stream.
    fn logits(&self, h: &[f32]) -> Vec<f32> {
        let d = self.d_model;
        let normal = match self.eps {
            Some(eps) => layer_norm(h, d, self.affine(), eps),
            None => h.to_vec(),
        };
        let input = Matrix::dense(&normal, normal.len() / d, d);
        linear(input, &self.unembed, 0..self.bias.len(), &self.bias, Then::Keep)
    }

    fn affine(&self) -> Option<(&[f32], &[f32])> {
        self.gain_and_bias.as_ref().map(|(gain, bias)| (&gain[..], &bias[..]))
    }
}

/// Turns a row of logits into probabilities, and gives the sum of `p log p`.
fn to_probabilities(row: &mut [f32]) -> f64 {
    let log_z = log_sum_exp(row);
    let mut sum = 0.0;
    for x in row {
        let log_p = f64::from(*x) - log_z;
        let p = log_p.exp();
        sum += p * log_p;
        *x = p as f32;
    }
    sum
}

/// `KL(p || q)` of a row of logits `q`, given `p` and its sum of `p log p`.
fn kl(logits: &[f32], p: &[f32], negentropy: f64) -> f64 {
    let log_z = log_sum_exp(logits);
    let term = |(&q, &p): (&f32, &f32)| f64::from(p) * (f64::from(q) - log_z);
    negentropy - logits.iter().zip(p).map(term).sum::<f64>()
}

/// The same, the row of logits becoming the gradient in it, divided by `rows`.
fn kl_and_gradient(logits: &mut [f32], p: &[f32], negentropy: f64, rows: f32) -> f64 {
    let log_z = log_sum_exp(logits);
    let mut sum = 0.0;
    for (q, &p) in logits.iter_mut().zip(p) {
        let log_q = f64::from(*q) - log_z;
        sum += f64::from(p) * log_q;
        *q = ((log_q as f32).exp() - p) / rows;
    }
    negentropy - sum
}
