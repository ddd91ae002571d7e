//! One file of a model: asked for, resumed, checked, put into the cache.
//!
//! A request for `<endpoint>/<id>/resolve/main/<file>` is answered with the file or, for large ones,
//! with a redirect to where it lies; either carries the commit, an etag that names the content and
//! its size. The etag is also the name of the file in the cache, so a part file left by an earlier
//! try is found before the first byte is asked for, and the request asks for the rest only.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use super::cache::{Lock, accept, file_len, is_file_name, make_parent, part_of, symlink, write_atomically};
use super::{DownloadProgress, HubError, HubSettings, Result};

const REVISION: &str = "main";

const MAX_REDIRECTS: usize = 10;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest wait for the next bytes before the connection counts as broken.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Progress that shows a connection works, so that its next break is not held against it.
const WORTHWHILE_BYTES: u64 = 1 << 16;

/// One model on the server and in the cache.
pub(super) struct Repo<'a> {
    settings: &'a HubSettings,
    id: String,
    dir: PathBuf,
    /// The commit all files are taken from, once known.
    commit: Option<String>,
    agent: Agent,
}

/// What the server says about a file before sending it.
#[derive(Default, Clone)]
struct Facts {
    commit: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
}

enum Answer {
    /// The rest of the file, from byte `from` on.
    Rest { facts: Facts, from: u64, body: Box<Body> },
    /// Every byte is on disk already.
    OnDisk(Facts),
    /// The model has no such file.
    Absent(Facts),
}

/// Why a try ended without the file.
enum Failure {
    /// Another try may get further.
    Broken(String),
    /// It will not.
    Final(HubError),
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Failure {
        Failure::Final(error)
    }
}

impl<'a> Repo<'a> {
    pub(super) fn new(settings: &'a HubSettings, id: &str) -> Repo<'a> {
        let dir = settings.cache_dir.join(format!("models--{}", id.replace('/', "--")));
        let commit = fs::read_to_string(dir.join("refs").join(REVISION)).ok();
        let commit = commit.map(|c| c.trim().to_owned()).filter(|c| is_file_name(c));
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(STALL_TIMEOUT))
            .timeout_per_read(Some(STALL_TIMEOUT))
            .user_agent(concat!("microtome/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Repo { settings, id: id.to_owned(), dir, commit, agent }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Where the files of the commit last seen lie, if one was.
    pub(super) fn snapshot_dir(&self) -> Option<PathBuf> {
        self.commit.as_ref().map(|commit| self.dir.join("snapshots").join(commit))
    }

    pub(super) fn is_known_missing(&self, name: &str) -> bool {
        self.commit.as_ref().is_some_and(|commit| self.dir.join(".no_exist").join(commit).join(name).exists())
    }

    /// A file, from the cache or fetched into it; `None` if the model has none of that name.
    pub(super) fn file(
        &mut self,
        name: &str,
        progress: &mut dyn DownloadProgress,
    ) -> Result<Option<PathBuf>> {
        if let Some(path) = self.snapshot_dir().map(|dir| dir.join(name)).filter(|path| path.is_file()) {
            return Ok(Some(path));
        }
        if self.is_known_missing(name) {
            return Ok(None);
        }
        let mut meter = Meter { progress, name, started: false, on_disk: 0, total: 0 };
        let mut tries = 0;
        loop {
            let before = meter.on_disk;
            let problem = match self.try_file(name, &mut meter) {
                Ok(path) => return Ok(path),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Broken(problem)) => problem,
            };
            tries = if meter.on_disk >= before + WORTHWHILE_BYTES { 1 } else { tries + 1 };
            if tries > self.settings.retries && !meter.started {
                let (id, cache) = (self.id.clone(), self.settings.cache_dir.clone());
                return Err(HubError::Unreachable {
                    id,
                    cache,
                    url: self.settings.endpoint.clone(),
                    problem,
                });
            }
            if tries > self.settings.retries {
                let (file, received, total) = (name.to_owned(), meter.on_disk, meter.total);
                return Err(HubError::Interrupted { file, received, total, problem });
            }
            std::thread::sleep(self.settings.retry_delay * 2u32.saturating_pow(tries - 1));
        }
    }

    fn try_file(&mut self, name: &str, meter: &mut Meter) -> Result<Option<PathBuf>, Failure> {
        let mut answer = self.ask(REVISION, name, meter)?;
        if let (Some(pinned), Some(current)) = (&self.commit, answer.facts().commit.as_ref())
            && pinned != current
        {
            // `main` moved since the first files were fetched; files of two commits do not mix.
            answer = self.ask(&pinned.clone(), name, meter)?;
        }
        let facts = answer.facts().clone();
        let commit = self.remember_commit(&facts)?;
        let (etag, size) = match (&answer, facts.etag, facts.size) {
            (Answer::Absent(_), ..) => {
                if let Some(commit) = commit {
                    self.mark_missing(&commit, name)?;
                }
                return Ok(None);
            }
            (_, Some(etag), Some(size)) => (etag, size),
            (_, etag, _) => {
                let found = if etag.is_none() { "no etag" } else { "no size" };
                return Err(self.odd_answer(name, found.to_owned(), "an etag and a size").into());
            }
        };
        let Some(commit) = commit else {
            return Err(self.odd_answer(name, "no x-repo-commit".to_owned(), "the commit").into());
        };
        let blob = self.blob(&etag);
        if !blob.is_file() {
            let lock = Lock::new(&self.settings.cache_dir, &self.dir, &etag)?;
            if lock.waited {
                return Err(Failure::Broken("another program was fetching it".to_owned()));
            }
            match answer {
                Answer::Rest { from, body, .. } => {
                    meter.start(size, from);
                    append_body(&part_of(&blob), from, *body, size, meter)?;
                }
                _ => meter.start(size, size),
            }
            accept(name, &part_of(&blob), &blob, &etag, size)?;
        }
        if meter.started {
            meter.progress.finish();
        }
        Ok(Some(self.link(&commit, name, &blob)?))
    }

    /// Asks for a file, following redirects by hand to see the headers of each answer.
    fn ask(&self, revision: &str, name: &str, meter: &Meter) -> Result<Answer, Failure> {
        let mut url = format!("{}/{}/resolve/{revision}/{name}", self.settings.endpoint, self.id);
        let mut facts = Facts::default();
        for _ in 0..MAX_REDIRECTS {
            let from = facts.etag.as_ref().map_or(0, |etag| file_len(&part_of(&self.blob(etag))));
            if let Some(answer) = self.on_disk(&facts, from)? {
                return Ok(answer);
            }
            let response = self.get(&url, from, meter)?;
            facts.absorb_linked(response.headers());
            let status = response.status();
            if status.is_redirection() {
                let location = header(response.headers(), "location").ok_or_else(|| {
                    self.odd_answer(name, format!("{status} without location"), "a location")
                })?;
                url = join_url(&url, location);
                continue;
            }
            if status == StatusCode::RANGE_NOT_SATISFIABLE {
                self.remove_part(&facts)?;
                return Err(Failure::Broken("the part on disk did not fit the file".to_owned()));
            }
            if !status.is_success() {
                return self.refusal(name, &url, &response, facts);
            }
            let knew_etag = facts.etag.is_some();
            facts.absorb_final(&response);
            let part = facts.etag.as_ref().map_or(0, |etag| file_len(&part_of(&self.blob(etag))));
            if !knew_etag && part > 0 {
                // The etag came with the file itself: ask again, now for the rest only.
                continue;
            }
            if let Some(answer) = self.on_disk(&facts, 0)? {
                return Ok(answer);
            }
            let from = match status {
                StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(from) => from,
                StatusCode::PARTIAL_CONTENT => {
                    self.remove_part(&facts)?;
                    return Err(Failure::Broken("the answer starts at another byte than asked".to_owned()));
                }
                _ => 0,
            };
            return Ok(Answer::Rest { facts, from, body: Box::new(response.into_body()) });
        }
        Err(self.odd_answer(name, format!("more than {MAX_REDIRECTS} redirects"), "the file").into())
    }

    /// An answer without another request, if the blob or all its bytes are here.
    fn on_disk(&self, facts: &Facts, part_len: u64) -> Result<Option<Answer>, Failure> {
        let Facts { etag: Some(etag), size: Some(size), commit } = facts else { return Ok(None) };
        if !is_file_name(etag) {
            return Err(self
                .odd_answer(REVISION, format!("etag `{etag}`"), "an etag that can name a file")
                .into());
        }
        if commit.is_some() && (self.blob(etag).is_file() || (part_len == *size && part_len > 0)) {
            return Ok(Some(Answer::OnDisk(facts.clone())));
        }
        if part_len > *size {
            self.remove_part(facts)?;
            return Err(Failure::Broken("the part on disk was longer than the file".to_owned()));
        }
        Ok(None)
    }

    fn get(&self, url: &str, from: u64, meter: &Meter) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        // The token is for the hub, not for the storage it redirects to.
        if let Some(token) = &self.settings.token
            && authority(url) == authority(&self.settings.endpoint)
        {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| {
            let is_unreachable = matches!(
                error,
                ureq::Error::HostNotFound
                    | ureq::Error::ConnectionFailed
                    | ureq::Error::Timeout(ureq::Timeout::Connect)
            ) || matches!(&error, ureq::Error::Io(e) if !may_pass(e.kind()));
            if is_unreachable && !meter.started {
                return Failure::Final(HubError::Unreachable {
                    id: self.id.clone(),
                    cache: self.settings.cache_dir.clone(),
                    url: url.to_owned(),
                    problem: error.to_string(),
                });
            }
            Failure::Broken(error.to_string())
        })
    }

    /// What a 4xx or 5xx status means.
    fn refusal(
        &self,
        name: &str,
        url: &str,
        response: &Response<Body>,
        facts: Facts,
    ) -> Result<Answer, Failure> {
        let status = response.status();
        let code = header(response.headers(), "x-error-code").unwrap_or_default();
        let (id, endpoint) = (self.id.clone(), self.settings.endpoint.clone());
        let is_first_file = self.commit.is_none();
        match (status.as_u16(), code) {
            (_, "RepoNotFound" | "RevisionNotFound") => Err(HubError::ModelNotFound { id, endpoint }.into()),
            (404, "EntryNotFound") => Ok(Answer::Absent(facts)),
            (404, _) if is_first_file => Err(HubError::ModelNotFound { id, endpoint }.into()),
            (404, _) => Ok(Answer::Absent(facts)),
            (status @ (401 | 403), _) => Err(HubError::Unauthorized { id, endpoint, status }.into()),
            (408 | 429 | 500.., _) => Err(Failure::Broken(format!("status {status}"))),
            _ => {
                let found = format!("status {status} for `{name}`");
                Err(HubError::Answer { url: url.to_owned(), found, expected: "status 200" }.into())
            }
        }
    }

    fn odd_answer(&self, name: &str, found: String, expected: &'static str) -> HubError {
        let url = format!("{}/{}/resolve/{REVISION}/{name}", self.settings.endpoint, self.id);
        HubError::Answer { url, found, expected }
    }

    fn blob(&self, etag: &str) -> PathBuf {
        self.dir.join("blobs").join(etag)
    }

    fn remove_part(&self, facts: &Facts) -> Result<()> {
        let Some(etag) = &facts.etag else { return Ok(()) };
        let part = part_of(&self.blob(etag));
        match fs::remove_file(&part) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(HubError::Cache { path: part, source })
            }
            _ => Ok(()),
        }
    }

    fn remember_commit(&mut self, facts: &Facts) -> Result<Option<String>> {
        if let (None, Some(commit)) = (&self.commit, &facts.commit) {
            if !is_file_name(commit) {
                return Err(self.odd_answer("", format!("commit `{commit}`"), "a hexadecimal commit"));
            }
            write_atomically(&self.dir.join("refs").join(REVISION), commit.as_bytes())?;
            self.commit = Some(commit.clone());
        }
        Ok(self.commit.clone())
    }

    fn mark_missing(&self, commit: &str, name: &str) -> Result<()> {
        write_atomically(&self.dir.join(".no_exist").join(commit).join(name), b"")
    }

    /// Makes the blob visible under the file's name.
    fn link(&self, commit: &str, name: &str, blob: &Path) -> Result<PathBuf> {
        let pointer = self.dir.join("snapshots").join(commit).join(name);
        make_parent(&pointer)?;
        let blob_name = blob.file_name().unwrap_or_default();
        // Out of the folders of the file's own name, the commit, and the snapshots.
        let up = Path::new(name).components().count() + 1;
        let target = (0..up).map(|_| "..").collect::<PathBuf>().join("blobs").join(blob_name);
        let io = |source| HubError::Cache { path: pointer.clone(), source };
        let last = pointer.file_name().unwrap_or_default().to_string_lossy();
        let staged = pointer.with_file_name(format!(".{last}.{}", std::process::id()));
        let _ = fs::remove_file(&staged);
        if symlink(&target, &staged).is_err() {
            // No symlinks here (some Windows set-ups): the Python tools copy as well.
            fs::copy(blob, &staged).map_err(io)?;
        }
        fs::rename(&staged, &pointer).map_err(io)?;
        Ok(pointer)
    }
}

impl Answer {
    fn facts(&self) -> &Facts {
        match self {
            Answer::Rest { facts, .. } | Answer::OnDisk(facts) | Answer::Absent(facts) => facts,
        }
    }
}

impl Facts {
    /// Takes in what a redirect already says about the file behind it.
    fn absorb_linked(&mut self, headers: &HeaderMap) {
        let text = |name| header(headers, name).map(str::to_owned);
        self.commit = self.commit.take().or_else(|| text("x-repo-commit"));
        self.etag = self.etag.take().or_else(|| text("x-linked-etag").map(|e| bare_etag(&e)));
        self.size = self.size.or_else(|| text("x-linked-size")?.parse().ok());
    }

    /// Takes in what the answer with the file itself says.
    fn absorb_final(&mut self, response: &Response<Body>) {
        let headers = response.headers();
        self.etag = self.etag.take().or_else(|| header(headers, "etag").map(bare_etag));
        self.size = self.size.or_else(|| match response.status() {
            StatusCode::PARTIAL_CONTENT => header(headers, "content-range")?.rsplit('/').next()?.parse().ok(),
            _ => header(headers, "content-length")?.parse().ok(),
        });
    }
}

/// Tells a listener how much is on disk, starting over only when the file does.
struct Meter<'a> {
    progress: &'a mut dyn DownloadProgress,
    name: &'a str,
    started: bool,
    on_disk: u64,
    total: u64,
}

impl Meter<'_> {
    fn start(&mut self, total: u64, from: u64) {
        if !self.started || from < self.on_disk {
            self.progress.init(total, self.name);
            self.on_disk = 0;
        }
        self.started = true;
        self.total = total;
        self.advance(from - self.on_disk);
    }

    fn advance(&mut self, bytes: u64) {
        if bytes > 0 {
            self.progress.advance(bytes);
            self.on_disk += bytes;
        }
    }
}

fn append_body(part: &Path, from: u64, body: Body, size: u64, meter: &mut Meter) -> Result<(), Failure> {
    let cache = |source| HubError::Cache { path: part.to_owned(), source };
    make_parent(part)?;
    let mut file = OpenOptions::new().create(true).append(true).open(part).map_err(cache)?;
    file.set_len(from).map_err(cache)?;
    let mut reader = body.into_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut at = from;
    while at < size {
        let n = match reader.read(&mut buffer) {
            Ok(0) => return Err(Failure::Broken("the connection was closed early".to_owned())),
            Ok(n) => n.min((size - at) as usize),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::Broken(error.to_string())),
        };
        file.write_all(&buffer[..n]).map_err(cache)?;
        at += n as u64;
        meter.advance(n as u64);
    }
    file.sync_all().map_err(cache)?;
    Ok(())
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// `W/"abc"` and `"abc"` both name `abc`.
fn bare_etag(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

/// First byte of a partial answer: 100 in `bytes 100-199/500`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = header(response.headers(), "content-range")?.strip_prefix("bytes ")?;
    range.split('-').next()?.trim().parse().ok()
}

/// Scheme, host and port of a URL: `https://host:443`.
fn authority(url: &str) -> &str {
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let end = url[host_at..].find(['/', '?', '#']).map_or(url.len(), |at| host_at + at);
    &url[..end]
}

/// Where a `Location` header leads from `base`.
fn join_url(base: &str, location: &str) -> String {
    if location.contains("://") {
        location.to_owned()
    } else if let Some(host_and_path) = location.strip_prefix("//") {
        let scheme = base.split("://").next().unwrap_or("https");
        format!("{scheme}://{host_and_path}")
    } else if location.starts_with('/') {
        format!("{}{location}", authority(base))
    } else {
        let directory = base.rfind('/').map_or(base, |at| &base[..at]);
        format!("{directory}/{location}")
    }
}

/// Whether a connection that failed this way may hold the next time; an unknown host or a refusal
/// will not.
fn may_pass(kind: ErrorKind) -> bool {
    use ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, TimedOut, UnexpectedEof, WouldBlock,
    };
    matches!(
        kind,
        BrokenPipe
            | ConnectionAborted
            | ConnectionReset
            | Interrupted
            | TimedOut
            | UnexpectedEof
            | WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_lead_where_a_browser_would_go() {
        let base = "https://hub.example/gpt2/resolve/main/config.json";
        let cases = [
            ("https://cdn.example/x?a=b", "https://cdn.example/x?a=b"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/org/gpt2/resolve/main/config.json", "https://hub.example/org/gpt2/resolve/main/config.json"),
            ("other.json", "https://hub.example/gpt2/resolve/main/other.json"),
        ];
        for (location, expected) in cases {
            assert_eq!(join_url(base, location), expected);
        }
    }

    #[test]
    fn a_token_for_one_host_is_not_for_a_longer_name() {
        assert_eq!(authority("https://hub.example/a/b"), "https://hub.example");
        assert_ne!(authority("https://hub.example.evil/a"), authority("https://hub.example"));
        assert_ne!(authority("http://hub.example/a"), authority("https://hub.example"));
        assert_ne!(authority("https://hub.example@evil/a"), authority("https://hub.example"));
    }
}
