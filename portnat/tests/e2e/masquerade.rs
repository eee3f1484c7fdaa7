//! Whose packets leave by the host's address.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use ipnet::IpNet;
use portnat::lab::{Lab, LabBuilder, probe};

use crate::daemon::Daemon;
use crate::support::{at, eventually, net, seen_by, tcp_server, udp_server};

/// A second bridge with one container; the client can answer it without a NAT.
fn two_bridges() -> LabBuilder {
    let subnet = "172.18.0.0/16".parse().expect("a subnet");
    Lab::builder()
        .bridge("br1", subnet, 1)
        .client_routes_via_host(true)
}

/// Lets each container ask the client once, and tells whom the client saw.
fn whom_the_client_sees(lab: &Lab) -> Vec<IpAddr> {
    let server = tcp_server(&lab.client, Lab::CLIENT, 80);
    for container in &lab.containers {
        let answer = probe::tcp_echo(&container.namespace, server.address(), b"hello");
        assert_eq!(answer.expect("an answer"), b"hello");
    }
    seen_by(&server)
}

#[test]
fn every_bridge_is_masqueraded() {
    let lab = two_bridges().build().expect("a lab");
    let _daemon = Daemon::run(&lab, &[]);
    assert_eq!(whom_the_client_sees(&lab), [Lab::HOST, Lab::HOST]);
}

#[test]
fn only_the_named_prefix_is_masqueraded() {
    let lab = two_bridges().containers(2).build().expect("a lab");
    let _daemon = Daemon::run(&lab, &["--masquerade", "172.17.0.2/32"]);
    let [_, second, other] = &lab.containers[..] else {
        panic!("three containers");
    };
    assert_eq!(
        whom_the_client_sees(&lab),
        [Lab::HOST, second.address, other.address]
    );
}

#[test]
fn only_the_named_bridge_is_masqueraded() {
    let lab = two_bridges().build().expect("a lab");
    // portnat has nothing to do with br1 now, so it is not portnat that lets it forward.
    lab.host
        .sysctl("net/ipv4/conf/br1/forwarding", "1")
        .expect("set");
    let _daemon = Daemon::run(&lab, &["--bridge", "docker0"]);
    assert_eq!(
        whom_the_client_sees(&lab),
        [Lab::HOST, lab.containers[1].address]
    );
}

#[test]
fn a_new_address_of_the_uplink_is_taken_up() {
    const OLD: &str = "192.0.2.1/24";
    const NEW: &str = "192.0.2.7/24";
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0].namespace;
    let server = udp_server(&lab.client, Lab::CLIENT, 53);
    let mut daemon = Daemon::run(&lab, &[]);
    // From one port to one: a flow, which keeps its address as long as it is used.
    let ask = |port| {
        let source = at(lab.containers[0].address, port);
        probe::udp_echo_from(container, source, server.address(), b"?")
    };
    ask(40_000).expect("an answer");

    let links = lab.host.links();
    let [old, new]: [IpNet; 2] = [OLD, NEW].map(net);
    links
        .delete_address(Lab::UPLINK, old)
        .and_then(|()| links.add_address(Lab::UPLINK, new))
        .expect("another address");
    // Without an address it is no uplink for a moment, if anybody looks then.
    daemon.wait_for_line("192.0.2.7");
    // A new flow each time: those that began too early have the old address for good.
    let mut ports = 40_001..;
    eventually("asking from the new address", || {
        let answer = ask(ports.next().expect("a port"));
        match seen_by(&server).last() {
            Some(seen) if *seen == new.addr() => answer.map_err(|error| error.to_string()),
            seen => Err(format!("the client sees {seen:?}")),
        }
    });
    assert_eq!(seen_by(&server).first(), Some(&old.addr()));
}

#[test]
fn a_port_that_the_administrator_reserves_is_not_lent() {
    let lab = Lab::builder().build().expect("a lab");
    let inside = &lab.containers[0];
    let peer = udp_server(&lab.client, Lab::CLIENT, 4500);
    let reserve = |ports| {
        lab.host
            .sysctl("net/ipv4/ip_local_reserved_ports", ports)
            .expect("set");
    };
    reserve("4501,4503-4505");
    let daemon = Daemon::run(&lab, &[]);
    // Whether a container's port is kept, towards a server that it has not asked from there.
    let is_kept = |port| {
        let source = at(inside.address, port);
        probe::udp_echo_from(&inside.namespace, source, peer.address(), b"?").expect("an answer");
        peer.peers().last().map(SocketAddr::port) == Some(port)
    };
    assert_eq!([4501, 4502, 4504].map(is_kept), [false, true, false]);
    reserve("10000-19999");
    // Not what is looked at, but it makes portnat look.
    let links = lab.host.links();
    links
        .add_address(Lab::UPLINK, net("192.0.2.77/24"))
        .expect("an address");
    let mut ports = 10_000..20_000;
    eventually("the other ports", || {
        match is_kept(ports.next().expect("a port")) {
            false => Ok(()),
            true => Err("is lent"),
        }
    });
    assert!(is_kept(4505), "reserved no more");
    daemon.stop();
}

/// Or the container would take over what the host itself has with a peer.
#[test]
fn a_port_that_the_host_uses_itself_is_not_lent() {
    let lab = Lab::builder().build().expect("a lab");
    let inside = &lab.containers[0];
    let peer = udp_server(&lab.client, Lab::CLIENT, 4500);
    let web = tcp_server(&lab.client, Lab::CLIENT, 80);
    let (_datagrams, _listener) = lab.host.run(|| {
        (
            UdpSocket::bind("0.0.0.0:4500").expect("free"),
            TcpListener::bind("0.0.0.0:4600").expect("free"),
        )
    });
    let daemon = Daemon::run(&lab, &[]);

    for port in [4500, 4501] {
        let source = at(inside.address, port);
        probe::udp_echo_from(&inside.namespace, source, peer.address(), b"?").expect("an answer");
    }
    let seen: Vec<_> = peer.peers().iter().map(SocketAddr::port).collect();
    assert_ne!(seen[0], 4500, "the host's own");
    assert_eq!(seen[1], 4501, "a free one is kept");
    for port in [4600, 4601] {
        let source = at(inside.address, port);
        probe::tcp_echo_from(&inside.namespace, source, web.address(), b"?").expect("an answer");
    }
    let seen: Vec<_> = web.peers().iter().map(SocketAddr::port).collect();
    assert_ne!(seen[0], 4600, "the host's own");
    assert_eq!(seen[1], 4601, "a free one is kept");
    daemon.stop();
}
