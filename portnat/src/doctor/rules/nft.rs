//! Rules as `nft -j list ruleset` writes them (libnftables-json(5)).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::matches::{key, known, matched, parts};
use super::sets::{Sets, value};
use super::{Action, Base, Chain, Family, Hook, Rule, Ruleset, Test, Tool, UNTOLD};

/// The tables of iptables.
const IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// A table: its family and name.
pub(in crate::doctor) type Table = (Family, String);

/// Reads a listing, without the tables of `others`. `texts` are the rules as nft writes them for people.
///
/// # Errors
/// It is no listing.
pub(in crate::doctor) fn read(
    listing: &str,
    texts: &BTreeMap<(Table, String), String>,
    others: &BTreeSet<Table>,
) -> Result<Ruleset, serde_json::Error> {
    let objects = objects(listing)?;
    let mut sets = Sets::default();
    for object in &objects {
        for set in ["set", "map"]
            .into_iter()
            .filter_map(|kind| object.get(kind))
        {
            sets.add(set);
        }
    }
    let mut ruleset = Ruleset::default();
    for listed in objects.iter().filter_map(|object| object.get("chain")) {
        if let Some(chain) = chain(listed)
            && !others.contains(&(chain.family, chain.table.clone()))
        {
            ruleset.chains.push(chain);
        }
    }
    for listed in objects.iter().filter_map(|object| object.get("rule")) {
        let Some((family, name)) = table(listed) else {
            continue;
        };
        let chain = ruleset.chains.iter_mut().find(|chain| {
            chain.family == family && chain.table == name && listed["chain"] == *chain.name
        });
        if let Some(chain) = chain {
            let handle = listed["handle"].to_string();
            let text = texts.get(&((family, name), handle.clone()));
            let text = text.cloned().unwrap_or_default();
            chain.rules.extend(rules(listed, &sets, &handle, &text));
        }
    }
    Ok(ruleset)
}

/// What sees frames rather than what the host routes, as nft calls it: tables of families bridge and netdev, and
/// chains at a device's ingress in others. It is not judged.
///
/// # Errors
/// It is no listing.
pub(in crate::doctor) fn unjudged(listing: &str) -> Result<Vec<String>, serde_json::Error> {
    let objects = objects(listing)?;
    let chains = objects.iter().filter_map(|object| object.get("chain"));
    let names: BTreeSet<_> = chains
        .filter_map(|chain| {
            let hook = chain["hook"].as_str()?;
            let (family, table) = (chain["family"].as_str()?, chain["table"].as_str()?);
            match (family, hook) {
                ("bridge" | "netdev", _) => Some(format!("table {family} {table}")),
                (_, "ingress" | "egress") => {
                    let name = chain["name"].as_str()?;
                    Some(format!("chain {name} of table {family} {table}"))
                }
                _ => None,
            }
        })
        .collect();
    Ok(names.into_iter().collect())
}

/// The tables whose chains nobody meets, in rules as `nft list ruleset` writes them. (In JSON nft 1.0.6 writes
/// something else for a table's flags.)
pub(in crate::doctor) fn dormant(listing: &str) -> BTreeSet<Table> {
    let mut tables = BTreeSet::new();
    let mut table = None;
    for line in listing.lines() {
        let words: Vec<_> = line
            .split([' ', ',', '\t'])
            .filter(|it| !it.is_empty())
            .collect();
        match &words[..] {
            ["table", of, name, ..] => table = family(of).map(|of| (of, (*name).to_owned())),
            ["flags", flags @ ..] if flags.contains(&"dormant") => tables.extend(table.clone()),
            _ => {}
        }
    }
    tables
}

/// The tables that iptables has made, of whose rules nft does not show all.
///
/// # Errors
/// It is no listing.
pub(in crate::doctor) fn managed_tables(
    listing: &str,
) -> Result<BTreeSet<Table>, serde_json::Error> {
    let objects = objects(listing)?;
    let rules = objects.iter().filter_map(|object| object.get("rule"));
    let foreign = rules.filter(|rule| {
        let parts = rule["expr"].as_array();
        parts.is_some_and(|parts| parts.iter().any(|part| part.get("xt").is_some()))
    });
    let tables = foreign.filter_map(table);
    Ok(tables
        .filter(|(family, name)| *family != Family::Inet && IPTABLES.contains(&name.as_str()))
        .collect())
}

/// Rules as `nft -a list ruleset` writes them, by table and handle.
pub(in crate::doctor) fn rule_texts(listing: &str) -> BTreeMap<(Table, String), String> {
    let mut texts = BTreeMap::new();
    let mut table = None;
    for line in listing.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["table", of, name, ..] = words[..] {
            table = family(of).map(|family| (family, name.to_owned()));
            continue;
        }
        if let (Some(table), Some((text, handle))) = (&table, line.rsplit_once(" # handle ")) {
            let key = (table.clone(), handle.trim().to_owned());
            texts.insert(key, text.trim().to_owned());
        }
    }
    texts
}

fn objects(listing: &str) -> Result<Vec<Json>, serde_json::Error> {
    let mut listing: Json = serde_json::from_str(listing)?;
    match listing["nftables"].take() {
        Json::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

fn family(name: &str) -> Option<Family> {
    match name {
        "ip" => Some(Family::Ip),
        "ip6" => Some(Family::Ip6),
        "inet" => Some(Family::Inet),
        // Those of bridges and devices see frames.
        _ => None,
    }
}

fn table(listed: &Json) -> Option<Table> {
    let family = family(listed["family"].as_str()?)?;
    Some((family, listed["table"].as_str()?.to_owned()))
}

fn chain(listed: &Json) -> Option<Chain> {
    let (family, table) = table(listed)?;
    let base = listed["hook"].as_str().and_then(Hook::named);
    Some(Chain {
        tool: Tool::Nft,
        family,
        table,
        name: listed["name"].as_str()?.to_owned(),
        base: base.map(|hook| Base {
            hook,
            priority: listed["prio"].as_i64().unwrap_or(0),
            is_nat: listed["type"] == "nat",
            drops: listed["policy"] == "drop",
        }),
        rules: Vec::new(),
    })
}

/// A rule; one that looks its verdict up in a map is several.
fn rules(listed: &Json, sets: &Sets, handle: &str, text: &str) -> Vec<Rule> {
    let mut tests = Vec::new();
    let mut action = Action::Nothing;
    let none = Vec::new();
    for part in listed["expr"].as_array().unwrap_or(&none) {
        let Some((kind, what)) = part.as_object().and_then(|part| part.iter().next()) else {
            continue;
        };
        match kind.as_str() {
            "match" => tests.extend(matched(listed, what, sets)),
            "accept" => action = Action::Accept,
            "drop" | "reject" => action = Action::Drop,
            "return" => action = Action::Return,
            "jump" => action = Action::Jump(target(what)),
            "goto" => action = Action::Goto(target(what)),
            "dnat" | "redirect" => {
                tests.extend(looked_up(listed, what, sets));
                action = Action::Redirect(destination(kind, what));
            }
            "vmap" => return verdicts(listed, what, sets, &tests, handle, text),
            "limit" | "quota" | "ct count" | "connlimit" => tests.push(Test::Unknown),
            // Of a module of iptables: it may be a test or a verdict.
            "xt" if what["type"] == "match" && what["name"] == "comment" => {}
            "xt" if what["type"] == "match" => tests.push(Test::Unknown),
            "xt" | "queue" | "tproxy" | "synproxy" | "fwd" | "dup" => action = Action::Unknown,
            // Those count, log, mark.
            _ => {}
        }
    }
    vec![Rule {
        tests,
        action,
        name: handle.to_owned(),
        text: text.to_owned(),
    }]
}

fn target(what: &Json) -> String {
    what["target"].as_str().unwrap_or_default().to_owned()
}

/// Where a rule leads, as people write it.
fn destination(kind: &str, what: &Json) -> String {
    let address = what["addr"].as_str();
    let port = what["port"].as_u64();
    match (address, port) {
        (Some(address), Some(port)) => format!("{address}:{port}"),
        (Some(address), None) => address.to_owned(),
        (None, Some(port)) if kind == "redirect" => format!("port {port} of the host"),
        _ if kind == "redirect" => "the host itself".to_owned(),
        _ => UNTOLD.to_owned(),
    }
}

/// What a translation asks of packets that takes its destination from a map.
fn looked_up(listed: &Json, what: &Json, sets: &Sets) -> Vec<Test> {
    let maps = ["addr", "port"].into_iter().map(|part| &what[part]["map"]);
    maps.filter(|map| map.is_object())
        .flat_map(|map| {
            let Some((key, more)) = key(&map["key"]) else {
                return vec![Test::Unknown];
            };
            let elements = sets.elements(listed, &map["data"]);
            let values = elements.and_then(|elements| {
                let keys = elements.iter().map(|element| value(key, &element[0]));
                keys.collect::<Option<Vec<_>>>()
            });
            more.into_iter()
                .chain([known(key, values, false)])
                .collect()
        })
        .collect()
}

/// A rule for each element of a map of verdicts.
fn verdicts(
    listed: &Json,
    what: &Json,
    sets: &Sets,
    tests: &[Test],
    handle: &str,
    text: &str,
) -> Vec<Rule> {
    let rule = |test: Vec<Test>, action| Rule {
        tests: [tests, &test].concat(),
        action,
        name: handle.to_owned(),
        text: text.to_owned(),
    };
    let keys = parts(&what["key"])
        .iter()
        .map(key)
        .collect::<Option<Vec<_>>>();
    let elements = sets.elements(listed, &what["data"]);
    let (Some(keys), Some(elements)) = (keys, elements) else {
        return vec![rule(vec![Test::Unknown], Action::Unknown)];
    };
    let one = |element: &Json| {
        let verdict = element[1].as_object()?.iter().next()?;
        let action = match verdict.0.as_str() {
            "accept" => Action::Accept,
            "drop" => Action::Drop,
            "return" => Action::Return,
            "jump" => Action::Jump(target(verdict.1)),
            "goto" => Action::Goto(target(verdict.1)),
            _ => return None,
        };
        let values = parts(&element[0]);
        if values.len() != keys.len() {
            return Some(rule(vec![Test::Unknown], action));
        }
        let tests = keys.iter().zip(values).flat_map(|((key, more), json)| {
            let values = value(*key, json).map(|value| vec![value]);
            let test = known(*key, values, false);
            more.iter().cloned().chain([test])
        });
        Some(rule(tests.collect(), action))
    };
    elements.iter().filter_map(one).collect()
}
