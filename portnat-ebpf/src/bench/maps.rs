//! The maps.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};

use crate::plan::{COUNTERS, Expected, Plan, Position, Way};

/// What is generated: one entry.
#[map]
pub(crate) static PLAN: Array<Plan> = Array::with_max_entries(1, 0);

/// What comes next: one entry. Only one CPU generates.
#[map]
pub(crate) static POSITION: Array<Position> = Array::with_max_entries(1, 0);

/// What the sink expects: one entry.
#[map]
pub(crate) static EXPECTED: Array<Expected> = Array::with_max_entries(1, 0);

/// What the sink has counted.
#[map]
pub(crate) static COUNTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// Where the bare redirects lead: one entry.
#[map]
pub(crate) static WAY: Array<Way> = Array::with_max_entries(1, 0);
