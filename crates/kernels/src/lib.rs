//! The loops that cost time, on plain slices of f32: what a transformer computes on a CPU, and its
//! derivatives.
//!
//! A tensor library composes layer norm, GELU or attention from a dozen passes over memory; here each is
//! one. Every function states its formula and its shapes, is checked in its tests against the same
//! formula in f64 and, if it is a derivative, against differences; splits its work by rows in chunks
//! that do not depend on the number of threads; and adds partial sums in the order of the chunks, so the
//! same input gives the same bits each time.
//!
//! Products, attention and dot products are written once over sixteen numbers at a time (`simd.rs`); plain
//! loops are written so that the compiler can vectorise them (`dispatch.rs`). Both are compiled for several
//! instruction sets, of which the best the processor has is chosen at run time. All sets give the same bits: a
//! sum has one order and one rounding per step everywhere. A weight that stays is packed once (`packed.rs`).

#[cfg(feature = "mimalloc")]
mod allocator;
mod attention;
mod cross_entropy;
#[cfg(feature = "cuda")]
pub mod cuda;
mod dispatch;
mod distribution;
mod exp;
mod filled;
mod gelu;
mod instructions;
mod linear;
mod matmul;
mod norm;
mod packed;
mod peak;
mod reduce;
mod simd;
#[cfg(test)]
mod testing;
mod threads;
mod tile;
mod turn;

#[cfg(feature = "mimalloc")]
pub use allocator::keep_free_memory;
pub use attention::{
    AttentionShape, Keyed, attention_mix, attention_pattern, attention_scores, causal_attention,
    causal_attention_backward,
};
pub use cross_entropy::{cross_entropy, cross_entropy_backward};
pub use distribution::{entropy, largest, log_sum_exp};
pub use filled::filled;
pub use gelu::Gelu;
pub use instructions::InstructionSet;
pub use linear::{
    Then, linear, linear_and_gelu, linear_bias_gradient, linear_input_gradient, linear_input_gradient_of,
    linear_input_gradient_through, linear_weight_gradient,
};
pub use matmul::{Matrix, transposed};
pub use norm::{NormGradients, layer_norm, layer_norm_backward, norm_divide, norm_scale};
pub use packed::{PackedMatrix, Precision};
pub use peak::peak_gflops;
pub use threads::settle_thread_count;
