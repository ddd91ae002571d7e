//! How long mimalloc holds on to memory that is free, where it is the program's allocator.
//!
//! It gives pages back a second after they were last used, and the system clears them when they are asked for again: in
//! a sweep of some seconds, whose activations come and go by the hundred megabytes, that is a twentieth of the
//! time, and what was one large page comes back as many small ones. The option that says otherwise can be set from
//! outside (`MIMALLOC_PURGE_DELAY`) or by a call into C.

use std::time::Duration;

use libmimalloc_sys::{mi_option_set_default, mi_option_t, mi_option_use_numa_nodes};

/// `mi_option_purge_delay`, milliseconds: the option before the one the bindings name.
const PURGE_DELAY: mi_option_t = mi_option_use_numa_nodes - 1;

/// Keeps free memory this long before it goes back to the system, unless the environment says how long; `None`: for
/// ever.
pub fn keep_free_memory(period: Option<Duration>) {
    let millis = period.map_or(-1, |period| i32::try_from(period.as_millis()).unwrap_or(i32::MAX));
    // SAFETY: the option exists, and setting it changes one number that mimalloc reads.
    unsafe { mi_option_set_default(PURGE_DELAY, millis.into()) };
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    /// How long free memory is kept; `None`: for ever.
    fn free_memory_is_kept() -> Option<Duration> {
        // SAFETY: the option exists, and reading it changes nothing.
        let millis = unsafe { mi_option_get(PURGE_DELAY) };
        u64::try_from(millis).ok().map(Duration::from_millis)
    }

    #[test]
    fn the_option_is_the_one_that_was_meant() {
        // A second is mimalloc's own choice for this option and for no other.
        assert_eq!(free_memory_is_kept(), Some(Duration::from_secs(1)));
        for period in [Some(Duration::from_secs(7)), None] {
            keep_free_memory(period);
            assert_eq!(free_memory_is_kept(), period);
        }
    }
}
