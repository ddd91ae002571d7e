//! The card of a tuned lens: what it was made of, and how far it and the logit lens are from the model's output on held-out text.
//!
//!     cargo run -p microtome-train --example lens_card FOLDER    the card, on standard output
//!
//! FOLDER holds a tuned lens (`config.json`, `params.pt`) with the `train.toml` and `record.json` of its run. Every number is computed.

use std::error::Error;
use std::path::Path;

use microtome::TextModel;
use microtome::model::LoadOptions;
use microtome::tuned_lens::TunedLens;
use microtome_train::lens::{LensFit, LensRecord, LensTraining, lens_fit};
use microtome_train::{Part, Reading};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let folder = std::env::args().nth(1).ok_or("give the folder of a tuned lens")?;
    let folder = Path::new(&folder);
    let training = LensTraining::read(&folder.join("train.toml"))?;
    let record: LensRecord = serde_json::from_str(&std::fs::read_to_string(folder.join("record.json"))?)?;
    let lens = TunedLens::load(folder)?;
    let model =
        TextModel::load(&training.model.name, training.model.weights, &LoadOptions::default(), &mut ())?;
    let training = training.resolved(&model)?;
    let reading = Reading::open(&model, &training.data)?;
    let windows = reading.measured(training.training.evaluate_windows)?;
    let fit = lens_fit(&model, &lens, &windows, reading.first())?;
    print!("{}", card(&training, &record, &lens, &fit, reading.tokens(Part::Training)));
    Ok(())
}

fn card(
    training: &LensTraining,
    record: &LensRecord,
    lens: &TunedLens,
    fit: &LensFit,
    tokens: usize,
) -> String {
    let (config, state) = (lens.config(), &record.state);
    let mut out = format!(
        "# The tuned lens of the model `demo`\n\n\
         Written by `cargo run -p microtome-train --example lens_card models/demo/tuned-lens`; no number in it was typed.\n\n\
         {} translators, {} wide, learnt on {} weights and fit for raw ones too: their rows sum to 0. In the format of the package\n\
         `tuned-lens`: `config.json`, `params.pt`. The program knows it as `demo`.\n\n\
         ## How it was made\n\n\
         `microtome train lens models/demo/tuned-lens/train.toml`: {} updates of {} windows in {:.0} minutes, of a text of {tokens} tokens\n\
         to learn from (BLAKE3 `{}`), the corpus's generator with another seed than the model's. Model\n\
         `{}`.\n\n",
        config.num_hidden_layers,
        config.d_model,
        record.weights.name(),
        state.step,
        training.training.batch,
        state.elapsed_secs / 60.0,
        state.data_hash,
        state.weight_hash,
    );
    out += &format!(
        "## How near the output it comes\n\nMean KL(model's output || lens), nats, on {} positions of text it was not trained on, BOS left out:\n\n\
         | stream | logit lens | tuned lens |\n|---|---|---|\n",
        fit.n_positions
    );
    for (layer, [logit, tuned]) in fit.layers.iter().zip(&fit.kl) {
        out += &format!("| {layer} | {logit:.4} | {tuned:.4} |\n");
    }
    let [logit, tuned] = fit.settles;
    out += &format!(
        "\n`embed` is the stream entering layer 0, `L0` the one leaving it; the last row is the output itself. The model's own most\n\
         probable token stays on top after so many layers, in the mean over positions:\n\n\
         | | logit lens | tuned lens |\n|---|---|---|\n| layers | {logit:.2} | {tuned:.2} |\n"
    );
    out
}
