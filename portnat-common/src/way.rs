//! The short way of a flow's direction: past the host's stack, learnt from a packet that has gone
//! through it.

use core::cell::Cell;

use crate::settings::Ticks;

/// The way that a direction's packets took when one of them last came through the stack, and when that
/// was. All zeroes is none: no interface has the index 0.
///
/// It is written where such a packet goes out and read where others come in. Of a way that changes
/// while another CPU reads it, that one may see some of both; what it sends by then is lost, as on a
/// link whose neighbour has just gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Way<C = Cell<u64>> {
    /// By which interface they went out (lower half), and by which they had come in (upper half): to a
    /// container the uplink's index, to the outside the number of the bridge's port ([`port_number`]).
    interfaces: C,
    /// Their Ethernet header's destination and the first two bytes of its source, in memory order.
    link: C,
    /// The other four bytes of it (lower half), and how long a network packet may be (upper half).
    link_and_mtu: C,
    /// When a packet last came through the stack, in ticks of which the lower 32 bits count; and in the
    /// upper half whether the interface takes frames (1 or 0).
    renewed: C,
    /// When one was last sent there for it, in such ticks (lower half), and by which port the last came
    /// in that came through it, as [`port_number`] says (upper half). Who writes one half may write an
    /// older other one again: then a packet more goes there, or the next notes the port anew.
    tried_and_port: C,
}

/// What a packet is sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Ethernet's destination and the first two bytes of its source, in memory order.
    pub first: u64,
    /// The rest of its source.
    pub second: u32,
}

/// Where packets go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Index of the interface.
    pub interface: u32,
    /// How long a network packet may be there, in bytes.
    pub mtu: u32,
    /// Whether it takes frames of which the host has made no packets (XDP).
    pub takes_frames: bool,
}

/// How old a way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// It was taken lately.
    Fresh,
    /// A packet should go through the stack again.
    Due,
    /// All have to.
    Stale,
}

/// Ages in eighths of a second: from then on a packet goes through the stack, and another each eighth
/// until one has come through; and from then on all do. So what changes takes hold within two seconds,
/// and three may be lost before a flow is slow.
const DUE: u64 = 12;
const STALE: u64 = 15;

impl Way {
    /// The interface that a packet goes by which comes in by `at`, with `length` bytes from its network
    /// header on, if it may go past the stack. Where it should go through it, that is remembered: the
    /// others need not. Of a way that is not asked for nothing is written.
    #[inline(always)]
    pub fn of_packet(&self, at: u32, length: usize, hz: Ticks, now: Ticks) -> Option<u32> {
        let interface = self.leads(at, length)?;
        match self.age(hz, now) {
            Age::Fresh => {}
            Age::Stale => return None,
            Age::Due => {
                let there = self.tried_and_port.get();
                if elapsed(now, there) >= hz.0 / 8 {
                    self.tried_and_port.set(there & !LOW | now.0 & LOW);
                    return None;
                }
            }
        }
        Some(interface)
    }

    /// The same for a frame of which the host has made no packet yet (XDP): only while the way is fresh,
    /// and if the interface takes frames. When a packet goes through the stack is not decided here.
    #[inline(always)]
    pub fn of_frame(&self, at: u32, length: usize, hz: Ticks, now: Ticks) -> Option<u32> {
        let takes_frames = self.renewed.get() >> 32 != 0;
        let interface = self.leads(at, length)?;
        (takes_frames && self.age(hz, now) == Age::Fresh).then_some(interface)
    }

    /// Where it leads what comes in by `at` and has this length, however old it is.
    #[inline(always)]
    fn leads(&self, at: u32, length: usize) -> Option<u32> {
        let interfaces = self.interfaces.get();
        let mtu = (self.link_and_mtu.get() >> 32) as usize;
        if interfaces as u32 == 0 || (interfaces >> 32) as u32 != at || length > mtu {
            return None;
        }
        Some(interfaces as u32)
    }

    /// The link header of packets that go this way.
    #[inline(always)]
    pub fn header(&self) -> Header {
        Header {
            first: self.link.get(),
            second: self.link_and_mtu.get() as u32,
        }
    }

    /// A packet that had come in by a bridge's port with this number has come through the stack.
    #[inline(always)]
    pub fn set_port(&self, number: u32) {
        let there = self.tried_and_port.get();
        if (there >> 32) as u32 != number {
            self.tried_and_port
                .set(there & LOW | u64::from(number) << 32);
        }
    }

    /// The number of the port that such packets last came in by, or 0.
    #[inline(always)]
    pub fn port(&self) -> u32 {
        (self.tried_and_port.get() >> 32) as u32
    }

    /// Whether it was learnt so lately that nothing is to be learnt from another packet.
    #[inline(always)]
    pub fn is_known(&self, hz: Ticks, now: Ticks) -> bool {
        self.interfaces.get() as u32 != 0 && elapsed(now, self.renewed.get()) < hz.0 / 8
    }

    /// A packet that had come in by `came_in` has come through the stack and goes out by `exit` with this
    /// link header.
    #[inline(always)]
    pub fn learn(&self, came_in: u32, exit: Exit, header: Header, now: Ticks) {
        let Exit {
            interface,
            mtu,
            takes_frames,
        } = exit;
        let interfaces = u64::from(interface) | u64::from(came_in) << 32;
        let link_and_mtu = u64::from(header.second) | u64::from(mtu) << 32;
        for (cell, value) in [
            (&self.link, header.first),
            (&self.link_and_mtu, link_and_mtu),
            (&self.interfaces, interfaces),
        ] {
            if cell.get() != value {
                cell.set(value);
            }
        }
        self.renewed
            .set(now.0 & LOW | u64::from(takes_frames) << 32);
    }

    /// There is no way any more.
    #[inline(always)]
    pub fn forget(&self) {
        self.interfaces.set(0);
    }

    #[inline(always)]
    fn age(&self, hz: Ticks, now: Ticks) -> Age {
        age(elapsed(now, self.renewed.get()), hz)
    }

    /// A copy of it as it is now.
    #[must_use]
    pub fn record(&self) -> Way<u64> {
        Way {
            interfaces: self.interfaces.get(),
            link: self.link.get(),
            link_and_mtu: self.link_and_mtu.get(),
            renewed: self.renewed.get(),
            tried_and_port: self.tried_and_port.get(),
        }
    }
}

/// The number of a bridge's port by its interface's index. A packet has room for so much of it on its
/// way through the stack, in a field that nobody else writes there (`tc_index`).
#[inline(always)]
#[must_use]
pub const fn port_number(interface: u32) -> u32 {
    interface & PORT_NUMBER
}

/// The bits of that number.
pub const PORT_NUMBER: u32 = 0x7fff;
/// A bit beside that number: the packet asks for a container of another bridge by its own address.
pub const BETWEEN_BRIDGES: u32 = 0x8000;

impl Way<u64> {
    /// No way.
    pub const NONE: Self = Way {
        interfaces: 0,
        link: 0,
        link_and_mtu: 0,
        renewed: 0,
        tried_and_port: 0,
    };

    /// Makes this none. Field by field: a whole value would be cleared by a call, with a frame of its
    /// own.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.interfaces = 0;
        self.link = 0;
        self.link_and_mtu = 0;
        self.renewed = 0;
        self.tried_and_port = 0;
    }

    /// Takes over by which port packets come in.
    #[inline(always)]
    pub fn keep_port(&mut self, other: &Way) {
        self.tried_and_port = u64::from(other.port()) << 32;
    }

    /// Whether packets take it.
    #[must_use]
    pub fn is_taken(&self, hz: Ticks, now: Ticks) -> bool {
        self.interfaces as u32 != 0 && age(elapsed(now, self.renewed), hz) != Age::Stale
    }

    /// The same, in cells.
    #[must_use]
    pub fn shared(&self) -> Way {
        Way {
            interfaces: self.interfaces.into(),
            link: self.link.into(),
            link_and_mtu: self.link_and_mtu.into(),
            renewed: self.renewed.into(),
            tried_and_port: self.tried_and_port.into(),
        }
    }
}

/// The bits of a time that are kept.
const LOW: u64 = u32::MAX as u64;

/// How many ticks lie between the time in a cell's lower half and now; none if another CPU's clock is a
/// little ahead. A cell that was never written is as old as any.
#[inline(always)]
const fn elapsed(now: Ticks, then: u64) -> u64 {
    const AHEAD: u32 = u32::MAX - 8;
    let elapsed = (now.0 as u32).wrapping_sub(then as u32);
    if elapsed < AHEAD { elapsed as u64 } else { 0 }
}

#[inline(always)]
const fn age(elapsed: u64, hz: Ticks) -> Age {
    if elapsed * 8 < hz.0 * DUE {
        Age::Fresh
    } else if elapsed * 8 < hz.0 * STALE {
        Age::Due
    } else {
        Age::Stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: Ticks = Ticks(80);
    const HEADER: Header = Header {
        first: 1,
        second: 2,
    };

    fn learnt(at: u64) -> Way {
        let way = Way::default();
        way.learn(2, exit(true), HEADER, Ticks(at));
        way
    }

    fn exit(takes_frames: bool) -> Exit {
        Exit {
            interface: 7,
            mtu: 1500,
            takes_frames,
        }
    }

    #[test]
    fn one_packet_each_eighth_goes_through_the_stack_until_it_has_come_through() {
        // Also where 32 bits of ticks are over.
        for start in [1_000, u64::from(u32::MAX) - 90] {
            let way = learnt(start);
            let asked = |ticks| way.of_packet(2, 1500, HZ, Ticks(start + ticks));
            for fresh in [0, 1, 119] {
                assert_eq!(asked(fresh), Some(7));
            }
            let through = (120..150).filter(|ticks| asked(*ticks).is_none());
            assert!(through.eq([120, 130, 140]));
            assert_eq!(asked(150), None);
            assert_eq!(asked(151), None);
            way.learn(2, exit(false), HEADER, Ticks(start + 151));
            assert_eq!(asked(152), Some(7));
        }
    }

    #[test]
    fn frames_take_it_while_it_is_fresh_and_change_nothing() {
        let way = learnt(1_000);
        let before = way.record();
        let asked = |at, length, ticks: u64| way.of_frame(at, length, HZ, Ticks(1_000 + ticks));
        assert_eq!(asked(2, 1500, 119), Some(7));
        for (at, length, ticks) in [(2, 1500, 120), (2, 1500, 150), (2, 1501, 1), (3, 1500, 1)] {
            assert_eq!(asked(at, length, ticks), None);
        }
        assert_eq!(way.record(), before);
        way.learn(2, exit(false), HEADER, Ticks(1_001));
        assert_eq!(asked(2, 1500, 1), None);
        assert_eq!(Way::default().of_frame(0, 0, HZ, Ticks(0)), None);
    }

    #[test]
    fn what_is_too_long_or_comes_from_elsewhere_does_not_take_it() {
        let way = learnt(1_000);
        let now = Ticks(1_001);
        assert_eq!(way.of_packet(2, 1501, HZ, now), None);
        assert_eq!(way.of_packet(3, 100, HZ, now), None);
        assert_eq!(way.header(), HEADER);
        way.forget();
        assert_eq!(way.of_packet(2, 100, HZ, now), None);
        assert_eq!(Way::default().of_packet(0, 0, HZ, Ticks(0)), None);
    }

    #[test]
    fn the_port_outlives_a_way_that_is_forgotten() {
        let way = learnt(1_000);
        way.set_port(port_number(0x0007_0009));
        way.forget();
        assert_eq!(way.port(), 9);
        // What is noted of packets that are sent through the stack is noted beside it.
        assert_eq!(way.of_packet(2, 1500, HZ, Ticks(2_000)), None);
        way.learn(2, exit(true), HEADER, Ticks(2_000));
        assert_eq!(way.of_packet(2, 1500, HZ, Ticks(2_125)), None);
        assert_eq!(way.of_packet(2, 1500, HZ, Ticks(2_126)), Some(7));
        assert_eq!(way.port(), 9);
        way.set_port(8);
        assert_eq!(way.of_packet(2, 1500, HZ, Ticks(2_127)), Some(7));
        assert_eq!(way.port(), 8);
        way.set_port(9);
        let mut record = Way::NONE;
        record.keep_port(&way);
        assert_eq!(record.shared().port(), 9);
    }

    #[test]
    fn a_clock_that_is_behind_makes_nothing_old() {
        assert_eq!(learnt(1_000).of_packet(2, 100, HZ, Ticks(999)), Some(7));
    }
}
