//! Every hook point: its name, its shape, and where in the forward pass it fires.
//!
//! A [`Hook`] is a [`Site`] in a layer. Names and shapes are TransformerLens's, with the batch axis
//! left out: `blocks.3.attn.hook_z` is `[pos, head, d_head]`. The variants of [`Site`] stand in the
//! order in which they fire, so comparing two sites says which comes first inside a layer.
//!
//! Three things are ours to decide where TransformerLens depends on switches:
//! - `hook_result` and the inputs `hook_attn_in`, `hook_q_input`, `hook_k_input`, `hook_v_input`,
//!   `hook_mlp_in` always exist; they cost nothing unless they are read or edited.
//! - An edit of `hook_attn_in` or of a `hook_{q,k,v}_input` gives each head its own LayerNorm input,
//!   as TransformerLens does. `ln1.hook_scale` and `ln1.hook_normalized` stay those of the unsplit
//!   `resid_pre`; editing both in one layer is an error.
//! - An edit of `hook_attn_scores` or `hook_pattern` touches only keys the query may see.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::Config;
use crate::error::{Error, Result};

/// A kind of hook point, in firing order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Token embedding.
    Embed,
    /// Position embedding.
    PosEmbed,
    /// Residual stream entering a block.
    ResidPre,
    /// `resid_pre` as each head sees it.
    AttnIn,
    /// What each head's queries are computed from, before LayerNorm.
    QInput,
    /// What each head's keys are computed from, before LayerNorm.
    KInput,
    /// What each head's values are computed from, before LayerNorm.
    VInput,
    /// Standard deviation the first LayerNorm divides by, `sqrt(var + eps)`.
    Ln1Scale,
    /// Output of the first LayerNorm before gain and bias.
    Ln1Normalized,
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// `q . k / sqrt(d_head)`, `-inf` where the key is in the query's future.
    AttnScores,
    /// Attention pattern, the softmax of the scores over keys.
    Pattern,
    /// Each head's mix of values, before `W_O`.
    Z,
    /// Each head's contribution to the residual stream, `z W_O[head]`, without `b_O`.
    Result,
    /// Output of the attention layer, `b_O` included.
    AttnOut,
    /// Residual stream between attention and MLP.
    ResidMid,
    /// What the MLP is computed from, before LayerNorm.
    MlpIn,
    /// Standard deviation the second LayerNorm divides by.
    Ln2Scale,
    /// Output of the second LayerNorm before gain and bias.
    Ln2Normalized,
    /// Neurons before the non-linearity.
    MlpPre,
    /// Neurons after the non-linearity.
    MlpPost,
    /// Output of the MLP, `b_out` included.
    MlpOut,
    /// Residual stream leaving a block.
    ResidPost,
    /// Standard deviation the final LayerNorm divides by.
    LnFinalScale,
    /// Output of the final LayerNorm before gain and bias.
    LnFinalNormalized,
    /// What the unembedding multiplies.
    UnembedIn,
    /// The logits.
    UnembedOut,
}

/// The name of one axis of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Axis {
    Pos,
    Head,
    Query,
    Key,
    DHead,
    DModel,
    DMlp,
    DVocab,
    One,
}

struct Row(Site, &'static str, &'static str, &'static [Axis]);

/// Site, short name (`ActName` style), name inside a block or at the top, axes.
const TABLE: &[Row] = {
    use Axis::*;
    &[
        Row(Site::Embed, "embed", "hook_embed", &[Pos, DModel]),
        Row(Site::PosEmbed, "pos_embed", "hook_pos_embed", &[Pos, DModel]),
        Row(Site::ResidPre, "resid_pre", "hook_resid_pre", &[Pos, DModel]),
        Row(Site::AttnIn, "attn_in", "hook_attn_in", &[Pos, Head, DModel]),
        Row(Site::QInput, "q_input", "hook_q_input", &[Pos, Head, DModel]),
        Row(Site::KInput, "k_input", "hook_k_input", &[Pos, Head, DModel]),
        Row(Site::VInput, "v_input", "hook_v_input", &[Pos, Head, DModel]),
        Row(Site::Ln1Scale, "ln1_scale", "ln1.hook_scale", &[Pos, One]),
        Row(Site::Ln1Normalized, "ln1_normalized", "ln1.hook_normalized", &[Pos, DModel]),
        Row(Site::Q, "q", "attn.hook_q", &[Pos, Head, DHead]),
        Row(Site::K, "k", "attn.hook_k", &[Pos, Head, DHead]),
        Row(Site::V, "v", "attn.hook_v", &[Pos, Head, DHead]),
        Row(Site::AttnScores, "attn_scores", "attn.hook_attn_scores", &[Head, Query, Key]),
        Row(Site::Pattern, "pattern", "attn.hook_pattern", &[Head, Query, Key]),
        Row(Site::Z, "z", "attn.hook_z", &[Pos, Head, DHead]),
        Row(Site::Result, "result", "attn.hook_result", &[Pos, Head, DModel]),
        Row(Site::AttnOut, "attn_out", "hook_attn_out", &[Pos, DModel]),
        Row(Site::ResidMid, "resid_mid", "hook_resid_mid", &[Pos, DModel]),
        Row(Site::MlpIn, "mlp_in", "hook_mlp_in", &[Pos, DModel]),
        Row(Site::Ln2Scale, "ln2_scale", "ln2.hook_scale", &[Pos, One]),
        Row(Site::Ln2Normalized, "ln2_normalized", "ln2.hook_normalized", &[Pos, DModel]),
        Row(Site::MlpPre, "mlp_pre", "mlp.hook_pre", &[Pos, DMlp]),
        Row(Site::MlpPost, "mlp_post", "mlp.hook_post", &[Pos, DMlp]),
        Row(Site::MlpOut, "mlp_out", "hook_mlp_out", &[Pos, DModel]),
        Row(Site::ResidPost, "resid_post", "hook_resid_post", &[Pos, DModel]),
        Row(Site::LnFinalScale, "ln_final_scale", "ln_final.hook_scale", &[Pos, One]),
        Row(Site::LnFinalNormalized, "ln_final_normalized", "ln_final.hook_normalized", &[Pos, DModel]),
        Row(Site::UnembedIn, "unembed_in", "unembed.hook_in", &[Pos, DModel]),
        Row(Site::UnembedOut, "logits", "unembed.hook_out", &[Pos, DVocab]),
    ]
};

impl Site {
    /// All sites in firing order.
    pub fn all() -> impl Iterator<Item = Site> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The short name used on the command line and in experiments: `z`, `resid_pre`, `mlp_out`.
    pub fn short_name(self) -> &'static str {
        self.row().1
    }

    /// The site a short name stands for.
    ///
    /// # Errors
    /// [`Error::UnknownSite`] with the nearest name.
    pub fn from_short_name(name: &str) -> Result<Site> {
        let names = || TABLE.iter().map(|row| row.1);
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0).ok_or_else(|| Error::UnknownSite {
            name: name.to_owned(),
            nearest: nearest(name, names()).unwrap_or_default(),
            known: names().collect::<Vec<_>>().join(", "),
        })
    }

    /// The axes of an activation here, batch left out.
    pub fn axes(self) -> &'static [Axis] {
        self.row().3
    }

    /// Whether there is one of these in every block.
    pub fn in_block(self) -> bool {
        (Site::ResidPre..=Site::ResidPost).contains(&self)
    }

    /// Whether activations here have a head axis.
    pub fn has_heads(self) -> bool {
        self.axes().contains(&Axis::Head)
    }

    /// Whether this is `attn_scores` or `pattern`, shaped `[head, query, key]`.
    pub fn is_attention(self) -> bool {
        matches!(self, Site::AttnScores | Site::Pattern)
    }

    /// Whether this is the output of a LayerNorm, before gain and bias.
    pub fn is_normalized(self) -> bool {
        matches!(self, Site::Ln1Normalized | Site::Ln2Normalized | Site::LnFinalNormalized)
    }

    /// How many heads, neurons or dimensions can be selected here, and what they are called.
    pub fn units(self, config: &Config) -> (usize, &'static str) {
        match self.axes() {
            axes if axes.contains(&Axis::Head) => (config.n_heads, "heads"),
            [.., Axis::DMlp] => (config.d_mlp(), "neurons"),
            [.., Axis::DVocab] => (config.d_vocab, "tokens"),
            [.., Axis::One] => (1, "scales"),
            _ => (config.d_model, "dimensions"),
        }
    }

    /// The shape of an activation here for a prompt of `len` tokens.
    pub fn shape(self, config: &Config, len: usize) -> Vec<usize> {
        self.axes()
            .iter()
            .map(|axis| match axis {
                Axis::Pos | Axis::Query | Axis::Key => len,
                Axis::Head => config.n_heads,
                Axis::DHead => config.d_head,
                Axis::DModel => config.d_model,
                Axis::DMlp => config.d_mlp(),
                Axis::DVocab => config.d_vocab,
                Axis::One => 1,
            })
            .collect()
    }

    /// This site in `layer` (which is ignored where there is only one).
    pub fn at(self, layer: usize) -> Hook {
        Hook { site: self, layer: if self.in_block() { layer } else { 0 } }
    }

    fn exists_in(self, config: &Config) -> bool {
        use Site::*;
        match self {
            ResidMid | MlpIn | MlpPre | MlpPost | MlpOut => config.mlp.is_some(),
            Ln2Scale | Ln2Normalized => config.mlp.is_some() && config.norm.is_some(),
            Ln1Scale | Ln1Normalized | LnFinalScale | LnFinalNormalized => config.norm.is_some(),
            _ => true,
        }
    }
}

/// One hook point of a model: a site, and the layer where the site is one per block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hook {
    /// What kind of activation.
    pub site: Site,
    /// Which block, counted from 0; 0 where there is only one such site.
    pub layer: usize,
}

impl Hook {
    /// The hook a name stands for, in no particular model.
    ///
    /// # Errors
    /// [`Error::UnknownHook`] with the nearest name.
    pub fn parse(name: &str) -> Result<Hook> {
        let (layer, rest) = match name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
            Some((layer, rest)) => (layer.parse().ok(), rest),
            None => (Some(0), name),
        };
        let in_block = name.starts_with("blocks.");
        TABLE
            .iter()
            .find(|row| row.2 == rest && row.0.in_block() == in_block)
            .and_then(|row| layer.map(|layer| row.0.at(layer)))
            .ok_or_else(|| {
                let layer = layer.unwrap_or(0);
                let known = TABLE.iter().map(|row| row.0.at(layer).to_string()).collect::<Vec<_>>();
                Error::UnknownHook {
                    name: name.to_owned(),
                    nearest: nearest(name, known.iter().map(String::as_str)).unwrap_or_default(),
                }
            })
    }

    /// Checks that this model has this hook.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`] or [`Error::HookNotInModel`].
    pub fn check(self, config: &Config) -> Result<()> {
        if self.site.in_block() && self.layer >= config.n_layers {
            return Err(Error::LayerOutOfRange { layer: self.layer, n_layers: config.n_layers });
        }
        if !self.site.exists_in(config) {
            return Err(Error::HookNotInModel {
                hook: self.to_string(),
                lacks: match self.site {
                    Site::Ln1Scale | Site::Ln1Normalized | Site::LnFinalScale | Site::LnFinalNormalized => {
                        "LayerNorm"
                    }
                    Site::Ln2Scale | Site::Ln2Normalized if config.mlp.is_some() => "LayerNorm",
                    _ => "MLP",
                },
            });
        }
        Ok(())
    }

    /// The shape of the activation here for a prompt of `len` tokens.
    pub fn shape(self, config: &Config, len: usize) -> Vec<usize> {
        self.site.shape(config, len)
    }

    /// Whether this fires before another does.
    pub fn fires_before(self, other: Hook) -> bool {
        let place = |hook: Hook| {
            let layer = if hook.site > Site::ResidPost { usize::MAX } else { hook.layer };
            (layer, hook.site)
        };
        place(self) < place(other)
    }

    /// Whether this fires in a run of the layers below `layer` alone.
    pub fn fires_below(self, layer: usize) -> bool {
        self.site <= Site::PosEmbed || (self.site.in_block() && self.layer < layer)
    }

    /// Every hook of a model, in firing order.
    pub fn all(config: &Config) -> Vec<Hook> {
        let sites = || Site::all().filter(|site| site.exists_in(config));
        let top = |range: std::ops::RangeInclusive<Site>| {
            sites().filter(move |site| range.contains(site)).map(|site| site.at(0))
        };
        let blocks = (0..config.n_layers)
            .flat_map(|layer| sites().filter(|site| site.in_block()).map(move |site| site.at(layer)));
        top(Site::Embed..=Site::PosEmbed)
            .chain(blocks)
            .chain(top(Site::LnFinalScale..=Site::UnembedOut))
            .collect()
    }

    /// The hooks of a model whose names match a glob (`blocks.*.attn.hook_pattern`, `*hook_resid_*`).
    ///
    /// # Errors
    /// [`Error::BadGlob`] where it is no glob, [`Error::UnknownHook`] where it matches nothing.
    pub fn matching(config: &Config, glob: &str) -> Result<Vec<Hook>> {
        let pattern =
            glob::Pattern::new(glob).map_err(|source| Error::BadGlob { glob: glob.to_owned(), source })?;
        let found: Vec<Hook> =
            Hook::all(config).into_iter().filter(|hook| pattern.matches(&hook.to_string())).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        if let Ok(hook) = Hook::parse(glob) {
            hook.check(config)?;
        }
        let known = Hook::all(config).iter().map(Hook::to_string).collect::<Vec<_>>();
        Err(Error::UnknownHook {
            name: glob.to_owned(),
            nearest: nearest(glob, known.iter().map(String::as_str)).unwrap_or_default(),
        })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.site.row().2;
        if self.site.in_block() { write!(f, "blocks.{}.{name}", self.layer) } else { f.write_str(name) }
    }
}

impl std::str::FromStr for Hook {
    type Err = Error;
    fn from_str(name: &str) -> Result<Hook> {
        Hook::parse(name)
    }
}

impl Serialize for Hook {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hook {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hook, D::Error> {
        Hook::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Site {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.short_name())
    }
}

impl<'de> Deserialize<'de> for Site {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Site, D::Error> {
        Site::from_short_name(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The known name most like `name`: one that holds it whole, else the one with the fewest edits.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let unlike = |k: &&str| (!k.contains(name), strsim::damerau_levenshtein(name, k));
    known.min_by_key(unlike).map(str::to_owned)
}

#[cfg(feature = "openapi")]
mod schema {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};

    use super::Site;

    impl utoipa::PartialSchema for Site {
        fn schema() -> RefOr<Schema> {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some(Site::all().map(Site::short_name)))
                .description(Some("Which activation, by the short name of its hook point."))
                .into()
        }
    }

    impl utoipa::ToSchema for Site {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Activation, MlpConfig, NormConfig};

    fn config() -> Config {
        Config {
            n_layers: 4,
            n_heads: 2,
            d_model: 8,
            d_head: 4,
            d_vocab: 11,
            n_ctx: 16,
            mlp: Some(MlpConfig { d_mlp: 32, activation: Activation::GeluNew }),
            norm: Some(NormConfig { eps: 1e-5 }),
        }
    }

    #[test]
    fn hooks_fire_in_the_order_they_are_listed_in() {
        let all = Hook::all(&config());
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(a.fires_before(*b), i < j, "{a} {b}");
            }
        }
    }

    #[test]
    fn every_hook_name_parses_back_to_itself() {
        for (i, site) in Site::all().enumerate() {
            assert_eq!(site as usize, i, "TABLE stands in the order of the enum");
            assert_eq!(Site::from_short_name(site.short_name()).unwrap(), site);
        }
        for hook in Hook::all(&config()) {
            assert_eq!(Hook::parse(&hook.to_string()).unwrap(), hook);
        }
    }

    #[test]
    fn a_typo_is_an_error_that_suggests_the_nearest_name() {
        let message = Hook::parse("blocks.3.attn.z").unwrap_err().to_string();
        assert_eq!(message, "hook `blocks.3.attn.z` not found; did you mean `blocks.3.attn.hook_z`?");
        assert!(Hook::parse("blocks.x.attn.hook_z").is_err());
        assert!(Hook::parse("attn.hook_z").is_err(), "a block site needs its block");
        assert!(Hook::parse("blocks.0.hook_embed").is_err(), "a top site has none");
    }

    #[test]
    fn a_name_that_holds_what_was_written_is_suggested_first() {
        let message = Site::from_short_name("post").unwrap_err().to_string();
        assert!(message.contains("did you mean `mlp_post`") && message.contains("resid_pre"), "{message}");
    }

    #[test]
    fn a_layer_the_model_lacks_is_an_error() {
        let message = Site::Z.at(4).check(&config()).unwrap_err().to_string();
        assert!(message.contains("layer 4") && message.contains("0 to 3"), "{message}");
    }

    #[test]
    fn attention_only_models_have_no_mlp_hooks() {
        let bare = Config { mlp: None, norm: None, ..config() };
        let names: Vec<String> = Hook::all(&bare).iter().map(Hook::to_string).collect();
        assert!(!names.iter().any(|n| n.contains("mlp") || n.contains("ln") || n.contains("mid")));
        assert!(Site::MlpOut.at(0).check(&bare).is_err());
    }

    #[test]
    fn globs_select_by_name_and_an_empty_match_is_an_error() {
        assert_eq!(Hook::matching(&config(), "blocks.*.attn.hook_pattern").unwrap().len(), 4);
        assert_eq!(Hook::matching(&config(), "*").unwrap().len(), Hook::all(&config()).len());
        assert!(Hook::matching(&config(), "blocks.*.hook_zz").is_err());
        assert!(
            Hook::matching(&config(), "blocks.9.attn.hook_z").unwrap_err().to_string().contains("layer 9")
        );
    }
}
