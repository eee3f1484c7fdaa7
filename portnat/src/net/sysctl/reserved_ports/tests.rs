use std::fs;

use tempfile::TempDir;

use super::*;

#[test]
fn ports_and_ranges_with_commas_between() {
    assert_eq!(parse("\n"), Some(Vec::new()));
    assert_eq!(parse("8080\n"), Some(vec![(8080, 8080)]));
    let several = parse("1-3,8080,65535");
    assert_eq!(several, Some(vec![(1, 3), (8080, 8080), (65535, 65535)]));
    assert_eq!(parse("8080-"), None);
    assert_eq!(parse("65536"), None);
    assert_eq!(parse("2-1"), None);
    local_reserved_ports().expect("this host has some or none");
}

#[test]
fn a_set_is_written_as_the_kernel_does() {
    assert_eq!(Ports::none().to_string(), "");
    let all = [(0, 1), (3, 3), (65535, 65535)];
    assert_eq!(Ports::of(&all).to_string(), "0-1,3,65535");
}

/// What stands for the sysctl; a file keeps what is longer than what is written over it.
fn root(value: &str) -> TempDir {
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(root.path().join("net/ipv4")).expect("a directory");
    fs::write(path(root.path()), value).expect("written");
    root
}

#[track_caller]
fn stands(root: &TempDir, value: &str) {
    let text = fs::read_to_string(path(root.path())).expect("is there");
    assert_eq!(text.lines().next(), Some(value));
    // The kernel keeps no more than that.
    fs::write(path(root.path()), format!("{value}\n")).expect("written");
}

#[test]
fn what_stood_there_stays() {
    let root = root("8080-8090\n");
    let mut ports = ReservedPorts::under(root.path());
    ports.reserve(8085, 9000).expect("set");
    stands(&root, "8080-9000");
    ports.release(8085, 9000).expect("set");
    stands(&root, "8080-8090");
    ports.release(8085, 9000).expect("nothing to do");
    stands(&root, "8080-8090");
}

#[test]
fn what_two_ranges_need_stays_until_both_are_gone() {
    let root = root("\n");
    let mut ports = ReservedPorts::under(root.path());
    ports.reserve(10, 20).expect("set");
    ports.reserve(15, 30).expect("set");
    stands(&root, "10-30");
    ports.release(10, 20).expect("set");
    stands(&root, "15-30");
    ports.release(15, 30).expect("set");
    stands(&root, "");
}

#[test]
fn what_somebody_else_sets_meanwhile_stays() {
    let root = root("\n");
    let mut ports = ReservedPorts::under(root.path());
    ports.reserve(10, 20).expect("set");
    fs::write(path(root.path()), "10-20,40\n").expect("written");
    ports.release(10, 20).expect("set");
    stands(&root, "40");
}

/// Who is killed drops nothing.
fn kill(ports: ReservedPorts) {
    std::mem::forget(ports);
}

#[test]
fn what_a_killed_one_has_added_stays_until_it_is_known_who_wants_it() {
    let root = root("8080\n");
    let record = root.path().join("netns-1-reserved");
    let recorded = || ReservedPorts::recorded_under(root.path(), &record).expect("readable");
    let mut first = recorded();
    assert!(!first.settle().expect("nothing to do"));
    first.reserve(10, 20).expect("set");
    first.reserve(8080, 8090).expect("set");
    kill(first);
    stands(&root, "10-20,8080-8090");
    // One that fails leaves what was there.
    let mut failing = recorded();
    failing.reserve(10, 20).expect("set");
    failing.release(10, 20).expect("set");
    drop(failing);
    stands(&root, "10-20,8080-8090");
    // One that wants other ports takes out the rest, but for what the administrator has put in.
    let mut second = recorded();
    second.reserve(15, 30).expect("set");
    stands(&root, "10-30,8080-8090");
    assert!(second.settle().expect("set"));
    stands(&root, "15-30,8080");
    // One that is to go on leaves all.
    second.leave();
    second.release(15, 30).expect("set");
    stands(&root, "15-30,8080");
    assert!(recorded().settle().expect("set"));
    stands(&root, "8080");
    assert!(!record.exists());
}

#[test]
fn what_was_written_down_before_a_boot_is_nobodys() {
    let root = root("10-20\n");
    let record = root.path().join("netns-1-reserved");
    let text = r#"{"boot": "another", "added": "10-20"}"#;
    fs::write(&record, text).expect("written");
    let mut ports = ReservedPorts::recorded_under(root.path(), &record).expect("readable");
    assert!(!ports.settle().expect("nothing to do"));
    stands(&root, "10-20");
    let text = text.replace("another", &written::boot_id());
    fs::write(&record, text.replace("10-", "x-")).expect("written");
    ReservedPorts::recorded_under(root.path(), &record).expect_err("they are no ports");
}

#[test]
fn what_cannot_be_set_is_not_remembered() {
    let root = root("many\n");
    let mut ports = ReservedPorts::under(root.path());
    let refusal = ports.reserve(10, 20).expect_err("no ports");
    assert!(refusal.to_string().contains("\"many\""), "{refusal}");
    fs::write(path(root.path()), "\n").expect("written");
    ports.reserve(40, 40).expect("set");
    stands(&root, "40");
}
