//! What the daemon has to say by itself.

use std::net::{Ipv4Addr, Ipv6Addr};

use tracing::{info, warn};

use super::Daemon;
use crate::model::{Desired, Role};
use crate::report::Report;
use crate::service::{Service, status};

impl Daemon {
    /// The published ports and what came through them.
    pub fn report(&mut self) -> Report {
        let totals = self.datapath.totals().unwrap_or_else(|error| {
            warn!("reading flows: {error}");
            Default::default()
        });
        let drops = self.datapath.drops().unwrap_or_else(|error| {
            warn!("reading drops: {error}");
            Vec::new()
        });
        let accelerated = self.datapath.accelerated().unwrap_or_else(|error| {
            warn!("reading what XDP did: {error}");
            0
        });
        let report = Report::new(&self.ledger.listed(), &totals, &drops, accelerated);
        report.named(&self.names())
    }

    /// Tells the service manager from now on how it goes; at once, that all is done that was asked for.
    pub fn serve_for(&mut self, service: Service) {
        self.service = service;
        self.tell_status();
        self.service.ready();
    }

    pub(super) fn tell_status(&mut self) {
        let (published, uplinks) = (&self.intent.published, self.reported.len());
        self.service.status(|| status(published, uplinks));
    }

    pub(super) fn announce(&self) {
        for port in &self.intent.published {
            info!("published {port}");
        }
    }

    pub(super) fn report_uplinks(&mut self, desired: &Desired) {
        let uplinks = desired
            .interfaces
            .iter()
            .filter(|(_, link)| link.role == Role::Uplink);
        for (index, uplink) in uplinks {
            let v4 = desired
                .v4
                .egress
                .get(index)
                .map(|ip| Ipv4Addr::from(*ip).to_string());
            let v6 = desired
                .v6
                .egress
                .get(index)
                .map(|ip| Ipv6Addr::from(*ip).to_string());
            let addresses: Vec<_> = v4.into_iter().chain(v6).collect();
            let as_whom = addresses.join(" and ");
            let name = &uplink.name;
            match (self.reported.get(index), &addresses[..]) {
                (Some(known), _) if *known == addresses => {}
                (None, []) => info!("attached to uplink {name}, which has no address yet"),
                (None, _) => info!("attached to uplink {name}, masquerading as {as_whom}"),
                (Some(_), []) => info!("uplink {name} has no address any more"),
                (Some(_), _) => info!("uplink {name} masquerades as {as_whom} now"),
            }
            self.reported.insert(*index, addresses);
        }
        self.reported
            .retain(|index, _| desired.interfaces.contains_key(index));
        let alone = self.reported.is_empty();
        if alone && !self.alone {
            warn!("there is no uplink: nothing comes in from outside until one appears");
        }
        self.alone = alone;
    }
}
