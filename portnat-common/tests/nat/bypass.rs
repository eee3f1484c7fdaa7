//! Prefixes outside to which containers speak as themselves, and addresses that subnets name.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::subnet::{BYPASSES, CLOSED, MASQUERADED, masqueraded_as};
use portnat_common::wire::{protocol, tcp};
use portnat_common::{Bytes, DropReason, Table, V4, V6, Verdict};

use crate::fixtures::{ACK, SYN, SYN_ACK, becomes, is_dropped, passes};
use crate::support::packet::Carries::{
    self, EchoReply, EchoRequest, FragmentationNeeded, Protocol, Tcp, Udp,
};
use crate::support::packet::{Packet, packet};
use crate::support::world::{Hosts, TestFamily, World};

const NAT: u32 = MASQUERADED | CLOSED;

/// The ends of what is said, in one family.
struct Ends {
    any: &'static str,
    /// A container's address, and another's behind the other bridge.
    container: &'static str,
    stranger: &'static str,
    /// The host's address to the outside, and another one of its own.
    host: &'static str,
    named: &'static str,
    /// Outside: one that is not masqueraded to, one that is, and a router.
    partner: &'static str,
    remote: &'static str,
    router: &'static str,
}

const ENDS4: Ends = Ends {
    any: "0.0.0.0",
    container: "172.17.0.2",
    stranger: "172.18.0.2",
    host: "192.0.2.1",
    named: "192.0.2.77",
    partner: "198.51.100.7",
    remote: "203.0.113.5",
    router: "198.51.100.254",
};

const ENDS6: Ends = Ends {
    any: "::",
    container: "[fd00:17::2]",
    stranger: "[fd00:18::2]",
    host: "[2001:db8:1::1]",
    named: "[2001:db8:1::77]",
    partner: "[2001:db8:9::7]",
    remote: "[2001:db8:5::5]",
    router: "[2001:db8:9::fe]",
};

fn bare(address: &str) -> &str {
    address.trim_matches(['[', ']'])
}

fn ip<F: TestFamily>(address: &str) -> F::Address {
    F::address(bare(address).parse().expect("an address"))
}

/// A host whose first network does not masquerade to the partner.
fn bypassing<F: TestFamily>(ends: &Ends) -> Hosts<F> {
    let mut world = Hosts::<F>::new().with_mode(0, NAT | BYPASSES);
    world.bypass.insert(ip::<F>(ends.partner));
    world
}

/// A host whose first network is masqueraded to nobody, and reached by nobody.
fn plain<F: TestFamily>(_: &Ends) -> Hosts<F> {
    Hosts::<F>::new().with_mode(0, CLOSED | BYPASSES)
}

/// A host whose first network is masqueraded as an address of its own choice.
fn naming<F: TestFamily>(ends: &Ends) -> Hosts<F> {
    let mut world = Hosts::<F>::new()
        .with_mode(0, NAT | masqueraded_as(7))
        .with_address(bare(ends.named));
    world.named.insert(7, ip::<F>(ends.named));
    world
}

fn run<F: TestFamily>(world: &Hosts<F>, hook: Hook, packet: &Packet) -> (Verdict, Vec<u8>) {
    world.number.set(0);
    let mut frame = packet.frame();
    let sight = Sight {
        hook,
        l3: 14,
        forwarded: true,
    };
    let verdict = nat::process::<F, _, _>(&mut Bytes(&mut frame), sight, world);
    (verdict, frame)
}

fn out<F: TestFamily>(world: &Hosts<F>, packet: &Packet) -> (Verdict, Vec<u8>) {
    run(world, Hook::Outside, packet)
}

fn back<F: TestFamily>(world: &Hosts<F>, packet: &Packet) -> (Verdict, Vec<u8>) {
    run(world, Hook::In, packet)
}

/// An address with a port, or with none for who is pinged.
fn at(address: &str, port: u16) -> String {
    format!("{address}:{port}")
}

/// A packet between two ends.
fn between(carries: Carries, src: &str, dst: &str) -> Packet {
    packet(carries, src, dst)
}

/// What is asked of a remote end and what it answers, by an inner port that masquerade would exchange
/// and one that it would not.
fn conversations(ends: &Ends, remote: &str) -> Vec<(Packet, Packet)> {
    let mut all = Vec::new();
    for port in [40_000, 5353] {
        let inside = at(ends.container, port);
        for (there, answer, of) in [
            (Tcp(SYN), Tcp(SYN_ACK), 53),
            (Udp, Udp, 53),
            (EchoRequest, EchoReply, 0),
        ] {
            let outside = at(remote, of);
            all.push((
                between(there, &inside, &outside),
                between(answer, &outside, &inside),
            ));
        }
    }
    all
}

fn goes_out_as_it_is_and_is_answered<F: TestFamily>(ends: &Ends, world: fn(&Ends) -> Hosts<F>) {
    for (asks, answers) in conversations(ends, ends.partner) {
        let world = world(ends);
        // Nobody outside begins.
        is_dropped(back(&world, &answers), DropReason::DirectAccess);
        for _ in 0..2 {
            passes(out(&world, &asks), &asks);
            passes(back(&world, &answers), &answers);
        }
        assert_eq!(world.records_in(Table::Confirmed).len(), 2, "{asks:?}");
        // Of a datagram's fragments, too: those behind the first have no ports.
        let first = answers.clone().fragment(0, true);
        if matches!(answers.carries, Udp) {
            passes(back(&world, &first), &first);
        }
        let later = answers.clone().fragment(9, false);
        passes(back(&world, &later), &later);
        // It lives as long as any other.
        world.pass(10_000);
        is_dropped(back(&world, &answers), DropReason::DirectAccess);
    }
}

#[test]
fn what_is_not_masqueraded_goes_out_as_it_is_and_is_answered() {
    goes_out_as_it_is_and_is_answered::<V4>(&ENDS4, bypassing);
    goes_out_as_it_is_and_is_answered::<V6>(&ENDS6, bypassing);
    goes_out_as_it_is_and_is_answered::<V4>(&ENDS4, plain);
    goes_out_as_it_is_and_is_answered::<V6>(&ENDS6, plain);
}

/// What is closed and speaks to nobody as anybody leads nowhere.
fn nothing_leaves_an_internal_network<F: TestFamily>(ends: &Ends) {
    let world = Hosts::<F>::new().with_mode(0, CLOSED);
    let of_no_port = (at(ends.container, 0), at(ends.remote, 0));
    let of_no_port = between(Protocol(47), &of_no_port.0, &of_no_port.1);
    for (asks, answers) in conversations(ends, ends.remote) {
        is_dropped(out(&world, &asks), DropReason::Isolated);
        is_dropped(out(&world, &of_no_port), DropReason::Isolated);
        is_dropped(back(&world, &answers), DropReason::DirectAccess);
    }
    // Its neighbour is as it was.
    let other = between(Udp, &at(ends.stranger, 5353), &at(ends.remote, 53));
    assert_eq!(out(&world, &other).0, Verdict::Translated);
}

#[test]
fn nothing_leaves_a_network_that_is_internal() {
    nothing_leaves_an_internal_network::<V4>(&ENDS4);
    nothing_leaves_an_internal_network::<V6>(&ENDS6);
}

fn others_are_masqueraded_and_kept_out<F: TestFamily>(ends: &Ends) {
    let world = bypassing::<F>(ends);
    let (inside, remote) = (at(ends.container, 5353), at(ends.remote, 53));
    let asks = between(Udp, &inside, &remote);
    becomes(
        out(&world, &asks),
        &between(Udp, &at(ends.host, 5353), &remote),
    );
    // Who is not bypassed has no way in, nor has the partner to another port or container.
    is_dropped(
        back(&world, &between(Udp, &remote, &inside)),
        DropReason::DirectAccess,
    );
    let partner = at(ends.partner, 53);
    passes(
        out(&world, &between(Udp, &inside, &partner)),
        &between(Udp, &inside, &partner),
    );
    for (from, to) in [
        (at(ends.partner, 54), inside.clone()),
        (partner.clone(), at(ends.container, 5354)),
        (partner.clone(), at(ends.stranger, 5353)),
    ] {
        for carries in [Udp, Tcp(SYN), Tcp(ACK)] {
            let direct = back(&world, &between(carries, &from, &to));
            is_dropped(direct, DropReason::DirectAccess);
        }
    }
    let later = between(Udp, &remote, &inside).fragment(9, false);
    is_dropped(back(&world, &later), DropReason::DirectAccess);
    // The other network does not know of it, and is masqueraded.
    let other = between(Udp, &at(ends.stranger, 5353), &partner);
    let (verdict, _) = out(&world, &other);
    assert_eq!(verdict, Verdict::Translated);
    // Of what has no ports nobody could know the answers.
    is_dropped(
        out(
            &world,
            &between(Protocol(47), &at(ends.container, 0), &at(ends.partner, 0)),
        ),
        DropReason::UnsupportedProtocol,
    );
}

#[test]
fn others_are_masqueraded_and_nobody_else_comes_in() {
    others_are_masqueraded_and_kept_out::<V4>(&ENDS4);
    others_are_masqueraded_and_kept_out::<V6>(&ENDS6);
}

fn errors_find_their_way<F: TestFamily>(ends: &Ends) {
    let (inside, partner) = (at(ends.container, 5353), at(ends.partner, 53));
    let error = |from: &str, quoted: &Packet| {
        let mut network = quoted.network();
        network.truncate(if F::LEADS_ACROSS { 48 } else { 28 });
        packet(FragmentationNeeded, from, &quoted.src.to_string()).saying(&network)
    };
    let world = bypassing::<F>(ends);
    let asks = between(Udp, &inside, &partner);
    let of_the_router = error(&at(ends.router, 0), &asks);
    is_dropped(back(&world, &of_the_router), DropReason::DirectAccess);
    passes(out(&world, &asks), &asks);
    let (verdict, frame) = back(&world, &of_the_router);
    assert!(matches!(verdict, Verdict::Translated | Verdict::Pass));
    assert_eq!(frame, of_the_router.frame(), "as the router wrote it");
    // Those of the container about the answers too.
    let answers = between(Udp, &partner, &inside);
    let own = error(&at(ends.container, 0), &answers);
    let (verdict, frame) = out(&world, &own);
    assert!(matches!(verdict, Verdict::Translated | Verdict::Pass));
    assert_eq!(frame, own.frame());
}

#[test]
fn errors_about_what_is_not_masqueraded_find_their_way() {
    errors_find_their_way::<V4>(&ENDS4);
    errors_find_their_way::<V6>(&ENDS6);
}

/// Who has come in by a published port is answered from there, wherever it is.
fn published_ports_stay_themselves<F: TestFamily>(ends: &Ends, network: fn(&Ends) -> Hosts<F>) {
    let (target, host) = (at(ends.container, 80), at(ends.host, 8080));
    let client = at(ends.partner, 40_000);
    for (there, answer) in [(Tcp(SYN), Tcp(SYN_ACK)), (Udp, Udp)] {
        let mut world = network(ends);
        for protocol in [protocol::TCP, protocol::UDP] {
            world = world.publish(protocol, ends.any, 8080, &target);
        }
        becomes(
            back(&world, &between(there, &client, &host)),
            &between(there, &client, &target),
        );
        becomes(
            out(&world, &between(answer, &target, &client)),
            &between(answer, &host, &client),
        );
    }
    // Also when nobody knows of the connection any more.
    let world = network(ends).publish(protocol::TCP, ends.any, 8080, &target);
    becomes(
        out(&world, &between(Tcp(ACK), &target, &client)),
        &between(Tcp(ACK), &host, &client),
    );
}

#[test]
fn published_ports_are_answered_from_there() {
    published_ports_stay_themselves::<V4>(&ENDS4, bypassing);
    published_ports_stay_themselves::<V6>(&ENDS6, bypassing);
    published_ports_stay_themselves::<V4>(&ENDS4, plain);
    published_ports_stay_themselves::<V6>(&ENDS6, plain);
}

/// It needs no address to be lent, and lends none.
#[test]
fn what_is_not_masqueraded_needs_no_address() {
    let world = bypassing::<V4>(&ENDS4).without_egress_address();
    for (asks, _) in conversations(&ENDS4, ENDS4.partner) {
        passes(out(&world, &asks), &asks);
    }
    let other = between(Udp, "172.17.0.2:5353", "203.0.113.5:53");
    is_dropped(out(&world, &other), DropReason::NoEgressAddress);
    let stray = between(Tcp(tcp::RST), "172.17.0.2:1", "198.51.100.7:53");
    passes(out(&world, &stray), &stray);
}

fn named_addresses_are_lent<F: TestFamily>(ends: &Ends) {
    for (asks, answers) in conversations(ends, ends.remote) {
        let mut world = naming::<F>(ends);
        let as_named = |packet: &Packet, port: u16| {
            let (src, dst) = (at(ends.named, port), packet.dst.to_string());
            between(packet.carries, &src, &dst)
        };
        let port = asks.src.port();
        let kept = port < 32_768;
        let (verdict, frame) = out(&world, &asks);
        assert_eq!(verdict, Verdict::Translated);
        if kept {
            assert_eq!(frame, as_named(&asks, port).frame());
            let to_host = between(
                answers.carries,
                &answers.src.to_string(),
                &at(ends.named, port),
            );
            becomes(back(&world, &to_host), &answers);
            // By whatever interface it goes out, and also later.
            world.interface.set(World::OTHER_BRIDGE);
            world.pass(2);
            let again = match asks.carries {
                Tcp(_) => between(Tcp(ACK), &asks.src.to_string(), &asks.dst.to_string()),
                _ => asks.clone(),
            };
            becomes(out(&world, &again), &as_named(&again, port));
            // Until the host has the address no more.
            world = world.without_address(ip::<F>(ends.named));
            world.pass(2);
            is_dropped(out(&world, &again), DropReason::NoEgressAddress);
        }
        // The other network goes on as the interface.
        world.interface.set(World::UPLINK);
        let other = between(Udp, &at(ends.stranger, 5353), &at(ends.remote, 54));
        becomes(
            out(&world, &other),
            &between(Udp, &at(ends.host, 5353), &at(ends.remote, 54)),
        );
    }
}

#[test]
fn a_subnet_is_masqueraded_as_the_address_that_it_names() {
    named_addresses_are_lent::<V4>(&ENDS4);
    named_addresses_are_lent::<V6>(&ENDS6);
}

/// A published port is asked at an interface's address, and answers from there.
#[test]
fn published_ports_do_not_take_the_named_address() {
    let world = naming::<V4>(&ENDS4).publish(protocol::TCP, "0.0.0.0", 8080, "172.17.0.2:80");
    let first = between(Tcp(ACK), "172.17.0.2:80", "203.0.113.5:40000");
    becomes(
        out(&world, &first),
        &between(Tcp(ACK), "192.0.2.1:8080", "203.0.113.5:40000"),
    );
}
