//! `portnat cleanup`: nothing is left, daemon or not.

use portnat::lab::Lab;

use super::place::{Place, kill};
use super::{ATTACH, Scene, persist};
use crate::daemon::Ended;
use crate::picture::{Holdings, Picture};

#[test]
fn nothing_is_left_after_cleanup() {
    for attach in ATTACH {
        let scene = Scene::new();
        let before = Picture::of(&scene.lab.host);
        let daemon = scene.place.run(&scene.lab, &persist(attach, &[]));
        let holdings = Holdings::of(daemon.pid());
        kill(daemon);
        scene.assert_at_work();

        let ended = scene.place.clean_up(&scene.lab);
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        assert!(ended.stdout.starts_with("detached "), "{ended:#?}");
        assert_eq!(Picture::of(&scene.lab.host), before);
        assert!(scene.place.pinned().is_empty());
        assert!(scene.place.records().is_empty());
        holdings.wait_until_gone();

        let again = scene.place.clean_up(&scene.lab);
        assert_eq!(again.status.code(), Some(0), "{again:#?}");
        assert_eq!(again.stdout, "there was nothing to clean up\n");
    }
}

#[test]
fn cleanup_is_refused_while_a_daemon_runs() {
    let scene = Scene::new();
    let daemon = scene.place.run(&scene.lab, &persist("tcx", &[]));
    let during = (Picture::of(&scene.lab.host), scene.place.pinned());
    let ended = scene.place.clean_up(&scene.lab);
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert!(ended.stderr[0].contains("another portnat"), "{ended:#?}");
    assert_eq!((Picture::of(&scene.lab.host), scene.place.pinned()), during);
    scene.assert_at_work();
    kill(daemon);
}

/// What is pinned elsewhere goes on whole, and it is said where to look.
fn is_refused_elsewhere(refused: impl FnOnce(&Lab, &Place) -> Ended) {
    let (scene, elsewhere) = (Scene::new(), Place::new());
    kill(scene.place.run(&scene.lab, &persist("tcx", &[])));
    let before = Picture::of(&scene.lab.host);
    let ended = refused(&scene.lab, &elsewhere);
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let line = ended.stderr.last().expect("why");
    assert!(
        line.contains("attached to") && line.contains("--pin-dir"),
        "{line}"
    );
    assert_eq!(Picture::of(&scene.lab.host), before);
    scene.assert_at_work();
    assert!(scene.place.clean_up(&scene.lab).status.success());
}

#[test]
fn cleanup_where_nothing_is_pinned_says_where_to_look() {
    is_refused_elsewhere(|lab, elsewhere| elsewhere.clean_up(lab));
}

/// Their programs would be in each other's way, and the second would put back what the first has changed.
#[test]
fn a_portnat_that_looks_elsewhere_does_not_start() {
    is_refused_elsewhere(|lab, elsewhere| elsewhere.start(lab, &persist("tcx", &[])).wait());
}

/// Who cannot start has changed nothing, and taken nothing from who was there before.
#[test]
fn a_start_that_fails_leaves_what_was_there() {
    let scene = Scene::new();
    let before = Picture::of(&scene.lab.host);
    let fails = persist("tcx", &["--uplink", "nowhere0"]);
    let ended = scene.place.start(&scene.lab, &fails).wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    assert_eq!(Picture::of(&scene.lab.host), before);
    assert!(scene.place.pinned().is_empty());

    kill(scene.place.run(&scene.lab, &persist("tcx", &[])));
    for arguments in [
        &fails,
        &persist(
            "clsact",
            &["--uplink", Lab::BRIDGE, "--bridge", Lab::BRIDGE],
        ),
    ] {
        let ended = scene.place.start(&scene.lab, arguments).wait();
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        scene.assert_at_work();
    }
}
