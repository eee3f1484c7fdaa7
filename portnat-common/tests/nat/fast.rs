//! Established flows go past the stack by the way that one of their packets has taken through it.

use portnat_common::nat::{self, Hook, Next, Sight};
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Tables, V4, V6, Verdict};

use crate::carrier::{BRIDGE_MTU, Carrier, UPLINK_MTU};
use crate::fixtures::{ACK, SYN, SYN_ACK};
use crate::support::packet::Carries::{self, Sctp, Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::world::{DUE, HZ, Hosts, TestFamily, World, World6};

/// The addresses of a flow of either family.
pub(crate) struct Ends {
    pub(crate) client: &'static str,
    pub(crate) host: &'static str,
    pub(crate) target: &'static str,
}

pub(crate) const V4_ENDS: Ends = Ends {
    client: "198.51.100.7:40000",
    host: "192.0.2.1:8080",
    target: "172.17.0.2:80",
};
pub(crate) const V6_ENDS: Ends = Ends {
    client: "[2001:db8:7::7]:40000",
    host: "[2001:db8:1::1]:8080",
    target: "[fd00:17::2]:80",
};

/// The link headers of what leaves the stack.
pub(crate) const INSIDE: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
const OUTSIDE: [u8; 12] = [6, 0, 0, 0, 0, 2, 6, 0, 0, 0, 0, 1];

/// A host on which packets may go past the stack.
pub(crate) struct Scene<F: TestFamily> {
    pub(crate) world: Hosts<F>,
    pub(crate) ends: Ends,
}

impl<F: TestFamily> Scene<F>
where
    Hosts<F>: Tables<F>,
{
    pub(crate) fn new(world: Hosts<F>, ends: Ends) -> Self {
        let mut world = [protocol::TCP, protocol::UDP, protocol::SCTP]
            .into_iter()
            .fold(world, |world, number| {
                let any = if ends.host.starts_with('[') {
                    "::"
                } else {
                    "0.0.0.0"
                };
                world.publish(number, any, 8080, ends.target)
            });
        world.settings.fast = 1;
        Scene { world, ends }
    }

    /// A packet of the client's, as it comes in.
    pub(crate) fn request(&self, carries: Carries) -> Packet {
        packet(carries, self.ends.client, self.ends.host)
    }

    /// A packet of the target's.
    fn reply(&self, carries: Carries) -> Packet {
        packet(carries, self.ends.target, self.ends.client)
    }

    pub(crate) fn see(&self, hook: Hook, at: u32, came_in: u32) -> Sight {
        self.world.interface.set(at);
        self.world.came_in.set(came_in);
        Sight {
            hook,
            l3: 14,
            forwarded: true,
        }
    }

    /// A packet comes in from outside.
    pub(crate) fn come_in(&self, at: u32, packet: &Packet) -> (Verdict, Carrier) {
        let sight = self.see(Hook::In, at, at);
        let mut carrier = Carrier::of(packet.frame());
        let verdict = nat::process::<F, _, _>(&mut carrier, sight, &self.world);
        (verdict, carrier)
    }

    /// A translated packet of the client's leaves the stack for the container.
    pub(crate) fn arrive(&self, packet: &Packet) {
        self.arrive_at(World::PORT, World::UPLINK, packet);
    }

    /// It leaves by a bridge's port, having come in by an interface.
    fn arrive_at(&self, port: u32, came_in: u32, packet: &Packet) {
        let sight = self.see(Hook::Inside, port, came_in);
        let arrived = Packet {
            dst: self.ends.target.parse().expect("an address"),
            ..packet.clone()
        };
        let mut frame = arrived.frame();
        frame[..12].copy_from_slice(&INSIDE);
        nat::arrive_inside::<F, _, _>(&Carrier::of(frame), sight, &self.world);
    }

    /// A packet comes from the container.
    fn send(&self, packet: &Packet) -> (Option<Verdict>, Carrier) {
        let sight = self.see(Hook::In, World::PORT, World::PORT);
        let mut carrier = Carrier::of(packet.frame());
        let next = nat::established_at_port::<F, _, _>(&mut carrier, sight, &self.world);
        (sent(next), carrier)
    }

    /// A packet leaves for the outside, having come in by an interface.
    fn leave(&self, came_in: u32, packet: &Packet) -> Verdict {
        let sight = self.see(Hook::Outside, World::UPLINK, came_in);
        let mut frame = packet.frame();
        frame[..12].copy_from_slice(&OUTSIDE);
        nat::process::<F, _, _>(&mut Carrier::of(frame), sight, &self.world)
    }

    /// A packet of the client's goes all the way through the stack, if it is translated.
    pub(crate) fn through(&self, carries: Carries) {
        let request = self.request(carries);
        assert_eq!(self.come_in(World::UPLINK, &request).0, Verdict::Translated);
        self.arrive(&request);
    }

    /// And one of the target's.
    pub(crate) fn back(&self, carries: Carries) {
        let reply = self.reply(carries);
        assert_eq!(self.send(&reply).0, None);
        assert_eq!(self.leave(World::BRIDGE, &reply), Verdict::Translated);
    }

    /// A flow whose ways are both known.
    pub(crate) fn establish(&self, number: u8) {
        let (first, answer, data) = match number {
            protocol::TCP => (Tcp(SYN), Tcp(SYN_ACK), Tcp(ACK)),
            protocol::SCTP => (Sctp(1), Sctp(2), Sctp(0)),
            _ => (Udp, Udp, Udp),
        };
        self.through(first);
        self.back(answer);
        self.through(data);
        self.back(data);
    }
}

/// That a packet was sent past the stack, or must not go on at all.
fn sent(next: Next) -> Option<Verdict> {
    match next {
        Next::Done(verdict @ (Verdict::Send | Verdict::Drop(_))) => Some(verdict),
        _ => None,
    }
}

/// The frame after a hop, behind another link header.
pub(crate) fn hopped(packet: &Packet, link: [u8; 12]) -> Vec<u8> {
    let mut frame = packet.frame();
    frame[..12].copy_from_slice(&link);
    if packet.src.is_ipv4() {
        frame[22] -= 1;
        frame[24..26].fill(0);
        let sum = portnat_common::checksum::checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_ne_bytes());
    } else {
        frame[21] -= 1;
    }
    frame
}

fn goes_both_ways<F: TestFamily>(scene: &Scene<F>)
where
    Hosts<F>: Tables<F>,
{
    for (number, data) in [(protocol::TCP, Tcp(ACK)), (protocol::UDP, Udp)] {
        scene.establish(number);
        let request = scene.request(data);
        let (verdict, carrier) = scene.come_in(World::UPLINK, &request);
        assert_eq!((verdict, carrier.by), (Verdict::Deliver, World::PORT));
        let translated = packet(data, scene.ends.client, scene.ends.target);
        assert_eq!(carrier.frame, hopped(&translated, INSIDE));

        let reply = scene.reply(data);
        let (verdict, carrier) = scene.send(&reply);
        assert_eq!((verdict, carrier.by), (Some(Verdict::Send), World::UPLINK));
        // It is translated where it leaves.
        assert_eq!(carrier.frame, hopped(&reply, OUTSIDE));
        assert_eq!(scene.leave(World::PORT, &reply), Verdict::Translated);
    }
}

#[test]
fn both_directions_go_past_the_stack_once_both_have_been_through_it() {
    goes_both_ways(&Scene::<V4>::new(World::new(), V4_ENDS));
    goes_both_ways(&Scene::<V6>::new(World6::new(), V6_ENDS));
}

#[test]
fn a_packet_alone_does_not_make_a_way() {
    let scene = Scene::<V4>::new(World::new(), V4_ENDS);
    scene.through(Tcp(SYN));
    scene.back(Tcp(SYN_ACK));
    // It confirms the flow and goes through the stack, where a firewall drops it.
    for _ in 0..3 {
        let (verdict, _) = scene.come_in(World::UPLINK, &scene.request(Tcp(ACK)));
        assert_eq!(verdict, Verdict::Translated);
    }
}

#[test]
fn what_is_unusual_goes_through_the_stack() {
    let scene = Scene::<V4>::new(World::new(), V4_ENDS);
    scene.establish(protocol::TCP);
    scene.establish(protocol::SCTP);
    let data = |length: usize| scene.request(Tcp(ACK)).saying(&vec![1; length]);
    let fits = data(BRIDGE_MTU - 40);
    assert_eq!(scene.come_in(World::UPLINK, &fits).0, Verdict::Deliver);
    for unusual in [
        data(BRIDGE_MTU - 39),
        data(1).with_options(1),
        scene.request(Tcp(SYN)),
        scene.request(Sctp(0)),
        scene.request(Tcp(ACK | tcp::FIN)),
    ] {
        let (verdict, _) = scene.come_in(World::UPLINK, &unusual);
        assert_eq!(verdict, Verdict::Translated, "{unusual:?}");
    }
    let reply = |length: usize| scene.reply(Udp).saying(&vec![1; length]);
    scene.establish(protocol::UDP);
    assert_eq!(scene.send(&reply(UPLINK_MTU - 28)).0, Some(Verdict::Send));
    assert_eq!(scene.send(&reply(UPLINK_MTU - 27)).0, None);
    assert_eq!(scene.send(&reply(9).fragment(0, true)).0, None);
    // By another interface than those before, and with its last hop.
    let request = scene.request(Udp);
    assert_eq!(scene.come_in(World::UPLINK, &request).0, Verdict::Deliver);
    let (verdict, _) = scene.come_in(World::OTHER_BRIDGE, &request);
    assert_eq!(verdict, Verdict::Translated);
    let mut last = request.frame();
    last[22] = 1;
    let sight = scene.see(Hook::In, World::UPLINK, World::UPLINK);
    let verdict = nat::process::<V4, _, _>(&mut Carrier::of(last), sight, &scene.world);
    assert_eq!(verdict, Verdict::Translated);
}

/// After a while a packet of each direction goes through the stack. Where none comes through, all do
/// before two seconds are over.
#[test]
fn the_stack_is_asked_again_and_again() {
    let scene = Scene::<V4>::new(World::new(), V4_ENDS);
    scene.establish(protocol::UDP);
    let (request, reply) = (scene.request(Udp), scene.reply(Udp));
    let ask = || {
        let delivered = scene.come_in(World::UPLINK, &request).0 == Verdict::Deliver;
        let sent = scene.send(&reply).0 == Some(Verdict::Send);
        assert_eq!(delivered, sent);
        delivered
    };
    scene.world.pass_ticks(DUE - 1);
    assert!(ask());
    scene.world.pass_ticks(1);
    // One goes through the stack and does not come out; the next is the stack's an eighth later.
    assert!(!ask() && ask());
    scene.world.pass_ticks(HZ / 8 + 1);
    assert!(!ask() && ask());
    scene.world.pass_ticks(HZ / 4);
    assert!(!ask() && !ask());
    // They come out again.
    scene.through(Udp);
    scene.back(Udp);
    assert!(ask());
}

/// Whoever comes by another port is not the sender, whatever it says: also where its packet comes in
/// between the sender's coming in and going out, and is dropped in between.
#[test]
fn a_neighbour_does_not_send_for_another() {
    let scene = Scene::<V4>::new(World::new(), V4_ENDS);
    scene.establish(protocol::UDP);
    let reply = scene.reply(Udp);
    let neighbour = || {
        let sight = scene.see(Hook::In, World::PORT + 1, World::PORT + 1);
        let mut carrier = Carrier::of(reply.frame());
        let next = nat::established_at_port::<V4, _, _>(&mut carrier, sight, &scene.world);
        sent(next)
    };
    assert_eq!(neighbour(), None);
    assert_eq!(scene.send(&reply).0, Some(Verdict::Send));
    scene.world.pass_ticks(DUE);
    assert_eq!(scene.send(&reply).0, None);
    let number = scene.world.number.get();
    assert_eq!(neighbour(), None);
    // The sender's packet has its own number with it.
    scene.world.number.set(number);
    assert_eq!(scene.leave(World::BRIDGE, &reply), Verdict::Translated);
    assert_eq!(neighbour(), None);
    assert_eq!(scene.send(&reply).0, Some(Verdict::Send));
}

/// A bridge that does not know where an address is sends what is for it to all its ports.
#[test]
fn what_is_flooded_teaches_nothing_but_at_the_port_where_the_target_is() {
    let scene = Scene::<V4>::new(World::new(), V4_ENDS);
    scene.establish(protocol::UDP);
    scene.world.pass(2);
    let request = scene.request(Udp);
    assert_eq!(
        scene.come_in(World::UPLINK, &request).0,
        Verdict::Translated
    );
    for (port, came_in) in [
        (World::PORT + 1, World::UPLINK),
        (World::PORT, World::UPLINK),
    ] {
        scene.arrive_at(port, came_in, &request);
    }
    let (verdict, carrier) = scene.come_in(World::UPLINK, &request);
    assert_eq!((verdict, carrier.by), (Verdict::Deliver, World::PORT));
}

/// A connection that begins on an ended one's tuple has its own handshake.
#[test]
fn a_new_connection_does_not_take_an_old_ones_way() {
    let scene = Scene::<V4>::new(World::new(), V4_ENDS);
    scene.establish(protocol::TCP);
    scene.through(Tcp(ACK | tcp::RST));
    scene.through(Tcp(SYN));
    let (verdict, _) = scene.come_in(World::UPLINK, &scene.request(Tcp(ACK)));
    assert_eq!(verdict, Verdict::Translated);
}

#[test]
fn nothing_goes_past_the_stack_that_must_not() {
    let mut scene = Scene::<V4>::new(World::new(), V4_ENDS);
    scene.establish(protocol::UDP);
    scene.world.settings.fast = 0;
    scene.through(Udp);
    scene.back(Udp);
}
