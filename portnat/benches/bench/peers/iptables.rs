//! Docker's rules by iptables-legacy.

use anyhow::Result;
use portnat::lab::Lab;

use crate::ground::{Ground, INSIDE, PUBLISHED};
use crate::tools;

pub(super) const PROGRAM: &str = "iptables-legacy-restore";

/// What Docker 28 writes for its default bridge with one container that has one port published,
/// for TCP and for UDP (moby, integration/network/bridge/iptablesdoc).
pub(super) fn set_up(ground: &Ground) -> Result<()> {
    let bridge = Lab::BRIDGE;
    let subnet = ground.lab.bridges[0].subnet;
    let target = ground.container().address;
    let mut nat = String::new();
    let mut filter = String::new();
    for protocol in ["tcp", "udp"] {
        nat += &format!(
            "-A POSTROUTING -s {target} -d {target} -p {protocol} --dport {INSIDE} -j MASQUERADE\n\
             -A DOCKER ! -i {bridge} -p {protocol} --dport {PUBLISHED} -j DNAT --to-destination {target}:{INSIDE}\n"
        );
        filter += &format!(
            "-A DOCKER -d {target} ! -i {bridge} -o {bridge} -p {protocol} --dport {INSIDE} -j ACCEPT\n"
        );
    }
    let rules = format!(
        "*raw
-A PREROUTING -d {target} ! -i {bridge} -j DROP
COMMIT
*nat
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s {subnet} ! -o {bridge} -j MASQUERADE
-A DOCKER -i {bridge} -j RETURN
{nat}COMMIT
*filter
:FORWARD DROP
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i {bridge} -j ACCEPT
-A DOCKER-CT -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i {bridge} ! -o {bridge} -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o {bridge} -j DROP
-A DOCKER-BRIDGE -o {bridge} -j DOCKER
{filter}-A DOCKER ! -i {bridge} -o {bridge} -j DROP
COMMIT
"
    );
    tools::run(ground.lab.host.command(PROGRAM), &rules)
}
