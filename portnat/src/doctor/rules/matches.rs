//! What rules of nft compare, as its JSON has it (libnftables-json(5)).

use serde_json::Value as Json;

use super::sets::{Sets, value};
use super::{Key, Test, Value};

/// The parts of what is put together of several (`ip saddr . tcp dport`), or it itself.
pub(super) fn parts(json: &Json) -> &[Json] {
    let json = json.get("elem").map_or(json, |element| &element["val"]);
    match &json["concat"] {
        Json::Array(parts) => parts,
        _ => std::slice::from_ref(json),
    }
}

pub(super) fn known(key: Key, values: Option<Vec<Value>>, negated: bool) -> Test {
    values.map_or(Test::Unknown, |values| Test::Known {
        key,
        values,
        negated,
    })
}

/// A comparison.
pub(super) fn matched(listed: &Json, what: &Json, sets: &Sets) -> Vec<Test> {
    let (left, right) = (&what["left"], &what["right"]);
    let negated = match what["op"].as_str() {
        Some("==" | "in") => false,
        Some("!=") => true,
        Some(op) => return compared(op, left, right),
        None => return vec![Test::Unknown],
    };
    if left["concat"].is_array() {
        return vec![one_of(listed, parts(left), right, negated, sets)];
    }
    let Some((key, mut tests)) = key(left) else {
        return vec![Test::Unknown];
    };
    let values = sets.values(listed, key, right);
    // Of connection tracking's marks of a flow only these are never on ours.
    let never =
        |value: &Value| matches!(value, Value::Name(name) if name == "dnat" || name == "snat");
    let values = values.filter(|values| key != Key::Status || values.iter().all(never));
    tests.push(known(key, values, negated));
    tests
}

/// As `tcp dport < 1024`.
fn compared(op: &str, left: &Json, right: &Json) -> Vec<Test> {
    let number = right.as_u64().and_then(|number| u16::try_from(number).ok());
    let Some((key @ (Key::SourcePort | Key::DestinationPort), mut tests)) = key(left) else {
        return vec![Test::Unknown];
    };
    let range = number.and_then(|number| match op {
        "<" => Some(number.checked_sub(1).map(|last| (0, last))),
        "<=" => Some(Some((0, number))),
        ">" => Some(number.checked_add(1).map(|first| (first, u16::MAX))),
        ">=" => Some(Some((number, u16::MAX))),
        _ => None,
    });
    // No port is less than 0, or more than the last.
    let values = range.map(|range| range.map(|(first, last)| Value::Numbers(first, last)));
    tests.push(known(
        key,
        values.map(|value| value.into_iter().collect()),
        false,
    ));
    tests
}

/// As `ip daddr . tcp dport @set`: what is compared has several parts.
fn one_of(listed: &Json, left: &[Json], right: &Json, negated: bool, sets: &Sets) -> Test {
    let keys = left.iter().map(key).collect::<Option<Vec<_>>>();
    let (Some(keys), Some(elements)) = (keys, sets.elements(listed, right)) else {
        return Test::Unknown;
    };
    let row = |element: &Json| {
        let values = parts(element);
        let tests = keys.iter().zip(values).flat_map(|((key, more), json)| {
            let values = value(*key, json).map(|value| vec![value]);
            let test = known(*key, values, false);
            more.iter().cloned().chain([test])
        });
        match values.len() == keys.len() {
            true => tests.collect(),
            false => vec![Test::Unknown],
        }
    };
    Test::OneOf {
        rows: elements.iter().map(row).collect(),
        negated,
    }
}

/// What is compared, and what that takes for granted.
pub(super) fn key(left: &Json) -> Option<(Key, Vec<Test>)> {
    let (kind, what) = left.as_object()?.iter().next()?;
    let name = |part: &str| what[part].as_str().unwrap_or_default();
    match kind.as_str() {
        "meta" => Some((
            match name("key") {
                "iifname" | "iif" => Key::InInterface,
                "oifname" | "oif" => Key::OutInterface,
                "l4proto" => Key::Protocol,
                "nfproto" | "protocol" => Key::Family,
                _ => return None,
            },
            Vec::new(),
        )),
        "ct" => match name("key") {
            "state" => Some((Key::State, Vec::new())),
            "status" => Some((Key::Status, Vec::new())),
            _ => None,
        },
        "fib" => {
            let flags = &what["flags"];
            let is_plain = *flags == "daddr" || *flags == Json::from(vec!["daddr"]);
            (name("result") == "type" && is_plain).then_some((Key::DestinationType, Vec::new()))
        }
        "payload" => {
            let needs = |key, value: &str| {
                let values = vec![Value::Name(value.to_owned())];
                vec![known(key, Some(values), false)]
            };
            let protocol = name("protocol");
            let needed = match protocol {
                "ip" => needs(Key::Family, "ipv4"),
                "ip6" => needs(Key::Family, "ipv6"),
                "tcp" | "udp" | "sctp" => needs(Key::Protocol, protocol),
                "th" => Vec::new(),
                _ => return None,
            };
            let key = match name("field") {
                "saddr" => Key::Source,
                "daddr" => Key::Destination,
                "sport" => Key::SourcePort,
                "dport" => Key::DestinationPort,
                "protocol" | "nexthdr" => Key::Protocol,
                _ => return None,
            };
            Some((key, needed))
        }
        _ => None,
    }
}
