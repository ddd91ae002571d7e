//! The MLP: `mlp_out = act(LN(resid_mid) W_in + b_in) W_out + b_out`.

use candle_core::Tensor;

use super::norm;
use crate::error::Result;
use crate::hook::Site;
use crate::linear_map::LinearMap;
use crate::ops::{self, Then};
use crate::walk::{Entry, Walk};
use crate::weights::BlockWeights;

/// The second half of a block: from the residual stream after attention to the one leaving the block.
/// `mid` is `[rows, d_model]`, `None` while no lane has joined.
pub(crate) fn mlp(
    walk: &mut Walk,
    layer: usize,
    block: &BlockWeights<LinearMap>,
    mid: Option<Tensor>,
) -> Result<Option<Tensor>> {
    let (Some(weights), Some(config)) = (&block.mlp, walk.config().mlp) else { return Ok(mid) };
    let at = |site: Site| site.at(layer);

    let mid = match walk.join(Entry::ResidMid(layer), mid.map(|x| [x]), [at(Site::ResidMid)])? {
        Some([mid]) => Some(walk.fire(at(Site::ResidMid), mid)?),
        None => None,
    };
    // Where nobody looks or joins between the products, each takes the next step along.
    let unseen = |walk: &Walk, sites: &[Site], entries: &[Entry]| {
        !sites.iter().any(|site| walk.wants(at(*site))) && !entries.iter().any(|entry| walk.joins(*entry))
    };
    let activates =
        unseen(walk, &[Site::MlpPre, Site::MlpPost], &[Entry::MlpPre(layer), Entry::MlpPost(layer)]);
    let adds = unseen(walk, &[Site::MlpOut], &[Entry::MlpOut(layer)]);
    let pre = match mid {
        Some(mid) => {
            let input = walk.fire(at(Site::MlpIn), mid.clone())?;
            let input =
                norm::layer_norm(walk, &input, block.ln2.as_ref(), norm::hooks(Site::Ln2Normalized, layer))?;
            let then = if activates { Then::Activate(config.activation) } else { Then::Keep };
            Some([mid, walk.linear(&input, &weights.input, then)?]) // [rows, d_model], [rows, d_mlp]
        }
        None => None,
    };
    let pre = walk.join(Entry::MlpPre(layer), pre, [at(Site::ResidMid), at(Site::MlpPre)])?;
    let post = match pre {
        Some(activated) if activates => Some(activated),
        Some([mid, pre]) => {
            let pre = walk.fire(at(Site::MlpPre), pre)?;
            Some([mid, ops::activation(walk.arithmetic(), &pre, config.activation)?]) // [rows, d_mlp]
        }
        None => None,
    };
    let post = walk.join(Entry::MlpPost(layer), post, [at(Site::ResidMid), at(Site::MlpPost)])?;
    let out = match post {
        Some([mid, post]) => {
            let post = walk.fire(at(Site::MlpPost), post)?;
            if adds {
                return Ok(Some(walk.linear(&post, &weights.output, Then::AddTo(&mid))?)); // [rows, d_model]
            }
            Some([mid, walk.linear(&post, &weights.output, Then::Keep)?]) // [rows, d_model]
        }
        None => None,
    };
    let out = walk.join(Entry::MlpOut(layer), out, [at(Site::ResidMid), at(Site::MlpOut)])?;
    match out {
        Some([mid, out]) => {
            let out = walk.fire(at(Site::MlpOut), out)?;
            Ok(Some((mid + out)?))
        }
        None => Ok(None),
    }
}
