//! Ports are published in a world, and no more.

use std::net::SocketAddr;

use portnat_common::address::{Address as _, role};
use portnat_common::admission::{self, AdmissionKey, Limit};
use portnat_common::ports::bitmap_position;
use portnat_common::{Published, PublishedKey};

use super::world::{Hosts, TestFamily};

impl<F: TestFamily> Hosts<F> {
    /// Publishes `port` of `protocol` at `address` for `target`.
    pub(crate) fn publish(mut self, protocol: u8, address: &str, port: u16, target: &str) -> Self {
        let address = address.parse().expect("an address");
        let target = target.parse().expect("an address and a port");
        let port_id = self.next_id();
        self.publish_as(port_id, protocol, SocketAddr::new(address, port), target);
        self
    }

    /// Publishes the ports from `first` to `last` for those from `target`'s on.
    pub(crate) fn publish_range(
        mut self,
        protocol: u8,
        address: &str,
        (first, last): (u16, u16),
        target: &str,
    ) -> Self {
        let at = SocketAddr::new(address.parse().expect("an address"), first);
        let target = target.parse().expect("an address and a port");
        self.publish_range_as(self.next_id(), protocol, at, last, target);
        self
    }

    /// Publishes the ports from that of `at` to `last` for those from `target`'s on, under this id.
    pub(crate) fn publish_range_as(
        &mut self,
        port_id: u32,
        protocol: u8,
        at: SocketAddr,
        last: u16,
        target: SocketAddr,
    ) {
        let value = Self::value(port_id, at, target);
        self.ranges.insert(Self::key(protocol, at), (last, value));
        self.published_have_changed();
    }

    /// Publishes a port of `protocol` for `target`, under this id.
    pub(crate) fn publish_as(
        &mut self,
        port_id: u32,
        protocol: u8,
        at: SocketAddr,
        target: SocketAddr,
    ) {
        let value = Self::value(port_id, at, target);
        self.published.insert(Self::key(protocol, at), value);
        self.published_have_changed();
    }

    /// A container's own port may be asked for directly.
    pub(crate) fn open(mut self, protocol: u8, target: &str) -> Self {
        let target: SocketAddr = target.parse().expect("an address and a port");
        let value = Published {
            target: F::Address::ANY.widen(),
            port_id: self.published_back.len() as u32 + 1,
            target_port: target.port(),
            port: target.port(),
            flags: 0,
        };
        self.published_back
            .insert(Self::key(protocol, target), value);
        self
    }

    /// Who is in a prefix may come in by the first published port, or may not.
    pub(crate) fn list(mut self, prefix: &str, length: u32, lets_in: bool) -> Self {
        let source = F::address(prefix.parse().expect("an address"));
        let key = AdmissionKey { port_id: 1, source };
        self.admissions.lists.push((key, length, lets_in));
        self.ask(admission::LISTED)
    }

    /// Each source may open so many flows by the first published port in a second, and at once.
    pub(crate) fn limit(mut self, rate: u32, burst: u32) -> Self {
        let limit = Limit {
            rate,
            burst,
            period: self.settings.hz,
        };
        self.admissions.limits.insert(1, limit);
        self.ask(admission::LIMITED)
    }

    fn ask(mut self, flag: u32) -> Self {
        let mut values = self.published.values_mut();
        let first = values.find(|value| value.port_id == 1);
        first.expect("a published port").flags |= flag;
        self
    }

    /// Publishes a port, or the range that begins with it, no more.
    pub(crate) fn unpublish(&mut self, protocol: u8, at: SocketAddr) {
        self.published.remove(&Self::key(protocol, at));
        self.ranges.remove(&Self::key(protocol, at));
        self.published_have_changed();
    }

    /// The range that a port is in, found by looking at each.
    pub(super) fn range_at(&self, key: &PublishedKey<F::Address>) -> Option<&Published> {
        let mut ranges = self.ranges.iter().filter(|(first, (last, _))| {
            (first.address, first.protocol) == (key.address, key.protocol)
                && (first.port..=*last).contains(&key.port)
        });
        ranges.next().map(|(_, (_, value))| value)
    }

    /// The first range that leads to a target, the other way round.
    pub(super) fn range_back(&self, key: &PublishedKey<F::Address>) -> Option<&Published> {
        let found = self.ranges.iter().find(|(first, (last, value))| {
            let end = value.target_port_of(*last);
            (F::Address::narrow(&value.target), first.protocol) == (key.address, key.protocol)
                && (value.target_port..=end).contains(&key.port)
        });
        // It is asked for by reference.
        found.map(|(first, (_, value))| self.of_ranges.push_get(Box::new(value.back(first).1)))
    }

    fn next_id(&self) -> u32 {
        (self.published.len() + self.ranges.len()) as u32 + 1
    }

    fn value(port_id: u32, at: SocketAddr, target: SocketAddr) -> Published {
        Published {
            target: F::address(target.ip()).widen(),
            port_id,
            target_port: target.port(),
            port: at.port(),
            flags: 0,
        }
    }

    fn key(protocol: u8, at: SocketAddr) -> PublishedKey<F::Address> {
        PublishedKey {
            address: F::address(at.ip()),
            port: at.port(),
            protocol,
            padding: 0,
        }
    }

    /// What follows from the published ports is brought in step.
    fn published_have_changed(&mut self) {
        self.published_back.clear();
        for roles in self.roles.values_mut() {
            *roles &= role::HOST;
        }
        self.bitmap.clear();
        for (key, value) in &self.published {
            let (back_key, back) = value.back(key);
            // Of several ports the first speaks for the target.
            self.published_back.entry(back_key).or_insert(back);
        }
        let alone = self
            .published
            .iter()
            .map(|(key, value)| (key, key.port, value));
        let ranges = self
            .ranges
            .iter()
            .map(|(key, (last, value))| (key, *last, value));
        for (key, last, value) in alone.chain(ranges) {
            if key.address != F::Address::ANY {
                *self.roles.entry(key.address).or_default() |= role::PUBLISHED;
            }
            let target = F::Address::narrow(&value.target);
            *self.roles.entry(target).or_default() |= role::TARGET;
            for port in key.port..=last {
                let (word, bit) = bitmap_position(key.protocol, port);
                *self.bitmap.entry(word).or_default() |= bit;
            }
        }
    }
}
