//! Drawing by seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Where random choices come from.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// A generator of this seed and purpose.
    pub fn new(seed: u64, stream: u64) -> Draw {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Streams 0 to 2 are those of head scores and of the induction circuit.
        rng.set_stream(16 + stream);
        Draw(rng)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// The first `count` of a list brought into random order; the list has as many.
    pub fn distinct<T: Clone>(&mut self, list: &[T], count: usize) -> Vec<T> {
        let mut indices: Vec<usize> = (0..list.len()).collect();
        for place in 0..count {
            let other = place + self.below(list.len() - place);
            indices.swap(place, other);
        }
        indices[..count].iter().map(|&index| list[index].clone()).collect()
    }
}
