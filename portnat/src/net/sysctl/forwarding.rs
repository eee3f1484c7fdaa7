//! Which sysctls let a link forward.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use super::conf::{ALL, Conf, DEFAULT, check_interface, directory};
use super::{NetError, Sysctls, read};

/// One step towards a link that forwards.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Sets a value.
    Set(Conf, &'static str),
    /// Remembers a value that the next step makes 0 once it is undone.
    Keep(Conf),
}

/// What a link, `all` or `default` has under `net.ipv6.conf`.
#[derive(Debug, Clone)]
struct Found {
    forwarding: String,
    accept_ra: String,
}

impl Sysctls {
    /// Lets the link forward IPv4 packets that it receives; nothing is done if it does already.
    ///
    /// # Errors
    ///
    /// [`NetError::InterfaceName`] for what cannot be a link's name, [`NetError::UnknownInterface`]
    /// if there is no such link (any more), and [`NetError::ReadSysctl`] or
    /// [`NetError::WriteSysctl`] if the kernel refuses.
    pub fn enable_forwarding(&mut self, interface: &str) -> Result<(), NetError> {
        check_interface(interface)?;
        self.set(Conf::v4(interface, "forwarding"), "1")
            .map_err(|error| match error {
                NetError::ReadSysctl { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                    NetError::UnknownInterface {
                        name: interface.to_owned(),
                    }
                }
                other => other,
            })
    }

    /// Lets the link forward IPv6 packets that it receives; nothing is done if it does already.
    ///
    /// Linux 6.17 (commit f24987ef6959) has a sysctl for that. Before, only
    /// `net.ipv6.conf.all.forwarding` does it, which makes a router of the whole host: it would no
    /// longer heed router advertisements and lose its default route at once, so every link that heeds them is first told to do so all the same.
    ///
    /// # Errors
    ///
    /// As [`enable_forwarding`](Self::enable_forwarding); and [`NetError::NoIpv6`] or
    /// [`NetError::InterfaceWithoutIpv6`] where there is nothing to switch on.
    pub fn enable_forwarding_v6(&mut self, interface: &str) -> Result<(), NetError> {
        check_interface(interface)?;
        self.check_ipv6(interface)?;
        let force = Conf::v6(interface, "force_forwarding");
        if force.path(&self.root).exists() {
            return self.set(force, "1");
        }
        let ours = self.is_ours(&Conf::v6(ALL, "forwarding"));
        for step in plan(&self.found()?, ours) {
            let link = step.conf().interface().map(str::to_owned);
            let done = match step {
                Step::Set(conf, value) => self.set(conf, value),
                Step::Keep(conf) => self.keep(conf, "0"),
            };
            match done {
                Err(error) if link.is_some() && is_gone(&error) => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn check_ipv6(&self, interface: &str) -> Result<(), NetError> {
        let has = |family| directory(&self.root, family).join(interface).exists();
        let name = interface.to_owned();
        if !directory(&self.root, "ipv6").exists() {
            Err(NetError::NoIpv6)
        } else if has("ipv6") {
            Ok(())
        } else if has("ipv4") {
            Err(NetError::InterfaceWithoutIpv6 { name })
        } else {
            Err(NetError::UnknownInterface { name })
        }
    }

    fn found(&self) -> Result<BTreeMap<String, Found>, NetError> {
        let listing = |cause| NetError::ReadSysctl {
            key: "net.ipv6.conf".to_owned(),
            cause,
        };
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(directory(&self.root, "ipv6")).map_err(listing)? {
            let Ok(of) = entry.map_err(listing)?.file_name().into_string() else {
                continue;
            };
            let value = |name| {
                let conf = Conf::v6(&of, name);
                read(&conf.key(), &conf.path(&self.root))
            };
            let values = value("forwarding").and_then(|forwarding| {
                let accept_ra = value("accept_ra")?;
                Ok(Found {
                    forwarding,
                    accept_ra,
                })
            });
            match values {
                Ok(values) => {
                    found.insert(of, values);
                }
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

impl Step {
    fn conf(&self) -> &Conf {
        match self {
            Self::Set(conf, _) | Self::Keep(conf) => conf,
        }
    }
}

/// How a host without `force_forwarding` is made to forward IPv6, in the order in which it is to be
/// done. `ours` is whether portnat made it forward: then links that came since are told to heed
/// router advertisements, where otherwise it is for somebody else to do.
fn plan(found: &BTreeMap<String, Found>, ours: bool) -> Vec<Step> {
    let forwards = found.get(ALL).is_some_and(|all| all.forwarding != "0");
    if forwards && !ours {
        return Vec::new();
    }
    // 1 is "unless forwarding", 2 is "always". No router is heard on lo.
    let mut steps: Vec<Step> = found
        .iter()
        .filter(|(of, values)| {
            !matches!(of.as_str(), ALL | DEFAULT | "lo") && values.accept_ra == "1"
        })
        .map(|(of, _)| Step::Set(Conf::v6(of, "accept_ra"), "2"))
        .collect();
    if !forwards {
        // Writing `all` writes it to all links, so undoing it would clear what some had before.
        steps.extend(
            found
                .iter()
                .filter(|(of, values)| *of != ALL && values.forwarding != "0")
                .map(|(of, _)| Step::Keep(Conf::v6(of, "forwarding"))),
        );
        steps.push(Step::Set(Conf::v6(ALL, "forwarding"), "1"));
    }
    steps
}

/// Whether the link of the sysctl vanished meanwhile.
fn is_gone(error: &NetError) -> bool {
    matches!(
        error,
        NetError::ReadSysctl { cause, .. } | NetError::WriteSysctl { cause, .. }
            if cause.kind() == io::ErrorKind::NotFound
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host of links with their `forwarding` and `accept_ra`.
    fn host(links: &[(&str, &str, &str)]) -> BTreeMap<String, Found> {
        let found = |forwarding: &str, accept_ra: &str| Found {
            forwarding: forwarding.to_owned(),
            accept_ra: accept_ra.to_owned(),
        };
        links
            .iter()
            .map(|(of, forwarding, accept_ra)| ((*of).to_owned(), found(forwarding, accept_ra)))
            .collect()
    }

    fn steps(found: &BTreeMap<String, Found>, ours: bool) -> Vec<String> {
        plan(found, ours)
            .iter()
            .map(|step| match step {
                Step::Set(conf, value) => format!("{} = {value}", conf.key()),
                Step::Keep(conf) => format!("keep {}", conf.key()),
            })
            .collect()
    }

    #[test]
    fn a_host_keeps_its_default_route_when_it_starts_to_forward() {
        let found = host(&[
            ("all", "0", "1"),
            ("default", "0", "1"),
            ("docker0", "0", "0"),
            ("eth0", "0", "1"),
            ("eth1", "0", "2"),
            ("lo", "0", "1"),
        ]);
        let expected = [
            "net.ipv6.conf.eth0.accept_ra = 2",
            "net.ipv6.conf.all.forwarding = 1",
        ];
        assert_eq!(steps(&found, false), expected);
    }

    #[test]
    fn links_that_were_routers_before_stay_so_afterwards() {
        let found = host(&[
            ("all", "0", "1"),
            ("default", "1", "1"),
            ("eth0", "1", "0"),
            ("eth1", "0", "0"),
        ]);
        let expected = [
            "keep net.ipv6.conf.default.forwarding",
            "keep net.ipv6.conf.eth0.forwarding",
            "net.ipv6.conf.all.forwarding = 1",
        ];
        assert_eq!(steps(&found, false), expected);
    }

    #[test]
    fn a_host_that_forwards_is_left_as_it_is_unless_portnat_made_it_so() {
        let found = host(&[("all", "1", "1"), ("eth0", "1", "1")]);
        assert!(steps(&found, false).is_empty());
        assert_eq!(steps(&found, true), ["net.ipv6.conf.eth0.accept_ra = 2"]);
    }
}
