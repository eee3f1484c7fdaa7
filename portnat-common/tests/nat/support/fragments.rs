//! Datagrams in fragments, and fragments that wait, in plain memory.

use std::cell::RefCell;
use std::collections::BTreeMap;

use portnat_common::fragment::{LONGEST_FRAME, MAX_WAITING};
use portnat_common::nat::{self, Sight};
use portnat_common::{
    Bytes, Datagram, DatagramKey, Fragments, Packet, Refusal, Verdict, WaitingKey,
};

use super::kept::Kept;
use super::world::{Hosts, TestFamily};

/// The tables.
#[derive(Default)]
pub(crate) struct FragmentTables {
    datagrams: Kept<DatagramKey, Datagram>,
    waiting: RefCell<BTreeMap<WaitingKey, Vec<u8>>>,
    /// What comes on another CPU while the next fragment is put away.
    pub(crate) meanwhile: RefCell<Option<(When, Sight, Vec<u8>)>>,
    /// What became of it.
    pub(crate) became: RefCell<Vec<(Verdict, Vec<u8>)>>,
    /// Frames that are to come to their hook anew, in this order.
    pub(crate) released: RefCell<Vec<Vec<u8>>>,
}

impl FragmentTables {
    /// How many fragments wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }
}

/// When something happens on another CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before a fragment is put away.
    Before,
    /// As soon as it is.
    Behind,
}

impl<F: TestFamily> Hosts<F> {
    /// The other CPU's turn, if there is anything for it to do.
    fn other_cpu(&self, now: When) {
        let mut meanwhile = self.fragments.meanwhile.borrow_mut();
        let Some((_, sight, mut frame)) = meanwhile.take_if(|(when, ..)| *when == now) else {
            return;
        };
        drop(meanwhile);
        let verdict = nat::process::<F, _, _>(&mut Bytes(&mut frame), sight, self);
        self.fragments.became.borrow_mut().push((verdict, frame));
    }
}

impl<F: TestFamily> Fragments for Hosts<F> {
    fn datagram(&self, key: &DatagramKey) -> Option<&Datagram> {
        self.fragments.datagrams.get(key)
    }

    fn insert_datagram(&self, key: &DatagramKey, datagram: &Datagram) -> Result<(), Refusal> {
        let datagrams = &self.fragments.datagrams;
        if datagrams.contains(key) {
            return Err(Refusal::Exists);
        }
        datagrams.insert(*key, datagram.clone());
        Ok(())
    }

    fn remove_datagram(&self, key: &DatagramKey) {
        self.fragments.datagrams.remove(key);
    }

    fn hold<P: Packet>(&self, place: &WaitingKey, packet: &P) -> Result<(), Refusal> {
        if packet.len() > LONGEST_FRAME {
            return Err(Refusal::Full);
        }
        self.other_cpu(When::Before);
        let bytes = (0..packet.len()).map(|at| packet.read(at).expect("within the packet"));
        let mut waiting = self.fragments.waiting.borrow_mut();
        if waiting.contains_key(place) {
            return Err(Refusal::Exists);
        }
        waiting.insert(*place, bytes.collect());
        drop(waiting);
        self.other_cpu(When::Behind);
        Ok(())
    }

    fn take_back(&self, place: &WaitingKey) -> bool {
        self.fragments.waiting.borrow_mut().remove(place).is_some()
    }

    fn release_waiting<P: Packet>(
        &self,
        place: &WaitingKey,
        places: u32,
        _packet: &mut P,
    ) -> Option<()> {
        let mut waiting = self.fragments.waiting.borrow_mut();
        for index in place.index..MAX_WAITING {
            match waiting.remove(&WaitingKey { index, ..*place }) {
                Some(frame) => self.fragments.released.borrow_mut().push(frame),
                None if index >= places => break,
                None => {}
            }
        }
        Some(())
    }
}
