//! A job told as server-sent events: `queued`, `started`, `progress`, `partial`, `token`, then one of `done`,
//! `failed`, `cancelled`.
//!
//! Tokens all arrive, in order. Of progress and partial tables a listener that is slow gets the latest.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use microtome::method::generate::GeneratedToken;
use microtome::{Table, TextStream};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::jobs::{Listener, Log, Phase};

/// `queued`: it waits for a worker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queued<'a> {
    id: &'a str,
    /// Experiments before it in the line.
    ahead: usize,
}

/// `started` and `cancelled`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Named<'a> {
    id: &'a str,
}

/// `progress`: how far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Progress {
    /// Runs finished.
    runs: usize,
    /// Runs there will be.
    runs_wanted: usize,
}

/// `partial`: the tables so far, `null` where a cell is not finished.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartialTables<'a> {
    tables: &'a [Table],
}

/// `token`: the next token of a text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenEvent<'a> {
    stream: TextStream,
    /// Its place in the text, prompt included, counted from 0.
    index: usize,
    token: &'a GeneratedToken,
}

/// What a listener was told already.
#[derive(Default)]
struct Told {
    phase: Option<Phase>,
    runs: (usize, usize),
    tables: usize,
    tokens: usize,
    over: bool,
}

/// Everything a job tells from its beginning to its end.
pub(crate) fn events(
    listener: Listener,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + Send + use<>> {
    let state = (listener, Told::default(), VecDeque::new());
    let stream = futures_util::stream::unfold(state, |(mut listener, mut told, mut pending)| async move {
        loop {
            if let Some(event) = pending.pop_front() {
                return Some((Ok(event), (listener, told, pending)));
            }
            if told.over {
                return None;
            }
            let log = listener.log();
            news(&listener.job.id, &log, &mut told, &mut pending);
            if pending.is_empty() {
                listener.grown().await;
            }
        }
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(10)))
}

/// What has come since a listener was told last.
fn news(id: &str, log: &Log, told: &mut Told, pending: &mut VecDeque<Event>) {
    if told.phase != Some(log.phase) {
        match log.phase {
            Phase::Queued => pending.push_back(event("queued", &Queued { id, ahead: log.ahead })),
            Phase::Running => pending.push_back(event("started", &Named { id })),
            Phase::Done | Phase::Failed | Phase::Cancelled => {}
        }
        told.phase = Some(log.phase);
    }
    for (stream, index, token) in &log.tokens[told.tokens..] {
        pending.push_back(event("token", &TokenEvent { stream: *stream, index: *index, token }));
    }
    told.tokens = log.tokens.len();
    let runs = (log.runs, log.runs_wanted);
    if told.runs != runs {
        pending.push_back(event("progress", &Progress { runs: log.runs, runs_wanted: log.runs_wanted }));
        told.runs = runs;
    }
    if let Some((times, tables)) = &log.tables
        && *times > told.tables
    {
        pending.push_back(event("partial", &PartialTables { tables }));
        told.tables = *times;
    }
    if log.phase.is_over() {
        told.over = true;
        pending.push_back(match (log.phase, &log.record, &log.error) {
            (Phase::Done, Some(record), _) => event("done", &**record),
            (_, _, Some(error)) => event("failed", &error.body),
            (Phase::Cancelled, ..) => event("cancelled", &Named { id }),
            _ => event("failed", &ApiError::internal("an experiment ended without a result").body),
        });
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let json = serde_json::to_string(data).expect("events are plain data");
    Event::default().event(name).data(json)
}
