//! The user's rules in `DOCKER-USER`: which of them go on to mean what they say, and which options say the
//! same.

use std::net::IpAddr;
use std::num::NonZeroU16;

use super::pattern::{Captures, captures};
use crate::docker::Observed;
use crate::docker::labels::protocol;
use crate::model::prefix;

/// What a rule can ask of connection tracking that what portnat has translated never meets.
const NEVER: [&str; 6] = [
    "--ctorigdst",
    "--ctorigdstport",
    "--ctorigsrc",
    "--ctorigsrcport",
    "--ctstatus",
    "DNAT",
];

/// Whether a rule is met no more once nothing translates by connection tracking.
pub(super) fn is_met_no_more(rule: &str) -> bool {
    let words = rule.split_whitespace().flat_map(|word| word.split(','));
    let mut words = words.filter(|word| NEVER.contains(word));
    words.next().is_some()
}

/// The option of `portnat run` that says the same, if there is one. Rules see the containers' ports,
/// options name the host's.
pub(super) fn option_for(rule: &str, observed: &Observed) -> Option<String> {
    let found = |pattern| captures(pattern, rule, &is_one);
    let denied = [
        "-s <net> [ -i <interface> ] [ -o <interface> ] -j <drop>",
        "-s <net> [ -i <interface> ] [ -o <interface> ] -p <protocol> -m <protocol> --dport <port> -j <drop>",
        "-s <net> [ -i <interface> ] [ -o <interface> ] -p <protocol> -m conntrack [ --ctorigdst <any> ] --ctorigdstport <host-port> -j <drop>",
    ];
    let allowed = [
        "! -s <net> [ -i <interface> ] [ -o <interface> ] -j <drop>",
        "! -s <net> [ -i <interface> ] [ -o <interface> ] -p <protocol> -m <protocol> --dport <port> -j <drop>",
        "! -s <net> [ -i <interface> ] [ -o <interface> ] -p <protocol> -m conntrack [ --ctorigdst <any> ] --ctorigdstport <host-port> -j <drop>",
        "-s <net> [ -i <interface> ] [ -o <interface> ] -j <pass>",
        "-s <net> [ -i <interface> ] [ -o <interface> ] -p <protocol> -m <protocol> --dport <port> -j <pass>",
    ];
    let (option, captured) = denied
        .into_iter()
        .map(|pattern| ("--deny", pattern))
        .chain(allowed.into_iter().map(|pattern| ("--allow", pattern)))
        .find_map(|(option, pattern)| Some((option, found(pattern)?)))?;
    written(option, &captured, observed)
}

fn written(option: &str, captured: &Captures<'_>, observed: &Observed) -> Option<String> {
    let word = |wanted: &str| {
        let mut all = captured.iter();
        all.find_map(|(name, word)| (*name == wanted).then_some(*word))
    };
    let net = prefix(word("net")?)?;
    let Some(name) = word("protocol") else {
        return Some(format!("{option} {net}"));
    };
    let transport = protocol(name)?;
    let suffix = match name {
        "tcp" => String::new(),
        other => format!("/{other}"),
    };
    let mut hosts: Vec<NonZeroU16> = match (word("host-port"), word("port")) {
        (Some(host), _) => vec![host.parse().ok()?],
        (None, Some(inside)) => {
            let inside: NonZeroU16 = inside.parse().ok()?;
            let ports = observed.containers.iter().flat_map(|one| &one.ports);
            let its = ports.filter(|port| (port.container, port.protocol) == (inside, transport));
            its.filter_map(|port| port.host).collect()
        }
        (None, None) => return None,
    };
    hosts.sort_unstable();
    hosts.dedup();
    let options = hosts
        .iter()
        .map(|host| format!("{option} {host}{suffix}={net}"));
    let options: Vec<_> = options.collect();
    (!options.is_empty()).then(|| options.join(" "))
}

fn is_one(name: &str, word: &str) -> bool {
    match name {
        "net" => prefix(word).is_some(),
        "interface" => !word.starts_with('-') && word != "!",
        "protocol" => protocol(word).is_some(),
        "port" | "host-port" => word.parse::<NonZeroU16>().is_ok(),
        "any" => word.parse::<IpAddr>().is_ok() || prefix(word).is_some(),
        "drop" => ["DROP", "REJECT"].contains(&word),
        "pass" => ["ACCEPT", "RETURN"].contains(&word),
        _ => false,
    }
}
