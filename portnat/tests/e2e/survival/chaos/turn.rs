//! What happens.

use std::net::IpAddr;

use fastrand::Rng;
use ipnet::IpNet;
use nix::sys::signal::Signal;
use portnat::lab::{Lab, Namespace, probe};

use super::Scene;
use crate::daemon::Daemon;
use crate::firewall::{FIREWALL, nft};
use crate::support::at;
use crate::survival::place::kill;

/// As firewalld writes it: all at once, in tables of its own, with a check of the way back.
const LIKE_FIREWALLD: &str = "table inet firewalld {
    chain filter_PREROUTING {
        type filter hook prerouting priority filter + 10; policy accept;
        meta nfproto ipv6 fib saddr . mark oif missing drop
    }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        ct status dnat accept
        iifname \"docker0\" accept
        oifname \"docker0\" accept
        ct state invalid drop
        reject with icmpx admin-prohibited
    }
}";

/// As ufw has it: in iptables' tables, with a policy that drops.
const LIKE_UFW: &str = "table ip filter {
    chain ufw-before-forward {
        ct state related,established accept
        ip protocol icmp accept
    }
    chain ufw-user-forward {
        iifname \"docker0\" accept
        oifname \"docker0\" accept
    }
    chain FORWARD {
        type filter hook forward priority filter; policy drop;
        jump ufw-before-forward
        jump ufw-user-forward
    }
}";

/// How many flows a flood opens, and a container that wants more ports than there are.
const MANY: u16 = 600;

/// Something that happens to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The daemon is killed, and started again.
    Kill,
    /// It is stopped, and started again.
    Restart,
    /// The config file says something else.
    Reload,
    /// The uplink goes down and up.
    Uplink,
    /// The bridge does.
    Bridge,
    /// A container's link does.
    Port,
    /// A container is another one: it has another address.
    Move,
    /// All rules are flushed.
    Flush,
    /// Rules are written, all at once.
    Rules,
    /// A client opens more flows than there is room for.
    Flood,
    /// A container asks for more ports than it may have.
    Exhaust,
}

impl Turn {
    /// All of them; first those that one daemon lives to see.
    pub(super) const ALL: [Turn; 11] = [
        Turn::Reload,
        Turn::Uplink,
        Turn::Bridge,
        Turn::Port,
        Turn::Move,
        Turn::Flush,
        Turn::Rules,
        Turn::Flood,
        Turn::Exhaust,
        Turn::Kill,
        Turn::Restart,
    ];

    /// Those that one daemon lives to see.
    pub(super) const LIVED: &[Turn] = Self::ALL.first_chunk::<9>().expect("so many");

    /// How many ports are left to masquerade.
    pub(super) const PORTS: u16 = 500;

    /// Has it happen; returns the daemon that runs then.
    pub(super) fn happen(self, scene: &mut Scene, daemon: Daemon, dice: &mut Rng) -> Daemon {
        match self {
            Turn::Kill => {
                kill(daemon);
                return scene.daemon();
            }
            Turn::Restart => {
                daemon.signal(Signal::SIGTERM);
                daemon.wait();
                return scene.daemon();
            }
            Turn::Reload => {
                let mut ports: Vec<u16> = (9000..9040).collect();
                dice.shuffle(&mut ports);
                ports.truncate(dice.usize(..8));
                scene.extra = ports;
                reload(scene);
            }
            Turn::Uplink => down_and_up(&scene.lab.host, Lab::UPLINK),
            Turn::Bridge => down_and_up(&scene.lab.host, Lab::BRIDGE),
            Turn::Port => {
                let container = &scene.lab.containers[dice.usize(..2)];
                down_and_up(&scene.lab.host, &container.port);
            }
            Turn::Move => {
                let moving = scene.lab.containers[1].namespace.links();
                let old = address(scene.moved_to);
                // Who has gone needs no ports any more; by themselves they would be free in minutes.
                let of_old = old.addr().to_string();
                scene.place.told(&["flows", "flush", "--client", &of_old]);
                scene.moved_to = match scene.moved_to {
                    3..=99 => scene.moved_to + 1,
                    _ => 3,
                };
                moving.delete_address("eth0", old).expect("deleted");
                let new = address(scene.moved_to);
                moving.add_address("eth0", new).expect("added");
                let gateway = IpAddr::from([172, 17, 0, 1]);
                moving.add_default_route(gateway).expect("a route");
                reload(scene);
            }
            Turn::Flush => drop(nft(&scene.lab.host, &["flush", "ruleset"], "")),
            Turn::Rules => {
                let rules = [FIREWALL, LIKE_FIREWALLD, LIKE_UFW][dice.usize(..3)];
                let rules = format!("flush ruleset\n{rules}");
                nft(&scene.lab.host, &["-f", "-"], &rules);
            }
            Turn::Flood => ask_often(&scene.lab.client, at(Lab::HOST, 5353).to_string()),
            Turn::Exhaust => {
                let moving = &scene.lab.containers[1].namespace;
                ask_often(moving, at(Lab::CLIENT, 7).to_string());
            }
        }
        daemon
    }
}

fn reload(scene: &mut Scene) {
    scene.write_config();
    scene.place.told(&["reload"]);
}

fn down_and_up(host: &Namespace, name: &str) {
    host.links().set_down(name).expect("down");
    host.links().set_up(name).expect("up");
}

fn address(last: u8) -> IpNet {
    let address = IpAddr::from([172, 17, 0, last]);
    IpNet::new(address, 16).expect("a length")
}

/// Each word by a socket of its own; nobody waits for the answers.
fn ask_often(from: &Namespace, to: String) {
    let to = to.parse().expect("an address");
    let sockets = (0..MANY).filter_map(|_| probe::udp_connect(from, None, to).ok());
    for socket in sockets.collect::<Vec<_>>() {
        // It may be refused: that is the point.
        let _ = socket.send(b"?");
    }
}
