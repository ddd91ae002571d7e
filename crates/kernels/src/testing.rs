//! What the tests of several kernels share.

use std::sync::Mutex;

use crate::instructions::InstructionSet;

/// Values between -1 and 1.
pub(crate) fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Runs a test with every instruction set this processor has, and says which it lacks.
pub(crate) fn for_each_instruction_set(mut test: impl FnMut(InstructionSet)) {
    /// The set in use is one for the whole process.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let available = InstructionSet::available();
    for set in [InstructionSet::Neon, InstructionSet::Avx2, InstructionSet::Avx512] {
        if !available.contains(&set) {
            println!("not tested: this processor has no {set}");
        }
    }
    for set in &available {
        set.force();
        test(*set);
    }
}
