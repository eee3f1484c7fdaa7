//! Ephemeral ports stay the same: which port was given to whom is kept in a file.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::spec::{NamedSpec, Ports, PublishSpec, Wish};

/// The file's name in the state directory.
const FILE: &str = "ports.json";

/// How many specs are remembered; the ones that were given ports longest ago go first. Containers come
/// again with other addresses, and what was published for the old ones is asked for no more.
const MOST: usize = 4096;

/// Which ephemeral ports were given before.
///
/// Ports are remembered by their spec, so they come back to who asks for the same again, whether the
/// daemon, the target or the machine was started anew. It is a wish: a port that somebody has meanwhile
/// is not waited for. What goes wrong with the file is said and keeps nothing from being published.
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

/// Ports that were given: `40000`, or `40000-40009`, and more where there were not as many in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    spec: String,
    ports: Vec<String>,
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

    /// The ports that specs had. What another version has written and this one does not understand is
    /// left out.
    pub fn given(&self) -> impl Iterator<Item = (PublishSpec, Vec<Ports>)> + '_ {
        self.given.iter().filter_map(|given| {
            let ports = given.ports.iter().map(|ports| ports.parse().ok());
            Some((given.spec.parse().ok()?, ports.collect::<Option<_>>()?))
        })
    }

    /// The ports that names had.
    pub fn given_to_names(&self) -> impl Iterator<Item = Ports> + '_ {
        let is_name = |given: &&Given| matches!(given.spec.parse(), Ok(Wish::Named(_)));
        let named = self.given.iter().filter(is_name);
        named.flat_map(|given| given.ports.iter().filter_map(|ports| ports.parse().ok()))
    }

    /// The ports that this had, wherever its container was.
    #[must_use]
    pub fn given_to(&self, named: &NamedSpec) -> Option<Vec<Ports>> {
        let words = named.to_string();
        let given = self.given.iter().find(|given| given.spec == words)?;
        given.ports.iter().map(|ports| ports.parse().ok()).collect()
    }

    /// Remembers the ports that have been given, to specs or to what is told by names.
    pub fn remember<T: fmt::Display>(&mut self, given: &[(T, Vec<Ports>)]) {
        let news: Vec<_> = given
            .iter()
            .map(|(spec, ports)| Given {
                spec: spec.to_string(),
                ports: ports.iter().map(ToString::to_string).collect(),
            })
            .filter(|news| !self.given.contains(news))
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

    const WEB: &str = "80@172.17.0.2";

    fn given(spec: &str, ports: &[&str]) -> (PublishSpec, Vec<Ports>) {
        let ports = ports.iter().map(|ports| ports.parse().expect("ports"));
        (spec.parse().expect(spec), ports.collect())
    }

    fn all(sticky: &Sticky) -> Vec<(PublishSpec, Vec<Ports>)> {
        sticky.given().collect()
    }

    #[test]
    fn names_have_their_ports_wherever_they_are() {
        let mut sticky = Sticky::forgetful();
        let ports: Vec<Ports> = vec!["40000".parse().expect("a port")];
        let Ok(Wish::Named(web)) = "80@web".parse() else {
            panic!("it is a name");
        };
        assert_eq!(sticky.given_to(&web), None);
        sticky.remember(&[(&web, ports.clone())]);
        assert_eq!(sticky.given_to(&web), Some(ports));
        assert_eq!(all(&sticky), [], "it is nobody's by address");
        assert_eq!(sticky.given_to_names().count(), 1);
    }

    #[test]
    fn ports_are_remembered_over_restarts() {
        let root = tempfile::tempdir().expect("a directory");
        let place = root.path().join("not/yet");
        let mut first = Sticky::within(place.clone());
        assert_eq!(all(&first), []);
        let news = [
            given(WEB, &["40000"]),
            given(
                "127.0.0.1::80-89@172.17.0.2",
                &["40001-40005", "40010-40014"],
            ),
        ];
        first.remember(&news);
        assert_eq!(all(&first), news);
        assert_eq!(all(&Sticky::within(place)), news);
    }

    #[test]
    fn two_that_share_a_file_keep_each_others_ports() {
        let root = tempfile::tempdir().expect("a directory");
        let mut one = Sticky::within(root.path().to_owned());
        let mut other = Sticky::within(root.path().to_owned());
        let news = [given(WEB, &["40000"]), given("80@172.18.0.2", &["40000"])];
        one.remember(&news[..1]);
        other.remember(&news[1..]);
        assert_eq!(all(&Sticky::within(root.path().to_owned())), news);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_replaced() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join(FILE), "{\"ports\": 7}").expect("written");
        let mut sticky = Sticky::within(root.path().to_owned());
        let news = [given(WEB, &["40000"])];
        sticky.remember(&news);
        assert_eq!(all(&Sticky::within(root.path().to_owned())), news);
    }

    #[test]
    fn an_entry_that_makes_no_sense_keeps_nobody_from_the_others() {
        let root = tempfile::tempdir().expect("a directory");
        let text = r#"{"ports": [
            {"spec": "80@", "ports": ["40000"]},
            {"spec": "80@172.17.0.2", "ports": ["40001"]},
            {"spec": "81@172.17.0.2", "ports": ["0"]}
        ]}"#;
        fs::write(root.path().join(FILE), text).expect("written");
        let sticky = Sticky::within(root.path().to_owned());
        assert_eq!(all(&sticky), [given(WEB, &["40001"])]);
    }

    #[test]
    fn what_was_given_longest_ago_is_forgotten_first() {
        let given = |number: usize| Given {
            spec: number.to_string(),
            ports: Vec::new(),
        };
        let all = merge(&[], (0..MOST).map(given).collect());
        let all = merge(&all, vec![given(0), given(MOST)]);
        assert_eq!(all.len(), MOST);
        assert_eq!(all.first(), Some(&given(2)));
        assert_eq!(all[MOST - 2..], [given(0), given(MOST)]);
    }
}
