//! A server on a free port, and a client.

use std::sync::LazyLock;

use microtome::TextModel;
use microtome::model::{LoadOptions, Processing};
use microtome_server::{App, Models, Served, Settings, bind};
use serde_json::Value;

/// A server that runs until the test ends.
pub struct Server {
    pub address: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    running: Option<tokio::task::JoinHandle<()>>,
    runtime: tokio::runtime::Runtime,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub bytes: Vec<u8>,
}

pub static DEMO: LazyLock<TextModel> = LazyLock::new(|| model("demo"));

pub fn model(spec: &str) -> TextModel {
    TextModel::load(spec, Processing::Folded, &LoadOptions::default(), &mut ()).unwrap()
}

impl Server {
    /// The demo model on loopback, as `microtome serve` has it.
    pub fn demo() -> Server {
        Server::with(DEMO.clone(), Settings::default())
    }

    pub fn with(model: TextModel, settings: Settings) -> Server {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let id = model.about().short_name().to_owned();
        let app = App::new(Models::new(Served { id, model }), settings);
        let server = runtime.block_on(bind("127.0.0.1", 0)).unwrap();
        let address = server.address().to_string();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = runtime.spawn(server.run(app, async {
            let _ = stopped.await;
        }));
        Server { address, stop: Some(stop), running: Some(running), runtime }
    }

    /// Asks it to stop.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap();
        }
    }

    /// Waits until it has ended, all it computed with it.
    pub fn wait(&mut self) {
        let running = self.running.take().unwrap();
        let ended = async { tokio::time::timeout(std::time::Duration::from_secs(60), running).await };
        self.runtime.block_on(ended).expect("the server ends").unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = agent().get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::from(request.call().unwrap())
    }

    pub fn delete(&self, path: &str) -> Answer {
        Answer::from(agent().delete(self.url(path)).call().unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string(), &[])
    }

    pub fn post_text(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = agent().post(self.url(path));
        if headers.iter().all(|(name, _)| *name != "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::from(request.send(body).unwrap())
    }

    /// The answer to a request that succeeds.
    pub fn ask(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert!(answer.status == 200 || answer.status == 202, "{path}: {} {}", answer.status, answer.text());
        answer.json()
    }

    /// An experiment's events, `(name, data)`, to the end.
    pub fn events(&self, experiment: &Value) -> Vec<(String, Value)> {
        let answer =
            self.post_text("/api/experiments", &experiment.to_string(), &[("accept", "text/event-stream")]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        parse_events(&answer.text())
    }
}

pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into()
}

pub fn parse_events(text: &str) -> Vec<(String, Value)> {
    let event = |block: &str| {
        let name = block.lines().find_map(|line| line.strip_prefix("event: "))?;
        let data = block.lines().find_map(|line| line.strip_prefix("data: "))?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    };
    text.split("\n\n").filter_map(event).collect()
}

impl From<ureq::http::Response<ureq::Body>> for Answer {
    fn from(response: ureq::http::Response<ureq::Body>) -> Answer {
        let (parts, mut body) = response.into_parts();
        let bytes = body.with_config().limit(1 << 30).read_to_vec().unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Asserts that this is an error of a kind, in the one form there is.
    pub fn refused(&self, status: u16, kind: &str) -> (String, String) {
        assert_eq!(self.status, status, "{}", self.text());
        let body = self.json();
        assert_eq!(body["error"], kind, "{body}");
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        assert!(!text("detail").is_empty() && !text("hint").is_empty(), "{body}");
        (text("detail"), text("hint"))
    }
}

pub fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap_or(f64::NAN)],
    }
}

/// Asserts that numbers agree to f32 rounding of a few layers: an absolute step of `tolerance`, or that share.
pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!((x - y).abs() <= tolerance * y.abs().max(1.0), "{what}[{i}]: {x} and {y}");
    }
}
