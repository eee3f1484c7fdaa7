//! Docker's rules by nftables.

use anyhow::Result;
use portnat::lab::Lab;

use crate::ground::{Ground, INSIDE, PUBLISHED};
use crate::tools;

pub(super) const PROGRAM: &str = "nft";

/// What Docker 29 writes for its default bridge with one container that has one port published,
/// for TCP and for UDP (moby, integration/network/bridge/nftablesdoc).
pub(super) fn set_up(ground: &Ground) -> Result<()> {
    let bridge = Lab::BRIDGE;
    let subnet = ground.lab.bridges[0].subnet;
    let target = ground.container().address;
    let rules = format!(
        r#"table ip docker-bridges {{
    map filter-forward-in-jumps {{
        type ifname : verdict
        elements = {{ "{bridge}" : jump filter-forward-in__{bridge} }}
    }}
    map filter-forward-out-jumps {{
        type ifname : verdict
        elements = {{ "{bridge}" : jump filter-forward-out__{bridge} }}
    }}
    map nat-postrouting-in-jumps {{
        type ifname : verdict
        elements = {{ "{bridge}" : jump nat-postrouting-in__{bridge} }}
    }}
    map nat-postrouting-out-jumps {{
        type ifname : verdict
        elements = {{ "{bridge}" : jump nat-postrouting-out__{bridge} }}
    }}
    chain filter-forward-in__{bridge} {{
        ct state established,related counter accept
        iifname "{bridge}" counter accept comment "ICC"
        ip daddr {target} tcp dport {INSIDE} counter accept
        ip daddr {target} udp dport {INSIDE} counter accept
        counter drop comment "UNPUBLISHED PORT DROP"
    }}
    chain filter-forward-out__{bridge} {{
        ct state established,related counter accept
        counter accept comment "OUTGOING"
    }}
    chain nat-postrouting-in__{bridge} {{
    }}
    chain nat-postrouting-out__{bridge} {{
        oifname != "{bridge}" ip saddr {subnet} counter masquerade comment "MASQUERADE"
    }}
    chain nat-prerouting-and-output {{
        iifname != "{bridge}" tcp dport {PUBLISHED} counter dnat to {target}:{INSIDE} comment "DNAT"
        iifname != "{bridge}" udp dport {PUBLISHED} counter dnat to {target}:{INSIDE} comment "DNAT"
    }}
    chain filter-FORWARD {{
        type filter hook forward priority filter; policy accept;
        oifname vmap @filter-forward-in-jumps
        iifname vmap @filter-forward-out-jumps
    }}
    chain nat-OUTPUT {{
        type nat hook output priority -100; policy accept;
        ip daddr != 127.0.0.0/8 fib daddr type local counter jump nat-prerouting-and-output
    }}
    chain nat-POSTROUTING {{
        type nat hook postrouting priority srcnat; policy accept;
        iifname vmap @nat-postrouting-out-jumps
        oifname vmap @nat-postrouting-in-jumps
    }}
    chain nat-PREROUTING {{
        type nat hook prerouting priority dstnat; policy accept;
        fib daddr type local counter jump nat-prerouting-and-output
    }}
    chain raw-PREROUTING {{
        type filter hook prerouting priority raw; policy accept;
        ip daddr {target} iifname != "{bridge}" counter drop comment "DROP DIRECT ACCESS"
    }}
}}
"#
    );
    let mut nft = ground.lab.host.command(PROGRAM);
    nft.args(["-f", "-"]);
    tools::run(nft, &rules)
}
