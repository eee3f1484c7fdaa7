//! What a host does with packets besides portnat: a firewall, and bridged packets that meet it too.

use std::io::Write as _;
use std::process::Stdio;

use portnat::lab::Namespace;

/// The name of a second bridge, which [`FIREWALL`] knows.
pub(crate) const OTHER_BRIDGE: &str = "br-other";

/// A firewall as a careful administrator has it: nothing is forwarded but to and from containers,
/// and what belongs to such a connection.
pub(crate) const FIREWALL: &str = "table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state invalid drop
        meta nfproto ipv4 ct state established,related counter accept
        meta nfproto ipv6 ct state established,related counter accept
        oifname { docker0, br-other } accept
        iifname { docker0, br-other } accept
    }
}";

/// Makes a host as one of the combinations has it.
pub(crate) fn set_up(host: &Namespace, bridge_nf: bool, firewall: Option<&str>) {
    set_bridge_nf(host, bridge_nf);
    if let Some(rules) = firewall {
        nft(host, &["-f", "-"], rules);
    }
}

/// Packets of established connections of both families met [`FIREWALL`].
#[track_caller]
pub(crate) fn assert_met(host: &Namespace) {
    let rules = nft(host, &["list", "ruleset"], "");
    assert!(
        !rules.contains("counter packets 0 "),
        "a family did not meet the firewall:\n{rules}"
    );
}

fn set_bridge_nf(host: &Namespace, on: bool) {
    for name in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        let name = format!("net/bridge/{name}");
        // Without the module it is off.
        if on || host.sysctl_get(&name).is_ok() {
            host.sysctl(&name, if on { "1" } else { "0" })
                .expect("the module br_netfilter is loaded");
        }
    }
}

/// Runs `nft` in a namespace and returns what it prints.
pub(crate) fn nft(namespace: &Namespace, arguments: &[&str], rules: &str) -> String {
    let mut nft = namespace
        .command("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("nft is installed");
    let mut stdin = nft.stdin.take().expect("is piped");
    stdin.write_all(rules.as_bytes()).expect("nft reads");
    drop(stdin);
    let output = nft.wait_with_output().expect("nft ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}
