//! Which instructions the kernels use: the best the processor has, found once, at run time.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// A set of vector instructions the kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum InstructionSet {
    /// None in particular: plain loops, the reference for the others.
    Scalar = 1,
    /// AArch64's vectors of 128 bits.
    Neon = 2,
    /// x86-64's vectors of 256 bits, with fused multiply-add.
    Avx2 = 3,
    /// x86-64's vectors of 512 bits (F, BW, DQ and VL).
    Avx512 = 4,
}

/// Not looked for yet.
const UNKNOWN: u8 = 0;

static CURRENT: AtomicU8 = AtomicU8::new(UNKNOWN);

impl InstructionSet {
    /// Those this processor has, the slowest first.
    pub fn available() -> Vec<InstructionSet> {
        let mut sets = vec![InstructionSet::Scalar];
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            sets.push(InstructionSet::Neon);
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            sets.push(InstructionSet::Avx2);
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                sets.push(InstructionSet::Avx512);
            }
        }
        sets
    }

    /// The one in use.
    pub fn current() -> InstructionSet {
        match CURRENT.load(Ordering::Relaxed) {
            1 => InstructionSet::Scalar,
            2 => InstructionSet::Neon,
            3 => InstructionSet::Avx2,
            4 => InstructionSet::Avx512,
            _ => {
                let best = *Self::available().last().expect("there is always the scalar one");
                CURRENT.store(best as u8, Ordering::Relaxed);
                best
            }
        }
    }

    /// Makes every kernel use this set from now on, in the whole process: for tests and measurements. A
    /// matrix already packed keeps the one it was packed for.
    ///
    /// # Panics
    /// Where the processor lacks it.
    pub fn force(self) {
        assert!(Self::available().contains(&self), "this processor has no {self}");
        CURRENT.store(self as u8, Ordering::Relaxed);
    }

    /// `scalar`, `NEON`, `AVX2` or `AVX-512`.
    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Scalar => "scalar",
            InstructionSet::Neon => "NEON",
            InstructionSet::Avx2 => "AVX2",
            InstructionSet::Avx512 => "AVX-512",
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}
