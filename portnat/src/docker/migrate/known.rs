//! Docker's own rules, of 20.10 to 29 where they are iptables': by what they look like, and by whose
//! addresses and bridges they name.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::pattern::captures;
use crate::docker::Observed;

/// The chain that Docker leaves to its users.
pub(super) const USERS: &str = "DOCKER-USER";

/// Docker's chains, by table.
const CHAINS: [(&str, &str); 11] = [
    ("nat", "DOCKER"),
    ("nat", "DOCKER-INGRESS"),
    ("filter", "DOCKER"),
    ("filter", "DOCKER-BRIDGE"),
    ("filter", "DOCKER-CT"),
    ("filter", "DOCKER-FORWARD"),
    ("filter", "DOCKER-INGRESS"),
    ("filter", "DOCKER-INTERNAL"),
    ("filter", "DOCKER-ISOLATION-STAGE-1"),
    ("filter", "DOCKER-ISOLATION-STAGE-2"),
    ("filter", USERS),
];

/// Docker's rules in the kernel's chains. They name a bridge and addresses of its networks, or lead to its
/// chains.
const BESIDE_OTHERS: [(&str, &str, &[&str]); 5] = [
    (
        "raw",
        "PREROUTING",
        &[
            // What asks for containers by their own addresses, since 28.
            "-d <container> ! -i <bridge> [ -p <protocol> -m <protocol> --dport <port> ] -j DROP",
            "-d <published> ! -i lo -p <protocol> -m <protocol> --dport <port> -j DROP",
        ],
    ),
    (
        "nat",
        "PREROUTING",
        &[
            "-m addrtype --dst-type LOCAL -j DOCKER",
            "-m addrtype --dst-type LOCAL -j DOCKER-INGRESS",
        ],
    ),
    (
        "nat",
        "OUTPUT",
        &[
            "[ ! -d <net> ] -m addrtype --dst-type LOCAL -j DOCKER",
            "-m addrtype --dst-type LOCAL -j DOCKER-INGRESS",
        ],
    ),
    (
        "nat",
        "POSTROUTING",
        &[
            "-s <subnet> ! -o <bridge> -j MASQUERADE",
            "-s <subnet> ! -o <bridge> -j SNAT --to-source <any>",
            "-o <bridge> -m addrtype --src-type LOCAL -j MASQUERADE",
            "-s <container> -d <container> -p <protocol> -m <protocol> --dport <port> -j MASQUERADE",
        ],
    ),
    (
        "filter",
        "FORWARD",
        &[
            "-j DOCKER-USER",
            "-j DOCKER-FORWARD",
            "-j DOCKER-INGRESS",
            "-j DOCKER-ISOLATION-STAGE-1",
            "-o <bridge> -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-o <bridge> -j DOCKER",
            "-i <bridge> [ ! -o <bridge> ] -j ACCEPT",
            "-i <bridge> -o <bridge> -j ACCEPT",
            "-i <bridge> -o <bridge> -j DROP",
            "-m set --match-set <set> dst -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-m set --match-set <set> dst -j DOCKER",
        ],
    ),
];

/// Docker's rules in its own chains, where they may also be of networks that are gone.
const AMONG_ITSELF: [(&str, &str, &[&str]); 10] = [
    // Where there was a swarm.
    ("nat", "DOCKER-INGRESS", &["-j RETURN"]),
    ("filter", "DOCKER-INGRESS", &["-j RETURN"]),
    (
        "nat",
        "DOCKER",
        &[
            "-i <interface> -j RETURN",
            "[ ! -s <net> ] [ -d <net> ] [ ! -i <interface> ] -p <protocol> -m <protocol> --dport <port> -j DNAT --to-destination <any>",
        ],
    ),
    (
        "filter",
        "DOCKER",
        &[
            "[ -d <net> ] ! -i <interface> -o <interface> [ -p <protocol> -m <protocol> --dport <port> ] -j ACCEPT",
            "! -i <interface> -o <interface> -j DROP",
            "[ ! -i <interface> ] -o <interface> -p <icmp> [ -m <icmp> ] -j ACCEPT",
            // Links between containers.
            "-s <net> -d <net> -i <interface> -o <interface> -p <protocol> -m <protocol> --dport <port> -j ACCEPT",
            "-s <net> -d <net> -i <interface> -o <interface> -p <protocol> -m <protocol> --sport <port> -j ACCEPT",
        ],
    ),
    ("filter", "DOCKER-BRIDGE", &["-o <interface> -j DOCKER"]),
    (
        "filter",
        "DOCKER-CT",
        &["-o <interface> -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"],
    ),
    (
        "filter",
        "DOCKER-FORWARD",
        &[
            "-j DOCKER-CT",
            "-j DOCKER-INTERNAL",
            "-j DOCKER-ISOLATION-STAGE-1",
            "-j DOCKER-BRIDGE",
            "-j DOCKER-INGRESS",
            "-i <interface> [ ! -o <interface> ] -j ACCEPT",
            "-i <interface> -o <interface> -j ACCEPT",
            "-i <interface> -o <interface> -j DROP",
            "-m set --match-set <set> dst -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-m set --match-set <set> dst -j DOCKER",
        ],
    ),
    (
        "filter",
        "DOCKER-INTERNAL",
        &[
            "! -s <net> [ ! -i <interface> ] -o <interface> -j DROP",
            "! -d <net> -i <interface> [ ! -o <interface> ] -j DROP",
        ],
    ),
    (
        "filter",
        "DOCKER-ISOLATION-STAGE-1",
        &[
            "-i <interface> ! -o <interface> -j DOCKER-ISOLATION-STAGE-2",
            "! -s <net> [ ! -i <interface> ] -o <interface> -j DROP",
            "! -d <net> -i <interface> [ ! -o <interface> ] -j DROP",
            // Of networks in mode routed.
            "-i <interface> -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-o <interface> -j RETURN",
            "-j RETURN",
        ],
    ),
    (
        "filter",
        "DOCKER-ISOLATION-STAGE-2",
        &["[ ! -i <interface> ] -o <interface> -j DROP", "-j RETURN"],
    ),
];

/// What Docker's rules can be about.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    bridges: BTreeSet<String>,
    subnets: Vec<IpNet>,
    /// The addresses that containers' ports are published on.
    published: BTreeSet<IpAddr>,
}

impl Known {
    pub(super) fn of(observed: &Observed) -> Self {
        let networks = &observed.networks;
        let ports = observed.containers.iter().flat_map(|one| &one.ports);
        Known {
            bridges: networks.iter().map(|it| it.bridge.clone()).collect(),
            subnets: networks
                .iter()
                .flat_map(|network| network.subnets.clone())
                .collect(),
            published: ports.map(|port| port.address).collect(),
        }
    }

    /// The bridges' names.
    pub(super) fn bridges(&self) -> impl Iterator<Item = &String> {
        self.bridges.iter()
    }

    /// Whether a chain is Docker's by its name.
    pub(super) fn is_own(table: &str, chain: &str) -> bool {
        CHAINS.contains(&(table, chain))
    }

    /// Whether Docker has written this rule.
    pub(super) fn has_written(&self, table: &str, chain: &str, rule: &str) -> bool {
        let patterns = match chain {
            // It ends so by itself, before 28.
            USERS => return rule == "-j RETURN",
            _ => BESIDE_OTHERS.iter().chain(&AMONG_ITSELF),
        };
        patterns
            .filter(|(its_table, its_chain, _)| (*its_table, *its_chain) == (table, chain))
            .flat_map(|(_, _, patterns)| *patterns)
            .any(|pattern| captures(pattern, rule, &|name, word| self.is_one(name, word)).is_some())
    }

    fn is_one(&self, name: &str, word: &str) -> bool {
        let net = || word.parse::<IpNet>().ok();
        let host = || net().filter(|net| net.prefix_len() == net.max_prefix_len());
        match name {
            "bridge" => self.bridges.contains(word),
            "subnet" => net().is_some_and(|net| self.subnets.contains(&net)),
            "container" => host().is_some_and(|net| {
                let mut subnets = self.subnets.iter();
                subnets.any(|subnet| subnet.contains(&net.addr()))
            }),
            "published" => host().is_some_and(|net| self.published.contains(&net.addr())),
            "net" => net().is_some(),
            "interface" => !word.starts_with('-') && word != "!",
            "set" => ["docker-ext-bridges-v4", "docker-ext-bridges-v6"].contains(&word),
            "protocol" => ["tcp", "udp", "sctp"].contains(&word),
            "icmp" => ["icmp", "ipv6-icmp", "icmp6"].contains(&word),
            "port" => word.split(':').all(|port| port.parse::<u16>().is_ok()),
            "any" => true,
            _ => false,
        }
    }
}
