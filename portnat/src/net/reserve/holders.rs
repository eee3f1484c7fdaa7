//! Who has a port: sockets by sock_diag(7), their processes by `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;

use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, TCP_CLOSE, TCP_CLOSING, TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK,
    TCP_LISTEN, TCP_TIME_WAIT,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::libc;
use rtnetlink::packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use serde::{Deserialize, Serialize};

use super::{Owners, PortRange};

/// A socket that is bound and neither listens nor is connected (Linux 6.8, commit 91051f003948);
/// earlier kernels do not list such.
const TCP_BOUND_INACTIVE: u8 = 13;

/// Programs of Docker and Podman that hold a container's published ports for it.
const DOCKERS: [&str; 3] = ["dockerd", "docker-proxy", "rootlessport"];

/// What has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The address and port that its socket is bound to.
    pub address: SocketAddr,
    /// What it does there.
    pub tenure: Tenure,
    /// Whose it is.
    pub owner: Owner,
}

/// What a socket does with its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tenure {
    /// It is bound, and may be listening.
    Bound,
    /// It is one end of a connection.
    Connected,
    /// It is one end of a connection that is being closed, maybe without its process.
    Closing,
    /// It is what is remembered of a connection that has ended, for a minute.
    TimeWait,
}

/// Whose a socket is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Owner {
    /// A process; of several that share the socket, the oldest.
    Process {
        /// Its number.
        pid: u32,
        /// Its name, of at most 15 bytes (`/proc/PID/comm`).
        name: String,
    },
    /// A process that is not in our `/proc`.
    Unseen,
    /// The kernel itself.
    Kernel,
}

impl Holder {
    /// Whether the port counts as Docker's own.
    #[must_use]
    pub fn is_dockers(&self) -> bool {
        matches!(&self.owner, Owner::Process { name, .. } if DOCKERS.contains(&name.as_str()))
    }

    /// In words, to somebody who asked for `wanted`.
    pub(super) fn about(&self, wanted: SocketAddr) -> String {
        let place = match self.address == wanted {
            true => "it".to_owned(),
            false => self.address.to_string(),
        };
        let owner = &self.owner;
        match self.tenure {
            Tenure::Bound => format!("{owner} holds {place}"),
            Tenure::Connected => format!("{owner} has a connection from {}", self.address),
            Tenure::Closing => format!("a connection that is being closed holds {place}"),
            Tenure::TimeWait => {
                format!("a connection that has ended holds {place} for a minute (TIME_WAIT)")
            }
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, name } => write!(f, "{name} (pid {pid})"),
            Self::Unseen => f.write_str("a process that is not seen from here"),
            Self::Kernel => f.write_str("the kernel"),
        }
    }
}

/// Who has ports of a range in this network namespace: by port, those that serve first. Whose sockets
/// are, `owners` tells.
///
/// # Errors
/// The kernel does not list its sockets. Of a protocol that it has no sockets of nobody has a port.
pub fn holders(ports: &PortRange, owners: &Owners) -> io::Result<Vec<Holder>> {
    let mut found = Vec::new();
    // A socket of IPv6 can have a port of IPv4 too, but not the other way round.
    let families: &[u8] = match ports.address.is_ipv4() {
        true => &[AF_INET, AF_INET6],
        false => &[AF_INET6],
    };
    for family in families {
        sockets(*family, ports.protocol.number(), |socket| {
            let id = &socket.header.socket_id;
            let address = SocketAddr::new(id.source_address, id.source_port);
            let only_v6 = socket.nlas.contains(&Nla::SkV6Only(true));
            if ports.meets(address, only_v6) {
                found.push((address, tenure(socket.header.state), socket.header.inode));
            }
        })?;
    }
    let wanted = found.iter().map(|(_, _, inode)| *inode).collect();
    let owners = owners(&wanted);
    let mut holders: Vec<_> = found
        .into_iter()
        .map(|(address, tenure, inode)| Holder {
            address,
            tenure,
            owner: match owners.get(&inode) {
                Some(owner) => owner.clone(),
                None if inode == 0 => Owner::Kernel,
                None => Owner::Unseen,
            },
        })
        .collect();
    holders.sort_by(|a, b| {
        (a.address.port(), a.tenure, &a.owner).cmp(&(b.address.port(), b.tenure, &b.owner))
    });
    Ok(holders)
}

fn tenure(state: u8) -> Tenure {
    match state {
        TCP_LISTEN | TCP_CLOSE | TCP_BOUND_INACTIVE => Tenure::Bound,
        TCP_TIME_WAIT => Tenure::TimeWait,
        TCP_FIN_WAIT1 | TCP_FIN_WAIT2 | TCP_LAST_ACK | TCP_CLOSING => Tenure::Closing,
        _ => Tenure::Connected,
    }
}

/// Lists a family's sockets of a protocol.
fn sockets(family: u8, protocol: u8, mut each: impl FnMut(&InetResponse)) -> io::Result<()> {
    let bound_inactive = StateFlags::from_bits_retain(1 << TCP_BOUND_INACTIVE);
    let request = InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all() | bound_inactive,
        socket_id: match family {
            AF_INET => SocketId::new_v4(),
            _ => SocketId::new_v6(),
        },
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut request = vec![0; message.buffer_len()];
    message.serialize(&mut request);

    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.send(&request, 0)?;
    loop {
        let (answers, _) = socket.recv_from_full()?;
        let mut rest = &answers[..];
        while !rest.is_empty() {
            let answer = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::other(error.to_string()))?;
            match &answer.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => each(socket),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => {
                    let error = error.to_io();
                    return match error.raw_os_error() {
                        // No module that lists them, since there are none to list.
                        Some(libc::ENOENT) if protocol == SCTP => Ok(()),
                        _ => Err(error),
                    };
                }
                _ => {}
            }
            let length = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// Whose sockets the inodes are, as far as `/proc` tells. Processes come and go while we look.
#[must_use]
pub fn owners(inodes: &BTreeSet<u32>) -> BTreeMap<u32, Owner> {
    let mut owners = BTreeMap::new();
    if inodes.is_empty() {
        return owners;
    }
    let Ok(processes) = fs::read_dir("/proc") else {
        return owners;
    };
    let mut pids: Vec<u32> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    for pid in pids {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for file in files.flatten() {
            let inode = fs::read_link(file.path())
                .ok()
                .and_then(|link| inode(link.to_str()?));
            let Some(inode) = inode.filter(|inode| inodes.contains(inode)) else {
                continue;
            };
            owners.entry(inode).or_insert_with(|| {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                Owner::Process {
                    pid,
                    name: printable(name.trim_end()),
                }
            });
        }
    }
    owners
}

/// The inode in `socket:[1234]`.
fn inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// SCTP's number.
const SCTP: u8 = crate::spec::Protocol::Sctp.number();

/// A process's name, which it has given itself, without what a terminal would obey.
fn printable(name: &str) -> String {
    name.replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
    use std::num::NonZeroU16;

    use super::*;
    use crate::spec::Protocol;

    fn at(address: SocketAddr, protocol: Protocol) -> PortRange {
        let port = NonZeroU16::new(address.port()).expect("is bound");
        PortRange::single(address.ip(), port, protocol)
    }

    /// This process, as it calls itself: a test has its thread's name, the process the program's.
    fn this_process() -> Owner {
        let name = fs::read_to_string("/proc/self/comm").expect("text");
        Owner::Process {
            pid: std::process::id(),
            name: name.trim_end().to_owned(),
        }
    }

    #[test]
    fn a_name_says_nothing_to_a_terminal() {
        assert_eq!(printable("\x1b[31mng\ninx"), "?[31mng?inx");
        assert_eq!(printable("nginx: größe"), "nginx: größe");
    }

    #[test]
    fn a_listener_is_found_with_its_process() {
        let server = TcpListener::bind((Ipv4Addr::new(127, 77, 1, 1), 0)).expect("a free port");
        let address = server.local_addr().expect("is bound");
        let found = holders(&at(address, Protocol::Tcp), &owners).expect("a list");
        let expected = Holder {
            address,
            tenure: Tenure::Bound,
            owner: this_process(),
        };
        assert_eq!(found, [expected]);
        assert_eq!(
            holders(&at(address, Protocol::Udp), &owners).expect("a list"),
            []
        );
        assert!(!found[0].is_dockers());
    }

    #[test]
    fn a_udp_socket_of_both_families_has_the_port_in_both() {
        let server = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a free port");
        let port = server.local_addr().expect("is bound").port();
        for ip in [
            Ipv4Addr::new(127, 77, 1, 2).into(),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            let asked = SocketAddr::new(ip, port);
            let found = holders(&at(asked, Protocol::Udp), &owners).expect("a list");
            let holder = found.first().expect("the socket");
            assert_eq!(holder.address, server.local_addr().expect("is bound"));
            let Owner::Process { pid, name } = this_process() else {
                panic!("a process");
            };
            let words = format!("{name} (pid {pid}) holds [::]:{port}");
            assert_eq!(holder.about(asked), words);
        }
    }

    #[test]
    fn who_serves_comes_before_connections() {
        let server = TcpListener::bind((Ipv4Addr::new(127, 77, 1, 3), 0)).expect("a free port");
        let address = server.local_addr().expect("is bound");
        let _client = TcpStream::connect(address).expect("a connection");
        let _accepted = server.accept().expect("a connection");
        let found = holders(&at(address, Protocol::Tcp), &owners).expect("a list");
        let tenures: Vec<_> = found.iter().map(|holder| holder.tenure).collect();
        assert_eq!(tenures, [Tenure::Bound, Tenure::Connected]);
    }

    #[test]
    fn remnants_are_called_so() {
        let server = TcpListener::bind((Ipv4Addr::new(127, 77, 1, 4), 0)).expect("a free port");
        let address = server.local_addr().expect("is bound");
        let mut client = TcpStream::connect(address).expect("a connection");
        // Who closes first waits.
        drop(server.accept().expect("a connection"));
        io::Read::read(&mut client, &mut [0]).expect("the end");
        drop((client, server));
        let mut asked = holders(&at(address, Protocol::Tcp), &owners).expect("a list");
        while asked.iter().any(|holder| holder.tenure == Tenure::Closing) {
            asked = holders(&at(address, Protocol::Tcp), &owners).expect("a list");
        }
        let [remnant] = &asked[..] else {
            panic!("{asked:?}");
        };
        let words = "a connection that has ended holds it for a minute (TIME_WAIT)";
        assert_eq!(remnant.about(address), words);
        assert_eq!(remnant.owner, Owner::Kernel);
    }

    #[test]
    fn dockers_programs_are_known_by_name() {
        for (name, dockers) in [("dockerd", true), ("rootlessport", true), ("nginx", false)] {
            let holder = Holder {
                address: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 80),
                tenure: Tenure::Bound,
                owner: Owner::Process {
                    pid: 2,
                    name: name.to_owned(),
                },
            };
            assert_eq!(holder.is_dockers(), dockers, "{name}");
        }
        assert_eq!(inode("socket:[4026531992]"), Some(4_026_531_992));
        assert_eq!(inode("pipe:[12]"), None);
    }
}
