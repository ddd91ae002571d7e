//! Features of a sparse autoencoder, at its hook point.

use microtome_model::{Hook, Tensor};

use super::Features;
use crate::error::{Error, Result};
use crate::sae::{Sae, SaeReport};

/// All features of an autoencoder, or some.
#[derive(Debug, Clone)]
pub struct SaeFeatures<'a> {
    sae: &'a Sae,
    /// Which, in order; all where empty.
    named: Vec<usize>,
}

impl<'a> SaeFeatures<'a> {
    /// These features, in this order; all where none is named.
    ///
    /// # Errors
    /// [`crate::sae::SaeError::NoSuchFeature`], [`Error::NamedTwice`].
    pub fn new(sae: &'a Sae, named: &[usize]) -> Result<SaeFeatures<'a>> {
        for (i, &feature) in named.iter().enumerate() {
            sae.check_feature(feature)?;
            if named[..i].contains(&feature) {
                return Err(Error::NamedTwice { component: format!("feature {feature}"), place: i + 1 });
            }
        }
        Ok(SaeFeatures { sae, named: named.to_vec() })
    }
}

impl Features for SaeFeatures<'_> {
    fn hooks(&self) -> Vec<Hook> {
        vec![self.sae.hook()]
    }

    fn names(&self) -> Vec<String> {
        match &self.named[..] {
            [] => (0..self.sae.config().d_sae).map(|feature| feature.to_string()).collect(),
            named => named.iter().map(usize::to_string).collect(),
        }
    }

    fn rows(&self, activations: &[&Tensor]) -> Result<Tensor> {
        let coded = self.sae.encode(activations[0])?;
        match &self.named[..] {
            [] => Ok(coded.features().clone()),
            named => {
                let named: Vec<u32> = named.iter().map(|&feature| feature as u32).collect();
                let named = Tensor::new(named, coded.features().device())?;
                Ok(coded.features().index_select(&named, 1)?)
            }
        }
    }

    fn sae(&self) -> Option<SaeReport> {
        Some(self.sae.report())
    }
}
