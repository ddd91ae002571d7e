//! What an autoencoder of the embedded model makes of a few prompts, for another program to compare with.
//!
//!     cargo run -p microtome --example sae_codes FOLDER OUT.safetensors
//!
//! Writes `x` (what is encoded), `features` and `reconstruction`, positions first, heads apart where there are heads, BOS left out.

use std::error::Error;
use std::path::Path;

use microtome::model::{LoadOptions, Processing, Tensor, demo, to_safetensors};
use microtome::sae::Sae;
use microtome::whole_file::write_whole;
use microtome::{Bos, Text, TextModel};

const PROMPTS: [&str; 4] = [
    "When Mary and John went to the store, John gave a drink to Mary.",
    "Paris is the capital of France. The war lasted from the year 1732 to the year 1745.",
    "The cat sat on the mat. The dog sat on the rug. The cat sat on the mat.",
    "Two plus three is five. Eric was so happy that he sang.",
];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out] = &args[..] else { return Err("give a folder and a file to write".into()) };
    let sae = Sae::load(Path::new(folder))?;
    let weights = sae.config().processing().map_or(Processing::Folded, |(_, weights)| weights);
    let model = TextModel::load(demo::NAME, weights, &LoadOptions::default(), &mut ())?;
    sae.check(&model)?;
    let mut parts: [Vec<Tensor>; 3] = Default::default();
    for prompt in PROMPTS {
        let tokens = model.tokens(&Text::Text(prompt.to_owned()), Bos::Prepend)?.ids;
        let x = sae.read(&model, &tokens)?.input;
        let x = x.narrow(0, 1, x.dim(0)? - 1)?;
        let coded = sae.encode(&x)?;
        let reconstruction = sae.decode(&coded, coded.features())?;
        for (part, tensor) in parts.iter_mut().zip([&x, coded.features(), &reconstruction]) {
            part.push(tensor.clone());
        }
    }
    let all = parts.iter().map(|part| Tensor::cat(part, 0)).collect::<Result<Vec<_>, _>>()?;
    let names = ["x", "features", "reconstruction"].map(str::to_owned);
    let named: Vec<(String, Tensor)> = names.into_iter().zip(all).collect();
    Ok(write_whole(Path::new(out), &to_safetensors(&named)?)?)
}
