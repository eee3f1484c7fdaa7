//! The kernel's tick, in which BPF's `bpf_jiffies64` counts.

use std::time::Duration;

use nix::time::{ClockId, clock_getres};

/// How many jiffies a second has: the kernel's `CONFIG_HZ`.
///
/// The coarse clocks advance with the tick, so their resolution is the kernel's `TICK_NSEC`. It is
/// the only way to learn `HZ` without the kernel's configuration: `sysconf(_SC_CLK_TCK)` is
/// `USER_HZ`, always 100.
///
/// # Panics
///
/// On a kernel without `CLOCK_MONOTONIC_COARSE`, which is older (before 2.6.32) than BPF.
#[must_use]
pub fn ticks_per_second() -> u32 {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .expect("every kernel with BPF has CLOCK_MONOTONIC_COARSE");
    frequency(tick.into())
}

/// Rounds to the nearest: the kernel has rounded the tick to whole nanoseconds.
fn frequency(tick: Duration) -> u32 {
    tick.as_secs_f64().recip().round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tick_of_every_usual_kernel() {
        let hz = |nanoseconds| frequency(Duration::from_nanos(nanoseconds));
        assert_eq!(hz(10_000_000), 100);
        assert_eq!(hz(4_000_000), 250);
        assert_eq!(hz(3_333_333), 300);
        assert_eq!(hz(976_563), 1024);
        assert_eq!(hz(1_000_000), 1000);
    }

    #[test]
    fn this_kernel_ticks() {
        assert!((24..=1200).contains(&ticks_per_second()));
    }
}
