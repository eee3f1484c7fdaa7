//! `portnat demo`: it shows what it says, and leaves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;

use nix::sys::signal::Signal;
use portnat::lab::Namespace;

use crate::daemon::{Daemon, PORTNAT, row};
use crate::picture::{Holdings, Picture};

/// Where `ip netns` keeps the names of namespaces.
fn named_namespaces() -> BTreeSet<String> {
    let folder = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    folder
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn demo(namespace: &Namespace) -> Daemon {
    let mut command = namespace.command(PORTNAT);
    command.arg("demo");
    Daemon::spawn(command)
}

#[test]
fn it_shows_what_portnat_does() {
    let namespace = Namespace::new().expect("a namespace");
    let (before, names) = (Picture::of(&namespace), named_namespaces());
    let ended = demo(&namespace).wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    for words in [
        "hello, you are 192.0.2.10:",
        "hello, you are 192.0.2.1:",
        "connection refused",
    ] {
        assert!(ended.stdout.contains(words), "{words:?} not in {ended:#?}");
    }
    for port in ["0.0.0.0:8080/tcp", "0.0.0.0:5353/udp"] {
        let row = row(&ended.stdout, port);
        assert_eq!(row.flows, 1, "{port}");
        assert!(row.packets_in > 0 && row.packets_out > 0, "{port}");
    }
    assert_eq!(Picture::of(&namespace), before);
    assert_eq!(named_namespaces().difference(&names).count(), 0);
}

#[test]
fn nothing_is_left_when_it_is_interrupted() {
    let namespace = Namespace::new().expect("a namespace");
    let (before, names) = (Picture::of(&namespace), named_namespaces());
    // It is over in a moment: at times before we have it by the sleeve, or with nothing left to do.
    let (ended, holdings) = (0..10)
        .map(|_| {
            let (demo, holdings) = stopped_at_work(&namespace);
            demo.signal(Signal::SIGINT);
            demo.signal(Signal::SIGCONT);
            (demo.wait(), holdings)
        })
        .find(|(ended, holdings)| !holdings.links.is_empty() && !ended.status.success())
        .expect("a demo at work");
    let by_signal = ended.status.signal() == Some(Signal::SIGINT as i32);
    assert!(by_signal || ended.status.code() == Some(130), "{ended:#?}");
    holdings.wait_until_gone();
    assert_eq!(Picture::of(&namespace), before);
    assert_eq!(named_namespaces().difference(&names).count(), 0);
}

/// A demo that has attached, and does not go on; with what it holds.
fn stopped_at_work(namespace: &Namespace) -> (Daemon, Holdings) {
    let mut demo = demo(namespace);
    demo.wait_for_line("attached to uplink");
    demo.signal(Signal::SIGSTOP);
    let holdings = Holdings::of(demo.pid());
    (demo, holdings)
}
