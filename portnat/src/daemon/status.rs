//! What this daemon is like, for who asks at the control socket.

use std::collections::BTreeMap;

use clap::ValueEnum as _;

use super::Daemon;
use crate::control::{Attached, Status};
use crate::datapath::XdpMode;
use crate::model::{Interface, Role};
use crate::net::{namespace_name, snapshot};

impl Daemon {
    /// What it holds on to, by the host as it is now.
    pub(super) async fn status(&mut self) -> Status {
        let mut complaints = [self.complaints.all(), self.unreached.all()].concat();
        let (mut interfaces, mut ipv6) = (BTreeMap::new(), false);
        match snapshot(&self.handle).await {
            Ok(mut host) => {
                self.held_uplinks.hold(&mut host);
                let desired = self.intent.desired(&host);
                ipv6 = desired.uses_v6();
                interfaces = desired.interfaces;
            }
            Err(error) => complaints.push(error.to_string()),
        }
        let xdp = self.receivers.mode();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            namespace: namespace_name().unwrap_or_default(),
            persist: self.persist,
            uplinks: of_role(&interfaces, Role::Uplink),
            bridges: of_role(&interfaces, Role::Bridge),
            internal: of_role(&interfaces, Role::Internal),
            ipv6,
            attached: self
                .datapath
                .attached()
                .filter_map(|(index, hook, program)| {
                    Some(Attached {
                        interface: interfaces.get(&index)?.name.clone(),
                        index,
                        hook: hook.to_string(),
                        program: program.to_owned(),
                    })
                })
                .collect(),
            fast_path: self.intent.fast,
            xdp: name(xdp),
            frame_ports: match xdp {
                // What comes from in front of the stack any container takes.
                XdpMode::Off | XdpMode::Generic => Vec::new(),
                XdpMode::Auto | XdpMode::Native => {
                    self.datapath.frame_candidates().into_iter().collect()
                }
            },
            complaints,
            helper_gone: self.aide.as_ref().is_some_and(|aide| aide.has_ended()),
        }
    }
}

fn of_role(interfaces: &BTreeMap<u32, Interface>, role: Role) -> Vec<String> {
    interfaces
        .values()
        .filter(|interface| interface.role == role)
        .map(|interface| interface.name.clone())
        .collect()
}

fn name(mode: XdpMode) -> String {
    let value = mode.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}
