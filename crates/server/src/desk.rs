//! Who computes: a few workers, a bounded line before them.
//!
//! Every forward pass of the server is asked for here. The line is as long as the operator allows;
//! one more is turned away at once, rather than waiting for an answer nobody will want.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Workers and the line before them.
#[derive(Debug)]
pub(crate) struct Desk {
    workers: Arc<Semaphore>,
    count: usize,
    waiting: AtomicUsize,
    longest: usize,
}

impl Desk {
    pub fn new(workers: usize, longest: usize) -> Desk {
        Desk {
            workers: Arc::new(Semaphore::new(workers)),
            count: workers,
            waiting: AtomicUsize::new(0),
            longest,
        }
    }

    /// A place in the line.
    ///
    /// # Errors
    /// 503 where the line is full.
    pub fn line_up(self: &Arc<Desk>) -> Result<Place, ApiError> {
        let taken = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < self.longest + self.workers.available_permits()).then_some(waiting + 1)
        });
        match taken {
            Ok(ahead) => Ok(Place { desk: self.clone(), ahead }),
            Err(waiting) => Err(ApiError::busy(waiting)),
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// How many compute.
    pub fn working(&self) -> usize {
        self.count - self.workers.available_permits()
    }
}

/// A place in the line; given up when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    desk: Arc<Desk>,
    /// How many stood before it when it was taken.
    pub ahead: usize,
}

impl Place {
    /// Waits for a worker, who is free again when the permit is dropped.
    pub async fn worker(self) -> OwnedSemaphorePermit {
        let workers = self.desk.workers.clone();
        // The semaphore is never closed.
        workers.acquire_owned().await.expect("the desk is open as long as it exists")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.desk.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
