//! Flows that are refused for want of room.

use portnat_common::DropReason;
use tokio::time::Instant;
use tracing::warn;

use super::Daemon;

/// Why flows are refused that an option would let pass.
const REFUSALS: [(DropReason, &str, &str); 2] = [
    (
        DropReason::FlowTableFull,
        "the flow table is full",
        "--max-flows",
    ),
    (
        DropReason::ContainerLimit,
        "a container has too many flows",
        "--max-flows-per-container",
    ),
];

/// How many packets were dropped at the last round for each of [`REFUSALS`], and when that was.
pub(super) type Refused = ([u64; REFUSALS.len()], Instant);

/// Nothing was refused until now.
pub(super) fn none() -> Refused {
    ([0; REFUSALS.len()], Instant::now())
}

impl Daemon {
    /// Says at each round and at the end that flows were refused for want of room.
    pub(super) fn warn_of_refusals(&mut self) {
        let drops = self.datapath.drops().unwrap_or_default();
        let (refused, looked) = &mut self.refused;
        let seconds = looked.elapsed().as_secs().max(1);
        *looked = Instant::now();
        for ((reason, why, option), known) in REFUSALS.iter().zip(refused) {
            let found = drops.iter().find(|(found, _)| found == reason);
            let refused = found.map_or(0, |(_, packets)| *packets);
            let since = refused - (*known).min(refused);
            if since > 0 {
                warn!(
                    "{why}: {since} packets of new flows were refused in the last {seconds} s: a \
                     larger {option} takes more"
                );
            }
            *known = refused;
        }
    }
}
