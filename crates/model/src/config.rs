//! The shape of a model: what every weight, activation and hook point is sized by.
//!
//! A [`Config`] says nothing about where weights came from; families (`family/`) read their own
//! configuration files and produce this one. Parts that a model may lack (an MLP, a LayerNorm) are
//! `Option`s, so an attention-only or norm-free toy is the same type with less in it.

use serde::{Deserialize, Serialize};

/// The sizes and choices that define a GPT-2-family transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Config {
    /// Number of transformer blocks.
    pub n_layers: usize,
    /// Attention heads per block.
    pub n_heads: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of one head's queries, keys and values.
    pub d_head: usize,
    /// Number of tokens in the vocabulary.
    pub d_vocab: usize,
    /// Longest prompt, in tokens.
    pub n_ctx: usize,
    /// The MLP of each block; `None` in attention-only models.
    pub mlp: Option<MlpConfig>,
    /// The LayerNorm before each attention, each MLP and the unembedding; `None` in norm-free models.
    pub norm: Option<NormConfig>,
}

/// The MLP of every block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MlpConfig {
    /// Number of neurons.
    pub d_mlp: usize,
    /// Non-linearity between the two linear maps.
    pub activation: Activation,
}

/// The LayerNorm used throughout a model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NormConfig {
    /// Added to the variance, inside the square root.
    pub eps: f64,
}

/// A non-linearity, under the name its configuration file gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x * Phi(x)` by the tanh approximation, GPT-2's `gelu_new`.
    GeluNew,
    /// `x * Phi(x)` by the error function, nanoGPT's `nn.GELU()`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`.
    Silu,
}

impl Activation {
    /// The name configuration files use: `gelu_new`, `gelu`, `relu`, `silu`.
    pub fn name(self) -> &'static str {
        match self {
            Activation::GeluNew => "gelu_new",
            Activation::Gelu => "gelu",
            Activation::Relu => "relu",
            Activation::Silu => "silu",
        }
    }

    /// The activation a configuration file's name stands for, `None` if this crate has no such one.
    pub fn from_name(name: &str) -> Option<Activation> {
        match name {
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Some(Activation::GeluNew),
            "gelu" => Some(Activation::Gelu),
            "relu" => Some(Activation::Relu),
            "silu" | "swish" => Some(Activation::Silu),
            _ => None,
        }
    }
}

impl Config {
    /// Neurons per MLP, 0 in attention-only models.
    pub fn d_mlp(&self) -> usize {
        self.mlp.map_or(0, |m| m.d_mlp)
    }

    /// Width of all heads side by side, `n_heads * d_head`.
    pub fn d_attn(&self) -> usize {
        self.n_heads * self.d_head
    }
}
