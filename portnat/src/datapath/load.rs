//! Programs and maps go into the kernel.

use std::collections::BTreeMap;
use std::time::Instant;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::{ProgramError, ProgramInfo, SchedClassifier};
use aya::util::KernelVersion;
use aya::{Ebpf, EbpfLoader};
use portnat_common::settings::IPV6_CHECKSUM_FLAG;
use portnat_common::{Lifetimes, Settings};
use tracing::debug;

use super::attach::{AttachMode, Attachment, Hook};
use super::error::DatapathError;
use super::keep::{Keep, Keeping};
use super::left::Left;
use super::migrate::Old;
use super::pod::Plain;
use super::run::{CLOCK, SHORTEST};
use super::tables::Applied;
use super::xdp::{Frames, XdpMode};
use crate::model::Mark;

/// The eBPF object, built by `cargo xtask build`.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/portnat-ebpf"));

/// The name of the program that asks the kernel for a checksum flag.
const KNOWS_IPV6_FLAG: &str = "knows_ipv6_flag";

/// The name of the program that removes flows whose time is over.
pub(super) const SWEEP_FLOWS: &str = "sweep_flows";

/// The name of the program that ends a flow.
pub(super) const END_FLOW: &str = "end_flow";

/// How the datapath is loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// How many flows there can be at once.
    pub max_flows: u32,
    /// How many of TCP, and of other protocols, an outsider can have opened and not confirmed.
    pub max_half_open: u32,
    /// How many flows to the outside each container can have at once.
    pub max_flows_per_container: u32,
    /// Which ports containers' UDP sockets have outside.
    pub udp_mapping: UdpMapping,
    /// How translated packets are marked.
    pub mark: Option<Mark>,
    /// How programs are attached.
    pub attach: AttachMode,
    /// How a program is attached to uplinks that sees frames before the host makes packets of them.
    pub xdp: XdpMode,
    /// Whether the programs log each dropped packet.
    pub trace: bool,
}

impl LoadOptions {
    /// The sizes of tables that are the user's to choose.
    pub(super) fn sizes(&self) -> [(&'static str, u32); 12] {
        let capacity = self.max_flows.saturating_mul(2);
        let half_open = self.max_half_open.saturating_mul(2);
        // More than an address has ports there are on hosts of several uplinks only.
        let mappings = self.max_flows.clamp(1024, 65_536);
        [
            ("FLOWS4", capacity),
            ("FLOWS6", capacity),
            ("QUEUE4", capacity),
            ("QUEUE6", capacity),
            ("MAPPINGS4", mappings),
            ("MAPPINGS6", mappings),
            ("OWNERS4", mappings),
            ("OWNERS6", mappings),
            ("HALF_TCP4", half_open),
            ("HALF_TCP6", half_open),
            ("HALF_OTHER4", half_open),
            ("HALF_OTHER6", half_open),
        ]
    }
}

/// Which port of the host a container's UDP socket has (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum UdpMapping {
    /// One for all remote ends, but for DNS; so peers can tell each other where it is reached.
    #[default]
    EndpointIndependent,
    /// Any for each remote end, so that all can use the same.
    AddressAndPortDependent,
}

/// Programs and maps in the kernel. Dropping it detaches and removes all of them.
pub struct Datapath {
    pub(super) ebpf: Ebpf,
    pub(super) mode: AttachMode,
    /// How many entries the flow table has, two a flow.
    pub(super) capacity: usize,
    pub(super) attachments: BTreeMap<(u32, Hook), Attachment>,
    /// Indices of interfaces whose clsact queueing discipline is ours.
    pub(super) qdiscs: Vec<u32>,
    /// What the tables hold.
    pub(super) applied: Applied,
    pub(super) keeping: Keeping,
    /// The tables that flows have gone over from, until all have.
    pub(super) old: Option<Old>,
    pub(super) frames: Frames,
    pub(super) settings: Settings,
}

impl Datapath {
    /// Whether packets can go past the host's stack, which takes a kernel that tells an interface's MTU
    /// (`bpf_check_mtu`, Linux 5.12, commit 34b2021cc616).
    #[must_use]
    pub fn can_be_fast() -> bool {
        KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(5, 12, 0))
    }

    /// Loads programs and maps; nothing is attached yet.
    ///
    /// # Errors
    /// The kernel refuses a map or a program, for want of privileges or features.
    pub fn load(options: &LoadOptions, settings: &Settings) -> Result<Self, DatapathError> {
        Self::begin(options, settings, Keeping::default(), Left::nothing())
    }

    /// The same, but goes on with the maps, programs and links of a portnat before this one, and pins
    /// its own where they are to outlive it. After the first [`Datapath::apply`] it is to be
    /// [settled](Datapath::settle).
    ///
    /// # Errors
    /// As for [`Datapath::load`], and the BPF file system refuses.
    pub fn take_over(
        options: &LoadOptions,
        settings: &Settings,
        keep: Keep,
    ) -> Result<Self, DatapathError> {
        let (keeping, left) = Self::keeping(keep, options);
        Self::begin(options, settings, keeping, left)
    }

    fn begin(
        options: &LoadOptions,
        settings: &Settings,
        keeping: Keeping,
        mut left: Left,
    ) -> Result<Self, DatapathError> {
        let log_level = u8::from(options.trace) * TRACE_LEVEL;
        // Of a helper that the kernel has not, a program must not even know (bpf_check_mtu).
        let knows_mtu = u8::from(Self::can_be_fast());
        let mut loader = EbpfLoader::new();
        for (table, size) in options.sizes() {
            loader.map_max_entries(table, size);
        }
        if let Some(pins) = keeping.found() {
            for name in &left.maps {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        let ebpf = loader
            .override_global(aya_log::LEVEL, &log_level, true)
            .override_global("KNOWS_MTU", &knows_mtu, true)
            .load(OBJECT)?;
        let mut datapath = Datapath {
            ebpf,
            mode: options.attach,
            capacity: options.max_flows.saturating_mul(2) as usize,
            attachments: BTreeMap::new(),
            qdiscs: Vec::new(),
            applied: std::mem::take(&mut left.applied),
            keeping,
            old: None,
            frames: Frames::new(options.xdp),
            settings: *settings,
        };
        if !left.old.is_empty() {
            datapath.migrate(std::mem::take(&mut left.old))?;
        }
        datapath.keeping.flows = datapath.confirmed()?;
        datapath.pin_maps(&left)?;
        datapath.adopt_frames(&left)?;
        let names: Vec<_> = Hook::PROGRAMS
            .into_iter()
            .chain([CLOCK, KNOWS_IPV6_FLAG, SWEEP_FLOWS, END_FLOW])
            .collect();
        for name in names {
            datapath.ensure_loaded(name)?;
        }
        let knows_ipv6_flag = datapath.test_run(KNOWS_IPV6_FLAG, &[0; SHORTEST], 0)?.0 == 1;
        let fast = left.maps.contains("SETTINGS");
        let fast = fast.then(|| datapath.settings_there()).transpose()?;
        datapath.settings.fast = fast.map_or(0, |there| there.fast);
        datapath.settings.ipv6_checksum_flag = u32::from(knows_ipv6_flag) * IPV6_CHECKSUM_FLAG;
        datapath.set_options(&settings.lifetimes, options)?;
        Ok(datapath)
    }

    /// Has packets be treated as `options` say from now on, as far as that can change after loading,
    /// and flows live so long.
    ///
    /// # Errors
    /// The kernel refuses the table's change.
    pub fn set_options(
        &mut self,
        lifetimes: &Lifetimes,
        options: &LoadOptions,
    ) -> Result<(), DatapathError> {
        let settings = &mut self.settings;
        settings.lifetimes = *lifetimes;
        settings.flows_per_container = options.max_flows_per_container.into();
        settings.udp_mapping = u32::from(options.udp_mapping == UdpMapping::EndpointIndependent);
        let (mark, mask) = options.mark.map_or((0, 0), |mark| (mark.value, mark.mask));
        (settings.mark, settings.mark_mask) = (mark, mask);
        self.set()
    }

    /// Lets packets of established flows go past the host's stack, or not any more. Returns whether
    /// that is a change.
    ///
    /// # Errors
    /// The kernel refuses the table's change.
    pub fn set_fast(&mut self, fast: bool) -> Result<bool, DatapathError> {
        let before = std::mem::replace(&mut self.settings.fast, fast.into());
        if before == self.settings.fast {
            return Ok(false);
        }
        self.set()?;
        Ok(true)
    }

    /// How long a second is for the datapath.
    pub(super) fn ticks_per_second(&self) -> u64 {
        self.settings.hz.0
    }

    /// The settings that are in the table.
    fn settings_there(&mut self) -> Result<Settings, DatapathError> {
        let there = self.array::<Settings>("SETTINGS")?.get(&0, 0);
        there
            .map(|Plain(settings)| settings)
            .map_err(|error| DatapathError::table("SETTINGS", error))
    }

    fn set(&mut self) -> Result<(), DatapathError> {
        let settings = Plain(self.settings);
        self.array("SETTINGS")?
            .set(0, settings, 0)
            .map_err(|error| DatapathError::table("SETTINGS", error))
    }

    /// Loads a program, unless it is.
    pub(super) fn ensure_loaded(&mut self, name: &str) -> Result<(), DatapathError> {
        let started = Instant::now();
        if self.keeping.adopt_program(name) {
            return Ok(());
        }
        let program = self.program(name)?;
        if program.fd().is_ok() {
            return Ok(());
        }
        program
            .load()
            .map_err(|error| DatapathError::program(name, error))?;
        let info = program
            .info()
            .map_err(|error| DatapathError::program(name, error))?;
        say_loaded(name, &info, started);
        self.ebpf.program_mut(name).map_or(Ok(()), |program| {
            self.keeping.pin_program(name, |path| program.pin(path))
        })
    }

    pub(super) fn program(&mut self, name: &str) -> Result<&mut SchedClassifier, DatapathError> {
        self.classifier(name)
            .map_err(|error| DatapathError::program(name, error))
    }

    pub(super) fn classifier(&mut self, name: &str) -> Result<&mut SchedClassifier, ProgramError> {
        if let Some(program) = self.keeping.program(name) {
            return Ok(program);
        }
        self.ebpf
            .program_mut(name)
            .ok_or_else(|| ProgramError::InvalidName {
                name: name.to_owned(),
            })?
            .try_into()
    }

    pub(super) fn hash<K: Copy + 'static, V: Copy + 'static>(
        &mut self,
        table: &'static str,
    ) -> Result<HashMap<&mut MapData, Plain<K>, Plain<V>>, DatapathError> {
        self.map(table)?
            .try_into()
            .map_err(|error: MapError| DatapathError::table(table, error))
    }

    pub(super) fn array<V: Copy + 'static>(
        &mut self,
        table: &'static str,
    ) -> Result<Array<&mut MapData, Plain<V>>, DatapathError> {
        self.map(table)?
            .try_into()
            .map_err(|error: MapError| DatapathError::table(table, error))
    }

    pub(super) fn map(&mut self, table: &'static str) -> Result<&mut Map, DatapathError> {
        self.ebpf
            .map_mut(table)
            .ok_or_else(|| DatapathError::Table {
                table,
                reason: "it is not in the eBPF object".to_owned(),
            })
    }
}

/// Says what a program came to, of which loading was begun at that time.
pub(super) fn say_loaded(name: &str, info: &ProgramInfo, started: Instant) {
    // The kernel tells the number since 5.16 (commit aba64c7da983).
    let verified = info.verified_instruction_count().unwrap_or_default();
    let jited = info.size_jitted();
    let elapsed = started.elapsed();
    debug!(
        "program {name}: {verified} instructions verified, {jited} bytes of machine code, {elapsed:.1?}"
    );
}

/// aya-log's number for `info`, the level of the programs' messages; 0 is none.
const TRACE_LEVEL: u8 = 3;
