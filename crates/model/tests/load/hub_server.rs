//! A stand-in for the hub on a local port: resolve URLs, etags, redirects to a CDN, byte ranges.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use microtome_model::hub::HubSettings;
use sha2::{Digest, Sha256};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server has and does; changed by tests between requests.
#[derive(Default)]
pub struct State {
    /// Files of the one model, by name. Those above 1000 bytes go through the CDN.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Close the connection after so many body bytes of the CDN's next answers.
    pub cuts: Vec<usize>,
    /// Status that every request gets, with an `x-error-code`.
    pub refuse: Option<(u16, &'static str)>,
    /// Ignore `Range` headers.
    pub no_ranges: bool,
    /// Send these bytes of the CDN's answers wrong.
    pub corrupt: bool,
    /// Without CDN: every file comes from its resolve URL.
    pub direct: bool,
    /// Commit that `main` is.
    pub commit: Option<String>,
    /// Requests so far: path, `Range` header, `Authorization` header.
    pub requests: Vec<(String, Option<String>, Option<String>)>,
}

pub struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(files: &[(&str, Vec<u8>)]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Server { address, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Settings that use this server and an empty cache of their own.
    pub fn settings(&self, cache: &tempfile::TempDir) -> HubSettings {
        HubSettings {
            cache_dir: cache.path().join("hub"),
            endpoint: format!("http://{}", self.address),
            token: None,
            offline: false,
            retries: 3,
            retry_delay: Duration::from_millis(1),
        }
    }

    pub fn paths(&self) -> Vec<String> {
        self.state().requests.iter().map(|(path, ..)| path.clone()).collect()
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Small files are named by git's hash on the real hub; any 40 digits do here.
pub fn etag_of(bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    if bytes.len() > 1000 { digest } else { digest[..40].to_owned() }
}

fn answer(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        let (name, value) = line.trim_end().split_once(": ")?;
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut state = state.lock().ok()?;
    let range = headers.get("range").cloned();
    state.requests.push((path.clone(), range.clone(), headers.get("authorization").cloned()));
    respond(stream, &mut state, &path, range.as_deref())
}

fn respond(mut out: TcpStream, state: &mut State, path: &str, range: Option<&str>) -> Option<()> {
    if let Some((status, code)) = state.refuse {
        return write!(
            out,
            "HTTP/1.1 {status} No\r\nx-error-code: {code}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .ok();
    }
    let commit = state.commit.clone().unwrap_or_else(|| COMMIT.to_owned());
    let resolved = path.split_once("/resolve/").and_then(|(_, rest)| rest.split_once('/'));
    let name = resolved.map_or_else(|| path.trim_start_matches("/cdn/"), |(_revision, name)| name);
    let Some(file) = state.files.get(name) else {
        return write!(
            out,
            "HTTP/1.1 404 Not Found\r\nx-error-code: EntryNotFound\r\nx-repo-commit: {commit}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        )
        .ok();
    };
    let etag = etag_of(file);
    let is_cdn = path.starts_with("/cdn/");
    if !is_cdn && !state.direct && file.len() > 1000 {
        return write!(
            out,
            "HTTP/1.1 302 Found\r\nlocation: /cdn/{name}\r\nx-repo-commit: {commit}\r\n\
             x-linked-etag: \"{etag}\"\r\nx-linked-size: {}\r\netag: \"of-the-redirect\"\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n",
            file.len()
        )
        .ok();
    }
    let from: usize = match range.filter(|_| !state.no_ranges) {
        Some(range) => range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?,
        None => 0,
    };
    if from >= file.len() && from > 0 {
        return write!(out, "HTTP/1.1 416 Range\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok();
    }
    let mut body = file[from..].to_vec();
    if state.corrupt {
        body[0] ^= 1;
    }
    let (status, content_range) = match from {
        0 => ("200 OK", String::new()),
        _ => (
            "206 Partial Content",
            format!("content-range: bytes {from}-{}/{}\r\n", file.len() - 1, file.len()),
        ),
    };
    let about =
        if is_cdn { String::new() } else { format!("x-repo-commit: {commit}\r\netag: W/\"{etag}\"\r\n") };
    write!(
        out,
        "HTTP/1.1 {status}\r\n{content_range}{about}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .ok()?;
    if file.len() > 1000 && !state.cuts.is_empty() {
        body.truncate(state.cuts.remove(0));
    }
    out.write_all(&body).ok()?;
    out.flush().ok()
}
