//! A program at uplinks that sees frames before the host makes packets of them (XDP).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use aya::Ebpf;
use aya::maps::PerCpuArray;
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp, XdpMode as AyaMode};
use aya::util::KernelVersion;
use nix::libc::ENODEV;
use tracing::{debug, info};

use super::attach::{HeldLink, no_link};
use super::error::{DatapathError, errno};
use super::left::{FoundLink, Left};
use super::load::{Datapath, say_loaded};
use super::pins::Place;
use super::pod::Plain;
use crate::model::{Interface, Role};
use crate::net::LinkLayer;

/// The program for drivers, and the one for in front of the stack.
const NATIVE: &str = "uplink_xdp";
const GENERIC: &str = "uplink_xdp_generic";

/// The table of the interfaces that take frames.
const PORTS: &str = "FRAME_PORTS";

/// The table of the uplinks' addresses.
const ADDRESSES: &str = "UPLINK_ADDRESSES";

/// How long an interface is taken to take frames, in seconds, after it was last seen to. A daemon that
/// is dead looks no more.
const LEASE: u64 = 5;

/// How uplinks get a program that sees frames before the host makes packets of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum XdpMode {
    /// Not at all.
    #[default]
    Off,
    /// In the driver where it can, else not at all.
    Auto,
    /// In the driver.
    Native,
    /// In front of the host's stack, for any driver; slower than without.
    Generic,
}

/// What is held of all this.
pub(super) struct Frames {
    mode: XdpMode,
    /// By interface index, where the program is attached.
    links: BTreeMap<u32, HeldLink>,
    /// Uplinks whose driver cannot, where that is no error.
    refused: BTreeSet<u32>,
    /// The uplinks' addresses, as their table has them.
    addresses: BTreeMap<u32, u64>,
    /// The interfaces in the table of those that take frames.
    ports: BTreeSet<u32>,
}

impl Frames {
    /// Which program there is.
    const fn program(&self) -> &'static str {
        match self.mode {
            XdpMode::Generic => GENERIC,
            _ => NATIVE,
        }
    }

    /// Where it runs, and where the other one would.
    const fn place(&self) -> (Place, Place) {
        match self.mode {
            XdpMode::Generic => (Place::Stack, Place::Driver),
            _ => (Place::Driver, Place::Stack),
        }
    }

    pub(super) fn new(mode: XdpMode) -> Self {
        Frames {
            mode,
            links: BTreeMap::new(),
            refused: BTreeSet::new(),
            addresses: BTreeMap::new(),
            ports: BTreeSet::new(),
        }
    }
}

impl Datapath {
    /// Whether this kernel says which devices take frames, as it does since Linux 6.3 (commits
    /// d3d854fd6a1d and fccca038f300). The helper for frames in several buffers is older (5.18).
    #[must_use]
    pub fn knows_frames() -> bool {
        KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 3, 0))
    }

    /// The ports by which containers could get frames: those at which their ways are learnt. None, if no
    /// uplink has the program.
    #[must_use]
    pub fn frame_candidates(&self) -> BTreeSet<u32> {
        if self.frames.links.is_empty() {
            return BTreeSet::new();
        }
        self.attachments
            .iter()
            .filter(|(_, attachment)| attachment.program == "port_out")
            .map(|((index, _), _)| *index)
            .collect()
    }

    /// Lets containers behind these ports get frames for some seconds, and no others. To be called
    /// every other second.
    ///
    /// # Errors
    /// The kernel refuses the table's change.
    pub fn lease_frames(&mut self, ports: &BTreeSet<u32>) -> Result<(), DatapathError> {
        if ports.is_empty() && self.frames.ports.is_empty() {
            return Ok(());
        }
        let until = self.now()?.0 + LEASE * self.settings.hz.0;
        let mut held = self.frames.ports.iter().map(|port| (*port, 0)).collect();
        let wanted = ports.iter().map(|port| (*port, until)).collect();
        let synced = self.sync_hash::<u32, u64>(PORTS, &mut held, &wanted);
        self.frames.ports = held.into_keys().collect();
        synced
    }

    /// How many frames went to containers.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn accelerated(&mut self) -> Result<u64, DatapathError> {
        const TABLE: &str = "ACCELERATED";
        let failed = |error| DatapathError::table(TABLE, error);
        let map: PerCpuArray<_, u64> = self.map(TABLE)?.try_into().map_err(failed)?;
        Ok(map.get(&0, 0).map_err(failed)?.iter().sum())
    }

    /// Says which Ethernet addresses the interfaces with these indices have: other frames are not for
    /// this host.
    ///
    /// # Errors
    /// The kernel refuses the table's change.
    pub fn set_uplink_addresses(
        &mut self,
        addresses: &BTreeMap<u32, [u8; 6]>,
    ) -> Result<(), DatapathError> {
        // As they lie in the frame.
        let in_memory = |[a, b, c, d, e, f]: [u8; 6]| u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]);
        let wanted = addresses
            .iter()
            .map(|(index, address)| (*index, in_memory(*address)))
            .collect();
        let mut held = std::mem::take(&mut self.frames.addresses);
        let synced = self.sync_hash(ADDRESSES, &mut held, &wanted);
        self.frames.addresses = held;
        synced
    }

    /// Attaches the program to uplinks that come and detaches it from those that go. What could not be
    /// attached is returned.
    pub(super) fn sync_frames(
        &mut self,
        desired: &BTreeMap<u32, Interface>,
    ) -> Result<Vec<DatapathError>, DatapathError> {
        if self.frames.mode == XdpMode::Off {
            return Ok(Vec::new());
        }
        let uplinks: BTreeMap<u32, (&Interface, [u8; 6])> = desired
            .iter()
            .filter(|(_, interface)| {
                interface.role == Role::Uplink && interface.layer == LinkLayer::Ethernet
            })
            .filter_map(|(index, interface)| Some((*index, (interface, interface.mac?))))
            .collect();
        let addresses = uplinks.iter().map(|(index, (_, mac))| (*index, *mac));
        self.set_uplink_addresses(&addresses.collect())?;
        let gone: Vec<u32> = self.frames.links.keys().copied().collect();
        for index in gone.iter().filter(|index| !uplinks.contains_key(index)) {
            self.detach_frame(*index);
        }
        self.frames
            .refused
            .retain(|index| uplinks.contains_key(index));
        let mut failed = Vec::new();
        for (index, (interface, _)) in uplinks {
            let is_settled =
                self.frames.links.contains_key(&index) || self.frames.refused.contains(&index);
            if !is_settled && let Err(error) = self.attach_frame(index, interface) {
                failed.push(error);
            }
        }
        Ok(failed)
    }

    fn attach_frame(&mut self, index: u32, interface: &Interface) -> Result<(), DatapathError> {
        let name = &interface.name;
        let (mode, where_it_runs) = match self.frames.mode {
            XdpMode::Generic => (AyaMode::Skb, "in front of the stack"),
            _ => (AyaMode::Driver, "in the driver"),
        };
        let place = self.frames.place().0;
        match self.attach_xdp(index, mode)? {
            Ok(link) => {
                let link = self.hold((index, place), link)?;
                self.frames.links.insert(index, link);
                info!("XDP runs {where_it_runs} of {name}");
                Ok(())
            }
            // It went while we looked: the next look knows.
            Err(error) if errno(&error) == Some(ENODEV) => Ok(()),
            Err(error) => {
                let error = DatapathError::attach(self.frames.program(), name, &error);
                if self.frames.mode == XdpMode::Auto {
                    self.frames.refused.insert(index);
                    info!("no XDP at {name}: {error}");
                    return Ok(());
                }
                Err(error)
            }
        }
    }

    /// Attaches the program, in the place of the one that an earlier portnat has left if there is one.
    fn attach_xdp(
        &mut self,
        index: u32,
        mode: AyaMode,
    ) -> Result<Result<FdLink, ProgramError>, DatapathError> {
        let (place, other) = self.frames.place();
        // There is no room for both.
        if self.keeping.take_link((index, other)).is_some() {
            self.keeping.remove_link((index, other));
        }
        if let Some(found) = self.keeping.take_link((index, place)) {
            match replace(self.xdp()?, found) {
                Ok(link) => {
                    self.keeping.adopted += 1;
                    return Ok(Ok(link));
                }
                Err(error) => {
                    debug!("taking over XDP at interface {index}: {error}");
                    self.keeping.remove_link((index, place));
                }
            }
        }
        let program = self.xdp()?;
        Ok(program.attach_to_if_index(index, mode).and_then(|link| {
            let link = program.take_link(link)?;
            link.try_into().map_err(no_link)
        }))
    }

    /// Knows what is in the tables that go on.
    pub(super) fn adopt_frames(&mut self, left: &Left) -> Result<(), DatapathError> {
        if left.maps.contains(ADDRESSES) {
            self.frames.addresses = self.entries(ADDRESSES)?;
        }
        if left.maps.contains(PORTS) {
            self.frames.ports = self.entries::<u64>(PORTS)?.into_keys().collect();
        }
        Ok(())
    }

    fn entries<V: Copy + 'static>(
        &mut self,
        table: &'static str,
    ) -> Result<BTreeMap<u32, V>, DatapathError> {
        let map = self.hash::<u32, V>(table)?;
        map.iter()
            .map(|entry| entry.map(|(Plain(key), Plain(value))| (key, value)))
            .collect::<Result<_, _>>()
            .map_err(|error| DatapathError::table(table, error))
    }

    /// Detaches the program from everywhere.
    pub(super) fn detach_frames(&mut self) {
        let indices: Vec<u32> = self.frames.links.keys().copied().collect();
        for index in indices {
            self.detach_frame(index);
        }
    }

    fn detach_frame(&mut self, index: u32) {
        let Some(link) = self.frames.links.remove(&index) else {
            return;
        };
        if let Err(error) = link.end() {
            let name = self.frames.program();
            debug!("detaching {name} from interface {index}: {error}");
        }
    }

    /// Loads the program now, if it is to be used, and not when the first uplink comes.
    pub(super) fn ensure_frames(&mut self) -> Result<(), DatapathError> {
        match self.frames.mode {
            XdpMode::Off => Ok(()),
            _ => self.xdp().map(drop),
        }
    }

    /// The program, loaded.
    fn xdp(&mut self) -> Result<&mut Xdp, DatapathError> {
        let name = self.frames.program();
        let refused = |error| DatapathError::program(name, error);
        self.keeping.adopt_xdp(name);
        if self.keeping.xdp.is_none() {
            let started = Instant::now();
            let program = own(&mut self.ebpf, name).map_err(refused)?;
            if program.fd().is_err() {
                program.load().map_err(refused)?;
                say_loaded(name, &program.info().map_err(refused)?, started);
                self.keeping.pin_program(name, |path| program.pin(path))?;
            }
        }
        match &mut self.keeping.xdp {
            Some(program) => Ok(program),
            None => own(&mut self.ebpf, name).map_err(refused),
        }
    }

    /// Runs the program on a frame that comes in by the interface with index 1 (BPF_PROG_TEST_RUN); for
    /// tests. Returns its verdict and the frame afterwards.
    ///
    /// # Errors
    /// The kernel does not take the program or the frame.
    pub fn test_run_frame(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>), DatapathError> {
        let mut out = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let name = self.frames.program();
        let result = self
            .xdp()?
            .test_run(options)
            .map_err(|error| DatapathError::program(name, error))?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }
}

/// Puts the program in the place of the one that a link has.
fn replace(program: &mut Xdp, found: FoundLink) -> Result<FdLink, ProgramError> {
    if program.info()?.id() == found.program {
        return Ok(found.link);
    }
    let link = XdpLink::try_from(found.link).map_err(no_link)?;
    let link = program.attach_to_link(link)?;
    program.take_link(link)?.try_into().map_err(no_link)
}

/// The program of the object.
fn own<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp, ProgramError> {
    ebpf.program_mut(name)
        .ok_or_else(|| ProgramError::InvalidName {
            name: name.to_owned(),
        })?
        .try_into()
}
