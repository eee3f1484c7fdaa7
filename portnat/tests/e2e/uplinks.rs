//! Interfaces to the outside come and go.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use portnat::lab::{Lab, Namespace, probe};

use crate::daemon::Daemon;
use crate::picture::Picture;
use crate::support::{at, eventually, net, seen_by, tcp_server};

const PUBLISH: [&str; 2] = ["-p", "8080:80@172.17.0.2"];
/// The host's second uplink leads here.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const HOST_ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

/// Connects a second client, at [`ELSEWHERE`], by the host's link `eth1`.
pub(crate) fn connect_elsewhere(lab: &Lab) -> Namespace {
    let client = Namespace::new().expect("a namespace");
    let (here, there) = (lab.host.links(), client.links());
    there
        .add_veth("eth0", &lab.host, "eth1")
        .and_then(|()| there.add_address("eth0", net("198.51.100.10/24")))
        .and_then(|()| here.add_address("eth1", net("198.51.100.1/24")))
        .and_then(|()| here.wait_until_up(&["eth1"]))
        .and_then(|()| there.wait_until_up(&["eth0"]))
        .expect("a second wire");
    client
}

/// Stops portnat; what it changed on links that came later is put back too.
fn stop(daemon: Daemon, lab: &Lab) {
    let during = Picture::of(&lab.host);
    daemon.stop();
    let after = Picture::of(&lab.host);
    assert_eq!(after.tcx_programs(), 0, "{:?}", after.tcx);
    assert_eq!(after.filters, [""; 0]);
    assert!(!after.qdiscs.iter().any(|qdisc| qdisc.ends_with(" clsact")));
    let changed = after.changed_sysctls(&during);
    for interface in after
        .tcx
        .keys()
        .filter(|name| *name == "docker0" || name.starts_with("eth"))
    {
        let name = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
        assert!(changed.contains(&name), "{name} is not put back");
    }
}

#[test]
fn an_uplink_that_comes_later_is_served() {
    for attach in ["tcx", "clsact"] {
        let lab = Lab::builder().build().expect("a lab");
        let container = &lab.containers[0];
        let server = tcp_server(&container.namespace, container.address, 80);
        let mut daemon = Daemon::run(&lab, &[&PUBLISH[..], &["--attach", attach]].concat());

        let elsewhere = connect_elsewhere(&lab);
        daemon.wait_for_line("attached to uplink eth1");
        let ask = || probe::tcp_echo(&elsewhere, at(HOST_ELSEWHERE, 8080), b"hello");
        eventually("asking by the new uplink", ask);
        assert!(seen_by(&server).contains(&IpAddr::from(ELSEWHERE)));

        // The other way, with the new uplink's own address.
        let outside = tcp_server(&elsewhere, ELSEWHERE, 80);
        eventually("asking out by the new uplink", || {
            probe::tcp_echo(&container.namespace, outside.address(), b"hello")
        });
        assert!(seen_by(&outside).iter().all(|peer| *peer == HOST_ELSEWHERE));
        stop(daemon, &lab);
    }
}

#[test]
fn an_uplink_that_is_replaced_is_served_again() {
    for attach in ["tcx", "clsact"] {
        let lab = Lab::builder().build().expect("a lab");
        let container = &lab.containers[0];
        let server = tcp_server(&container.namespace, container.address, 80);
        let mut daemon = Daemon::run(&lab, &[&PUBLISH[..], &["--attach", attach]].concat());
        let ask = || probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"hello");
        ask().expect("an answer before");

        let (here, there) = (lab.host.links(), lab.client.links());
        let index = here.index(Lab::UPLINK).expect("is there");
        here.delete(Lab::UPLINK).expect("deleted");
        there
            .add_veth(Lab::UPLINK, &lab.host, Lab::UPLINK)
            .and_then(|()| there.add_address(Lab::UPLINK, net("192.0.2.10/24")))
            .and_then(|()| here.add_address(Lab::UPLINK, net("192.0.2.1/24")))
            .and_then(|()| here.wait_until_up(&[Lab::UPLINK]))
            .and_then(|()| there.wait_until_up(&[Lab::UPLINK]))
            .expect("a new wire");
        assert_ne!(here.index(Lab::UPLINK).expect("is there"), index);

        daemon.wait_for_line("attached to uplink eth0");
        eventually("asking by the new uplink", ask);
        assert!(server.peers().len() > 1);
        stop(daemon, &lab);
    }
}

#[test]
fn only_the_named_uplink_is_served() {
    let lab = Lab::builder().build().expect("a lab");
    let container = &lab.containers[0];
    let _server = tcp_server(&container.namespace, container.address, 80);
    let elsewhere = connect_elsewhere(&lab);
    let _daemon = Daemon::run(&lab, &[&PUBLISH[..], &["--uplink", "eth1"]].concat());

    let answer = probe::tcp_echo(&elsewhere, at(HOST_ELSEWHERE, 8080), b"hello");
    assert_eq!(answer.expect("an answer"), b"hello");
    let refusal = probe::tcp_echo(&lab.client, at(Lab::HOST, 8080), b"hello");
    assert_eq!(
        refusal.expect_err("is not served").kind(),
        ErrorKind::ConnectionRefused
    );
}
