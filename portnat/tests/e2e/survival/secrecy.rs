//! What outlives the daemon is root's alone.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;

use super::place::kill;
use super::{Scene, persist};
use crate::control::as_nobody;
use crate::support::CONTAINER;

#[test]
fn nobody_but_root_sees_what_is_kept() {
    let scene = Scene::new();
    let daemon = scene.place.run(&scene.lab, &persist("tcx", &[]));
    scene.place.told(&["publish", CONTAINER, "-p", "8081:80"]);
    let pins = scene.place.pins();
    let files = [scene.place.written("-ports"), scene.place.records()].concat();
    assert_eq!(files.len(), 2, "{files:?}");
    // It is they that are closed, and not only the test's own directory.
    let folder = pins.ancestors().nth(2).expect("a directory");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("permitted");
    let one = scene.place.pinned().into_iter().next_back();
    let one = one.expect("something is pinned");
    scene.place.inside(|| {
        as_nobody(|| {
            let read = |path| File::open(path).map(drop);
            let tries: Vec<(_, io::Result<()>)> = files
                .iter()
                .map(|file| (file, read(file)))
                .chain([
                    (&pins, fs::read_dir(&pins).map(drop)),
                    (&one, fs::symlink_metadata(&one).map(drop)),
                ])
                .collect();
            for (path, attempt) in tries {
                let refusal = attempt.expect_err("is root's");
                assert_eq!(refusal.kind(), ErrorKind::PermissionDenied, "{path:?}");
            }
        });
    });
    kill(daemon);
}
