//! Ephemeral ports stay the same: which port was given to whom is kept in a file.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::spec::PublishSpec;

/// The file's name in the state directory.
const FILE: &str = "ports.json";

/// How many ports are remembered; the ones that were given longest ago go first. Containers come again
/// with other addresses, and what was published for the old ones is asked for no more.
const MOST: usize = 4096;

/// Which ephemeral ports were given before.
///
/// A port is remembered by its spec without the host's port, so it comes back to who asks for the same
/// again, whether the daemon, the target or the machine was started anew. It is a wish: a port that
/// somebody has meanwhile is not waited for. What goes wrong with the file is said and keeps nothing from
/// being published.
#[derive(Debug, Default)]
pub struct Sticky {
    directory: Option<PathBuf>,
    given: Vec<Given>,
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// The last one given is the last.
    ports: Vec<Given>,
}

/// A port that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    spec: String,
    port: NonZeroU16,
}

impl Sticky {
    /// Remembers nothing beyond its own life.
    #[must_use]
    pub fn forgetful() -> Self {
        Self::default()
    }

    /// What is remembered in a directory, which need not be there yet.
    #[must_use]
    pub fn within(directory: PathBuf) -> Self {
        let given = read(&directory).unwrap_or_else(|error| {
            let path = directory.join(FILE);
            warn!(
                "reading which ports were given before: {}: {error}",
                path.display()
            );
            Vec::new()
        });
        Self {
            directory: Some(directory),
            given,
        }
    }

    /// For each spec the port that it had, if it was given one. Specs that are the same are told apart
    /// by their order.
    #[must_use]
    pub fn recall(&self, specs: &[PublishSpec]) -> Vec<Option<NonZeroU16>> {
        let known: HashMap<&str, NonZeroU16> = self
            .given
            .iter()
            .map(|given| (given.spec.as_str(), given.port))
            .collect();
        let recalled = keys(specs).map(|key| known.get(key?.as_str()).copied());
        recalled.collect()
    }

    /// The ports that were given to anybody, and so better not to somebody else.
    #[must_use]
    pub fn ports(&self) -> HashSet<u16> {
        self.given.iter().map(|given| given.port.get()).collect()
    }

    /// Remembers the ports that specs have been given.
    pub fn remember(&mut self, specs: &[PublishSpec], ports: impl Iterator<Item = NonZeroU16>) {
        let news: Vec<_> = keys(specs)
            .zip(ports)
            .filter_map(|(spec, port)| spec.map(|spec| Given { spec, port }))
            .collect();
        if news.is_empty() {
            return;
        }
        let Some(directory) = &self.directory else {
            self.given = merge(&self.given, news);
            return;
        };
        match write(directory, &news) {
            Ok(given) => self.given = given,
            Err(error) => {
                let directory = directory.display();
                warn!("ephemeral ports will not be the same next time: {directory}: {error}");
                self.given = merge(&self.given, news);
            }
        }
    }
}

/// What a spec is remembered by, if its port is an ephemeral one.
fn keys(specs: &[PublishSpec]) -> impl Iterator<Item = Option<String>> {
    let mut seen = HashMap::new();
    specs.iter().map(move |spec| {
        if spec.host_port.is_some() {
            return None;
        }
        let times = seen.entry(spec.to_string()).or_insert(0);
        *times += 1;
        Some(match *times {
            1 => spec.to_string(),
            nth => format!("{spec} ({nth})"),
        })
    })
}

/// What was given, with what was given now behind it.
fn merge(given: &[Given], news: Vec<Given>) -> Vec<Given> {
    let fresh: HashSet<&str> = news.iter().map(|given| given.spec.as_str()).collect();
    let old = given
        .iter()
        .filter(|old| !fresh.contains(old.spec.as_str()));
    let mut all: Vec<_> = old.cloned().collect();
    all.extend(news);
    all.drain(..all.len().saturating_sub(MOST));
    all
}

fn read(directory: &Path) -> io::Result<Vec<Given>> {
    match fs::read(directory.join(FILE)) {
        Ok(text) => Ok(serde_json::from_slice::<State>(&text)?.ports),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Adds to the file, which portnats of several network namespaces may share; returns what it holds.
fn write(directory: &Path, news: &[Given]) -> io::Result<Vec<Given>> {
    fs::create_dir_all(directory)?;
    let lock = File::open(directory)?;
    lock.lock()?;
    // What cannot be read is of no use to anybody; it was said when it was read first.
    let ports = merge(&read(directory).unwrap_or_default(), news.to_vec());
    let state = State { ports };
    let mut text = serde_json::to_vec_pretty(&state)?;
    text.push(b'\n');
    // At once, so that a crash leaves the old one or the new one.
    let new = directory.join(format!("{FILE}.new"));
    fs::write(&new, text)?;
    fs::rename(&new, directory.join(FILE))?;
    Ok(state.ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(texts: &[&str]) -> Vec<PublishSpec> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    fn ports(ports: &[u16]) -> impl Iterator<Item = NonZeroU16> {
        ports
            .iter()
            .map(|port| NonZeroU16::new(*port).expect("a port"))
    }

    fn recalled(sticky: &Sticky, texts: &[&str]) -> Vec<u16> {
        let recalled = sticky.recall(&specs(texts));
        recalled
            .iter()
            .map(|port| port.map_or(0, NonZeroU16::get))
            .collect()
    }

    #[test]
    fn a_port_is_remembered_by_its_spec_over_restarts() {
        let root = tempfile::tempdir().expect("a directory");
        let place = root.path().join("not/yet");
        let web = [
            "80@172.17.0.2",
            "8080:80@172.17.0.2",
            "127.0.0.1::80@172.17.0.2",
        ];
        let mut first = Sticky::within(place.clone());
        assert_eq!(recalled(&first, &web), [0, 0, 0]);
        first.remember(&specs(&web), ports(&[40_000, 8080, 40_001]));
        assert_eq!(recalled(&first, &web), [40_000, 0, 40_001]);

        let second = Sticky::within(place);
        assert_eq!(recalled(&second, &web), [40_000, 0, 40_001]);
        assert_eq!(
            recalled(&second, &["80@172.17.0.3", "80/udp@172.17.0.2"]),
            [0, 0]
        );
        assert_eq!(second.ports(), HashSet::from([40_000, 40_001]));
    }

    #[test]
    fn the_same_spec_twice_has_two_ports() {
        let mut sticky = Sticky::forgetful();
        let twice = ["80@172.17.0.2", "80@172.17.0.2"];
        sticky.remember(&specs(&twice), ports(&[40_000, 40_001]));
        assert_eq!(recalled(&sticky, &twice), [40_000, 40_001]);
        assert_eq!(recalled(&sticky, &twice[..1]), [40_000]);
    }

    #[test]
    fn two_that_share_a_file_keep_each_others_ports() {
        let root = tempfile::tempdir().expect("a directory");
        let mut one = Sticky::within(root.path().to_owned());
        let mut other = Sticky::within(root.path().to_owned());
        one.remember(&specs(&["80@172.17.0.2"]), ports(&[40_000]));
        other.remember(&specs(&["80@172.18.0.2"]), ports(&[40_000]));
        let both = Sticky::within(root.path().to_owned());
        assert_eq!(
            recalled(&both, &["80@172.17.0.2", "80@172.18.0.2"]),
            [40_000, 40_000]
        );
    }

    #[test]
    fn a_file_that_makes_no_sense_is_replaced() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join(FILE), "{\"ports\": 7}").expect("written");
        let mut sticky = Sticky::within(root.path().to_owned());
        sticky.remember(&specs(&["80@172.17.0.2"]), ports(&[40_000]));
        let again = Sticky::within(root.path().to_owned());
        assert_eq!(recalled(&again, &["80@172.17.0.2"]), [40_000]);
    }

    #[test]
    fn what_was_given_longest_ago_is_forgotten_first() {
        let given = |number: usize| Given {
            spec: number.to_string(),
            port: NonZeroU16::MIN,
        };
        let all = merge(&[], (0..MOST).map(given).collect());
        let all = merge(&all, vec![given(0), given(MOST)]);
        assert_eq!(all.len(), MOST);
        assert_eq!(all.first(), Some(&given(2)));
        assert_eq!(all[MOST - 2..], [given(0), given(MOST)]);
    }
}
