//! The autoencoder that comes with the program: `demo`, of the model of that name. `models/demo/sae/` holds its files, how it was made,
//! and features with a name.

use microtome_model::demo::NAME;

use super::{Sae, SaeChoice};
use crate::error::Result;

const CONFIG: &str = include_str!("../../../../models/demo/sae/cfg.json");
const WEIGHTS: &[u8] = include_bytes!("../../../../models/demo/sae/sae_weights.safetensors");

impl Sae {
    /// The one inside the program.
    ///
    /// # Errors
    /// As [`Sae::load`]; there is none to be had.
    pub fn demo() -> Result<Sae> {
        Sae::from_bytes(&SaeChoice::from(NAME), CONFIG, WEIGHTS)
    }
}
