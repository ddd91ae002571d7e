//! Random choices, and which combinations training never sees.
//!
//! Every document has its own stream of random numbers, so document 1000 is the same whether or not
//! the 999 before it were made. A tenth of all combinations (of two names, of an opener and an action,
//! of a noun and a year, ...) is kept back by a hash of its words: no list has to be stored, and no
//! seed changes which they are.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::words::{self, N_NAMES, Name};

/// A stream of random choices.
#[derive(Clone)]
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// A number in `0..n`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    pub fn name(&mut self) -> Name {
        words::name(self.below(N_NAMES))
    }

    /// A word of any list.
    pub fn word(&mut self) -> &'static str {
        let total: usize = words::POOL.iter().map(|list| list.len()).sum();
        let mut i = self.below(total);
        for list in words::POOL {
            if i < list.len() {
                return list[i];
            }
            i -= list.len();
        }
        "word"
    }
}

/// Whether this combination is kept from training.
pub(super) fn kept_back(words: &[&str]) -> bool {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in words.join("\n").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash.is_multiple_of(10)
}

/// Whether these two never meet in a training document, in either order.
pub(super) fn pair_kept_back(a: &str, b: &str) -> bool {
    kept_back(&if a < b { [a, b] } else { [b, a] })
}

/// The people of one document: no two of them are a pair that is kept back.
#[derive(Default)]
pub(super) struct Cast(Vec<Name>);

impl Cast {
    /// Somebody new.
    pub fn join(&mut self, draw: &mut Draw) -> Name {
        loop {
            let name = draw.name();
            if self.0.iter().all(|other| *other != name && !pair_kept_back(other.text, name.text)) {
                self.0.push(name);
                return name;
            }
        }
    }

    /// Somebody who is there already, or somebody new if there is nobody.
    pub fn member(&mut self, draw: &mut Draw) -> Name {
        if self.0.is_empty() { self.join(draw) } else { draw.pick(&self.0) }
    }
}
