//! Made transcoders of a made model, what their definition says of them in f64, and runs with values set by hand.

use microtome::method::feature_sweep::{FeatureCells, FeatureSweep, FeatureTargets};
use microtome::model::{
    Activation, Change, Config, Device, Edit, Hook, MlpConfig, Model, NormConfig, Positions, Processing,
    RunOptions, Site, Tensor, Value, Weights,
};
use microtome::sae::{ErrorTerm, FeatureChange, Sae, SaeChoice, SaeConfig};
use microtome::{Answer, Bos, Experiment, Method, Prompt, Record, Text, TextModel};
use serde_json::json;

use crate::golden_data::values;

pub const TOKENS: [u32; 9] = [5, 11, 3, 20, 8, 1, 17, 3, 12];
pub const OTHER: [u32; 9] = [5, 11, 3, 9, 8, 2, 17, 4, 12];
pub const ANSWER: u32 = 7;
pub const D_MODEL: usize = 16;
pub const D_MLP: usize = 40;
pub const D_SAE: usize = 30;

/// A model whose MLPs are what a transcoder is: ReLU between two linear maps.
pub fn model(processing: Processing) -> TextModel {
    let config = Config {
        n_layers: 2,
        n_heads: 2,
        d_model: D_MODEL,
        d_head: 8,
        d_vocab: 23,
        n_ctx: 24,
        mlp: Some(MlpConfig { d_mlp: D_MLP, activation: Activation::Relu }),
        norm: Some(NormConfig { eps: 1e-5 }),
    };
    let weights = Weights::random(&config, 11, 1.2).unwrap();
    TextModel::from_model("relu", Model::new(config, weights, processing).unwrap()).unwrap()
}

/// Numbers around 0 that differ everywhere.
pub fn wave(count: usize, seed: f64) -> Vec<f32> {
    (0..count).map(|i| ((i as f64 * 0.737 + seed).sin() * (i as f64 * 0.131 + seed).cos()) as f32).collect()
}

/// A transcoder's numbers, in the order of the files.
#[derive(Clone)]
pub struct Made {
    pub architecture: &'static str,
    pub normalization: &'static str,
    pub reads: Hook,
    pub writes: Hook,
    pub d_in: usize,
    pub d_out: usize,
    pub d_sae: usize,
    pub w_enc: Vec<f32>,
    pub b_enc: Vec<f32>,
    pub w_dec: Vec<f32>,
    pub b_dec: Vec<f32>,
    pub threshold: Vec<f32>,
    pub w_skip: Vec<f32>,
}

impl Made {
    fn waves(
        architecture: &'static str,
        normalization: &'static str,
        (reads, d_in): (Hook, usize),
        (writes, d_out): (Hook, usize),
    ) -> Made {
        Made {
            architecture,
            normalization,
            reads,
            writes,
            d_in,
            d_out,
            d_sae: D_SAE,
            w_enc: wave(d_in * D_SAE, 1.0),
            b_enc: wave(D_SAE, 2.0),
            w_dec: wave(D_SAE * d_out, 3.0),
            b_dec: wave(d_out, 4.0),
            threshold: wave(D_SAE, 5.0).into_iter().map(|x| 0.5 * x.abs()).collect(),
            w_skip: wave(d_out * d_in, 6.0),
        }
    }

    pub fn has_skip(&self) -> bool {
        self.architecture.contains("skip")
    }

    fn has_threshold(&self) -> bool {
        self.architecture.contains("jumprelu")
    }

    pub fn json(&self, processing: Processing) -> serde_json::Value {
        let folded = processing == Processing::Folded;
        json!({"architecture": self.architecture, "d_in": self.d_in, "d_out": self.d_out, "d_sae": self.d_sae,
            "apply_b_dec_to_input": false, "normalize_activations": self.normalization,
            "metadata": {"hook_name": self.reads.to_string(), "hook_name_out": self.writes.to_string(),
            "sae_lens_version": "6.54.12", "model_from_pretrained_kwargs": {"center_writing_weights": folded,
            "fold_ln": true}}})
    }

    pub fn sae(&self, processing: Processing) -> Sae {
        let tensor =
            |values: &[f32], shape: &[usize]| Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap();
        let mut tensors = vec![
            ("W_enc", tensor(&self.w_enc, &[self.d_in, self.d_sae])),
            ("b_enc", tensor(&self.b_enc, &[self.d_sae])),
            ("W_dec", tensor(&self.w_dec, &[self.d_sae, self.d_out])),
            ("b_dec", tensor(&self.b_dec, &[self.d_out])),
        ];
        if self.has_threshold() {
            tensors.push(("threshold", tensor(&self.threshold, &[self.d_sae])));
        }
        if self.has_skip() {
            tensors.push(("W_skip", tensor(&self.w_skip, &[self.d_out, self.d_in])));
        }
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        let config = SaeConfig::parse(&self.json(processing).to_string(), "cfg.json").unwrap();
        Sae::new(config, tensors, "made").unwrap().named(SaeChoice::from("made"))
    }

    /// The definition, for one position.
    fn features(&self, x: &[f64]) -> Vec<f64> {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let x: Vec<f64> = match self.normalization {
            "layer_norm" => x.iter().map(|x| (x - mean) / (std + 1e-5)).collect(),
            "constant_norm_rescale" => x.iter().map(|x| x * n.sqrt() / norm).collect(),
            _ => x.to_vec(),
        };
        let feature = |i: usize| {
            let w = |j: usize| f64::from(self.w_enc[j * self.d_sae + i]);
            let pre = (0..x.len()).map(|j| x[j] * w(j)).sum::<f64>() + f64::from(self.b_enc[i]);
            let least = if self.has_threshold() { f64::from(self.threshold[i]) } else { 0.0 };
            if pre > least { pre.max(0.0) } else { 0.0 }
        };
        (0..self.d_sae).map(feature).collect()
    }

    fn reconstruction(&self, x: &[f64], features: &[f64]) -> Vec<f64> {
        let dimension = |k: usize| {
            let written = (0..self.d_sae).map(|i| features[i] * f64::from(self.w_dec[i * self.d_out + k]));
            let skipped = (0..x.len()).map(|j| x[j] * f64::from(self.w_skip[k * self.d_in + j]));
            let skipped = if self.has_skip() { skipped.sum::<f64>() } else { 0.0 };
            written.sum::<f64>() + f64::from(self.b_dec[k]) + skipped
        };
        (0..self.d_out).map(dimension).collect()
    }
}

/// Every architecture and normalisation, in one layer and over layers, as wide on either side or not.
pub fn made() -> Vec<Made> {
    use Site::*;
    let stream = |site: Site, layer| (site.at(layer), D_MODEL);
    vec![
        Made::waves("transcoder", "none", stream(Ln2Normalized, 1), stream(MlpOut, 1)),
        Made::waves("skip_transcoder", "none", stream(MlpIn, 0), stream(MlpOut, 0)),
        Made::waves("jumprelu_transcoder", "none", stream(ResidMid, 1), (MlpPost.at(1), D_MLP)),
        Made::waves("jumprelu_skip_transcoder", "layer_norm", stream(ResidPre, 0), stream(MlpOut, 1)),
        Made::waves("skip_transcoder", "constant_norm_rescale", (MlpPost.at(0), D_MLP), stream(ResidPre, 1)),
        Made::waves("transcoder", "layer_norm", stream(AttnOut, 1), stream(AttnOut, 1)),
    ]
}

/// A transcoder with the weights of an MLP, what LayerNorm does to its input included.
pub fn mlp(model: &TextModel, layer: usize) -> Made {
    let block = &model.model().weights().blocks[layer];
    let mlp = block.mlp.as_ref().unwrap();
    let (input, output) = (mlp.input.unpacked().unwrap(), mlp.output.unpacked().unwrap());
    let numbers = |x: &Tensor| values(x).into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    let (mut w_enc, mut b_enc) = (values(&input.w), values(&input.b));
    if let Some(norm) = &block.ln2 {
        let (gain, bias) = (values(&norm.w), values(&norm.b));
        for (j, row) in w_enc.chunks_mut(D_MLP).enumerate() {
            for (i, w) in row.iter_mut().enumerate() {
                b_enc[i] += bias[j] * *w;
                *w *= gain[j];
            }
        }
    }
    Made {
        d_sae: D_MLP,
        w_enc: w_enc.into_iter().map(|x| x as f32).collect(),
        b_enc: b_enc.into_iter().map(|x| x as f32).collect(),
        w_dec: numbers(&output.w),
        b_dec: numbers(&output.b),
        ..Made::waves(
            "transcoder",
            "none",
            (Site::Ln2Normalized.at(layer), D_MODEL),
            (Site::MlpOut.at(layer), D_MODEL),
        )
    }
}

/// A model with a transcoder beside it.
pub struct Bench {
    pub made: Made,
    pub model: TextModel,
}

impl Bench {
    pub fn new(made: &Made) -> Bench {
        let model = model(Processing::Folded).with_sae(made.sae(Processing::Folded)).unwrap();
        Bench { made: made.clone(), model }
    }

    pub fn sae(&self) -> &Sae {
        self.model.sae(&SaeChoice::from("made")).unwrap()
    }

    pub fn ask(&self, ids: &[u32], method: Method) -> Experiment {
        Experiment {
            model: "relu".to_owned(),
            weights: Processing::Folded,
            precision: self.model.model().precision(),
            bos: Bos::Omit,
            prompts: vec![Prompt {
                clean: Text::Ids(ids.to_vec()),
                corrupt: None,
                answers: vec![Answer::Id(ANSWER)],
                wrong_answers: vec![],
            }],
            method,
            metrics: vec!["logit".parse().unwrap()],
            read_at: None,
            seed: 0,
        }
    }

    pub fn run(&self, method: Method) -> Record {
        self.ask(&TOKENS, method).run_quietly(&self.model).unwrap()
    }

    pub fn logits(&self, tokens: &[u32], edits: Vec<Edit>) -> Vec<f64> {
        let run = self.model.model().run(tokens, &RunOptions { edits, ..Default::default() }).unwrap();
        values(run.logits().unwrap())
    }

    pub fn logit(&self, tokens: &[u32], edits: Vec<Edit>) -> f64 {
        let logits = self.logits(tokens, edits);
        logits[logits.len() - 23 + ANSWER as usize]
    }

    /// The activations of a run as it is, row by row.
    pub fn rows(&self, tokens: &[u32], hook: Hook) -> Vec<Vec<f64>> {
        let options = RunOptions { reads: vec![hook], ..Default::default() };
        let run = self.model.model().run(tokens, &options).unwrap();
        let x = values(run.cache.get(hook).unwrap());
        x.chunks(x.len() / tokens.len()).map(<[f64]>::to_vec).collect()
    }

    /// Features and reconstructions by the definition.
    pub fn by_definition(&self, tokens: &[u32]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let rows = self.rows(tokens, self.made.reads);
        rows.iter()
            .map(|x| {
                let features = self.made.features(x);
                let reconstruction = self.made.reconstruction(x, &features);
                (features, reconstruction)
            })
            .unzip()
    }

    pub fn put(&self, rows: &[Vec<f64>]) -> Edit {
        let numbers: Vec<f32> = rows.concat().into_iter().map(|x| x as f32).collect();
        let value = Tensor::from_vec(numbers, (rows.len(), self.made.d_out), &Device::Cpu).unwrap();
        Edit::new(self.made.writes, Change::Set(Value::Tensor(value)))
    }

    pub fn decoder_row(&self, feature: usize) -> Vec<f64> {
        let d_out = self.made.d_out;
        self.made.w_dec[feature * d_out..(feature + 1) * d_out].iter().map(|&x| f64::from(x)).collect()
    }

    pub fn sweep(&self) -> FeatureSweep {
        FeatureSweep {
            sae: "made".into(),
            features: FeatureTargets::Active,
            change: FeatureChange::Ablate,
            by: FeatureCells::Feature,
            at: Some(Positions::All),
            error: ErrorTerm::Keep,
            most: Some(6),
        }
    }

    /// The answer's logit with one feature's activations `own` replaced, by hand: from `rows` of the activation written,
    /// decoder rows are added.
    pub fn changed(&self, rows: &[Vec<f64>], feature: usize, added: &[f64]) -> f64 {
        let row = self.decoder_row(feature);
        let rows: Vec<Vec<f64>> = rows
            .iter()
            .zip(added)
            .map(|(x, amount)| x.iter().zip(&row).map(|(x, w)| x + amount * w).collect())
            .collect();
        self.logit(&TOKENS, vec![self.put(&rows)])
    }
}
