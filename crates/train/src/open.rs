//! Whose folder it is: a run's that goes on, a run's that begins, or somebody else's.

use std::fs::File;

use crate::error::{Error, Result};
use crate::run_dir::RunDir;
use crate::settings::Settings;
use crate::train::Start;

/// Checks the folder: whether there is a checkpoint to go on from, and a lock that keeps others out.
///
/// # Errors
/// [`Error::NotARun`], [`Error::OtherRun`], [`Error::NothingToResume`], [`Error::InUse`], [`Error::Io`].
pub(crate) fn open(config: &impl Settings, dir: &RunDir, start: Start) -> Result<(bool, File)> {
    let (saved, last) = (dir.path("config.toml"), dir.path("last"));
    let is_empty = dir.is_empty()?;
    if !is_empty && !saved.is_file() {
        return Err(Error::NotARun { dir: dir.root().to_owned() });
    }
    let nothing = || Error::NothingToResume { dir: dir.root().to_owned() };
    if is_empty && start == Start::Resume {
        return Err(nothing());
    }
    dir.create()?;
    let lock = dir.lock()?;
    let mut resumes = false;
    if start == Start::Fresh {
        dir.clear()?;
    } else if !is_empty {
        dir.settle("last")?;
        dir.settle("best")?;
        let same = Settings::read(&saved).and_then(|there| check_same(config, &there, dir));
        match last.is_dir() {
            true => {
                same?;
                resumes = true;
            }
            false if start == Start::Resume => return Err(nothing()),
            // A run that made no update leaves nothing that would be lost.
            false if same.is_err() && has_updates(dir) => same?,
            false if same.is_err() => dir.clear()?,
            false => {}
        }
    }
    config.write(&saved)?;
    Ok((resumes, lock))
}

/// Whether the record in a folder is of a run that learnt something.
fn has_updates(dir: &RunDir) -> bool {
    let record = std::fs::read(dir.path("record.json")).ok();
    let record = record.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    record.and_then(|record| record["step"].as_u64()).is_some_and(|step| step > 0)
}

/// Whether a run's settings are these.
fn check_same<C: Settings>(here: &C, there: &C, dir: &RunDir) -> Result<()> {
    let table =
        |config: C| toml::Value::try_from(&config).unwrap_or_else(|_| toml::Value::Table(toml::Table::new()));
    match first_difference("", &table(there.comparable(here)), &table(here.comparable(here))) {
        None => Ok(()),
        Some((key, there, here)) => Err(Error::OtherRun { dir: dir.root().to_owned(), key, there, here }),
    }
}

fn first_difference(key: &str, there: &toml::Value, here: &toml::Value) -> Option<(String, String, String)> {
    let (toml::Value::Table(a), toml::Value::Table(b)) = (there, here) else {
        return (there != here).then(|| (key.to_owned(), there.to_string(), here.to_string()));
    };
    let name = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") };
    let show = |value: Option<&toml::Value>| value.map_or("not given".to_owned(), toml::Value::to_string);
    for part in a.keys().chain(b.keys()) {
        let difference = match (a.get(part), b.get(part)) {
            (Some(a), Some(b)) => first_difference(&name(part), a, b),
            (a, b) => Some((name(part), show(a), show(b))),
        };
        if difference.is_some() {
            return difference;
        }
    }
    None
}
