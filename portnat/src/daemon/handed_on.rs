//! What a portnat hands on to the next one with `--persist`, in a file beside the control socket.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::Config;
use super::adopt::written_beside;
use crate::net::NetError;
use crate::written;

/// One such file.
pub(super) struct HandedOn<T> {
    path: Option<PathBuf>,
    persist: bool,
    /// What stands there, as far as is known; nothing is no file.
    stands: Option<Option<T>>,
    words: Words,
}

/// What it means for the next one, in words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// That the file cannot be read.
    pub(super) unread: &'static str,
    /// That it cannot be written.
    pub(super) unwritten: &'static str,
    /// That an old one cannot be removed.
    pub(super) stale: &'static str,
}

impl<T: Serialize + PartialEq> HandedOn<T> {
    /// The file that is called so, behind the network namespace's name.
    pub(super) fn new(config: &Config, file: &str, words: Words) -> Result<Self, NetError> {
        let beside = |socket: &PathBuf| written_beside(socket, file);
        let path = config.socket.as_ref().map(beside).transpose()?;
        Ok(Self::at(path, config.persist, words))
    }

    pub(super) fn at(path: Option<PathBuf>, persist: bool, words: Words) -> Self {
        HandedOn {
            path,
            persist,
            stands: None,
            words,
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// What a portnat before this one has handed on. What cannot be read is said, and no reason not to start.
    pub(super) fn read<R: DeserializeOwned>(&self) -> Option<R> {
        let path = self.path.as_ref()?;
        written::read(path).unwrap_or_else(|error| {
            warn!("{}: {}: {error}", self.words.unread, path.display());
            None
        })
    }

    /// Hands this on instead of what was; without `--persist` nothing.
    pub(super) fn write(&mut self, what: Option<T>) {
        let what = what.filter(|_| self.persist);
        if self.stands.as_ref() == Some(&what) {
            return;
        }
        let Err(error) = self.replace(what) else {
            return;
        };
        self.stands = None;
        let path = self.path().display();
        warn!("{}: {path}: {error}", self.words.unwritten);
        // What it was is not true any more. A full disk lets go of files.
        if let Err(error) = written::remove(self.path()) {
            warn!("{}: remove {path}: {error}", self.words.stale);
        }
    }

    /// Hands on nothing, whatever is written from now on.
    pub(super) fn forget(&mut self) {
        self.persist = false;
        self.write(None);
    }

    fn replace(&mut self, what: Option<T>) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        match &what {
            Some(what) => written::replace(path, what)?,
            None => written::remove(path)?,
        }
        self.stands = Some(what);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    type Numbers = BTreeMap<String, u32>;

    fn numbers(number: u32) -> Option<Numbers> {
        Some([("number".to_owned(), number)].into())
    }

    #[test]
    fn what_cannot_be_written_is_nothing() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("netns-1-things");
        let words = Words {
            unread: "unread",
            unwritten: "unwritten",
            stale: "stale",
        };
        let mut handed = HandedOn::<Numbers>::at(Some(path.clone()), true, words);
        assert_eq!(handed.read::<Numbers>(), None);
        handed.write(numbers(1));
        assert_eq!(handed.read(), numbers(1));
        // Nothing can be written beside it any more.
        let obstacle = path.with_extension("new");
        fs::create_dir(&obstacle).expect("a directory");
        handed.write(numbers(2));
        assert_eq!(handed.read::<Numbers>(), None, "1 is not true any more");
        fs::remove_dir(&obstacle).expect("is empty");
        handed.write(numbers(2));
        assert_eq!(handed.read(), numbers(2));
        fs::write(&path, "[1, 2").expect("written");
        assert_eq!(handed.read::<Numbers>(), None, "it makes no sense");
        handed.forget();
        assert!(!path.exists());
        handed.write(numbers(3));
        assert!(!path.exists());
    }
}
