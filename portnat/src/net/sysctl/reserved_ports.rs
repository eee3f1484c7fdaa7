//! The ports that are kept from being handed out.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{NetError, ROOT, open, write};

const KEY: &str = "net.ipv4.ip_local_reserved_ports";

/// More than every second port takes.
const LONGEST: usize = 256 << 10;

/// The ports that the kernel gives to nobody who does not ask for them by number, as ranges with both
/// ends included (`net.ipv4.ip_local_reserved_ports`, which holds for IPv6 too).
///
/// # Errors
///
/// [`NetError::ReadSysctl`] without `/proc`, [`NetError::SysctlValue`] if it holds something else.
pub fn local_reserved_ports() -> Result<Vec<(u16, u16)>, NetError> {
    let file = File::open(path(Path::new(ROOT))).map_err(unreadable)?;
    port_ranges(&file)
}

/// Ports that are among the reserved ones on portnat's account.
///
/// Only what was not there before is taken out again, whatever else somebody sets meanwhile.
#[derive(Debug)]
pub(in crate::net) struct ReservedPorts {
    root: PathBuf,
    /// Kept open, because an open sysctl stays that of its own namespace.
    file: Option<File>,
    ranges: Vec<(u16, u16)>,
    /// What was not there before.
    added: Ports,
}

/// A set of ports: whether each is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports(Vec<bool>);

impl ReservedPorts {
    /// None yet.
    pub(in crate::net) fn new() -> Self {
        Self::under(Path::new(ROOT))
    }

    fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            file: None,
            ranges: Vec::new(),
            added: Ports::none(),
        }
    }

    /// Adds a range.
    ///
    /// # Errors
    /// The kernel refuses to tell or to set the value, which is as it was.
    pub(in crate::net) fn reserve(&mut self, first: u16, last: u16) -> Result<(), NetError> {
        self.ranges.push((first, last));
        let set = self.set();
        if set.is_err() {
            self.ranges.pop();
        }
        set
    }

    /// Takes a range out again, but for what another one still needs; one that was not added changes
    /// nothing.
    ///
    /// # Errors
    /// As for [`ReservedPorts::reserve`].
    pub(in crate::net) fn release(&mut self, first: u16, last: u16) -> Result<(), NetError> {
        let Some(place) = self.ranges.iter().position(|range| *range == (first, last)) else {
            return Ok(());
        };
        self.ranges.swap_remove(place);
        self.set()
    }

    fn set(&mut self) -> Result<(), NetError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&path(&self.root)).map_err(unreadable)?),
        };
        let now = Ports::of(&port_ranges(file)?);
        let others = now.without(&self.added);
        let added = Ports::of(&self.ranges).without(&others);
        let wanted = others.with(&added);
        if wanted != now {
            let (old, new) = (now.to_string(), wanted.to_string());
            write(file, &new).map_err(|cause| NetError::WriteSysctl {
                key: KEY.to_owned(),
                value: new.clone(),
                cause,
            })?;
            match self.ranges.is_empty() {
                true => tracing::info!("restored {KEY} = {new:?}"),
                false => tracing::info!("set {KEY} = {new:?} (was {old:?}), restored at exit"),
            }
        }
        self.added = added;
        Ok(())
    }
}

impl Ports {
    fn none() -> Self {
        Self(vec![false; 1 << 16])
    }

    fn of(ranges: &[(u16, u16)]) -> Self {
        let mut ports = Self::none();
        for (first, last) in ranges {
            ports.0[usize::from(*first)..=usize::from(*last)].fill(true);
        }
        ports
    }

    fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| *a && !b).collect())
    }

    fn with(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| *a || *b).collect())
    }
}

/// As the kernel writes it.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut next = 0;
        let runs = self.0.chunk_by(|a, b| a == b).filter_map(|run| {
            let first = next;
            next += run.len();
            match (run[0], run.len()) {
                (false, _) => None,
                (true, 1) => Some(first.to_string()),
                (true, _) => Some(format!("{first}-{}", next - 1)),
            }
        });
        f.write_str(&runs.collect::<Vec<_>>().join(","))
    }
}

fn path(root: &Path) -> PathBuf {
    root.join("net/ipv4/ip_local_reserved_ports")
}

fn unreadable(cause: io::Error) -> NetError {
    NetError::ReadSysctl {
        key: KEY.to_owned(),
        cause,
    }
}

fn port_ranges(file: &File) -> Result<Vec<(u16, u16)>, NetError> {
    // At once: the kernel gives what fits the first reading, and no more at a second.
    let mut buffer = vec![0; LONGEST];
    let length = file.read_at(&mut buffer, 0).map_err(unreadable)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    parse(&text).ok_or_else(|| NetError::SysctlValue {
        key: KEY.to_owned(),
        value: text.trim_end().to_owned(),
        expected: "ports and ranges of ports",
    })
}

fn parse(text: &str) -> Option<Vec<(u16, u16)>> {
    text.trim()
        .split(',')
        .filter(|range| !range.is_empty())
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let range = (first.parse().ok()?, last.parse().ok()?);
            (range.0 <= range.1).then_some(range)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn ports_and_ranges_with_commas_between() {
        assert_eq!(parse("\n"), Some(Vec::new()));
        assert_eq!(parse("8080\n"), Some(vec![(8080, 8080)]));
        let several = parse("1-3,8080,65535");
        assert_eq!(several, Some(vec![(1, 3), (8080, 8080), (65535, 65535)]));
        assert_eq!(parse("8080-"), None);
        assert_eq!(parse("65536"), None);
        assert_eq!(parse("2-1"), None);
        local_reserved_ports().expect("this host has some or none");
    }

    #[test]
    fn a_set_is_written_as_the_kernel_does() {
        assert_eq!(Ports::none().to_string(), "");
        let all = [(0, 1), (3, 3), (65535, 65535)];
        assert_eq!(Ports::of(&all).to_string(), "0-1,3,65535");
    }

    /// What stands for the sysctl; a file keeps what is longer than what is written over it.
    fn root(value: &str) -> TempDir {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("net/ipv4")).expect("a directory");
        fs::write(path(root.path()), value).expect("written");
        root
    }

    #[track_caller]
    fn stands(root: &TempDir, value: &str) {
        let text = fs::read_to_string(path(root.path())).expect("is there");
        assert_eq!(text.lines().next(), Some(value));
    }

    #[test]
    fn what_stood_there_stays() {
        let root = root("8080-8090\n");
        let mut ports = ReservedPorts::under(root.path());
        ports.reserve(8085, 9000).expect("set");
        stands(&root, "8080-9000");
        ports.release(8085, 9000).expect("set");
        stands(&root, "8080-8090");
        ports.release(8085, 9000).expect("nothing to do");
        stands(&root, "8080-8090");
    }

    #[test]
    fn what_two_ranges_need_stays_until_both_are_gone() {
        let root = root("\n");
        let mut ports = ReservedPorts::under(root.path());
        ports.reserve(10, 20).expect("set");
        ports.reserve(15, 30).expect("set");
        stands(&root, "10-30");
        ports.release(10, 20).expect("set");
        stands(&root, "15-30");
        ports.release(15, 30).expect("set");
        stands(&root, "");
    }

    #[test]
    fn what_somebody_else_sets_meanwhile_stays() {
        let root = root("\n");
        let mut ports = ReservedPorts::under(root.path());
        ports.reserve(10, 20).expect("set");
        fs::write(path(root.path()), "10-20,40\n").expect("written");
        ports.release(10, 20).expect("set");
        stands(&root, "40");
    }

    #[test]
    fn what_cannot_be_set_is_not_remembered() {
        let root = root("many\n");
        let mut ports = ReservedPorts::under(root.path());
        let refusal = ports.reserve(10, 20).expect_err("no ports");
        assert!(refusal.to_string().contains("\"many\""), "{refusal}");
        fs::write(path(root.path()), "\n").expect("written");
        ports.reserve(40, 40).expect("set");
        stands(&root, "40");
    }
}
