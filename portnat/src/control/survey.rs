//! Flow tables are read and sifted, on a thread that may take its time.

use std::collections::BTreeMap;
use std::io;

use hyper::body::Bytes;
use portnat_common::{Address, Ip4, Ip6, Ticks, Tuple};
use tokio::sync::mpsc;

use super::{FlowKeys, Look};
use crate::datapath::{DatapathError, FlowTable, PortTotals, add_living};
use crate::flows::{FlowFilter, JoinedFlow, ListedFlow};
use crate::model::PublishedPort;

/// How many bytes of JSON are sent at a time.
const CHUNK: usize = 64 * 1024;

/// Where the pieces of an answer go. Nobody may be listening any more.
pub(super) type Pieces = mpsc::Sender<Result<Bytes, io::Error>>;

impl Look {
    /// Passes on each flow that `filter` means until `found` says no; families one after the other,
    /// as a copy of one is enough to hold at a time.
    pub(super) fn sift<A: FlowTable>(
        &self,
        filter: &FlowFilter,
        go_on: impl Fn() -> bool,
        mut found: impl FnMut(&Tuple<A>, ListedFlow) -> bool,
    ) -> Result<(), DatapathError> {
        let Some(entries) = self.flows.read::<A>(go_on)? else {
            return Ok(());
        };
        let ports: BTreeMap<_, _> = self
            .published
            .iter()
            .map(|(port, _)| (port.id, port))
            .collect();
        let lives = |flow: &JoinedFlow<A>| !flow.is_over(self.now, &self.lifetimes);
        for flow in JoinedFlow::all(&entries).filter(lives) {
            let port = ports.get(&flow.port_id()).copied();
            let listed = self.listed(&flow, port);
            if filter.matches(&listed, port) && !found(&flow.lead.key, listed) {
                break;
            }
        }
        Ok(())
    }

    fn listed<A: Address>(&self, flow: &JoinedFlow<A>, port: Option<&PublishedPort>) -> ListedFlow {
        let age = self.duration(flow.age(self.now));
        let idle = self.duration(flow.idle(self.now));
        let fast = flow.is_fast(Ticks(self.hz.into()), self.now);
        ListedFlow::new(flow, age, idle, fast, port)
    }

    /// Writes the flows that `filter` means as a JSON array with a line for each, piece by piece.
    pub(super) fn list(&self, filter: &FlowFilter, pieces: &Pieces) {
        let mut writer = Writer {
            pieces,
            text: vec![b'['],
            separator: b"\n",
        };
        let go_on = || !pieces.is_closed();
        let listed = self
            .sift::<Ip4>(filter, go_on, |_, flow| writer.write(&flow))
            .and_then(|()| self.sift::<Ip6>(filter, go_on, |_, flow| writer.write(&flow)));
        match listed {
            Ok(()) => {
                writer.text.extend_from_slice(b"\n]\n");
                writer.send();
            }
            // It comes first or breaks off what has begun.
            Err(error) => {
                let _ = pieces.blocking_send(Err(io::Error::other(error)));
            }
        }
    }

    /// The keys of the flows that `filter` means.
    pub(super) fn keys(
        &self,
        filter: &FlowFilter,
        go_on: impl Fn() -> bool,
    ) -> Result<FlowKeys, DatapathError> {
        let mut keys = FlowKeys::default();
        self.sift::<Ip4>(filter, &go_on, |key, _| {
            keys.v4.push(*key);
            true
        })?;
        self.sift::<Ip6>(filter, &go_on, |key, _| {
            keys.v6.push(*key);
            true
        })?;
        Ok(keys)
    }

    /// What came through each published port.
    pub(super) fn totals(
        &self,
        go_on: impl Fn() -> bool,
    ) -> Result<BTreeMap<u32, PortTotals>, DatapathError> {
        let mut totals = self.ended.clone();
        if let Some(flows) = self.flows.read::<Ip4>(&go_on)? {
            add_living(&mut totals, &flows);
        }
        if let Some(flows) = self.flows.read::<Ip6>(&go_on)? {
            add_living(&mut totals, &flows);
        }
        Ok(totals)
    }
}

/// An array that is being written.
struct Writer<'a> {
    pieces: &'a Pieces,
    text: Vec<u8>,
    separator: &'static [u8],
}

impl Writer<'_> {
    /// Adds an element; returns whether somebody listens.
    fn write(&mut self, flow: &ListedFlow) -> bool {
        self.text.extend_from_slice(self.separator);
        self.separator = b",\n";
        // A vector takes everything, and our type is without maps that JSON does not have.
        let written = serde_json::to_writer(&mut self.text, flow);
        written.is_ok() && (self.text.len() < CHUNK || self.send())
    }

    fn send(&mut self) -> bool {
        let piece = std::mem::take(&mut self.text);
        self.pieces.blocking_send(Ok(piece.into())).is_ok()
    }
}
