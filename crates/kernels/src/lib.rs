//! The loops that cost time, on plain slices of f32: what a transformer computes on a CPU, and its
//! derivatives.
//!
//! A tensor library composes layer norm, GELU or attention from a dozen passes over memory; here each is
//! one. Every function states its formula and its shapes, is checked in its tests against the same
//! formula in f64 and, if it is a derivative, against differences; splits its work by rows in chunks
//! that do not depend on the number of threads; and adds partial sums in the order of the chunks, so the
//! same input gives the same bits each time.
//!
//! Loops are written so that the compiler can vectorise them and compiled for several instruction sets;
//! the best the processor has is chosen at run time (`dispatch.rs`). Matrix products are the
//! `gemm` crate's.

mod attention;
mod cross_entropy;
mod dispatch;
mod exp;
mod gelu;
mod linear;
mod matmul;
mod norm;
mod reduce;

pub use attention::{AttentionShape, causal_attention, causal_attention_backward};
pub use cross_entropy::{cross_entropy, cross_entropy_backward};
pub use gelu::{gelu, gelu_backward, gelu_new, gelu_new_backward};
pub use linear::{LinearGradients, linear, linear_input_gradient, linear_weight_gradients};
pub use matmul::{Matrix, MatrixMut, Threads, add_product, product};
pub use norm::{NormGradients, layer_norm, layer_norm_backward};
