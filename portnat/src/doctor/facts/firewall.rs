//! The firewall's rules, as its own tools show them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::Command;

use crate::doctor::rules::{
    Family, Ruleset, Tool, dormant, managed_tables, read_iptables, read_nft, rule_texts, unjudged,
};

/// Where the kernel names the tables of legacy iptables. It has none where this is empty.
const LEGACY_TABLES: [(Family, &str); 2] = [
    (Family::Ip, "/proc/thread-self/net/ip_tables_names"),
    (Family::Ip6, "/proc/thread-self/net/ip6_tables_names"),
];

/// The firewall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::doctor) struct Firewall {
    pub(in crate::doctor) rules: Ruleset,
    /// What could not be read.
    pub(in crate::doctor) unread: Vec<Unread>,
    /// Tables whose rules see frames, which nobody here judges.
    pub(in crate::doctor) unjudged: Vec<String>,
}

/// Rules that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Unread {
    /// Which.
    pub(in crate::doctor) what: &'static str,
    /// Why.
    pub(in crate::doctor) why: String,
    /// The package that has the tool, if that is missing.
    pub(in crate::doctor) package: Option<&'static str>,
}

/// Why a tool shows nothing.
enum Silence {
    Missing,
    Fails(String),
}

pub(super) fn gather() -> Firewall {
    let mut firewall = Firewall::default();
    firewall.read_nft();
    for (family, tables) in LEGACY_TABLES {
        firewall.read_legacy(family, tables);
    }
    firewall
}

impl Firewall {
    fn read_nft(&mut self) {
        const WHAT: &str = "the rules of nftables";
        let listing = match run("nft", &["-j", "list", "ruleset"]) {
            Ok(listing) => listing,
            Err(silence) => return self.miss(WHAT, "nft", "nftables", silence),
        };
        let texts = run("nft", &["-a", "list", "ruleset"]).unwrap_or_default();
        let asleep = dormant(&texts);
        let texts = rule_texts(&texts);
        let managed = match managed_tables(&listing) {
            Ok(managed) => managed,
            Err(error) => {
                return self.miss(WHAT, "nft", "nftables", Silence::Fails(error.to_string()));
            }
        };
        // iptables shows all of its tables.
        let mut shown = BTreeSet::new();
        for (family, save) in [
            (Family::Ip, "iptables-nft-save"),
            (Family::Ip6, "ip6tables-nft-save"),
        ] {
            if !managed.iter().any(|(of, _)| *of == family) {
                continue;
            }
            match run(save, &[]) {
                Ok(saved) => {
                    let read = read_iptables(&saved, Tool::IptablesNft, family, Some(&managed));
                    self.rules.chains.extend(read.chains);
                    shown.extend(managed.iter().filter(|(of, _)| *of == family).cloned());
                }
                Err(silence) => self.miss(
                    "the rules of iptables that only it understands",
                    save,
                    "iptables",
                    silence,
                ),
            }
        }
        shown.extend(asleep);
        let read = read_nft(&listing, &texts, &shown);
        match read.and_then(|read| Ok((read, unjudged(&listing)?))) {
            Ok((read, unjudged)) => {
                self.rules.chains.extend(read.chains);
                self.unjudged = unjudged;
            }
            Err(error) => self.miss(WHAT, "nft", "nftables", Silence::Fails(error.to_string())),
        }
    }

    fn read_legacy(&mut self, family: Family, tables: &str) {
        let what = match family {
            Family::Ip6 => "the rules of ip6tables-legacy",
            _ => "the rules of iptables-legacy",
        };
        match fs::read_to_string(tables) {
            Ok(names) if names.trim().is_empty() => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let why = Silence::Fails(format!("{tables}: {error}"));
                return self.miss(what, "", "iptables", why);
            }
        }
        // Before there was another there was no need for the longer name.
        let (save, plain) = match family {
            Family::Ip6 => ("ip6tables-legacy-save", "ip6tables-save"),
            _ => ("iptables-legacy-save", "iptables-save"),
        };
        let saved = match run(save, &[]) {
            Err(Silence::Missing) => run(plain, &[])
                .ok()
                .filter(|saved| !saved.contains("nf_tables"))
                .ok_or(Silence::Missing),
            saved => saved,
        };
        match saved {
            Ok(saved) => {
                let read = read_iptables(&saved, Tool::IptablesLegacy, family, None);
                self.rules.chains.extend(read.chains);
            }
            Err(silence) => self.miss(what, save, "iptables", silence),
        }
    }

    fn miss(&mut self, what: &'static str, tool: &str, package: &'static str, silence: Silence) {
        let (why, package) = match silence {
            Silence::Missing => (format!("{tool} is not installed"), Some(package)),
            Silence::Fails(why) => (why, None),
        };
        self.unread.push(Unread { what, why, package });
    }
}

/// What a tool prints.
fn run(tool: &str, arguments: &[&str]) -> Result<String, Silence> {
    let output = Command::new(tool).args(arguments).output();
    let output = output.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Silence::Missing,
        _ => Silence::Fails(format!("{tool}: {error}")),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let first = said.lines().next().unwrap_or_default();
        return Err(Silence::Fails(format!("{tool}: {first}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
