//! What the figures are of, and what they are measured with.

use std::sync::OnceLock;
use std::{fs, thread};

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

/// The machine and its kernel.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cpus: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// Whether bridged packets meet iptables in new namespaces.
    pub(crate) bridge_nf: bool,
    pub(crate) conntrack_max: Option<u64>,
    /// The load before the benchmark: figures of a busy machine tell nothing.
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cpus: cpus(),
            memory_gib: (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            bridge_nf: read("/proc/sys/net/bridge/bridge-nf-call-iptables").trim() == "1",
            conntrack_max: conntrack_max(),
            load: read("/proc/loadavg").trim().to_owned(),
        }
    }
}

/// How many flows conntrack has room for, in all namespaces alike.
pub(crate) fn conntrack_max() -> Option<u64> {
    let max = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").ok()?;
    max.trim().parse().ok()
}

/// How many CPUs there are for threads that are not pinned.
pub(crate) fn cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Moves the calling thread to the last CPU for good: all of a packet's way runs on the CPU of who
/// sends it.
pub(crate) fn pin_generator() -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpus() - 1)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("pinning the generator to a CPU")
}

/// How many seconds all CPUs have worked, ever.
pub(crate) fn busy() -> Result<f64> {
    // USER_HZ, which is what proc(5) tells in, is 100 on each architecture that has eBPF.
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .context("/proc/stat is empty")?
        .split_whitespace()
        .skip(1)
        .flat_map(str::parse)
        .collect();
    // user, nice, system, (idle, iowait,) irq, softirq
    let busy = fields.iter().take(3).chain(fields.iter().skip(5).take(2));
    Ok(busy.sum::<f64>() / TICKS)
}
