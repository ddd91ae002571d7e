//! The REST server of microtome and its web page.
//!
//! A handler holds no science: it turns a request into an [`Experiment`](microtome::Experiment), gives it to
//! the `jobs`, and turns the record into the response. So every number is the library's, the same
//! question is computed once, and a client that goes away stops what only it was waiting for.
//!
//! - `models`: the models the operator allowed, and no other.
//! - `desk`: who computes, how many wait, who is turned away.
//! - `jobs`: experiments under way and finished, by what was asked of which weights.
//! - `events`: a job told as server-sent events.
//! - `guard`: who may ask: Host, Origin, token, limits, the page's security policy.
//! - `routes`: one file per resource; the OpenAPI document is generated from them.
//! - `page`: the web page inside this program.
//! - `listen`: sockets, time-outs, and a stop that lets what runs finish.

mod desk;
mod error;
mod events;
mod guard;
mod jobs;
mod listen;
mod meters;
mod models;
mod page;
mod request;
mod routes;

pub use error::{ApiError, ErrorBody};
pub use guard::Guard;
pub use listen::{Server, bind};
pub use models::{Models, Served};
pub use routes::{openapi, router};

use std::sync::Arc;
use std::time::Duration;

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may ask.
    pub guard: Guard,
    /// Experiments computed at once.
    pub workers: usize,
    /// Experiments that may wait for a worker; one more is turned away.
    pub queue: usize,
    /// Bytes of a request's body, at most.
    pub body_limit: usize,
    /// Longest an experiment may run.
    pub time_limit: Duration,
    /// Longest what runs may take once the server is told to stop.
    pub finish_time: Duration,
    /// Bytes of activations a sweep may hold at once.
    pub memory_budget: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Settings {
            guard: Guard::loopback(),
            // Two at least, so that a quick question need not wait for a long one.
            workers: (cores / 2).clamp(2, 4),
            queue: 64,
            body_limit: 1 << 20,
            time_limit: Duration::from_secs(600),
            finish_time: Duration::from_secs(20),
            memory_budget: 256 << 20,
        }
    }
}

/// Everything a handler may need.
#[derive(Clone)]
pub struct App {
    pub(crate) models: Arc<Models>,
    pub(crate) jobs: Arc<jobs::Jobs>,
    pub(crate) meters: Arc<meters::Meters>,
    pub(crate) settings: Arc<Settings>,
}

impl App {
    /// A server's state: its models and an empty desk.
    pub fn new(models: Models, settings: Settings) -> App {
        let meters = Arc::new(meters::Meters::new());
        let desk = desk::Desk::new(settings.workers, settings.queue);
        let jobs = jobs::Jobs::new(desk, settings.time_limit, settings.memory_budget, meters.clone());
        App { models: Arc::new(models), jobs: Arc::new(jobs), meters, settings: Arc::new(settings) }
    }
}
