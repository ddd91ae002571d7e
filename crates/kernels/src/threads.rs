//! How many threads candle's products use, said once.
//!
//! Before every matrix product candle asks the environment (`RAYON_NUM_THREADS`), and where that says nothing it counts
//! processors anew by reading `/proc/cpuinfo`: of many small products, as in the measuring of circuits, a third of the time.

/// The variable that candle and rayon both read.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Says in the environment how many threads there are to be, unless it is said there already: as many as this process may run at once.
///
/// To be called before any other thread is begun; where another one may be running, nothing is changed.
pub fn settle_thread_count() {
    if std::env::var_os(VARIABLE).is_some() || !is_alone() {
        return;
    }
    let Ok(count) = std::thread::available_parallelism() else { return };
    // SAFETY: no other thread is running that could read the environment at the same time.
    unsafe { std::env::set_var(VARIABLE, count.to_string()) };
}

/// Whether this is the process's only thread; `false` where the system does not tell.
fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_another_thread_nothing_is_changed() {
        let before = std::env::var_os(VARIABLE);
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(!is_alone());
        settle_thread_count();
        assert_eq!(std::env::var_os(VARIABLE), before);
        drop(done);
        assert!(other.join().unwrap().is_err(), "it waited until now");
    }
}
