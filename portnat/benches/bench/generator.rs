//! Packets from nowhere: the kernel's live frames, see [`Object::generate`].

use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bytemuck::Zeroable as _;
use etherparse::{IpNumber, PacketBuilder, SlicedPacket, TransportSlice};
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, gettid};
use portnat::lab::Namespace;

use crate::kernel::Object;
use crate::machine;
use crate::plan::{End, FRAME, IPV4, IPV4_CHECKSUM, PORTS, Plan, UDP_CHECKSUM};

/// What is behind a frame's headers.
const PAYLOAD: usize = FRAME - PORTS - 8;

/// How many flows are opened at a time: fewer than a table of half-open flows has room for.
const BLOCK: u32 = 4000;

/// How long a generator may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flows of packets that go one way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) source: End,
    pub(crate) destination: End,
    /// How many flows there are before the ends' addresses make a step.
    pub(crate) row: u32,
    pub(crate) flows: u32,
}

/// Makes the packets of streams, in one namespace.
pub(crate) struct Generator {
    object: Object,
    namespace: Namespace,
    /// By which interface, and from and to which Ethernet addresses.
    interface: u32,
    from: [u8; 6],
    to: [u8; 6],
}

/// What came of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Packets a second.
    pub(crate) offered: f64,
    /// Packets a second.
    pub(crate) delivered: f64,
}

/// One end that is the same for all flows.
pub(crate) fn fixed(address: Ipv4Addr, port: u16) -> End {
    End {
        address: address.into(),
        port: port.into(),
        ..End::default()
    }
}

impl Generator {
    /// A generator that sends out by an interface to the neighbour with an Ethernet address.
    pub(crate) fn new(namespace: &Namespace, interface: &str, to: [u8; 6]) -> Result<Self> {
        let mut object = Object::load()?;
        object.load_generator()?;
        let links = namespace.links();
        Ok(Self {
            object,
            namespace: namespace.clone(),
            interface: links.index(interface)?,
            from: links.mac(interface)?,
            to,
        })
    }

    /// Sends each flow's packet twice, a few flows at a time, so that a flow's second packet comes
    /// before it is forgotten.
    pub(crate) fn open(&mut self, stream: &Stream) -> Result<()> {
        self.plan(stream, BLOCK, 2)?;
        let object = &self.object;
        self.namespace.run(|| {
            machine::pin_generator()?;
            object.generate(stream.flows * 2)
        })
    }

    /// Sends as much as it can, for a while; says how many packets arrived by a counter.
    pub(crate) fn blast(
        &mut self,
        stream: &Stream,
        warm_up: Duration,
        time: Duration,
        arrived: impl Fn() -> Result<u64>,
    ) -> Result<Rate> {
        self.during(stream, |generator| {
            generator.sleep(warm_up)?;
            let (started, sent, counted) = (Instant::now(), generator.sent()?, arrived()?);
            generator.sleep(time)?;
            let (sent, counted) = (generator.sent()? - sent, arrived()? - counted);
            let seconds = started.elapsed().as_secs_f64();
            Ok(Rate {
                offered: sent as f64 / seconds,
                delivered: counted as f64 / seconds,
            })
        })
    }

    /// Does something while a stream is sent as fast as it goes.
    pub(crate) fn during<T>(
        &mut self,
        stream: &Stream,
        f: impl FnOnce(&Running<'_>) -> Result<T>,
    ) -> Result<T> {
        self.plan(stream, stream.flows, 1)?;
        let (object, namespace) = (&self.object, &self.namespace);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                namespace.run(|| {
                    machine::pin_generator()?;
                    // The other end waits for it.
                    let _ = tell.send(gettid());
                    object.generate(u32::MAX)
                })
            });
            let running = Running { object, thread };
            let result = match told.recv() {
                Ok(id) => {
                    let result = running.begun().and_then(|()| f(&running));
                    running.interrupt(id);
                    result
                }
                Err(_) => Err(anyhow!("the generator does not begin")),
            };
            let generated = running.thread.join().expect("the generator does not panic");
            generated.and(result)
        })
    }

    /// Brings a stream into the kernel, and sees that its first packet is what it should be.
    fn plan(&mut self, stream: &Stream, block: u32, passes: u32) -> Result<()> {
        let plan = Plan {
            block,
            passes,
            ..stream.plan(self.interface, self.from, self.to)?
        };
        self.object.set_plan(plan)?;
        check(&self.object.generate_one()?).context("the generator's packets are wrong")?;
        self.object.set_plan(plan)
    }
}

/// A generator at work.
pub(crate) struct Running<'a> {
    object: &'a Object,
    thread: ScopedJoinHandle<'a, Result<()>>,
}

impl Running<'_> {
    /// Waits while it goes on.
    pub(crate) fn sleep(&self, time: Duration) -> Result<()> {
        thread::sleep(time);
        ensure!(!self.thread.is_finished(), "the generator has ended early");
        Ok(())
    }

    /// How many packets it has sent so far.
    pub(crate) fn sent(&self) -> Result<u64> {
        self.object.generated()
    }

    /// Waits for its first packet.
    fn begun(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.sent()? == 0 {
            ensure!(Instant::now() < deadline, "the generator sends nothing");
            self.sleep(Duration::from_millis(1))?;
        }
        Ok(())
    }

    /// Has it end. The signal may come when it is not in the kernel yet, and is then for nothing.
    fn interrupt(&self, id: Pid) {
        while !self.thread.is_finished() {
            // SAFETY: a bare system call; to a thread that has ended nothing is sent. The signal's
            // handler does nothing.
            unsafe {
                libc::syscall(
                    libc::SYS_tgkill,
                    libc::getpid(),
                    id.as_raw(),
                    Signal::SIGUSR1 as i32,
                )
            };
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Has [`Running`]'s signal interrupt a system call instead of ending the process.
pub(crate) fn handle_signal() -> Result<()> {
    extern "C" fn ignore(_signal: i32) {}
    let action = SigAction::new(
        SigHandler::Handler(ignore),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }?;
    Ok(())
}

impl Stream {
    /// Some of the flows.
    pub(crate) fn part(&self, first: u32, flows: u32) -> Self {
        let (row, place) = (first / self.row, first % self.row);
        let shift = |end: End| End {
            address: end.address + end.address_step * row,
            port: end.port + end.port_step * place,
            ..end
        };
        Self {
            source: shift(self.source),
            destination: shift(self.destination),
            flows: flows.min(self.flows - first),
            ..*self
        }
    }

    fn plan(&self, interface: u32, from: [u8; 6], to: [u8; 6]) -> Result<Plan> {
        let mut plan = Plan {
            interface,
            source: self.source,
            destination: self.destination,
            row: self.row,
            flows: self.flows,
            ..Plan::zeroed()
        };
        let network = PacketBuilder::ethernet2(from, to).ipv4([0; 4], [0; 4], 64);
        let mut frame = [0_u8; FRAME];
        let mut room = frame.as_mut_slice();
        network.udp(0, 0).write(&mut room, &[b'p'; PAYLOAD])?;
        for at in [IPV4_CHECKSUM, UDP_CHECKSUM] {
            frame[at..at + 2].fill(0);
        }
        plan.ipv4_sum = sum(&frame[IPV4..PORTS]);
        // The pseudo header's addresses are added by the program.
        let pseudo_header = u32::from(IpNumber::UDP.0) + (FRAME - PORTS) as u32;
        plan.udp_sum = sum(&frame[PORTS..]) + pseudo_header;
        plan.frame = bytemuck::cast(frame);
        Ok(plan)
    }
}

/// The sum of 16-bit words in network order.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum()
}

/// Whether a frame has checksums, and the right ones.
fn check(frame: &[u8; FRAME]) -> Result<()> {
    let packet = SlicedPacket::from_ethernet(frame)?;
    let ip = packet
        .net
        .as_ref()
        .and_then(|net| net.ipv4_ref())
        .context("not IPv4")?;
    let header = ip.header();
    ensure!(
        header.header_checksum() == header.to_header().calc_header_checksum(),
        "IPv4's checksum"
    );
    let Some(TransportSlice::Udp(udp)) = packet.transport else {
        bail!("not UDP");
    };
    let should = udp
        .to_header()
        .calc_checksum_ipv4(&header.to_header(), udp.payload())?;
    let has = udp.checksum();
    ensure!(
        has == should && has != 0,
        "checksum {has:#x}, not {should:#x}"
    );
    Ok(())
}
