//! The bind hook: a program at a cgroup that refuses binds to reserved ranges of ports.
//!
//! It is attached by links that this process holds, so it ends with it however that ends.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use aya::maps::Array;
use aya::programs::{CgroupAttachMode, CgroupSockAddr, ProgramError};
use aya::{Ebpf, EbpfLoader};
use nix::libc;
use portnat_common::reserved::RANGES as MOST;
use portnat_common::{Address as _, Ip6, ReservedRange};
use socket2::{Domain, Socket, Type};
use tracing::{debug, warn};

use super::error::DatapathError;
use super::pod::Plain;
use crate::net::{Guard, GuardError, PortRange};

/// The eBPF object, built by `cargo xtask build`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/portnat-bind-ebpf"));

/// The programs, for sockets of IPv4 and of IPv6.
const PROGRAMS: [&str; 2] = ["bind_v4", "bind_v6"];

/// The name of the table.
const RANGES: &str = "RANGES";

/// A hook where processes of a cgroup bind sockets. Dropping it removes it.
///
/// It concerns one network namespace, that of the thread which made it: containers, whose processes
/// are in the same cgroups or below them, bind what they like.
pub struct BindHook {
    ebpf: Ebpf,
    /// What the table holds.
    ranges: Vec<ReservedRange>,
}

impl BindHook {
    /// A hook for all processes of the machine, as far as they are in this network namespace.
    ///
    /// # Errors
    /// There is no cgroup2 hierarchy, or only a part of it can be seen from here; and as for
    /// [`BindHook::at`].
    pub fn of_all() -> Result<Self, GuardError> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| GuardError(format!("reading /proc/self/mountinfo: {error}")))?;
        Self::at(&root(&mounts)?)
    }

    /// A hook for the processes of a cgroup and of those below it.
    ///
    /// # Errors
    /// The kernel refuses the programs, or does not tell which network namespace this is, as it does
    /// since Linux 5.14.
    pub fn at(cgroup: &Path) -> Result<Self, GuardError> {
        let namespace = namespace().map_err(|error| {
            GuardError(format!("reading this network namespace's cookie: {error}"))
        })?;
        let opened = File::open(cgroup)
            .map_err(|error| GuardError(format!("opening {}: {error}", cgroup.display())))?;
        // With the helper that names the error (Linux 6.1), else without: the kernel takes no program
        // that knows a helper which it has not.
        let mut ebpf = load(namespace, true).or_else(|_| load(namespace, false))?;
        for name in PROGRAMS {
            // A link is one of several in any case, and takes no flags.
            program(&mut ebpf, name)?
                .attach(&opened, CgroupAttachMode::Single)
                .map_err(|error| DatapathError::program(name, error))?;
        }
        Ok(Self {
            ebpf,
            ranges: Vec::new(),
        })
    }

    /// Writes what stands in a place of the table.
    fn write(&mut self, place: usize) -> Result<(), DatapathError> {
        let range = self.ranges.get(place).copied().unwrap_or_default();
        let failed = |error| DatapathError::table(RANGES, error);
        let map = self.ebpf.map_mut(RANGES).ok_or(DatapathError::Table {
            table: RANGES,
            reason: "it is not in the eBPF object".to_owned(),
        })?;
        Array::try_from(map)
            .map_err(failed)?
            .set(place as u32, Plain(range), 0)
            .map_err(failed)
    }
}

impl Guard for BindHook {
    fn refuse(&mut self, ports: &PortRange) -> Result<(), GuardError> {
        if self.ranges.len() == MOST as usize {
            return Err(GuardError(format!("{MOST} ranges are reserved already")));
        }
        self.ranges.push(reserved(ports));
        let written = self.write(self.ranges.len() - 1);
        if written.is_err() {
            self.ranges.pop();
        }
        Ok(written?)
    }

    fn allow(&mut self, ports: &PortRange) {
        let range = reserved(ports);
        let Some(place) = self.ranges.iter().position(|other| *other == range) else {
            return;
        };
        // The last one first into its place, so that the hook misses none meanwhile.
        self.ranges.swap_remove(place);
        for place in [place, self.ranges.len()] {
            if let Err(error) = self.write(place) {
                warn!("{ports} stays reserved: {error}");
            }
        }
    }
}

impl fmt::Debug for BindHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindHook")
            .field("ranges", &self.ranges)
            .finish_non_exhaustive()
    }
}

impl From<DatapathError> for GuardError {
    fn from(error: DatapathError) -> Self {
        Self(error.to_string())
    }
}

fn reserved(ports: &PortRange) -> ReservedRange {
    let address = match ports.address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    ReservedRange {
        address: Ip6::from(address).widen(),
        first: ports.first.get(),
        last: ports.last.get(),
        protocol: ports.protocol.number().into(),
    }
}

fn load(namespace: u64, names_error: bool) -> Result<Ebpf, DatapathError> {
    let names_error = u8::from(names_error);
    let mut ebpf = EbpfLoader::new()
        .override_global("NAMESPACE", &namespace, true)
        .override_global("NAMES_ERROR", &names_error, true)
        .load(OBJECT)?;
    for name in PROGRAMS {
        let failed = |error| DatapathError::program(name, error);
        let program = program(&mut ebpf, name)?;
        program.load().map_err(failed)?;
        let info = program.info().map_err(failed)?;
        let verified = info.verified_instruction_count().unwrap_or_default();
        debug!("program {name}: {verified} instructions verified");
    }
    Ok(ebpf)
}

fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut CgroupSockAddr, DatapathError> {
    let program = ebpf.program_mut(name);
    program
        .ok_or_else(|| ProgramError::InvalidName {
            name: name.to_owned(),
        })
        .and_then(TryInto::try_into)
        .map_err(|error| DatapathError::program(name, error))
}

/// Where the root of the machine's cgroups is mounted, by the text of a `mountinfo` (proc(5)).
fn root(mounts: &str) -> Result<PathBuf, GuardError> {
    let cgroup2 = mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let is_cgroup2 = file_system.split(' ').next() == Some("cgroup2");
        is_cgroup2.then(|| mount.split(' ').nth(4))?
    });
    let mut part = false;
    for place in cgroup2.map(Path::new) {
        // What a container sees as the root is not: only the real one has no type.
        match fs::symlink_metadata(place.join("cgroup.type")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(place.to_owned()),
            _ => part = true,
        }
    }
    Err(GuardError(match part {
        true => "only a part of the machine's cgroups is seen from here".to_owned(),
        false => "no cgroup2 hierarchy is mounted".to_owned(),
    }))
}

/// The network namespace of this thread, as the kernel's cookie (`SO_NETNS_COOKIE`, Linux 5.14, commit
/// e8b9eab99232).
fn namespace() -> io::Result<u64> {
    let any = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let mut cookie = 0_u64;
    let mut length = size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: an open socket, and as many bytes as are said.
    let failed = unsafe {
        libc::getsockopt(
            any.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    match failed {
        0 => Ok(cookie),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_the_cgroups_is_where_cgroup2_is_mounted() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().display();
        let mounts = format!(
            "22 1 0:20 / /sys rw,relatime - sysfs sysfs rw\n\
             25 22 0:22 / /sys/fs/cgroup/cpu rw shared:3 - cgroup cgroup rw,cpu\n\
             26 22 0:23 / {place} rw,relatime shared:4 - cgroup2 cgroup2 rw\n"
        );
        assert_eq!(root(&mounts).expect("is mounted"), directory.path());
        // A container's.
        fs::write(directory.path().join("cgroup.type"), "domain\n").expect("written");
        let refusal = root(&mounts).expect_err("a part");
        assert!(refusal.to_string().contains("only a part"), "{refusal}");
        let refusal = root("22 1 0:20 / /sys rw - sysfs sysfs rw\n").expect_err("none");
        assert!(
            refusal.to_string().contains("no cgroup2 hierarchy"),
            "{refusal}"
        );
    }

    #[test]
    fn an_ipv4_address_is_a_mapped_one_to_the_hook() {
        let ports = PortRange::single(
            [192, 0, 2, 1].into(),
            80.try_into().expect("a port"),
            crate::spec::Protocol::Udp,
        );
        let range = reserved(&ports);
        let bytes: [u8; 16] = bytemuck::cast(range.address);
        assert_eq!(
            bytes,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]
        );
        assert_eq!((range.first, range.last, range.protocol), (80, 80, 17));
    }
}
