//! What `/metrics` says: counts and times, in Prometheus's text format.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A request by what was asked and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Request {
    pub method: String,
    /// The route's pattern, so that ids do not make a series each.
    pub route: String,
    pub status: u16,
}

/// An experiment by its method and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Experiment {
    pub method: String,
    pub outcome: String,
}

/// Everything counted.
pub(crate) struct Meters {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Histogram,
    experiments: Family<Experiment, Counter>,
    experiment_seconds: Histogram,
    cache_hits: Counter,
    waiting: Gauge,
    working: Gauge,
    listeners: Gauge,
}

impl Meters {
    pub fn new() -> Meters {
        let mut registry = Registry::with_prefix("microtome");
        // A millisecond to a minute.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 17));
        let meters = Meters {
            requests: Family::default(),
            request_seconds: seconds(),
            experiments: Family::default(),
            experiment_seconds: seconds(),
            cache_hits: Counter::default(),
            waiting: Gauge::default(),
            working: Gauge::default(),
            listeners: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests answered", meters.requests.clone());
        let help = "Time to the first byte of an answer";
        registry.register_with_unit("request", help, Unit::Seconds, meters.request_seconds.clone());
        registry.register("experiments", "Experiments ended", meters.experiments.clone());
        let help = "Time an experiment computed";
        registry.register_with_unit("experiment", help, Unit::Seconds, meters.experiment_seconds.clone());
        registry.register(
            "cache_hits",
            "Experiments answered from earlier results",
            meters.cache_hits.clone(),
        );
        registry.register("waiting", "Experiments waiting for a worker", meters.waiting.clone());
        registry.register("working", "Experiments computing", meters.working.clone());
        registry.register("listeners", "Event streams open", meters.listeners.clone());
        Meters { registry, ..meters }
    }

    pub fn answered(&self, request: Request, took: Duration) {
        self.requests.get_or_create(&request).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    pub fn ended(&self, experiment: Experiment, took: Duration) {
        self.experiments.get_or_create(&experiment).inc();
        self.experiment_seconds.observe(took.as_secs_f64());
    }

    pub fn cache_hit(&self) {
        self.cache_hits.inc();
    }

    pub fn listener_came(&self) {
        self.listeners.inc();
    }

    pub fn listener_left(&self) {
        self.listeners.dec();
    }

    /// The text of `/metrics`.
    pub fn text(&self, waiting: usize, working: usize) -> String {
        self.waiting.set(waiting as i64);
        self.working.set(working as i64);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
