//! Other programs, and tables of another size, take their places while packets go by.

use portnat::lab::{Lab, probe};

use super::place::kill;
use super::{ATTACH, Scene, Talk, persist};
use crate::picture::Holdings;
use crate::support::at;

/// A daemon that traces has programs of its own, as a newer one has.
#[test]
fn other_programs_lose_nothing() {
    for attach in ATTACH {
        let scene = Scene::new();
        let first = scene.place.run(&scene.lab, &persist(attach, &[]));
        let before = Holdings::of(first.pid());
        let talks = scene.talks();
        kill(first);
        let second = scene.place.run(&scene.lab, &persist(attach, &["--trace"]));
        let after = Holdings::of(second.pid());
        assert!(before.programs.is_disjoint(&after.programs));
        assert!(before.maps.intersection(&after.maps).count() > 30);
        assert_eq!(before.links, after.links);
        talks.iter().for_each(Talk::goes_on);
        scene.assert_at_work();
        assert_eq!(scene.place.row("0.0.0.0:8080/tcp").flows, 2);
        talks.into_iter().for_each(Talk::end);
        kill(second);
    }
}

/// The same programs stay where they are.
#[test]
fn the_same_programs_stay() {
    let scene = Scene::new();
    let first = scene.place.run(&scene.lab, &persist("tcx", &[]));
    let before = Holdings::of(first.pid());
    kill(first);
    let second = scene.place.run(&scene.lab, &persist("tcx", &[]));
    let after = Holdings::of(second.pid());
    assert_eq!(
        (before.programs, before.links),
        (after.programs, after.links)
    );
    kill(second);
}

/// Connections go on, and what is counted for their container is.
#[test]
fn flows_go_over_to_tables_of_another_size() {
    for (first, second) in [("4096", "8192"), ("8192", "4096")] {
        let scene = Scene::new();
        let sized = |flows| {
            persist(
                "tcx",
                &["--max-flows-per-container", "2", "--max-flows", flows],
            )
        };
        let before = scene.place.run(&scene.lab, &sized(first));
        let talks = scene.talks();
        let row = scene.place.row("0.0.0.0:8080/tcp");
        kill(before);
        let mut after = scene.place.start(&scene.lab, &sized(second));
        let line = after.wait_for_line("took over 4 ports, ");
        assert!(line.contains(" 3 flows and "), "{line}");
        after.wait_for_line("ready");
        talks.iter().for_each(Talk::goes_on);
        let now = scene.place.row("0.0.0.0:8080/tcp");
        assert_eq!(now.flows, 1, "{now:?}");
        assert!(now.packets_in > row.packets_in, "{row:?} {now:?}");

        // The container has one, and may have one more.
        let inside = &scene.lab.containers[0].namespace;
        let ask = || probe::udp_echo(inside, at(Lab::CLIENT, 7), b"new");
        ask().expect("the second flow");
        ask().expect_err("the third flow");
        talks.into_iter().for_each(Talk::end);
        kill(after);
        assert!(!scene.place.pinned().iter().any(|pin| {
            let name = pin.to_string_lossy();
            name.ends_with("-new")
        }));
    }
}

/// What a portnat of another layout has left is said and goes; the programs change in place.
#[test]
fn of_another_layout_nothing_is_read_and_nothing_stays() {
    let scene = Scene::new();
    let first = scene.place.run(&scene.lab, &persist("tcx", &[]));
    let links = Holdings::of(first.pid()).links;
    let talk = Talk::tcp(&scene.lab.client, at(Lab::HOST, 8080));
    kill(first);
    scene.place.inside(|| {
        let namespaces = std::fs::read_dir(scene.place.pins()).expect("pins");
        for namespace in namespaces {
            let path = namespace.expect("a name").path();
            std::fs::rename(path.join("v1"), path.join("v9")).expect("renamed");
        }
    });
    let mut second = scene.place.start(&scene.lab, &persist("tcx", &[]));
    second.wait_for_line("of a layout that this one does not know");
    second.wait_for_line("took over 0 ports, 0 flows and ");
    second.wait_for_line("ready");
    assert_eq!(Holdings::of(second.pid()).links, links);
    // It is picked up, as after a start of which nothing was left.
    talk.goes_on();
    talk.end();
    let pinned = scene.place.pinned();
    assert!(!pinned.iter().any(|pin| pin.ends_with("v9")), "{pinned:?}");
    assert!(pinned.iter().any(|pin| pin.ends_with("v1/FLOWS4")));
    kill(second);
}

/// XDP's link is one like the others; where XDP is not wanted any more, it goes.
#[test]
fn xdp_goes_over_too() {
    let scene = Scene::new();
    let pinned = || {
        let pins = scene.place.pinned();
        let names = pins.iter().filter_map(|pin| pin.file_name()?.to_str());
        names.filter(|name| name.ends_with("-xdp")).count()
    };
    let first = scene
        .place
        .run(&scene.lab, &persist("tcx", &["--xdp", "native"]));
    let before = Holdings::of(first.pid());
    assert_eq!(pinned(), 1);
    let talks = scene.talks();
    kill(first);
    talks.iter().for_each(Talk::goes_on);

    let others = persist("tcx", &["--xdp", "native", "--trace"]);
    let second = scene.place.run(&scene.lab, &others);
    let after = Holdings::of(second.pid());
    assert_eq!(before.links, after.links);
    assert!(before.programs.is_disjoint(&after.programs));
    kill(second);

    let third = scene.place.run(&scene.lab, &persist("tcx", &[]));
    assert_eq!(pinned(), 0);
    assert_eq!(
        Holdings::of(third.pid()).links.len(),
        before.links.len() - 1
    );
    scene.assert_at_work();
    talks.into_iter().for_each(Talk::end);
    kill(third);
}
