//! A host whose Docker publishes and masquerades with rules of its own, as most that try portnat
//! first: what it does goes on beside us.

use std::net::IpAddr;

use portnat::lab::{Lab, probe};

use crate::daemon::{Daemon, row};
use crate::firewall::{OTHER_BRIDGE, nft};
use crate::support::{MEGABYTE, at, payload, seen_by, tcp_server, udp_server};

/// What Docker writes for one network and one published port, in nftables' words.
const DOCKER: &str = "table ip docker {
    chain prerouting {
        type nat hook prerouting priority -100;
        fib daddr type local tcp dport 9090 dnat to 172.17.0.2:80
        fib daddr type local udp dport 9053 dnat to 172.17.0.2:53
    }
    chain postrouting {
        type nat hook postrouting priority 100;
        ip saddr 172.17.0.0/16 oifname != docker0 masquerade
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname docker0 accept
        oifname docker0 accept
    }
}";

#[test]
fn dockers_own_ports_and_masquerade_go_on_beside_ours() {
    let other = "172.18.0.0/16".parse().expect("a subnet");
    let lab = Lab::builder()
        .bridge(OTHER_BRIDGE, other, 1)
        .build()
        .expect("a lab");
    lab.host.sysctl("net/ipv4/ip_forward", "1").expect("set");
    nft(&lab.host, &["-f", "-"], DOCKER);
    let container = &lab.containers[0];
    let web = tcp_server(&container.namespace, container.address, 80);
    let dns = udp_server(&container.namespace, container.address, 53);
    let outside = tcp_server(&lab.client, Lab::CLIENT, 80);
    let outside_dns = udp_server(&lab.client, Lab::CLIENT, 53);
    let daemon = Daemon::run(
        &lab,
        &["-p", "8080:80@172.17.0.2", "-p", "5353:53/udp@172.17.0.2"],
    );

    let sent = payload(MEGABYTE);
    for port in [8080, 9090] {
        let answer = probe::tcp_echo(&lab.client, at(Lab::HOST, port), &sent).expect("an answer");
        assert!(answer == sent, "TCP {port} returns something else");
    }
    for port in [5353, 9053] {
        let answer = probe::udp_echo(&lab.client, at(Lab::HOST, port), &sent[..10_000]);
        assert!(answer.expect("an answer") == sent[..10_000], "UDP {port}");
    }
    let client = IpAddr::from(Lab::CLIENT);
    assert!(
        seen_by(&web)
            .iter()
            .chain(&seen_by(&dns))
            .all(|peer| *peer == client)
    );

    // Its own translation between bridges looks on the wire like what is isolated.
    let stranger = &lab.containers[1].namespace;
    for host in [Lab::HOST, lab.bridges[0].gateway, lab.bridges[1].gateway] {
        let answer = probe::tcp_echo(stranger, at(host, 9090), &sent).expect("an answer");
        assert!(answer == sent, "TCP by {host} returns something else");
        let answer = probe::udp_echo(stranger, at(host, 9053), &sent[..10_000]);
        assert!(
            answer.expect("an answer") == sent[..10_000],
            "UDP by {host}"
        );
    }

    let inside = &container.namespace;
    let answer = probe::tcp_echo(inside, outside.address(), &sent).expect("an answer");
    assert!(answer == sent, "masquerade returns something else");
    probe::udp_echo(inside, outside_dns.address(), b"who?").expect("an answer");
    probe::ping(inside, Lab::CLIENT, 7, 1).expect("an answer");
    let host = IpAddr::from(Lab::HOST);
    assert_eq!(seen_by(&outside), [host]);

    let table = daemon.stop();
    assert_eq!(row(&table, "0.0.0.0:8080/tcp").flows, 1, "{table}");
    assert!(!table.contains("dropped"), "{table}");
}
