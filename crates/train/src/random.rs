//! Random numbers that depend on the run's seed, on what they are for and on the step, and on nothing that
//! went before: a run resumed draws what it would have drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The generator for one purpose at one step.
pub(crate) fn generator(seed: u64, purpose: &str, step: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&step.to_le_bytes());
    key[16..].copy_from_slice(&blake3::hash(purpose.as_bytes()).as_bytes()[..16]);
    ChaCha8Rng::from_seed(key)
}

/// A number below `limit`, which is at least 1.
pub(crate) fn below(rng: &mut ChaCha8Rng, limit: usize) -> usize {
    ((u128::from(rng.next_u64()) * limit as u128) >> 64) as usize
}

/// A number from 0 to 1, 1 left out.
pub(crate) fn share(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
