//! `microtome patch`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ValueEnum;
use microtome::method::patch::{By, Patch};
use microtome::model::{Positions, Site};
use microtome::{Component, Method};

use crate::answer::answer;
use crate::args::{PairArgs, Way, layer, positions};
use crate::output;

/// Put activations of one prompt's run into the run of the other
///
/// By default clean activations go into the corrupt run, one head at a time, and the recovery of the
/// metric is shown: 0 = as the corrupt run, 1 = as the clean run.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  microtome patch -m gpt2 \"When John and Mary went to the shops, John gave the bag to\" \\
    -c \"When John and Mary went to the shops, Mary gave the bag to\" -t \" Mary\" -f \" John\"
  microtome patch -m gpt2 --pairs ioi.json --site resid_pre --by layer-position --svg resid.svg")]
pub struct Args {
    #[command(flatten)]
    pairs: PairArgs,
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// Which patches are made, or estimated.
#[derive(clap::Args, Debug)]
pub struct WhichArgs {
    /// Activation to patch: z, q, k, v, result, pattern, attn_out, mlp_out, resid_pre, resid_mid, ..
    #[arg(long, value_parser = site, default_value = "z")]
    site: Site,
    /// How patches are laid out [default: head where the site has heads, else layer-position]
    #[arg(long, value_enum, conflicts_with_all = ["heads", "layers"])]
    by: Option<Layout>,
    /// Heads patched together, for example 9.6,9.9
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "layers")]
    heads: Vec<Component>,
    /// Layers patched together, for example 3,4
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = layer)]
    layers: Vec<usize>,
    /// Denoise: clean into corrupt. Noise: corrupt into clean
    #[arg(long, value_enum, default_value_t = Way::Denoise)]
    direction: Way,
    /// Positions patched, where the layout does not go through them: all, last, 3,5 or 4..
    #[arg(long, value_parser = positions, default_value = "all", allow_hyphen_values = true)]
    at: Positions,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Every head
    Head,
    /// Every head at every position
    HeadPosition,
    /// Every layer
    Layer,
    /// Every layer at every position
    LayerPosition,
}

fn site(name: &str) -> Result<Site> {
    Ok(Site::from_short_name(name)?)
}

impl WhichArgs {
    /// The patch they describe.
    pub fn patch(&self) -> Result<Patch> {
        let by = match (self.by, &self.heads[..], &self.layers[..]) {
            (_, [_, ..], _) => By::Heads(self.heads.clone()),
            (_, _, [_, ..]) => By::Layers(self.layers.clone()),
            (Some(Layout::Head), ..) => By::Head,
            (Some(Layout::HeadPosition), ..) => By::HeadPosition,
            (Some(Layout::Layer), ..) => By::Layer,
            (Some(Layout::LayerPosition), ..) => By::LayerPosition,
            (None, ..) if self.site.has_heads() => By::Head,
            (None, ..) => By::LayerPosition,
        };
        if matches!(by, By::HeadPosition | By::LayerPosition) && self.at != Positions::All {
            bail!(
                "--at picks positions, and this layout goes through all of them; add --by head or --by layer"
            );
        }
        let direction = self.direction.into();
        Ok(Patch { site: self.site, by, direction, at: self.at.clone() })
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let method = Method::Patch(args.which.patch()?);
    answer(&args.pairs.experiment(method)?, &args.output)
}
