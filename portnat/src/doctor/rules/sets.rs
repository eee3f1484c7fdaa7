//! Values as nft's JSON writes them (libnftables-json(5)), and the sets that have names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value as Json;

use super::{Key, Value};

/// Elements of named sets and maps: by family, table and name.
#[derive(Debug, Default)]
pub(super) struct Sets(BTreeMap<(String, String, String), Vec<Json>>);

impl Sets {
    /// Takes up a set or map, as it is listed.
    pub(super) fn add(&mut self, set: &Json) {
        let text = |name: &str| set[name].as_str().unwrap_or_default().to_owned();
        let key = (text("family"), text("table"), text("name"));
        let elements = set["elem"].as_array().cloned().unwrap_or_default();
        self.0.insert(key, elements);
    }

    /// The elements of what a rule names or lists; `None` if that is not known.
    pub(super) fn elements(&self, rule: &Json, of: &Json) -> Option<Vec<Json>> {
        if let Some(name) = of.as_str().and_then(|text| text.strip_prefix('@')) {
            let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
            return self
                .0
                .get(&(text("family"), text("table"), name.to_owned()))
                .cloned();
        }
        let listed = of.get("set").unwrap_or(of);
        match listed {
            Json::Array(elements) => Some(elements.clone()),
            Json::String(_) | Json::Number(_) | Json::Object(_) => Some(vec![listed.clone()]),
            _ => None,
        }
    }

    /// The values that a rule compares with; `None` if they are not understood.
    pub(super) fn values(&self, rule: &Json, key: Key, right: &Json) -> Option<Vec<Value>> {
        let elements = self.elements(rule, right)?;
        elements.iter().map(|element| value(key, element)).collect()
    }
}

/// A value. An element of a set may come with a comment or an end of its time.
pub(super) fn value(key: Key, json: &Json) -> Option<Value> {
    let json = json.get("elem").map_or(json, |element| &element["val"]);
    match key {
        Key::Source | Key::Destination => network(json),
        Key::SourcePort | Key::DestinationPort => numbers(json),
        Key::Protocol => match json.as_u64() {
            Some(number) => Some(Value::Name(protocol(u8::try_from(number).ok()?))),
            None => text(json),
        },
        Key::Family => match json.as_str()? {
            "ip" | "ipv4" => Some(Value::Name("ipv4".to_owned())),
            "ip6" | "ipv6" => Some(Value::Name("ipv6".to_owned())),
            other => Some(Value::Name(other.to_owned())),
        },
        Key::InInterface | Key::OutInterface | Key::State | Key::Status | Key::DestinationType => {
            text(json)
        }
    }
}

/// A protocol's name, as packets have it here.
pub(super) fn protocol(number: u8) -> String {
    crate::flows::Transport(number).to_string()
}

fn text(json: &Json) -> Option<Value> {
    Some(Value::Name(json.as_str()?.to_owned()))
}

fn network(json: &Json) -> Option<Value> {
    if let Some(text) = json.as_str() {
        let address: IpAddr = text.parse().ok()?;
        return Some(Value::Net(address.into()));
    }
    if let Some(prefix) = json.get("prefix") {
        let address: IpAddr = prefix["addr"].as_str()?.parse().ok()?;
        let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
        return Some(Value::Net(IpNet::new(address, length).ok()?));
    }
    let end = |number: usize| json["range"][number].as_str()?.parse::<IpAddr>().ok();
    Some(Value::Addresses(end(0)?, end(1)?))
}

fn numbers(json: &Json) -> Option<Value> {
    let number = |json: &Json| u16::try_from(json.as_u64()?).ok();
    if let Some(number) = number(json) {
        return Some(Value::Numbers(number, number));
    }
    let range = json.get("range")?;
    Some(Value::Numbers(number(&range[0])?, number(&range[1])?))
}
