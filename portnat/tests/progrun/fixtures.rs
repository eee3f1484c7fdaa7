//! Named packets, one by one.

use portnat::flows::JoinedFlow;
use portnat::net::ticks_per_second;
use portnat::spec::Protocol;
use portnat_common::flow::HALF_OPEN;
use portnat_common::icmp_answer;
use portnat_common::wire::{protocol, tcp};
use portnat_common::{DropReason, Ip4, Ip6, Lifetimes, Ticks, V6};

use crate::support::packet::Carries::{self, EchoReply, EchoRequest, Tcp, Udp, UdpUnchecked};
use crate::support::packet::{Packet, packet, prohibited};
use crate::support::world::{TestFamily as _, World};
use crate::{Host, NEXT, REDIRECT, SHOT, standard_settings};

const CLIENT: &str = "198.51.100.7:40000";
const HOST: &str = "192.0.2.1:8080";
const TARGET: &str = "172.17.0.2:80";
const SYN: Carries = Tcp(tcp::SYN);
const SYN_ACK: Carries = Tcp(tcp::SYN | tcp::ACK);

fn web() -> Host {
    Host::new()
        .publish(Protocol::Tcp, "0.0.0.0", 8080, TARGET)
        .publish(Protocol::Udp, "0.0.0.0", 8080, TARGET)
}

#[track_caller]
pub(crate) fn becomes((verdict, frame): (i32, Vec<u8>), expected: &Packet) {
    assert_eq!(verdict, NEXT);
    assert_eq!(frame, expected.frame(), "expected {expected:?}");
}

#[track_caller]
pub(crate) fn is_dropped(host: &mut Host, (verdict, _): (i32, Vec<u8>), reason: DropReason) {
    assert_eq!(verdict, SHOT);
    assert_eq!(host.datapath.drops().expect("reading drops"), [(reason, 1)]);
}

#[test]
fn published_and_answered() {
    for (there, back) in [(SYN, SYN_ACK), (Udp, Udp), (UdpUnchecked, UdpUnchecked)] {
        let mut host = web();
        let inbound = host.ingress(&packet(there, CLIENT, HOST).frame());
        becomes(inbound, &packet(there, CLIENT, TARGET));
        let answer = host.egress(&packet(back, TARGET, CLIENT).frame());
        becomes(answer, &packet(back, HOST, CLIENT));
    }
}

#[test]
fn published_with_ip_options() {
    let mut host = web();
    for options in [1, 10] {
        let there = |dst| packet(SYN, CLIENT, dst).with_options(options);
        becomes(host.ingress(&there(HOST).frame()), &there(TARGET));
    }
}

#[test]
fn published_with_an_odd_and_a_large_payload() {
    let mut host = web();
    for length in [1, 1399, 1460] {
        let there = |dst| packet(Tcp(tcp::ACK), CLIENT, dst).saying(&vec![0xa5; length]);
        becomes(host.ingress(&there(HOST).frame()), &there(TARGET));
    }
}

#[test]
fn not_published() {
    let mut host = web();
    for dst in ["192.0.2.1:80", "203.0.113.5:8080"] {
        let other = packet(SYN, CLIENT, dst);
        becomes(host.ingress(&other.frame()), &other);
    }
    let forged = host.ingress(&packet(SYN, CLIENT, "127.0.0.1:8080").frame());
    is_dropped(&mut host, forged, DropReason::Loopback);
    assert!(
        host.datapath
            .flows::<Ip4>()
            .expect("reading flows")
            .is_empty()
    );
}

#[test]
fn masqueraded_and_answered() {
    for (there, back) in [(SYN, SYN_ACK), (Udp, Udp)] {
        let mut host = web();
        let out = host.egress(&packet(there, "172.17.0.2:5353", "203.0.113.5:53").frame());
        becomes(out, &packet(there, "192.0.2.1:5353", "203.0.113.5:53"));
        let answer = host.ingress(&packet(back, "203.0.113.5:53", "192.0.2.1:5353").frame());
        becomes(answer, &packet(back, "203.0.113.5:53", "172.17.0.2:5353"));
    }
}

#[test]
fn pinged_from_a_container() {
    let mut host = web();
    let out = host.egress(&packet(EchoRequest, "172.17.0.2:7000", "203.0.113.5:0").frame());
    becomes(out, &packet(EchoRequest, "192.0.2.1:7000", "203.0.113.5:0"));
    let answer = host.ingress(&packet(EchoReply, "203.0.113.5:0", "192.0.2.1:7000").frame());
    becomes(
        answer,
        &packet(EchoReply, "203.0.113.5:0", "172.17.0.2:7000"),
    );
}

#[test]
fn a_port_from_outside_the_pool_is_exchanged_for_one_inside() {
    let mut host = web();
    let (verdict, frame) = host.egress(&packet(Udp, "172.17.0.2:40000", "203.0.113.5:53").frame());
    let port = u16::from_be_bytes([frame[34], frame[35]]);
    assert!((1024..32768).contains(&port) || port > 60999, "{port}");
    assert_ne!(port, 8080, "published ports are reserved");
    let src = format!("192.0.2.1:{port}");
    becomes((verdict, frame), &packet(Udp, &src, "203.0.113.5:53"));
}

#[test]
fn what_the_host_sends_itself_passes() {
    let mut host = web();
    let own = packet(Udp, "172.17.0.1:5000", "203.0.113.5:53");
    let result = host.run("uplink_out", &own.frame(), 0);
    becomes(result, &own);
}

#[test]
fn other_protocols_pass_inwards_and_stay_inside_outwards() {
    let mut host = web();
    let gre = packet(Carries::Protocol(47), CLIENT, HOST);
    becomes(host.ingress(&gre.frame()), &gre);
    let out = host.egress(&packet(Carries::Protocol(47), TARGET, CLIENT).frame());
    is_dropped(&mut host, out, DropReason::UnsupportedProtocol);
}

#[test]
fn lying_lengths_pass_untouched_and_stay_inside_outwards() {
    let mut host = web();
    let sound = packet(SYN, CLIENT, HOST).frame();
    let mut liars = Vec::new();
    for (at, value) in [
        (14, 0x55),
        (14, 0x44),
        (14, 0x4f),
        (16, 0xff),
        (17, 19),
        (17, 25),
    ] {
        let mut frame = sound.clone();
        frame[at] = value;
        liars.push(frame);
    }
    // The kernel itself refuses to test with less than a whole IPv4 header.
    liars.extend((34..54).map(|length| sound[..length].to_vec()));
    for liar in liars {
        let (verdict, frame) = host.ingress(&liar);
        assert_eq!((verdict, &frame), (NEXT, &liar), "{liar:x?}");
    }
    let mut out = packet(SYN, TARGET, CLIENT).frame();
    out[17] = 25;
    let result = host.egress(&out);
    is_dropped(&mut host, result, DropReason::Malformed);
}

#[test]
fn icmp_errors_in_both_directions_and_of_the_host_itself() {
    let error = |router, quoted: &Packet| {
        let bytes = &quoted.network()[..28];
        packet(
            Carries::FragmentationNeeded,
            router,
            &quoted.src.to_string(),
        )
        .saying(bytes)
    };
    let ack = |src, dst| packet(Tcp(tcp::ACK), src, dst);
    let router = "198.51.100.254:0";
    let mut host = web();
    becomes(
        host.ingress(&packet(SYN, CLIENT, HOST).frame()),
        &packet(SYN, CLIENT, TARGET),
    );

    let inwards = host.ingress(&error(router, &ack(HOST, CLIENT)).frame());
    becomes(inwards, &error(router, &ack(TARGET, CLIENT)));
    let outwards = host.egress(&error(TARGET, &ack(CLIENT, TARGET)).frame());
    becomes(outwards, &error(HOST, &ack(CLIENT, HOST)));
    let own = error("192.0.2.1:0", &ack(CLIENT, TARGET)).frame();
    let own = host.run("uplink_out", &own, 0);
    becomes(own, &error("192.0.2.1:0", &ack(CLIENT, HOST)));
}

#[test]
fn a_land_packet_and_other_families_pass() {
    let mut host = web();
    let mut ipv6 = packet(SYN, CLIENT, HOST).frame();
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    let (verdict, frame) = host.ingress(&ipv6);
    assert_eq!((verdict, &frame), (NEXT, &ipv6));
    // Source and destination alike: translated like any other; the stack drops it for its source.
    let land = host.ingress(&packet(SYN, HOST, HOST).frame());
    becomes(land, &packet(SYN, HOST, TARGET));
}

#[test]
fn a_full_table_refuses_and_says_so() {
    let mut host = Host::with_flows(4);
    let results: Vec<_> = (2000..2064)
        .map(|port| packet(Udp, &format!("172.17.0.2:{port}"), "203.0.113.5:53"))
        .map(|packet| host.egress(&packet.frame()).0)
        .collect();
    assert_eq!(results[0], NEXT);
    assert_eq!(results[63], REDIRECT);
    let refused = results
        .iter()
        .filter(|verdict| **verdict == REDIRECT)
        .count() as u64;
    let drops = host.datapath.drops().expect("reading drops");
    assert_eq!(drops, [(DropReason::FlowTableFull, refused)]);
    let flows = host.datapath.flows::<Ip4>().expect("reading flows");
    assert!(flows.len() <= 8, "two entries a flow: {}", flows.len());
    for (key, flow) in &flows {
        assert!(
            flows.contains_key(&flow.twin(key)),
            "half of a flow: {key:?}"
        );
    }
}

/// Until there have been too many in a second, and in the bridge's name where it has an address.
#[test]
fn a_refused_container_is_told() {
    const EACH: u64 = icmp_answer::ERRORS_A_SECOND;
    let mut host = Host::with_flows(1);
    host.desired
        .v4
        .egress
        .insert(World::BRIDGE, World::GATEWAY.into());
    host = host.applied();
    let v4 = ["172.17.0.2:5000", "203.0.113.5:443"];
    let v6 = ["[fd00:17::2]:5000", "[2001:db8:5::5]:443"];
    for (ends, source) in [(v4, World::GATEWAY.into()), (v6, V6::OWN[0])] {
        let out = |carries| packet(carries, ends[0], ends[1]);
        assert_eq!(host.egress(&out(Udp).frame()).0, NEXT, "the only one");
        for asked in [
            out(SYN),
            out(Tcp(tcp::ACK)).saying(&[0xa5; 1400]),
            out(SYN).with_options(4),
            out(EchoRequest),
        ] {
            let told = host.egress(&asked.frame());
            assert_eq!(told, (REDIRECT, prohibited(source, &asked)), "{asked:?}");
        }
    }
    let asked = packet(SYN, v4[0], v4[1]).frame();
    let mut verdicts = Vec::new();
    while !verdicts.ends_with(&[SHOT]) {
        verdicts.push(host.egress(&asked).0);
        // Unless the machine is so slow that a second never has as many, the limit is met.
        assert!(verdicts.len() < 100_000, "no end of errors");
    }
    let told = verdicts.iter().filter(|verdict| **verdict == REDIRECT);
    assert!(told.count() as u64 >= EACH - 8, "{}", verdicts.len());
}

#[test]
fn a_port_that_is_published_no_more_leads_nowhere() {
    let mut host = web();
    host.desired.v4.published.clear();
    host = host.applied();
    let there = packet(SYN, CLIENT, HOST);
    becomes(host.ingress(&there.frame()), &there);
}

/// A host on which UDP ends as soon as it was silent for a tick.
fn hasty() -> Host {
    let mut settings = standard_settings();
    settings.lifetimes.udp_answered = Ticks(0);
    settings.lifetimes.udp_unanswered = Ticks(0);
    Host::with(64, settings)
        .publish(Protocol::Tcp, "0.0.0.0", 8080, TARGET)
        .publish(Protocol::Udp, "0.0.0.0", 8080, TARGET)
}

/// Waits until flows that are over have been for a second, and may be removed.
pub(crate) fn wait_until_gone(host: &mut Host) {
    let begun = host.datapath.now().expect("the time");
    let second = Ticks(ticks_per_second().into());
    while host.datapath.now().expect("the time").since(begun) <= second {
        std::thread::yield_now();
    }
    while host.datapath.now().expect("the time").since(begun) == second {
        std::thread::yield_now();
    }
}

/// A confirmed TCP flow, one of UDP and a masqueraded one.
fn three_flows(host: &mut Host) {
    for (inwards, packet) in [
        (true, packet(SYN, CLIENT, HOST)),
        (false, packet(SYN_ACK, TARGET, CLIENT)),
        (true, packet(Tcp(tcp::ACK), CLIENT, HOST)),
        (true, packet(Udp, CLIENT, HOST)),
        (false, packet(Udp, TARGET, CLIENT)),
        (true, packet(Udp, CLIENT, HOST)),
        (false, packet(Udp, "172.17.0.2:5353", "203.0.113.5:53")),
    ] {
        let frame = packet.frame();
        let (verdict, _) = if inwards {
            host.ingress(&frame)
        } else {
            host.egress(&frame)
        };
        assert_eq!(verdict, NEXT);
    }
    let flows = host.datapath.flows::<Ip4>().expect("reading flows");
    assert_eq!(flows.len(), 6);
    assert!(flows.values().all(|flow| flow.flags & HALF_OPEN == 0));
}

#[test]
fn flows_whose_time_is_over_are_swept_out_and_remembered() {
    let mut host = hasty();
    three_flows(&mut host);
    host.datapath.sweep().expect("sweeping");
    assert_eq!(host.datapath.flows::<Ip4>().expect("flows").len(), 6);
    wait_until_gone(&mut host);
    host.datapath.sweep().expect("sweeping");
    let flows = host.datapath.flows::<Ip4>().expect("reading flows");
    assert!(flows.len() == 2 && flows.keys().all(|key| key.protocol == protocol::TCP));
    let totals = host.datapath.totals().expect("reading totals");
    let counted: Vec<_> = totals
        .values()
        .map(|port| {
            (
                port.flows,
                port.traffic.packets_in,
                port.traffic.packets_out,
            )
        })
        .collect();
    assert_eq!(
        counted,
        [(1, 2, 1), (0, 2, 1)],
        "TCP lives, UDP is remembered"
    );
}

/// Without a daemon: each flow that begins examines two.
#[test]
fn flows_that_begin_make_room() {
    let mut host = hasty();
    three_flows(&mut host);
    wait_until_gone(&mut host);
    for port in 1..=2 {
        let out = packet(SYN, &format!("172.17.0.2:{port}"), "203.0.113.5:53");
        host.egress(&out.frame());
    }
    let flows = host.datapath.flows::<Ip4>().expect("reading flows");
    let udp = flows.keys().filter(|key| key.protocol == protocol::UDP);
    assert_eq!((udp.count(), flows.len()), (0, 6));
}

#[test]
fn a_flow_that_is_ended_is_dead_and_a_half_open_one_gone() {
    let mut host = hasty();
    three_flows(&mut host);
    host.ingress(&packet(SYN, "203.0.113.9:1", HOST).frame());
    let flows = host.datapath.flows::<Ip4>().expect("reading flows");
    assert_eq!(flows.len(), 8);
    for flow in JoinedFlow::all(&flows) {
        let key = flow.lead.key;
        let mut end = || host.datapath.end(&key).expect("running");
        // UDP lives for no tick here, and may be over already.
        let was_there = end();
        assert!(was_there || key.protocol == protocol::UDP, "{key:?}");
        assert!(!end(), "{key:?} twice");
    }
    let flows = host.datapath.flows::<Ip4>().expect("reading flows");
    assert_eq!(flows.len(), 6);
    let (now, lifetimes) = (
        host.datapath.now().expect("the time"),
        Lifetimes::standard(ticks_per_second().into()),
    );
    for flow in JoinedFlow::all(&flows).filter(|flow| flow.lead.key.protocol == protocol::TCP) {
        assert!(flow.is_over(now, &lifetimes));
    }
    // Nor does an answer find it any more.
    let (verdict, frame) = host.egress(&packet(Tcp(tcp::ACK), TARGET, CLIENT).frame());
    assert_eq!(verdict, SHOT, "{frame:x?}");
}

#[test]
fn a_reader_reads_what_the_datapath_does_until_it_is_told_to_stop() {
    let mut host = web();
    host.ingress(&packet(Udp, CLIENT, HOST).frame());
    let reader = host.datapath.flow_reader().expect("a reader");
    host.ingress(&packet(SYN, CLIENT, HOST).frame());
    let flows = host.datapath.flows::<Ip4>().expect("reading flows");
    assert_eq!(flows.len(), 4);
    let read = |go_on| reader.read::<Ip4>(|| go_on).expect("reading flows");
    assert_eq!([read(true), read(false)], [Some(flows), None]);
    let others = reader.read::<Ip6>(|| true).expect("reading flows");
    assert_eq!(others.map(|flows| flows.len()), Some(0));
}
