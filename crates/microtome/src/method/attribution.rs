//! Direct logit attribution: what each component writes towards the answer, by itself.
//!
//! The final LayerNorm's scale is frozen at its value in this run, which makes the logits linear in the
//! residual stream: each component's output, centred, divided by the scale, times the gain, dotted
//! with the unembedding direction, is its share. The shares and the constant term sum to the logit (or
//! logit difference) exactly. nostalgebraist 2020; Elhage et al. 2021.

use microtome_model::{Edit, Hook, RunOptions, Site, Tensor};

use crate::error::{Error, Result};
use crate::text_model::TextModel;

/// Shares of a logit or logit difference at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectAttribution {
    /// Token embedding.
    pub embed: f64,
    /// Position embedding.
    pub pos_embed: f64,
    /// `[layer][head]`: each head's output, `b_O` left out.
    pub heads: Vec<Vec<f64>>,
    /// By layer: `b_O`.
    pub attention_bias: Vec<f64>,
    /// By layer: the MLP's output, its bias included.
    pub mlps: Vec<f64>,
    /// What does not depend on the prompt: the final LayerNorm's bias and the unembedding's.
    pub constant: f64,
    /// The residual stream read as the answer would be, without the constant: entering each layer and
    /// between its attention and MLP (`0_pre`, `0_mid`, ..), then leaving the last (`final_post`).
    pub accumulated: Vec<(String, f64)>,
}

impl DirectAttribution {
    /// All shares together: the logit, or logit difference, itself.
    pub fn total(&self) -> f64 {
        let heads: f64 = self.heads.iter().flatten().sum();
        let layers: f64 = self.attention_bias.iter().chain(&self.mlps).sum();
        self.embed + self.pos_embed + heads + layers + self.constant
    }
}

/// Takes apart `mean logit of answers - mean logit of wrong answers` (the mean logit of the answers where
/// no wrong ones are given) at position `pos` of a prompt, in a run with these edits.
///
/// # Errors
/// A position or token that does not exist.
pub fn direct_attribution(
    model: &TextModel,
    tokens: &[u32],
    pos: usize,
    answers: &[u32],
    wrong: &[u32],
    edits: &[Edit],
) -> Result<DirectAttribution> {
    if answers.is_empty() {
        return Err(Error::Missing {
            what: "a right answer",
            hint: "give the token whose logit is taken apart",
        });
    }
    answers.iter().chain(wrong).try_for_each(|&id| model.model().check_tokens(&[id]))?;
    let config = model.config();
    let weights = model.model().weights();
    let layers = 0..config.n_layers;
    let in_layers = |site: Site| layers.clone().map(move |layer| site.at(layer));
    let has_mlp = config.mlp.is_some();
    let mut reads: Vec<Hook> = vec![Site::Embed.at(0), Site::PosEmbed.at(0)];
    for site in [Site::ResidPre, Site::Result, Site::ResidPost] {
        reads.extend(in_layers(site));
    }
    if has_mlp {
        reads.extend(in_layers(Site::ResidMid).chain(in_layers(Site::MlpOut)));
    }
    if config.norm.is_some() {
        reads.push(Site::LnFinalScale.at(0));
    }
    let keep = microtome_model::Positions::At(vec![pos]);
    let edits = edits.to_vec();
    let options = RunOptions { edits, reads, keep: keep.clone(), logits: keep, ..Default::default() };
    let run = model.model().run(tokens, &options)?;

    let row = |hook: Hook| -> Result<Tensor> { Ok(run.cache.get(hook)?.get(0)?) };
    let (direction, constant) = logit_direction(weights, answers, wrong)?;
    let scale = match config.norm {
        Some(_) => numbers(&row(Site::LnFinalScale.at(0))?)?[0],
        None => 1.0,
    };
    // With a norm, centring the component is centring the direction.
    let direction = match config.norm {
        Some(_) => {
            let mean = direction.iter().sum::<f64>() / direction.len() as f64;
            direction.iter().map(|d| (d - mean) / scale).collect()
        }
        None => direction,
    };
    let share =
        |x: &Tensor| -> Result<f64> { Ok(numbers(x)?.iter().zip(&direction).map(|(x, d)| x * d).sum()) };
    let of = |hook: Hook| share(&row(hook)?);
    let by_layer = |site: Site| layers.clone().map(|layer| of(site.at(layer))).collect::<Result<Vec<_>>>();

    let heads = layers
        .clone()
        .map(|layer| {
            let result = row(Site::Result.at(layer))?; // [head, d_model]
            (0..config.n_heads).map(|head| share(&result.get(head)?)).collect()
        })
        .collect::<Result<Vec<Vec<f64>>>>()?;
    let attention_bias =
        layers.clone().map(|layer| share(weights.blocks[layer].out.bias())).collect::<Result<_>>()?;
    let mut accumulated = Vec::new();
    for layer in layers.clone() {
        accumulated.push((format!("{layer}_pre"), of(Site::ResidPre.at(layer))?));
        if has_mlp {
            accumulated.push((format!("{layer}_mid"), of(Site::ResidMid.at(layer))?));
        }
    }
    accumulated.push(("final_post".to_owned(), of(Site::ResidPost.at(config.n_layers - 1))?));
    Ok(DirectAttribution {
        embed: of(Site::Embed.at(0))?,
        pos_embed: of(Site::PosEmbed.at(0))?,
        heads,
        attention_bias,
        mlps: if has_mlp { by_layer(Site::MlpOut)? } else { vec![] },
        constant,
        accumulated,
    })
}

/// The direction of the residual stream, after the final LayerNorm's division, that the logits read as
/// the answer, and the constant they add.
fn logit_direction(
    weights: &microtome_model::Weights<microtome_model::LinearMap>,
    answers: &[u32],
    wrong: &[u32],
) -> Result<(Vec<f64>, f64)> {
    let d_model = weights.unembed.d_in();
    let bias = numbers(weights.unembed.bias())?;
    let mut direction = vec![0.0; d_model];
    let mut constant = 0.0;
    for (ids, sign) in [(answers, 1.0), (wrong, -1.0)] {
        for &id in ids {
            let weight = sign / ids.len() as f64;
            let id = id as usize;
            let column = weights.unembed.columns(id..id + 1)?;
            for (sum, x) in direction.iter_mut().zip(numbers(&column)?) {
                *sum += weight * x;
            }
            constant += weight * bias[id];
        }
    }
    if let Some(norm) = &weights.ln_final {
        constant += numbers(&norm.b)?.iter().zip(&direction).map(|(b, d)| b * d).sum::<f64>();
        for (d, gain) in direction.iter_mut().zip(numbers(&norm.w)?) {
            *d *= gain;
        }
    }
    Ok((direction, constant))
}

fn numbers(x: &Tensor) -> Result<Vec<f64>> {
    Ok(microtome_model::as_f64(x)?.flatten_all()?.to_vec1()?)
}
