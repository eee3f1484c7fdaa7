//! SYNs from clients that do not exist, so many a second.
//!
//! Not by the generator in the kernel: that goes as fast as it can, and all peers shall stand the
//! same.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use etherparse::PacketBuilder;
use nix::libc;
use portnat::lab::{Lab, frames};

use crate::ground::CLIENTS;
use crate::talk::Threads;

/// How often a second packets are sent.
const BURSTS: u32 = 1000;

/// The clients' ports, from 1024 on.
const PORTS: u32 = 60_000;

/// A flood that goes on until this is dropped.
pub(crate) struct Flood {
    thread: Threads,
    started: Instant,
    per_second: u32,
}

impl Flood {
    /// Floods a port from the side of a lab's client.
    pub(crate) fn begin(lab: &Lab, to: (Ipv4Addr, u16), per_second: u32) -> Result<Self> {
        let socket = frames(&lab.client, Lab::UPLINK).context("opening a packet socket")?;
        let from = lab.client.links().mac(Lab::UPLINK)?;
        let gateway = lab.host.links().mac(Lab::UPLINK)?;
        let burst = AtomicU32::new(0);
        let started = Instant::now();
        let work = move |done: &dyn Fn(u64)| {
            let number = burst.fetch_add(1, Ordering::Relaxed);
            if number == 0 {
                go_first();
            }
            let size = per_second / BURSTS;
            let mut frame = Vec::with_capacity(64);
            for client in (number.wrapping_mul(size)..).take(size as usize) {
                frame.clear();
                let (address, port) = client_number(client);
                let syn = PacketBuilder::ethernet2(from, gateway)
                    .ipv4(address.octets(), to.0.octets(), 64)
                    .tcp(port, to.1, client, 65_535)
                    .syn();
                if syn.write(&mut frame, &[]).is_ok() && socket.send(&frame).is_ok() {
                    done(1);
                }
            }
            let due = started + Duration::from_secs(1) / BURSTS * (number + 1);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        };
        Ok(Self {
            thread: Threads::one(&lab.client, "flood", work),
            started,
            per_second,
        })
    }

    /// Ends it, and says if it was none.
    pub(crate) fn end(self) {
        let rate = self.thread.done() as f64 / self.started.elapsed().as_secs_f64();
        if rate < f64::from(self.per_second) * 0.9 {
            let asked = self.per_second;
            crate::say(&format!(
                "only {rate:.0} SYNs a second of {asked} were sent"
            ));
        }
    }
}

/// A client that is none.
fn client_number(number: u32) -> (Ipv4Addr, u16) {
    let address = u32::from(CLIENTS.network()) + 1 + number / PORTS % 254;
    (address.into(), (1024 + number % PORTS) as u16)
}

/// Has the calling thread run before others, for it sleeps most of the time. Where that is refused
/// fewer packets are sent, which is said.
fn go_first() {
    // SAFETY: a bare system call; 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
}
