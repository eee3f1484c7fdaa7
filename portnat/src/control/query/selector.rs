//! Published ports as the query of a URL: `port=8080/tcp`, `target=172.17.0.2`, or a target and
//! several `spec=8080:80`.

use std::net::IpAddr;

use form_urlencoded::{Serializer, parse};

use super::set;
use crate::control::{Selector, aim};
use crate::flows::PortFilter;

/// Reads such a query.
pub(in crate::control) fn read(text: &str) -> Result<Selector, String> {
    let (mut port, mut target) = (None::<PortFilter>, None::<IpAddr>);
    let mut specs = Vec::new();
    for (name, value) in parse(text.as_bytes()) {
        match &*name {
            "port" => set(&mut port, &name, &value)?,
            "target" => set(&mut target, &name, &value)?,
            "spec" => specs.push(value.into_owned()),
            _ => {
                return Err(format!(
                    "unknown parameter {name:?}: there are port, target and spec"
                ));
            }
        }
    }
    match (port, target, &specs[..]) {
        (Some(port), None, []) => Ok(Selector::Port(port)),
        (None, Some(target), []) => Ok(Selector::Target(target.to_canonical())),
        (None, Some(target), specs) => {
            let specs =
                aim(&target.to_string(), specs).map_err(|error| format!("spec: {error}"))?;
            Ok(Selector::Specs(specs))
        }
        _ => Err("which ports? Say port alone, or target, and with it spec".to_owned()),
    }
}

/// The query that means the published ports of a target, or what these specs say of it.
pub(in crate::control) fn of_target(target: IpAddr, specs: &[String]) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("target", &target.to_string());
    for spec in specs {
        query.append_pair("spec", spec);
    }
    query.finish()
}

/// The query that means some ports of the host.
pub(in crate::control) fn of_port(port: &PortFilter) -> String {
    Serializer::new(String::new())
        .append_pair("port", &port.to_string())
        .finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let port: PortFilter = "[::1]:8080/tcp".parse().expect("a port");
        assert_eq!(read(&of_port(&port)), Ok(Selector::Port(port)));
        let target: IpAddr = "fd00::2".parse().expect("an address");
        assert_eq!(read(&of_target(target, &[])), Ok(Selector::Target(target)));
        let specs = ["[::1]:8080:80/udp".to_owned(), "80".to_owned()];
        let aimed = specs.iter().map(|spec| format!("{spec}@fd00::2").parse());
        let aimed = aimed.collect::<Result<_, _>>().expect("specs");
        let query = of_target(target, &specs);
        assert_eq!(read(&query), Ok(Selector::Specs(aimed)));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, words) in [
            ("", "which ports?"),
            ("spec=80", "which ports?"),
            ("port=80&target=172.17.0.2", "which ports?"),
            ("target=web", "target: invalid IP address"),
            (
                "target=172.17.0.2&target=172.17.0.3",
                "target is there twice",
            ),
            ("target=172.17.0.2&spec=x", "spec: invalid containerPort: x"),
            ("target=172.17.0.2&spec=80@172.17.0.3", "said once"),
            ("all=true", "unknown parameter \"all\""),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
