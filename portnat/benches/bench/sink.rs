//! Where packets end and are counted.

use std::net::Ipv4Addr;

use anyhow::Result;
use portnat::lab::Namespace;

use crate::kernel::Object;
use crate::plan::{EXPECTED, Expected};

/// Where a sink sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// At the stack's door, where skbs come in.
    Stack,
    /// In the driver.
    Driver,
}

/// A counter at an interface, which drops what it counts or sends it back.
pub(crate) struct Sink(Object);

impl Sink {
    pub(crate) fn attach(namespace: &Namespace, interface: &str, depth: Depth) -> Result<Self> {
        let mut object = Object::load()?;
        match depth {
            Depth::Stack => object.attach_tc(namespace, interface, "sink")?,
            Depth::Driver => object.attach_xdp(namespace, interface, "sink_xdp")?,
        }
        Ok(Self(object))
    }

    /// From now on counts what has such ends; `None` is any.
    pub(crate) fn expect(
        &mut self,
        source: Option<(Ipv4Addr, u16)>,
        destination: Option<(Ipv4Addr, u16)>,
        answer: bool,
    ) -> Result<()> {
        let address =
            |end: Option<(Ipv4Addr, u16)>| end.map_or(0, |(address, _)| u32::from(address).to_be());
        let port = |end: Option<(Ipv4Addr, u16)>| end.map_or(0, |(_, port)| port.to_be().into());
        self.0.set_expected(Expected {
            source: address(source),
            destination: address(destination),
            source_port: port(source),
            destination_port: port(destination),
            answer: answer.into(),
        })
    }

    /// How many expected packets there were, ever.
    pub(crate) fn count(&self) -> Result<u64> {
        Ok(self.0.counted()?[EXPECTED as usize])
    }
}
