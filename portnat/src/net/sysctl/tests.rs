//! The changes and their undoing, in a directory that looks like /proc/sys.

use super::*;

/// A directory that looks like /proc/sys, for the time of one test.
struct Tree(PathBuf);

impl Tree {
    fn new(test: &str, values: &[(&str, &str)]) -> Self {
        let name = format!("portnat-sysctl-{}-{test}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        for (path, value) in values {
            tree.write(path, value);
        }
        tree
    }

    /// As [`Tree::new`] for the IPv4 forwarding of links.
    fn v4(test: &str, interfaces: &[(&str, &str)]) -> Self {
        let tree = Self::new(test, &[]);
        for (interface, value) in interfaces {
            tree.write(&forwarding(interface), value);
        }
        tree
    }

    fn write(&self, path: &str, value: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("is in a directory")).expect("made");
        fs::write(path, format!("{value}\n")).expect("written");
    }

    fn value(&self, path: &str) -> String {
        let text = fs::read_to_string(self.0.join(path)).expect("readable");
        text.trim_end().to_owned()
    }

    fn sysctls(&self) -> Sysctls {
        Sysctls::under(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn forwarding(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/forwarding")
}

fn keys(sysctls: &Sysctls) -> Vec<String> {
    let changed = sysctls.changed.iter();
    changed.map(|changed| changed.conf.key()).collect()
}

#[test]
fn a_value_is_set_and_restored() {
    let tree = Tree::v4("restore", &[("eth0", "0"), ("eth0.5", "0")]);
    let values = || ["eth0", "eth0.5"].map(|interface| tree.value(&forwarding(interface)));
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding("eth0").expect("settable");
    sysctls.enable_forwarding("eth0.5").expect("settable");
    assert_eq!(keys(&sysctls)[1], "net.ipv4.conf.eth0/5.forwarding");
    assert_eq!(values(), ["1", "1"]);
    sysctls.restore().expect("restorable");
    assert_eq!(values(), ["0", "0"]);
}

#[test]
fn dropping_restores() {
    let tree = Tree::v4("drop", &[("eth0", "0")]);
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding("eth0").expect("settable");
    drop(sysctls);
    assert_eq!(tree.value(&forwarding("eth0")), "0");
}

#[test]
fn what_is_on_already_is_not_ours_to_switch_off() {
    let tree = Tree::v4("on", &[("eth0", "1")]);
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding("eth0").expect("nothing to do");
    assert!(sysctls.changed.is_empty());
}

#[test]
fn forwarding_is_left_to_a_host_that_was_made_to_forward_since() {
    let tree = Tree::v4("host", &[("all", "0"), ("eth0", "0")]);
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding("eth0").expect("settable");
    tree.write(&forwarding("all"), "1");
    sysctls.restore().expect("nothing to do");
    assert_eq!(tree.value(&forwarding("eth0")), "1");
}

#[test]
fn a_link_that_did_not_forward_on_a_host_that_did_is_restored() {
    let tree = Tree::v4("exempt", &[("all", "1"), ("eth0", "0")]);
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding("eth0").expect("settable");
    sysctls.restore().expect("restorable");
    assert_eq!(tree.value(&forwarding("eth0")), "0");
}

#[test]
fn a_value_set_by_somebody_else_since_is_left_and_set_again_is_theirs() {
    let tree = Tree::v4("since", &[("eth0", "0")]);
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding("eth0").expect("settable");
    tree.write(&forwarding("eth0"), "2");
    sysctls.enable_forwarding("eth0").expect("settable");
    assert_eq!(sysctls.changed.len(), 1);
    assert_eq!(sysctls.changed[0].previous, "2");
    tree.write(&forwarding("eth0"), "3");
    sysctls.restore().expect("nothing to do");
    assert_eq!(tree.value(&forwarding("eth0")), "3");
}

#[test]
fn a_link_that_is_let_go_forwards_no_more_and_others_do() {
    let tree = Tree::v4("let-go", &[("eth0", "0"), ("br0", "0"), ("br1", "1")]);
    let mut sysctls = tree.sysctls();
    for link in ["eth0", "br0", "br1"] {
        sysctls.enable_forwarding(link).expect("settable");
    }
    let eth0 = BTreeSet::from(["eth0".to_owned()]);
    sysctls.forward_only(&eth0).expect("restorable");
    let now = ["eth0", "br0", "br1"].map(|link| tree.value(&forwarding(link)));
    assert_eq!(now, ["1", "0", "1"], "what it did before it does again");
    assert_eq!(keys(&sysctls), ["net.ipv4.conf.eth0.forwarding"]);
    sysctls.restore().expect("restorable");
    assert_eq!(tree.value(&forwarding("eth0")), "0");
}

#[test]
fn what_links_that_are_gone_had_is_forgotten() {
    let tree = Tree::new(
        "forget",
        &[
            (&forwarding("eth0"), "0"),
            (&forwarding("veth1"), "0"),
            ("net/ipv6/conf/all/forwarding", "0"),
            ("net/ipv6/conf/all/accept_ra", "1"),
            ("net/ipv6/conf/veth1/forwarding", "0"),
            ("net/ipv6/conf/veth1/accept_ra", "1"),
        ],
    );
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding("eth0").expect("settable");
    sysctls.enable_forwarding("veth1").expect("settable");
    sysctls.enable_forwarding_v6("veth1").expect("settable");
    // This machine's own links are not theirs.
    for changed in &mut sysctls.changed {
        changed.index = None;
    }
    let eth0 = BTreeMap::from([(2, "eth0".to_owned())]);
    sysctls.follow_links(&eth0).expect("writable");
    let kept = [
        "net.ipv4.conf.eth0.forwarding",
        "net.ipv6.conf.all.forwarding",
    ];
    assert_eq!(keys(&sysctls), kept);
}

#[test]
fn a_link_takes_its_changes_along_to_another_name() {
    let tree = Tree::new(
        "rename",
        &[(&forwarding("eth0"), "0"), (&forwarding("wan0"), "1")],
    );
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding("eth0").expect("settable");
    sysctls.changed[0].index = Some(7);
    let wan0 = BTreeMap::from([(7, "wan0".to_owned()), (8, "eth0".to_owned())]);
    sysctls.follow_links(&wan0).expect("writable");
    assert_eq!(keys(&sysctls), ["net.ipv4.conf.wan0.forwarding"]);
    sysctls.restore().expect("put back");
    assert_eq!(tree.value(&forwarding("wan0")), "0");
    assert_eq!(tree.value(&forwarding("eth0")), "1", "it is another's");
}

#[test]
fn one_link_is_made_to_forward_ipv6_where_the_kernel_can() {
    let force = "net/ipv6/conf/eth0/force_forwarding";
    let all = "net/ipv6/conf/all/forwarding";
    let tree = Tree::new("force", &[(force, "0"), (all, "0")]);
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding_v6("eth0").expect("settable");
    assert_eq!([tree.value(force), tree.value(all)], ["1", "0"]);
    sysctls.restore().expect("restorable");
    assert_eq!(tree.value(force), "0");

    sysctls.enable_forwarding_v6("eth0").expect("settable");
    tree.write(all, "1");
    sysctls.restore().expect("nothing to do");
    assert_eq!(tree.value(force), "1");
}

#[test]
fn the_whole_host_is_made_to_forward_ipv6_where_the_kernel_knows_no_other_way() {
    let [all, eth0, accept_ra] = [
        "net/ipv6/conf/all/forwarding",
        "net/ipv6/conf/eth0/forwarding",
        "net/ipv6/conf/eth0/accept_ra",
    ];
    let all_accept_ra = ("net/ipv6/conf/all/accept_ra", "1");
    let values = [(all, "0"), (eth0, "1"), (accept_ra, "1"), all_accept_ra];
    let tree = Tree::new("router", &values);
    let mut sysctls = tree.sysctls();
    sysctls.enable_forwarding_v6("eth0").expect("settable");
    sysctls.enable_forwarding_v6("eth0").expect("nothing to do");
    let expected = [
        "net.ipv6.conf.eth0.accept_ra",
        "net.ipv6.conf.eth0.forwarding",
        "net.ipv6.conf.all.forwarding",
    ];
    assert_eq!(keys(&sysctls), expected);
    assert_eq!([tree.value(all), tree.value(accept_ra)], ["1", "2"]);
    // As the kernel does when `all` becomes 0; here nobody does.
    tree.write(eth0, "0");
    sysctls.restore().expect("restorable");
    let values = [all, eth0, accept_ra].map(|path| tree.value(path));
    assert_eq!(values, ["0", "1", "1"]);
}

#[test]
fn without_ipv6_it_is_said_what_lacks_it() {
    let tree = Tree::v4("without", &[("eth0", "0")]);
    let refusal = |name| tree.sysctls().enable_forwarding_v6(name).expect_err(name);
    assert!(matches!(refusal("eth0"), NetError::NoIpv6));
    tree.write("net/ipv6/conf/all/forwarding", "0");
    assert!(matches!(
        refusal("eth0"),
        NetError::InterfaceWithoutIpv6 { name } if name == "eth0"
    ));
    assert!(matches!(
        refusal("eth9"),
        NetError::UnknownInterface { name } if name == "eth9"
    ));
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let tree = Tree::new("unknown", &[]);
    let error = tree
        .sysctls()
        .enable_forwarding("eth9")
        .expect_err("not there");
    assert!(matches!(error, NetError::UnknownInterface { name } if name == "eth9"));
}

#[test]
fn no_name_leads_out_of_one_interfaces_directory() {
    let tree = Tree::new("names", &[]);
    for name in [
        "", ".", "..", "../all", "a/b", "/etc", "all", "default", "a\0b",
    ] {
        for enable in [Sysctls::enable_forwarding, Sysctls::enable_forwarding_v6] {
            let refusal = enable(&mut tree.sysctls(), name);
            assert!(
                matches!(refusal, Err(NetError::InterfaceName { .. })),
                "{name:?}"
            );
        }
    }
}

#[test]
fn connection_tracking_is_liberal_for_a_time_where_there_is_any() {
    const LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";
    let none = Tree::new("no-conntrack", &[("net/other", "0")]);
    let mut sysctls = none.sysctls();
    sysctls.be_liberal().expect("nothing to do");
    assert!(sysctls.changed.is_empty());

    let tree = Tree::new("conntrack", &[(LIBERAL, "0")]);
    let mut sysctls = tree.sysctls();
    for _ in 0..2 {
        sysctls.be_liberal().expect("set");
        // It is no link's.
        sysctls.follow_links(&BTreeMap::new()).expect("writable");
    }
    assert_eq!(tree.value(LIBERAL), "1");
    sysctls.restore().expect("put back");
    assert_eq!(tree.value(LIBERAL), "0");
}

#[test]
fn what_is_set_stays_so_if_it_is_to() {
    const ETH0: &str = "net/ipv4/conf/eth0/forwarding";
    let tree = Tree::new("stays", &[(ETH0, "0")]);
    for (stays, after) in [(false, "0"), (true, "1")] {
        let mut sysctls = tree.sysctls();
        sysctls.stay = stays;
        sysctls.enable_forwarding("eth0").expect("settable");
        let changes: Vec<_> = sysctls.changes().collect();
        assert_eq!(changes, ["net.ipv4.conf.eth0.forwarding = 1 (was 0)"]);
        assert_eq!(tree.value(ETH0), "1");
        drop(sysctls);
        assert_eq!(tree.value(ETH0), after);
    }
}
