//! What the other family has of its own. All else is in [`crate::matrix`].

use std::net::IpAddr;

use portnat::lab::{Lab, probe};

use crate::daemon::Daemon;
use crate::support::{seen_by, tcp_server};

const HOST: IpAddr = IpAddr::V6(Lab::HOST_V6);
const CLIENT: IpAddr = IpAddr::V6(Lab::CLIENT_V6);

#[test]
fn only_the_named_prefix_is_masqueraded() {
    let lab = Lab::builder()
        .ipv6(true)
        .containers(2)
        .client_routes_via_host(true)
        .build()
        .expect("a lab");
    let _daemon = Daemon::run(&lab, &["--masquerade", "fd00:17::2/128"]);
    let server = tcp_server(&lab.client, CLIENT, 80);
    for container in &lab.containers {
        let answer = probe::tcp_echo(&container.namespace, server.address(), b"hello");
        assert_eq!(answer.expect("an answer"), b"hello");
    }
    let second = IpAddr::from(lab.containers[1].address_v6);
    assert_eq!(seen_by(&server), [HOST, second]);
}
