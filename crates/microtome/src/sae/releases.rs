//! Releases for GPT-2 that SAELens knows by name: which repository, which folder, which pages on Neuronpedia.
//!
//! The files of `gpt2-small-mlp-tm` were saved before the average norm of their activations was made part of their weights; the
//! factor by which activations are multiplied first is published beside them, and folded in when they are opened:
//! `W_enc` times it, `W_dec` and `b_dec` divided by it.

/// One autoencoder of a release.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The repository.
    pub repo: &'static str,
    /// SAELens's id.
    pub id: String,
    /// The folder in the repository.
    pub folder: String,
    /// Where its features have pages.
    pub neuronpedia: Option<String>,
    /// What activations are multiplied by before they are encoded, where the files do not hold it.
    pub factor: Option<f64>,
}

struct Release {
    name: &'static str,
    repo: &'static str,
    contents: Contents,
}

enum Contents {
    /// `resid_pre` of all layers and the last `resid_post`, each in a folder of its hook's name.
    ResidualJb,
    /// Layer 8, by width.
    FeatureSplitting,
    /// One of every layer: the site, what a folder's name begins and ends with, the set on Neuronpedia.
    Layers { site: &'static str, folder: (&'static str, &'static str), set: Option<&'static str> },
    /// MLP outputs, with the version of each folder and its factor.
    MlpTm,
}

const N_LAYERS: usize = 12;

const fn layers(
    site: &'static str,
    folder: (&'static str, &'static str),
    set: Option<&'static str>,
) -> Contents {
    Contents::Layers { site, folder, set }
}

const NARROW: (&str, &str) = ("v5_32k_layer_", "");
const WIDE: (&str, &str) = ("v5_128k_layer_", "");

const RELEASES: [Release; 11] = [
    Release {
        name: "gpt2-small-res-jb",
        repo: "jbloom/GPT2-Small-SAEs-Reformatted",
        contents: Contents::ResidualJb,
    },
    Release {
        name: "gpt2-small-res-jb-feature-splitting",
        repo: "jbloom/GPT2-Small-Feature-Splitting-Experiment-Layer-8",
        contents: Contents::FeatureSplitting,
    },
    Release {
        name: "gpt2-small-resid-post-v5-32k",
        repo: "jbloom/GPT2-Small-OAI-v5-32k-resid-post-SAEs",
        contents: layers("hook_resid_post", ("v5_32k_layer_", ".pt"), Some("res_post_32k-oai")),
    },
    Release {
        name: "gpt2-small-resid-post-v5-128k",
        repo: "jbloom/GPT2-Small-OAI-v5-128k-resid-post-SAEs",
        contents: layers("hook_resid_post", WIDE, Some("res_post_128k-oai")),
    },
    Release {
        name: "gpt2-small-resid-mid-v5-32k",
        repo: "jbloom/GPT2-Small-OAI-v5-32k-resid-mid-SAEs",
        contents: layers("hook_resid_mid", NARROW, None),
    },
    Release {
        name: "gpt2-small-resid-mid-v5-128k",
        repo: "jbloom/GPT2-Small-OAI-v5-128k-resid-mid-SAEs",
        contents: layers("hook_resid_mid", WIDE, None),
    },
    Release {
        name: "gpt2-small-mlp-out-v5-32k",
        repo: "jbloom/GPT2-Small-OAI-v5-32k-mlp-out-SAEs",
        contents: layers("hook_mlp_out", NARROW, None),
    },
    Release {
        name: "gpt2-small-mlp-out-v5-128k",
        repo: "jbloom/GPT2-Small-OAI-v5-128k-mlp-out-SAEs",
        contents: layers("hook_mlp_out", WIDE, None),
    },
    Release {
        name: "gpt2-small-attn-out-v5-32k",
        repo: "jbloom/GPT2-Small-OAI-v5-32k-attn-out-SAEs",
        contents: layers("hook_attn_out", NARROW, None),
    },
    Release {
        name: "gpt2-small-attn-out-v5-128k",
        repo: "jbloom/GPT2-Small-OAI-v5-128k-attn-out-SAEs",
        contents: layers("hook_attn_out", WIDE, None),
    },
    Release {
        name: "gpt2-small-mlp-tm",
        repo: "tommmcgrath/gpt2-small-mlp-out-saes",
        contents: Contents::MlpTm,
    },
];

/// Widths of the autoencoders of layer 8.
const WIDTHS: [usize; 8] = [768, 1536, 3072, 6144, 12_288, 24_576, 49_152, 98_304];

/// Of every layer: the version in the folder's name, and the factor.
const MLP_TM: [(usize, f64); N_LAYERS] = [
    (1, 1.049317316132615),
    (0, 2.3693984005104283),
    (0, 1.6411934982190302),
    (0, 1.8958522157897557),
    (0, 1.81673478700627),
    (0, 1.550234472245924),
    (0, 1.3237742807210804),
    (0, 1.1042905114723296),
    (1, 0.9123762783479742),
    (0, 0.6955335635232373),
    (0, 0.3619728926727644),
    (2, 0.2851548652550073),
];

impl Release {
    fn entries(&self) -> Vec<Entry> {
        let entry = |id: String, folder: String, set: Option<String>, factor| Entry {
            repo: self.repo,
            id,
            folder,
            neuronpedia: set.map(|set| format!("gpt2-small/{set}")),
            factor,
        };
        match &self.contents {
            Contents::ResidualJb => {
                let before = (0..N_LAYERS).map(|layer| format!("blocks.{layer}.hook_resid_pre"));
                let after = std::iter::once(format!("blocks.{}.hook_resid_post", N_LAYERS - 1));
                let numbered = before.chain(after).enumerate();
                numbered.map(|(n, id)| entry(id.clone(), id, Some(format!("{n}-res-jb")), None)).collect()
            }
            Contents::FeatureSplitting => {
                let of = |width: &usize| {
                    let id = format!("blocks.8.hook_resid_pre_{width}");
                    entry(id.clone(), id, Some(format!("8-res_fs{width}-jb")), None)
                };
                WIDTHS.iter().map(of).collect()
            }
            Contents::Layers { site, folder: (begin, end), set } => (0..N_LAYERS)
                .map(|layer| {
                    let set = set.map(|set| format!("{layer}-{set}"));
                    entry(format!("blocks.{layer}.{site}"), format!("{begin}{layer}{end}"), set, None)
                })
                .collect(),
            Contents::MlpTm => MLP_TM
                .iter()
                .enumerate()
                .map(|(layer, &(version, factor))| {
                    let id = format!("blocks.{layer}.hook_mlp_out");
                    let folder = format!("sae_group_gpt2_{id}_24576:v{version}");
                    entry(id, folder, None, Some(factor))
                })
                .collect(),
        }
    }
}

/// The autoencoders of a release.
pub(super) fn of_release(name: &str) -> Option<Vec<Entry>> {
    RELEASES.iter().find(|release| release.name == name).map(Release::entries)
}

/// The one whose files these are.
pub(super) fn of_files(repo: &str, folder: &str) -> Option<Entry> {
    let release = RELEASES.iter().find(|release| release.repo == repo)?;
    release.entries().into_iter().find(|entry| entry.folder == folder)
}

/// All releases.
pub(super) fn release_names() -> Vec<&'static str> {
    RELEASES.iter().map(|release| release.name).collect()
}
