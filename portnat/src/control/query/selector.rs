//! Published ports as the query of a URL: `port=8080/tcp`, `target=172.17.0.2`, or a target and
//! several `spec=8080:80`.

use form_urlencoded::{Serializer, parse};

use super::set;
use crate::control::{Selector, aim};
use crate::flows::PortFilter;
use crate::spec::{Target, Wish};

/// Reads such a query.
pub(in crate::control) fn read(text: &str) -> Result<Selector, String> {
    let (mut port, mut target) = (None::<PortFilter>, None::<Target>);
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
        (None, Some(Target::Address(target)), []) => Ok(Selector::Target(target)),
        (None, Some(Target::Address(target)), specs) => {
            let specs = aim(&target.to_string(), specs);
            specs
                .map(Selector::Specs)
                .map_err(|error| format!("spec: {error}"))
        }
        (None, Some(Target::Container(name)), specs) => {
            let specs = aim(&name, specs).map_err(|error| format!("spec: {error}"))?;
            let specs = specs.iter().filter_map(Wish::named).cloned().collect();
            Ok(Selector::Container { name, specs })
        }
        _ => Err("which ports? Say port alone, or target, and with it spec".to_owned()),
    }
}

/// The query that means the published ports of a target, or what these specs say of it.
pub(in crate::control) fn of_target(target: &Target, specs: &[String]) -> String {
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
        let specs = ["[::1]:8080:80/udp".to_owned(), "80".to_owned()];
        let target: Target = "fd00::2".parse().expect("an address");
        let address = Selector::Target("fd00::2".parse().expect("an address"));
        assert_eq!(read(&of_target(&target, &[])), Ok(address));
        let aimed = aim("fd00::2", &specs).expect("specs");
        let query = of_target(&target, &specs);
        assert_eq!(read(&query), Ok(Selector::Specs(aimed)));
        let target: Target = "web".parse().expect("a name");
        let container = |specs: &[&str]| {
            let named = specs
                .iter()
                .map(|spec| spec.parse::<Wish>().expect("a spec"));
            Selector::Container {
                name: "web".to_owned(),
                specs: named.filter_map(|wish| wish.named().cloned()).collect(),
            }
        };
        assert_eq!(read(&of_target(&target, &[])), Ok(container(&[])));
        let aimed = container(&["[::1]:8080:80/udp@web", "80@web"]);
        assert_eq!(read(&of_target(&target, &specs)), Ok(aimed));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, words) in [
            ("", "which ports?"),
            ("spec=80", "which ports?"),
            ("port=80&target=172.17.0.2", "which ports?"),
            ("target=we%20b", "target: invalid target: we b"),
            ("target=web&spec=80@web", "said once"),
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
