//! Experiments under way and finished.
//!
//! A job's id is the fingerprint of the question and of the weights it is asked of, so the same question
//! asked twice, at once or later, is computed once. What a job has found so far stands in its log, which
//! every listener reads at its own pace. A job that was only streamed belongs to its listeners: when the
//! last one leaves it is cancelled. One that was submitted to be fetched later runs to its end.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use lru::LruCache;
use microtome::method::generate::GeneratedToken;
use microtome::{Experiment, Partial, Record, Table, TextStream, Watch};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::desk::{Desk, Place};
use crate::error::ApiError;
use crate::meters::{self, Meters};
use crate::models::Served;

/// About how many bytes of finished records are kept.
const KEPT_BYTES: usize = 256 << 20;
/// How many jobs are kept at most.
const KEPT_JOBS: usize = 1024;
/// What a job takes beside its question and its record.
const BYTES_OF_A_JOB: usize = 4096;

/// All jobs, and who computes them.
pub(crate) struct Jobs {
    desk: Arc<Desk>,
    known: Mutex<LruCache<String, Arc<Job>>>,
    time_limit: Duration,
    memory_budget: usize,
    meters: Arc<Meters>,
}

/// One experiment.
pub(crate) struct Job {
    pub id: String,
    experiment: Experiment,
    served: Arc<Served>,
    cancel: AtomicBool,
    listeners: AtomicUsize,
    /// Whether it runs to its end though nobody listens.
    kept: AtomicBool,
    /// About how many bytes it takes: the question, and once it has ended its record.
    bytes: AtomicUsize,
    log: Mutex<Log>,
    /// Told whenever the log has grown, or the job is cancelled.
    grown: watch::Sender<()>,
}

/// What is known of a job.
#[derive(Clone)]
pub(crate) struct Log {
    pub phase: Phase,
    pub ahead: usize,
    pub runs: usize,
    pub runs_wanted: usize,
    /// The tables so far, with the number of times they were drawn up.
    pub tables: Option<(usize, Arc<Vec<Table>>)>,
    pub tokens: Arc<Vec<(TextStream, usize, GeneratedToken)>>,
    pub record: Option<Arc<Record>>,
    pub error: Option<ApiError>,
}

/// Where an experiment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// It waits for a worker.
    Queued,
    /// It is computed.
    Running,
    /// Its record is whole.
    Done,
    /// It cannot be computed, or took too long.
    Failed,
    /// It was stopped.
    Cancelled,
}

impl Phase {
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Done | Phase::Failed | Phase::Cancelled)
    }
}

impl Jobs {
    pub fn new(desk: Desk, time_limit: Duration, memory_budget: usize, meters: Arc<Meters>) -> Jobs {
        let known = Mutex::new(LruCache::unbounded());
        Jobs { desk: Arc::new(desk), known, time_limit, memory_budget, meters }
    }

    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Follows the job of this experiment: the one there is, or a new one.
    ///
    /// # Errors
    /// 503 where the line is full.
    pub fn submit(
        self: &Arc<Jobs>,
        served: &Arc<Served>,
        experiment: Experiment,
    ) -> Result<Listener, ApiError> {
        let question = serde_json::to_vec(&experiment).expect("an experiment is plain data");
        let id = fingerprint(&question, served);
        let mut known = lock(&self.known);
        if let Some(listener) = known.get(&id).and_then(|job| self.join(job)) {
            if listener.log().phase == Phase::Done {
                self.meters.cache_hit();
            }
            return Ok(listener);
        }
        let place = self.desk.line_up()?;
        let job = Arc::new(Job::new(id.clone(), (experiment, question.len()), served.clone(), place.ahead));
        let listener = self.listen(job.clone());
        known.put(id, job.clone());
        make_room(&mut known);
        drop(known);
        tokio::spawn(self.clone().compute(job, place));
        Ok(listener)
    }

    /// Follows a job unless it failed or is being stopped: that is asked anew.
    fn join(&self, job: &Arc<Job>) -> Option<Listener> {
        // The last listener decides to cancel under the same lock.
        let log = lock(&job.log);
        let ends = job.cancel.load(Ordering::Acquire) && !log.phase.is_over();
        let failed = matches!(log.phase, Phase::Failed | Phase::Cancelled);
        (!ends && !failed).then(|| self.listen(job.clone()))
    }

    /// Waits until nothing computes or waits.
    pub async fn idle(&self) {
        while self.desk.working() + self.desk.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops everything.
    pub fn cancel_all(&self) {
        lock(&self.known)
            .iter()
            .filter(|(_, job)| !job.log().phase.is_over())
            .for_each(|(_, job)| job.cancel());
    }

    /// The job of an id.
    ///
    /// # Errors
    /// 404 where there is none, or no more.
    pub fn get(&self, id: &str) -> Result<Arc<Job>, ApiError> {
        lock(&self.known).get(id).cloned().ok_or_else(|| {
            let shown: String = id.chars().take(80).collect();
            let hint = "submit the experiment again; old results make room for new ones";
            ApiError::new(
                StatusCode::NOT_FOUND,
                "unknown_experiment",
                format!("no experiment `{shown}`"),
                hint,
            )
        })
    }

    /// Someone who follows a job.
    pub fn listen(&self, job: Arc<Job>) -> Listener {
        job.listeners.fetch_add(1, Ordering::AcqRel);
        self.meters.listener_came();
        let grown = job.grown.subscribe();
        Listener { job, grown, meters: self.meters.clone() }
    }

    /// Computes an experiment and waits for its record.
    ///
    /// # Errors
    /// What the experiment refuses; 503 where the line is full or the time is up.
    pub async fn record(
        self: &Arc<Jobs>,
        served: &Arc<Served>,
        experiment: Experiment,
    ) -> Result<Arc<Record>, ApiError> {
        let mut listener = self.submit(served, experiment)?;
        loop {
            let log = listener.log();
            match (log.phase, log.record, log.error) {
                (Phase::Done, Some(record), _) if record.is_complete() => return Ok(record),
                (_, _, Some(error)) => return Err(error),
                (phase, ..) if phase.is_over() => {
                    let hint = "ask again, or for less";
                    return Err(ApiError::new(
                        StatusCode::CONFLICT,
                        "stopped",
                        "the experiment was stopped",
                        hint,
                    ));
                }
                _ => listener.grown().await,
            }
        }
    }

    /// Waits for a worker, computes, and writes what came of it into the log.
    async fn compute(self: Arc<Jobs>, job: Arc<Job>, place: Place) {
        let worker = tokio::select! {
            worker = place.worker() => worker,
            () = job.cancelled() => return job.end(Phase::Cancelled, None, None),
        };
        job.note(|log| log.phase = Phase::Running);
        let started = Instant::now();
        let budget = self.memory_budget;
        let computing = job.clone();
        let blocking = move || {
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| computing.run(budget)));
            drop(worker);
            outcome
        };
        let mut running = tokio::task::spawn_blocking(blocking);
        let (outcome, late) = tokio::select! {
            outcome = &mut running => (outcome, false),
            () = tokio::time::sleep(self.time_limit) => {
                let cancelled_before = job.cancel.swap(true, Ordering::AcqRel);
                (running.await, !cancelled_before)
            }
        };
        let took = started.elapsed();
        let cancelled = job.cancel.load(Ordering::Acquire);
        let phase = match outcome {
            Ok(Ok(Ok(record))) if record.is_complete() || !cancelled => {
                job.end(Phase::Done, Some(record), None);
                Phase::Done
            }
            Ok(Ok(Ok(record))) if late => {
                job.end(Phase::Failed, Some(record), Some(self.too_late()));
                Phase::Failed
            }
            Ok(Ok(Ok(record))) => {
                job.end(Phase::Cancelled, Some(record), None);
                Phase::Cancelled
            }
            Ok(Ok(Err(microtome::Error::StoppedEarly))) if cancelled && !late => {
                job.end(Phase::Cancelled, None, None);
                Phase::Cancelled
            }
            Ok(Ok(Err(_))) if late => {
                job.end(Phase::Failed, None, Some(self.too_late()));
                Phase::Failed
            }
            Ok(Ok(Err(error))) => {
                job.end(Phase::Failed, None, Some(error.into()));
                Phase::Failed
            }
            Ok(Err(_)) | Err(_) => {
                tracing::error!(id = job.id, experiment = ?job.experiment, "an experiment panicked");
                job.end(
                    Phase::Failed,
                    None,
                    Some(ApiError::internal("the experiment could not be computed")),
                );
                Phase::Failed
            }
        };
        make_room(&mut lock(&self.known));
        let method = job.experiment.method.name();
        let outcome = format!("{phase:?}").to_lowercase();
        tracing::info!(id = job.id, method, outcome, ms = took.as_millis() as u64, "experiment");
        self.meters.ended(meters::Experiment { method: method.to_owned(), outcome }, took);
    }

    fn too_late(&self) -> ApiError {
        let detail = format!(
            "the experiment was stopped after {} s, the longest it may run",
            self.time_limit.as_secs()
        );
        let hint = "ask for less at once, or have the operator raise --time-limit";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "time_limit", detail, hint)
    }
}

impl Job {
    fn new(id: String, (experiment, length): (Experiment, usize), served: Arc<Served>, ahead: usize) -> Job {
        let log = Log {
            phase: Phase::Queued,
            ahead,
            runs: 0,
            runs_wanted: 0,
            tables: None,
            tokens: Arc::default(),
            record: None,
            error: None,
        };
        Job {
            id,
            experiment,
            served,
            cancel: AtomicBool::new(false),
            listeners: AtomicUsize::new(0),
            kept: AtomicBool::new(false),
            bytes: AtomicUsize::new(BYTES_OF_A_JOB + 2 * length),
            log: Mutex::new(log),
            grown: watch::Sender::new(()),
        }
    }

    /// Everything known of it now.
    pub fn log(&self) -> Log {
        lock(&self.log).clone()
    }

    /// Lets it run to its end though nobody listens.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// Stops it; what is finished stays.
    pub fn cancel(&self) {
        self.cancel.store(true, Ordering::Release);
        self.grown.send_replace(());
    }

    async fn cancelled(&self) {
        let mut grown = self.grown.subscribe();
        while !self.cancel.load(Ordering::Acquire) {
            // The sender lives as long as the job.
            let _ = grown.changed().await;
        }
    }

    fn note(&self, change: impl FnOnce(&mut Log)) {
        change(&mut lock(&self.log));
        self.grown.send_replace(());
    }

    fn end(&self, phase: Phase, record: Option<Record>, error: Option<ApiError>) {
        if let Some(record) = &record {
            // In memory a record takes about as much as written out.
            self.bytes.fetch_add(written_length(record), Ordering::AcqRel);
        }
        self.note(|log| {
            if let Some(record) = &record {
                (log.runs, log.runs_wanted) = (record.results.runs, record.results.runs_wanted);
            }
            // The record says it all.
            log.tables = None;
            (log.phase, log.record, log.error) = (phase, record.map(Arc::new), error);
        });
    }

    fn run(&self, memory_budget: usize) -> microtome::Result<Record> {
        let mut progress = |runs, runs_wanted| {
            self.note(|log| (log.runs, log.runs_wanted) = (runs, runs_wanted));
        };
        let mut partial = |partial| {
            self.note(|log| match partial {
                Partial::Tables(tables) => {
                    let times = log.tables.as_ref().map_or(0, |(times, _)| *times);
                    log.tables = Some((times + 1, Arc::new(tables)));
                }
                Partial::Token { stream, index, token } => {
                    Arc::make_mut(&mut log.tokens).push((stream, index, token));
                }
            });
        };
        let (cancel, progress) = (&self.cancel, &mut progress);
        let mut watch = Watch { cancel, progress, partial: Some(&mut partial), memory_budget };
        self.experiment.run(&self.served.model, &mut watch)
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }
}

/// Someone who follows a job; leaving, the last one cancels what nobody else wants.
pub(crate) struct Listener {
    pub job: Arc<Job>,
    grown: watch::Receiver<()>,
    meters: Arc<Meters>,
}

impl Listener {
    pub fn log(&self) -> Log {
        self.job.log()
    }

    /// Waits until there is more to know.
    pub async fn grown(&mut self) {
        // The sender lives as long as the job.
        let _ = self.grown.changed().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.meters.listener_left();
        let log = lock(&self.job.log);
        let was_last = self.job.listeners.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && !self.job.kept.load(Ordering::Acquire) && !log.phase.is_over() {
            self.job.cancel();
        }
    }
}

/// Lets go of the results asked for longest ago, until the rest fits.
fn make_room(known: &mut LruCache<String, Arc<Job>>) {
    let mut bytes: usize = known.iter().map(|(_, job)| job.bytes()).sum();
    let mut oldest_first: Vec<String> =
        known.iter().rev().filter(|(_, job)| job.log().phase.is_over()).map(|(id, _)| id.clone()).collect();
    oldest_first.reverse();
    while (known.len() > KEPT_JOBS || bytes > KEPT_BYTES)
        && let Some(job) = oldest_first.pop().and_then(|id| known.pop(&id))
    {
        bytes -= job.bytes().min(bytes);
    }
}

/// The length of a record as JSON.
fn written_length(record: &Record) -> usize {
    struct Length(usize);
    impl std::io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut length = Length(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut length, record);
    length.0
}

/// A question and the weights it is asked of.
fn fingerprint(question: &[u8], served: &Served) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(question);
    hash.update(served.model.about().weight_hash.as_bytes());
    hash.update(served.model.model().processing().name().as_bytes());
    hash.update(served.model.model().precision().name().as_bytes());
    hash.finalize().to_hex()[..32].to_owned()
}

/// A panic elsewhere leaves the data whole: every change is one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
