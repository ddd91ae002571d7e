//! The autoencoder inside the program: its card says of it what it does.

use std::path::Path;

use microtome::TextModel;
use microtome::model::{LoadOptions, Positions};
use microtome::sae::Sae;
use microtome_train::Reading;
use microtome_train::sae::SaeTraining;

/// The number in the row of a table of the card.
fn said(card: &str, row: &str) -> f64 {
    let line = card.lines().find(|line| line.starts_with(&format!("| {row} |")));
    let line = line.unwrap_or_else(|| panic!("no row `{row}` in the card"));
    let cell = line.split('|').nth(2).unwrap_or_default();
    let number = cell.split_whitespace().next().unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("`{row}`: `{cell}` is no number"))
}

#[test]
fn the_card_of_the_autoencoder_inside_the_program_says_what_it_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/sae");
    let card = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let config = SaeTraining::read(&folder.join("train.toml")).unwrap();
    let model =
        TextModel::load(&config.model.name, config.model.weights, &LoadOptions::default(), &mut ()).unwrap();
    let config = config.resolved(&model).unwrap();
    let sae = Sae::demo().unwrap();
    sae.check(&model).unwrap();
    assert_eq!(sae.config().hook.to_string(), config.sae.hook);
    assert_eq!(Some(sae.config().d_sae), config.sae.features);
    let reading = Reading::open(&model, &config.data).unwrap();
    assert!(card.contains(reading.hash()), "the card is of another text");
    let windows = reading.measured(config.evaluation.windows).unwrap();
    let quality = sae.quality(&model, &windows, &Positions::From(reading.first())).unwrap();
    let losses = quality.losses;
    for (row, found) in [
        ("L0", quality.l0),
        ("explained variance", quality.explained_variance.unwrap()),
        ("squared error", quality.mse),
        ("loss of the model as it is", losses.clean),
        ("with the reconstruction in place of the activation", losses.spliced),
        ("with the mean activation there", losses.mean),
        ("with 0 there", losses.zero),
        ("loss recovered, measured from 0", losses.recovered_from_zero().unwrap()),
        ("loss recovered, measured from the mean", losses.recovered_from_mean().unwrap()),
    ] {
        // Four decimals, and products summed in another order on another processor.
        let said = said(&card, row);
        assert!(
            (said - found).abs() < 1e-3 * (1.0 + found.abs()),
            "{row}: the card says {said}, found {found}"
        );
    }
    let size = std::fs::metadata(folder.join("sae_weights.safetensors")).unwrap().len();
    assert!(size < 2 << 20, "{size} bytes");
}
