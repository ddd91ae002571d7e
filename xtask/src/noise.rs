//! Seeded normal noise, the same on every machine and for any number of threads.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

/// Values drawn from one stream of the generator.
const PIECE: usize = 1 << 16;

/// `count` values of `mean + std * N(0, 1)` as little-endian f32. `tensor` tells apart the noise of
/// different tensors of one seed.
pub fn bytes(seed: u64, tensor: u64, count: usize, (mean, std): (f32, f32)) -> Vec<u8> {
    let mut out = vec![0u8; 4 * count];
    out.par_chunks_mut(4 * PIECE).enumerate().for_each(|(piece, bytes)| {
        let mut key = [0u8; 32];
        for (slot, part) in key.chunks_exact_mut(8).zip([seed, tensor, piece as u64]) {
            slot.copy_from_slice(&part.to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        for value in bytes.chunks_exact_mut(4) {
            let noise: f32 = StandardNormal.sample(&mut rng);
            value.copy_from_slice(&(mean + std * noise).to_le_bytes());
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_mean_and_deviation_asked_for_and_differs_by_tensor() {
        let floats = |bytes: &[u8]| -> Vec<f64> {
            bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
        };
        let count = PIECE + 1000;
        let x = floats(&bytes(1, 0, count, (1.0, 0.2)));
        let mean = x.iter().sum::<f64>() / count as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count as f64;
        // Five standard errors of each.
        assert!((mean - 1.0).abs() < 5.0 * 0.2 / (count as f64).sqrt(), "{mean}");
        assert!((variance.sqrt() - 0.2).abs() < 5.0 * 0.2 / (2.0 * count as f64).sqrt(), "{variance}");
        assert_eq!(bytes(1, 0, 10, (0.0, 1.0)), bytes(1, 0, 20, (0.0, 1.0))[..40]);
        assert_ne!(bytes(1, 0, 10, (0.0, 1.0)), bytes(1, 1, 10, (0.0, 1.0)));
        assert_ne!(bytes(1, 0, 10, (0.0, 1.0)), bytes(2, 0, 10, (0.0, 1.0)));
    }
}
