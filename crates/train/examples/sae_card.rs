//! The card of an autoencoder: what it was made of, what it keeps of held-out text, and features with a name.
//!
//!     cargo run -p microtome-train --example sae_card FOLDER               every feature, to find some worth a name
//!     cargo run -p microtome-train --example sae_card FOLDER NAMES.toml    the card, on standard output
//!
//! FOLDER holds an autoencoder (`cfg.json`, `sae_weights.safetensors`) with the `train.toml` and `record.json` of its run. NAMES.toml
//! gives features of it names that somebody found by looking: `[names]` with `17 = "countries"`. Everything else is
//! computed: passages of held-out text at which a feature is most active, at most one of a window, and the tokens whose logits its decoder row raises
//! most, read through the unembedding alone.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use microtome::TextModel;
use microtome::model::{LoadOptions, Positions, Tensor, with_rows};
use microtome::sae::{Quality, Sae};
use microtome_train::sae::{SaeRecord, SaeTraining};
use microtome_train::{Part, Reading};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Held-out windows that are looked at.
const WINDOWS: usize = 2000;

/// Passages shown of a feature.
const PASSAGES: usize = 4;

/// Tokens shown on either side of the most active one.
const AROUND: usize = 7;

/// Names that somebody gave.
#[derive(serde::Deserialize)]
struct Names {
    names: BTreeMap<String, String>,
}

/// What was seen of one feature.
#[derive(Clone, Default)]
struct Seen {
    active: usize,
    /// Activation, window and position, the highest first.
    top: Vec<(f32, usize, usize)>,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (folder, names) = match &args[..] {
        [folder] => (Path::new(folder), None),
        [folder, names] => {
            let names: Names = toml::from_str(&std::fs::read_to_string(names)?)?;
            (Path::new(folder), Some(names.names))
        }
        _ => return Err("give a folder, and a file of names for the card".into()),
    };
    let sae = Sae::load(folder)?;
    let training = SaeTraining::read(&folder.join("train.toml"))?;
    let model =
        TextModel::load(&training.model.name, training.model.weights, &LoadOptions::default(), &mut ())?;
    let training = training.resolved(&model)?;
    let reading = Reading::open(&model, &training.data)?;
    let windows: Vec<Vec<u32>> = (0..WINDOWS.min(reading.windows(Part::Validation)))
        .map(|i| reading.window(Part::Validation, i))
        .collect();
    let (seen, tokens) = look(&sae, &model, &windows, reading.first())?;
    let shown = Shown { sae: &sae, model: &model, windows: &windows, seen: &seen, tokens };
    match names {
        None => {
            let mut order: Vec<usize> = (0..seen.len()).collect();
            order.sort_by_key(|&i| std::cmp::Reverse(seen[i].active));
            for feature in order {
                println!("{}", shown.feature(feature)?);
            }
        }
        Some(names) => {
            let record: SaeRecord =
                serde_json::from_str(&std::fs::read_to_string(folder.join("record.json"))?)?;
            let measured = reading.measured(training.evaluation.windows)?;
            let quality = sae.quality(&model, &measured, &Positions::From(reading.first()))?;
            print!("{}", card(&shown, &training, &record, &quality, &names)?);
        }
    }
    Ok(())
}

/// Every feature on every window; and how many tokens that is.
fn look(sae: &Sae, model: &TextModel, windows: &[Vec<u32>], first: usize) -> Outcome<(Vec<Seen>, usize)> {
    let d_sae = sae.config().d_sae;
    let (mut seen, mut tokens) = (vec![Seen::default(); d_sae], 0);
    for (number, window) in windows.iter().enumerate() {
        let x = sae.read(model, window)?.input;
        let coded = sae.encode(&x)?;
        tokens += window.len() - first;
        with_rows(coded.features(), |values| {
            for (i, seen) in seen.iter_mut().enumerate() {
                let column = values.iter().skip(i).step_by(d_sae).copied().enumerate().skip(first);
                let mut highest = (0.0, 0);
                for (pos, value) in column.filter(|&(_, value)| value > 0.0) {
                    seen.active += 1;
                    if value > highest.0 {
                        highest = (value, pos);
                    }
                }
                if highest.0 > 0.0 {
                    seen.top.push((highest.0, number, highest.1));
                    seen.top.sort_by(|a, b| b.0.total_cmp(&a.0));
                    seen.top.truncate(PASSAGES);
                }
            }
        })?;
    }
    Ok((seen, tokens))
}

struct Shown<'a> {
    sae: &'a Sae,
    model: &'a TextModel,
    windows: &'a [Vec<u32>],
    seen: &'a [Seen],
    tokens: usize,
}

impl Shown<'_> {
    /// A passage with the most active token between brackets.
    fn passage(&self, &(value, window, pos): &(f32, usize, usize)) -> String {
        let ids = &self.windows[window];
        let text = |ids: &[u32]| self.model.text(ids).replace('\n', " ");
        let before = text(&ids[pos.saturating_sub(AROUND).max(1).min(pos)..pos]);
        let after = text(&ids[pos + 1..(pos + 1 + AROUND).min(ids.len())]);
        format!("{before}[{}]{after} ({value:.1})", text(&ids[pos..=pos]))
    }

    fn passages(&self, feature: usize) -> Vec<String> {
        self.seen[feature].top.iter().map(|top| self.passage(top)).collect()
    }

    /// The tokens a decoder row raises most.
    fn promoted(&self, feature: usize) -> Outcome<Vec<String>> {
        let unembed = self.model.model().weights().unembed.unpacked()?;
        let row: Tensor = self.sae.decoder().narrow(0, feature, 1)?;
        let logits = with_rows(&row.matmul(&unembed.w)?, <[f32]>::to_vec)?;
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        Ok(order[..6].iter().map(|&id| self.model.label(id)).collect())
    }

    fn density(&self, feature: usize) -> f64 {
        100.0 * self.seen[feature].active as f64 / self.tokens as f64
    }

    fn feature(&self, feature: usize) -> Outcome<String> {
        let promoted = self.promoted(feature)?.join(" ");
        let passages = self.passages(feature).join("\n    ");
        Ok(format!("{feature} {:.2} % promotes {promoted}\n    {passages}", self.density(feature)))
    }
}

fn card(
    shown: &Shown,
    training: &SaeTraining,
    record: &SaeRecord,
    quality: &Quality,
    names: &BTreeMap<String, String>,
) -> Outcome<String> {
    let config = shown.sae.config();
    let losses = quality.losses;
    let share = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.4}"));
    let silent = shown.seen.iter().filter(|seen| seen.active == 0).count();
    let mut out = format!(
        "# The autoencoder of the model `demo`\n\n\
         Written by `cargo run -p microtome-train --example sae_card models/demo/sae models/demo/sae/names.toml`; no number in it was\n\
         typed. Only the names of features were given by a person.\n\n\
         {} features of `{}` ({} wide), {}, weights {}. In SAELens's format: `cfg.json`, `sae_weights.safetensors`.\n\n\
         ## How it was made\n\n\
         `microtome sae train models/demo/sae/train.toml`: {} updates of {} tokens in {:.0} minutes, of a text of {} tokens to learn from\n\
         (BLAKE3 `{}`), the corpus's generator with another seed than the model's. Model `{}`.\n\n",
        config.d_sae,
        config.hook,
        config.d_in,
        config.architecture.name(),
        record.weights.name(),
        record.step,
        training.training.batch,
        record.elapsed_secs / 60.0,
        record.training_tokens,
        record.data_hash,
        record.weight_hash,
    );
    out += &format!(
        "## What it keeps\n\nOn {} positions of text it was not trained on, BOS left out:\n\n\
         | | |\n|---|---|\n\
         | L0 | {:.2} |\n| explained variance | {} |\n| squared error | {:.4} |\n\
         | loss of the model as it is | {:.4} nats |\n| with the reconstruction in place of the activation | {:.4} |\n\
         | with the mean activation there | {:.4} |\n| with 0 there | {:.4} |\n\
         | loss recovered, measured from 0 | {} |\n| loss recovered, measured from the mean | {} |\n\
         | features active on none of {} tokens | {silent} of {} ({:.1} %) |\n\n",
        quality.n_positions,
        quality.l0,
        share(quality.explained_variance),
        quality.mse,
        losses.clean,
        losses.spliced,
        losses.mean,
        losses.zero,
        share(losses.recovered_from_zero()),
        share(losses.recovered_from_mean()),
        shown.tokens,
        config.d_sae,
        100.0 * silent as f64 / config.d_sae as f64,
    );
    out += "## Features with a name\n\nEach was named by looking at where it is most active on held-out text (the token between \
            brackets; its\nactivation in parentheses) and at the tokens whose logits its decoder row raises most.\n\n\
            | feature | name | active on | promotes | most active |\n|---|---|---|---|---|\n";
    for (feature, name) in names {
        let feature: usize = feature.parse()?;
        let cell = |text: &str| text.replace('|', "\\|");
        let promoted: Vec<String> =
            shown.promoted(feature)?.iter().map(|token| format!("`{}`", cell(token))).collect();
        let passages: Vec<String> =
            shown.passages(feature).iter().take(3).map(|text| cell(text.trim())).collect();
        out += &format!(
            "| {feature} | {} | {:.2} % | {} | {} |\n",
            cell(name),
            shown.density(feature),
            promoted.join(" "),
            passages.join(" <br> ")
        );
    }
    Ok(out)
}
