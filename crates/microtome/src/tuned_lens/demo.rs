//! The tuned lens that comes with the program: `demo`, of the model of that name. `models/demo/tuned-lens/` holds its files, how it was
//! made, and how far it and the logit lens are from the model's output, layer by layer.

use std::path::Path;

use microtome_model::TensorArchive;
pub(super) use microtome_model::demo::NAME;

use super::TunedLens;
use crate::error::Result;

const CONFIG: &str = include_str!("../../../../models/demo/tuned-lens/config.json");
const PARAMS: &[u8] = include_bytes!("../../../../models/demo/tuned-lens/params.pt");

impl TunedLens {
    /// The one inside the program.
    ///
    /// # Errors
    /// As [`TunedLens::load`]; there is none to be had.
    pub fn demo() -> Result<TunedLens> {
        let file = |name: &str| Path::new(NAME).join("tuned-lens").join(name);
        TunedLens::parse(CONFIG, &file("config.json"), || {
            Ok(TensorArchive::embedded(&file("params.pt"), PARAMS)?)
        })
    }
}
