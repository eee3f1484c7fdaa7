//! Filters as the query of a URL.

pub(super) mod selector;

use form_urlencoded::{Serializer, parse};

use crate::flows::FlowFilter;

/// Whose flows a query asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) filter: FlowFilter,
    /// That every flow is meant was said, not forgotten.
    pub(super) all: bool,
}

impl Query {
    /// Reads a query such as `client=192.0.2.0/24&proto=tcp`.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut query = Query::default();
        let FlowFilter {
            port,
            target,
            client,
            proto,
        } = &mut query.filter;
        for (name, value) in parse(text.as_bytes()) {
            match &*name {
                "port" => set(port, &name, &value)?,
                "target" => set(target, &name, &value)?,
                "client" => set(client, &name, &value)?,
                "proto" => set(proto, &name, &value)?,
                "all" if value == "true" => query.all = true,
                "all" => return Err(format!("all can only be true, not {value:?}")),
                _ => {
                    return Err(format!(
                        "unknown parameter {name:?}: there are port, target, client, proto and all"
                    ));
                }
            }
        }
        Ok(query)
    }

    /// The query that is read as this one; without its question mark.
    pub(super) fn write(&self) -> String {
        let FlowFilter {
            port,
            target,
            client,
            proto,
        } = &self.filter;
        let pairs = [
            ("port", port.map(|port| port.to_string())),
            ("target", target.map(|target| target.to_string())),
            ("client", client.map(|client| client.to_string())),
            ("proto", proto.map(|proto| proto.to_string())),
            ("all", self.all.then(|| true.to_string())),
        ];
        let given = pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Serializer::new(String::new()).extend_pairs(given).finish()
    }
}

fn set<T: std::str::FromStr<Err: std::fmt::Display>>(
    place: &mut Option<T>,
    name: &str,
    value: &str,
) -> Result<(), String> {
    let value = value.parse().map_err(|error| format!("{name}: {error}"))?;
    match place.replace(value) {
        Some(_) => Err(format!("{name} is there twice")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let filter = FlowFilter {
            port: Some("[::1]:8080/tcp".parse().expect("a port")),
            target: Some("[fd00::2]:80".parse().expect("an address")),
            client: Some("192.0.2.0/24".parse().expect("a prefix")),
            proto: Some("tcp".parse().expect("a protocol")),
        };
        let all = Query {
            filter: FlowFilter::default(),
            all: true,
        };
        let filtered = Query { filter, all: false };
        for query in [filtered, all, Query::default()] {
            assert_eq!(Query::read(&query.write()), Ok(query));
        }
    }

    /// As one types it for curl.
    #[test]
    fn punctuation_needs_no_escape() {
        let typed = Query::read("client=192.0.2.0/24&port=0.0.0.0:8080/tcp");
        let escaped = Query::read("client=192.0.2.0%2F24&port=0.0.0.0%3A8080%2Ftcp");
        assert_eq!(typed, escaped);
        assert!(typed.is_ok_and(|query| !query.filter.is_everything()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, words) in [
            ("colour=red", "unknown parameter \"colour\""),
            ("port=http", "port: no port of the host: \"http\""),
            ("proto=tcp&proto=udp", "proto is there twice"),
            ("all=yes", "all can only be true"),
            ("client=", "client: no address: \"\""),
        ] {
            let error = Query::read(text).expect_err(text);
            assert!(error.contains(words), "{error}");
        }
    }
}
