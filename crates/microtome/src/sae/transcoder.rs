//! What `cfg.json` says of a transcoder: an autoencoder that reads at one hook point and writes at another.
//!
//! SAELens has four: `transcoder` and `jumprelu_transcoder`, each with a `skip_` variant that adds its input through a
//! matrix `W_skip`. They differ from autoencoders in three ways: `b_dec` belongs to what is written and is never taken
//! off the input; a normalisation of the input is not undone; heads are not flattened, so sites with heads are refused.

use microtome_model::Hook;

use super::config::{Architecture, Keys};
use super::error::SaeError;

/// What a transcoder has that an autoencoder has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transcoder {
    /// Where it writes: what it reconstructs is the activation there.
    pub hook: Hook,
    /// Width of that activation.
    pub d_out: usize,
    /// Whether its input is added to what the features write, through a matrix of its own.
    pub skip: bool,
}

/// The architectures of transcoders: name, how features are read, whether there is a skip connection.
const KINDS: [(&str, Architecture, bool); 4] = [
    ("transcoder", Architecture::Standard, false),
    ("skip_transcoder", Architecture::Standard, true),
    ("jumprelu_transcoder", Architecture::JumpRelu, false),
    ("jumprelu_skip_transcoder", Architecture::JumpRelu, true),
];

/// How features are read and whether there is a skip connection, of an architecture's name; `None` where it is none of a
/// transcoder.
pub(super) fn kind_named(name: &str) -> Option<(Architecture, bool)> {
    KINDS.iter().find(|kind| kind.0 == name).map(|&(_, architecture, skip)| (architecture, skip))
}

/// Its name in files.
pub(super) fn name_of(architecture: Architecture, skip: bool) -> &'static str {
    let found = KINDS.iter().find(|kind| (kind.1, kind.2) == (architecture, skip));
    found.map_or("transcoder", |kind| kind.0)
}

/// Reads what concerns a transcoder; `reads` is where it reads. `hook_name_out` was `out_hook_point` in the code that
/// transcoders of GPT-2 were first trained with.
pub(super) fn transcoder(keys: &Keys, reads: Hook, skip: bool) -> Result<Transcoder, SaeError> {
    let key = written_key(keys);
    let Some(name) = keys.text(key)? else {
        return keys.wrong("hook_name_out", "the hook point whose activation the transcoder reconstructs");
    };
    let Ok(hook) = Hook::parse(name) else {
        return keys.wrong(key, "a hook point, for example blocks.8.hook_mlp_out");
    };
    if hook.fires_before(reads) {
        return keys.wrong(key, format!("`{reads}`, where it reads, or a hook point that fires later"));
    }
    for (key, hook) in [("hook_name", reads), (key, hook)] {
        if hook.site.has_heads() || hook.site.is_attention() {
            return keys.wrong(key, "a hook point without heads: transcoders read and write whole positions");
        }
    }
    for key in ["hook_head_index_out", "out_hook_point_head_index"] {
        if keys.get(key).is_some() {
            return keys.wrong(key, "null; transcoders of one head are not supported");
        }
    }
    if keys.flag("apply_b_dec_to_input", false)? {
        return keys
            .wrong("apply_b_dec_to_input", "false: a transcoder's b_dec is as wide as what it writes");
    }
    Ok(Transcoder { hook, d_out: keys.size("d_out")?, skip })
}

/// Refuses what is written elsewhere than it is read without being called a transcoder: it would be run as an
/// autoencoder.
pub(super) fn not_a_transcoder(keys: &Keys, reads: Hook) -> Result<(), SaeError> {
    let elsewhere = keys.text(written_key(keys))?.is_some_and(|name| name != reads.to_string());
    if elsewhere || keys.flag("is_transcoder", false)? {
        let kinds = KINDS.map(|kind| kind.0).join(", ");
        return keys.wrong("architecture", format!("{kinds}: it writes at another place than it reads"));
    }
    Ok(())
}

fn written_key(keys: &Keys) -> &'static str {
    if keys.get("hook_name_out").is_some() { "hook_name_out" } else { "out_hook_point" }
}
