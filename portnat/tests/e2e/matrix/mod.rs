//! Every class of traffic, whatever else the host does: bridged packets go through iptables or not, a
//! stateful firewall is there or not, programs are attached this way or that.
//!
//! To load the programs costs more than to use them, so each of these hosts is built once, with everything
//! published, and serves one class after the other, in both families:
//!
//! - [`outside`]: a client outside, by published ports; containers to the outside; what passes neither way.
//! - [`fragments`]: the same, and between containers, in fragments of any order.
//! - [`hairpin`]: containers by the host's addresses, and the errors that they get.
//! - [`direct`]: containers by each other's addresses, with somebody listening too.
//! - [`local`]: the host itself. [`link_local`]: neighbours by its address of their link.
//! - [`across`]: IPv6 clients of IPv4 targets.
//! - [`refused`]: ports of which the target knows nothing.

mod across;
mod direct;
mod fragments;
mod hairpin;
mod link_local;
mod local;
mod outside;
mod refused;
mod scene;

use portnat::datapath::Datapath;
use portnat::lab::Lab;

use crate::firewall::{self, FIREWALL, OTHER_BRIDGE};
use crate::picture::Picture;

use scene::Scene;

macro_rules! matrix {
    ($($name:ident: $bridge_nf:literal, $firewall:expr, $attach:literal;)+) => {
        $(
            #[test]
            fn $name() {
                scenario($bridge_nf, $firewall, $attach);
            }
        )+
    };
}

matrix! {
    tcx_alone: false, None, "tcx";
    tcx_with_firewall: false, Some(FIREWALL), "tcx";
    tcx_with_bridge_nf: true, None, "tcx";
    tcx_with_bridge_nf_and_firewall: true, Some(FIREWALL), "tcx";
    clsact_alone: false, None, "clsact";
    clsact_with_firewall: false, Some(FIREWALL), "clsact";
    clsact_with_bridge_nf: true, None, "clsact";
    clsact_with_bridge_nf_and_firewall: true, Some(FIREWALL), "clsact";
}

/// The MTU of the second bridge; the first has 1500 bytes.
const NARROW: u32 = 1400;

/// A firewall that lets in nothing but answers, as ufw has it, and what the host says to itself.
const STATEFUL_INPUT: &str = "table inet host {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state invalid drop
        iifname lo accept
        ct state established,related accept
        meta l4proto ipv6-icmp accept
    }
}";

fn scenario(bridge_nf: bool, firewall: Option<&str>, attach: &str) {
    let lab = lab();
    firewall::set_up(&lab.host, bridge_nf, firewall);
    let before = Picture::of(&lab.host);
    let scene = Scene::new(&lab, attach);
    // Below Linux 5.12 what is redirected and too long for a link is lost; the fast path needs the same.
    let tells_mtu = Datapath::can_be_fast();

    for side in &scene.sides {
        outside::published_ports_answer(&scene, side);
        outside::others_do_not(&scene, side);
        outside::containers_are_masqueraded(&scene, side);
        outside::containers_are_not_reached_directly(&scene, side);
        fragments::arrive_in_any_order(&scene, side);
    }
    // Of what follows nothing is for the host itself.
    if firewall.is_some() {
        firewall::nft(&lab.host, &["-f", "-"], STATEFUL_INPUT);
    }
    for side in &scene.sides {
        hairpin::published_ports_answer(&scene, side);
        hairpin::errors_come_back(&scene, side);
        direct::is_untouched(&scene, side);
        direct::neighbours_are_no_outsiders(&scene, side);
        direct::is_untouched_while_somebody_listens(&scene, side);
        local::published_ports_answer(&scene, side);
        if tells_mtu {
            local::what_is_too_long_is_cut(&scene, side);
        }
        refused::by_the_target(&scene, side);
    }
    link_local::published_ports_answer(&scene);
    if tells_mtu {
        across::what_is_too_long_is_told(&scene);
    }
    across::published_ports_answer(&scene);
    across::what_the_target_refuses_is_refused(&scene);
    if firewall.is_some() {
        firewall::assert_met(&lab.host);
    }

    let during = Picture::of(&lab.host);
    for family in ["ipv4", "ipv6"] {
        let folder = format!("/proc/sys/net/{family}/conf/");
        let changed = during.changed_sysctls(&before);
        let mut names = changed.iter().filter(|name| name.starts_with(&folder));
        let changed = names.any(|name| name.contains("forwarding"));
        assert!(changed, "nothing enabled forwarding of {family}");
    }
    scene.stop();
    assert_eq!(Picture::of(&lab.host), before);
}

/// Two containers on the first bridge and one on a second, narrower one, in both families. The client
/// knows the way to them.
fn lab() -> Lab {
    let other = "172.18.0.0/16".parse().expect("a subnet");
    let lab = Lab::builder()
        .containers(2)
        .bridge(OTHER_BRIDGE, other, 1)
        .client_routes_via_host(true)
        .ipv6(true)
        .build()
        .expect("a lab");
    let links = lab.host.links();
    links.set_mtu(OTHER_BRIDGE, NARROW).expect("set");
    // More is refused here than the kernel would tell one and the same neighbour.
    let containers = lab.containers.iter().map(|container| &container.namespace);
    for namespace in containers.chain([&lab.host, &lab.client]) {
        for name in ["net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"] {
            namespace.sysctl(name, "0").expect("set");
        }
    }
    lab
}
