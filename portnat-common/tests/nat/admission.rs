//! Who may come in by a published port.

use portnat_common::nat::{self, Hook, Sight};
use portnat_common::wire::protocol;
use portnat_common::{Bytes, DropReason, Table, Tables, V4, Verdict};
use proptest::prelude::*;

use crate::fixtures::{
    ACK, CLIENT, HOST, SYN, SYN_ACK, TARGET, becomes, egress, ingress, is_dropped,
};
use crate::hairpin::port_in;
use crate::support::packet::Carries::{Tcp, Udp};
use crate::support::packet::{Packet, packet};
use crate::support::racing::Racing;
use crate::support::world::{HZ, World, World6};
use crate::v6;

const FIN: u8 = portnat_common::wire::tcp::FIN | ACK;

/// A published port of TCP.
fn web() -> World {
    World::new().publish(protocol::TCP, "0.0.0.0", 8080, TARGET)
}

fn syn(client: &str) -> Packet {
    packet(Tcp(SYN), client, HOST)
}

/// What becomes of the first packet of a connection.
fn asks(world: &impl Tables<V4>, client: &str) -> Verdict {
    ingress(world, &syn(client)).0
}

const LET_IN: Verdict = Verdict::Translated;
const DENIED: Verdict = Verdict::Drop(DropReason::Denied);
const LIMITED: Verdict = Verdict::Drop(DropReason::Limited);

#[test]
fn the_longest_prefix_decides() {
    let world = web()
        .list("0.0.0.0", 0, false)
        .list("198.51.100.0", 24, true)
        .list("198.51.100.64", 26, false)
        .list("198.51.100.65", 32, true);
    for (client, verdict) in [
        ("198.51.100.7:1", LET_IN),
        ("198.51.100.64:1", DENIED),
        ("198.51.100.65:1", LET_IN),
        ("198.51.101.7:1", DENIED),
    ] {
        assert_eq!(asks(&world, client), verdict, "{client}");
    }
    // Whoever is on no list.
    let world = web().list("198.51.100.0", 24, false);
    assert_eq!(asks(&world, CLIENT), DENIED);
    assert_eq!(asks(&world, "198.51.101.7:1"), LET_IN);
    assert!(
        world.records().len() == 2,
        "of who is denied nothing is kept"
    );
}

#[test]
fn another_ports_lists_say_nothing() {
    let world = web()
        .publish(protocol::UDP, "0.0.0.0", 8080, TARGET)
        .list("0.0.0.0", 0, false);
    assert_eq!(asks(&world, CLIENT), DENIED);
    let datagram = packet(Udp, CLIENT, HOST);
    assert_eq!(ingress(&world, &datagram).0, LET_IN);
}

#[test]
fn in_ipv6_too() {
    let world = World6::new()
        .publish(protocol::TCP, "::", 8080, v6::TARGET)
        .list("::", 0, false)
        .list("2001:db8:9::", 48, true)
        .list("2001:db8:9:1::", 64, false);
    for (client, verdict) in [
        (v6::CLIENT, LET_IN),
        ("[2001:db8:9:1::7]:1", DENIED),
        ("[2001:db8:a::7]:1", DENIED),
        // A neighbour, by its address of the link.
        ("[fe80::7]:1", DENIED),
        // And a container, by the address that it has.
        ("[fd00:18::2]:1", DENIED),
    ] {
        let packet = packet(Tcp(SYN), client, v6::HOST);
        assert_eq!(v6::run(&world, Hook::In, &packet).0, verdict, "{client}");
    }
}

#[test]
fn a_container_is_asked_and_the_host_itself_is_not() {
    let world = web()
        .list("0.0.0.0", 0, false)
        .list("172.18.0.0", 16, true)
        .limit(1, 1);
    is_dropped(
        port_in(&world, &syn("172.17.0.3:40000")),
        DropReason::Denied,
    );
    let there = syn("172.18.0.2:40000");
    becomes(
        port_in(&world, &there),
        &packet(Tcp(SYN), "172.18.0.2:40000", TARGET),
    );
    for port in [40000, 40001] {
        let own = packet(Tcp(SYN), &format!("127.0.0.1:{port}"), "127.0.0.1:8080");
        let sight = Sight {
            hook: Hook::Local,
            l3: 14,
            forwarded: true,
        };
        let verdict = nat::process::<V4, _, _>(&mut Bytes(&mut own.frame()), sight, &world);
        assert_eq!(verdict, Verdict::Redirect);
    }
}

/// A connection that is there goes on, whatever is listed since.
#[test]
fn what_is_open_stays_open() {
    let world = web().limit(1, 1);
    let say = |world: &World, flags| ingress(world, &packet(Tcp(flags), CLIENT, HOST)).0;
    assert_eq!(say(&world, SYN), LET_IN);
    // Sent again, it opens nothing.
    assert_eq!(say(&world, SYN), LET_IN);
    egress(&world, &packet(Tcp(SYN_ACK), TARGET, CLIENT));
    assert_eq!(say(&world, ACK), LET_IN);
    assert_eq!(world.records_in(Table::Confirmed).len(), 2);
    let world = world.list("0.0.0.0", 0, false);
    for _ in 0..5 {
        assert_eq!(say(&world, ACK), LET_IN);
    }
    assert_eq!(asks(&world, "198.51.100.7:40001"), DENIED);
}

/// A client that uses a port again which it has just had opens a connection all the same, whether the
/// last one was confirmed or not.
#[test]
fn who_opens_a_closing_flow_anew_is_asked_again() {
    for confirms in [false, true] {
        let world = web().limit(1, 2);
        let client = |flags| ingress(&world, &packet(Tcp(flags), CLIENT, HOST)).0;
        let connection = || {
            assert_eq!(client(SYN), LET_IN);
            egress(&world, &packet(Tcp(SYN_ACK), TARGET, CLIENT));
            if confirms {
                assert_eq!(client(ACK), LET_IN);
            }
            assert_eq!(client(FIN), LET_IN);
            egress(&world, &packet(Tcp(FIN), TARGET, CLIENT));
        };
        connection();
        connection();
        assert_eq!(client(SYN), LIMITED, "confirmed: {confirms}");
        world.pass(1);
        connection();
        assert_eq!(client(SYN), LIMITED, "confirmed: {confirms}");
        world.pass(1);
        let world = world.list("198.51.100.7", 32, false);
        assert_eq!(asks(&world, CLIENT), DENIED, "confirmed: {confirms}");
    }
}

#[test]
fn each_source_has_a_limit_of_its_own() {
    let world = web().limit(2, 3);
    let verdicts =
        |client: &str| [1, 2, 3, 4].map(|port| asks(&world, &format!("{client}:{port}")) == LET_IN);
    assert_eq!(verdicts("198.51.100.7"), [true, true, true, false]);
    assert_eq!(verdicts("198.51.100.8"), [true, true, true, false]);
    world.pass_ticks(HZ / 2);
    assert_eq!(asks(&world, "198.51.100.7:5"), LET_IN);
    assert_eq!(asks(&world, "198.51.100.7:6"), LIMITED);
}

#[test]
fn of_an_ipv6_site_all_addresses_are_one_source() {
    let world = World6::new()
        .publish(protocol::TCP, "::", 8080, v6::TARGET)
        .limit(1, 1);
    let asks = |client: &str| v6::run(&world, Hook::In, &packet(Tcp(SYN), client, v6::HOST)).0;
    assert_eq!(asks("[2001:db8:9::7]:1"), LET_IN);
    assert_eq!(asks("[2001:db8:9::8]:1"), LIMITED);
    assert_eq!(asks("[2001:db8:9:1::7]:1"), LET_IN);
    // Containers and neighbours are in one /64 with others.
    for client in ["[fd00:18::2]", "[fd00:18::3]"] {
        assert_eq!(asks(&format!("{client}:1")), LET_IN);
        assert_eq!(asks(&format!("{client}:2")), LIMITED);
    }
}

/// Two CPUs take no token twice, at whatever moment one comes in between.
#[test]
fn of_two_cpus_one_gets_the_last_token() {
    let mut took_place = true;
    for access in 0.. {
        let world = web().limit(1, 1);
        let other = std::cell::Cell::new(Verdict::Pass);
        let racing = Racing::new(&world, access, || {
            other.set(asks(&world, "198.51.100.7:2"));
        });
        let own = asks(&racing, "198.51.100.7:1");
        if !racing.took_place() {
            took_place = access > 0;
            break;
        }
        let mut passed = [own, other.get()];
        passed.sort_by_key(|verdict| *verdict == LET_IN);
        assert_eq!(passed[0], LIMITED, "access {access}");
        assert!(passed.contains(&LET_IN), "access {access}: {passed:?}");
    }
    assert!(took_place);
}

proptest! {
    /// Whoever asks how often: no source has more flows than the rate and a burst.
    #[test]
    fn no_source_opens_more_than_it_may(
        (rate, burst) in (1..50_u32, 1..20_u32),
        steps in prop::collection::vec((0..30_u64, 0..3_u8), 1..150),
    ) {
        let world = web().limit(rate, burst);
        let (mut begun, mut opened, mut ticks) = ([None; 3], [0_u64; 3], 0);
        for (number, (pause, source)) in steps.iter().enumerate() {
            world.pass_ticks(*pause);
            ticks += pause;
            let source = usize::from(*source);
            let client = format!("198.51.100.{source}:{}", 1024 + number);
            let verdict = asks(&world, &client);
            prop_assert!(matches!(verdict, LET_IN | LIMITED));
            let since = *begun[source].get_or_insert(ticks);
            opened[source] += u64::from(verdict == LET_IN);
            let most = (ticks - since) * u64::from(rate) / HZ + u64::from(burst);
            prop_assert!(opened[source] <= most);
        }
    }
}
