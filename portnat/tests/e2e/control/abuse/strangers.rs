//! Who is not root, where somebody has opened the socket's file to all.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use super::scene::{REQUESTS, Scene, ask, refused, request, with_body};
use super::{Talk, as_nobody};
use crate::support::eventually;

fn opened_to_all() -> Scene {
    let scene = Scene::new();
    let folder = scene.socket.parent().expect("a directory");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("permitted");
    fs::set_permissions(&scene.socket, Permissions::from_mode(0o666)).expect("permitted");
    scene
}

/// Whatever they say, they hear that they are not root, and nothing of what there is.
#[test]
fn nobody_but_root_gets_anything() {
    let scene = opened_to_all();
    let socket = &scene.socket;
    let huge = "x".repeat(2_000_000);
    for (method, target, body) in REQUESTS {
        let plain = match body {
            "" => request(method, target, "", ""),
            _ => with_body(method, target, body),
        };
        let (status, answer) = as_nobody(|| ask(socket, &plain));
        assert_eq!(
            answer["error"],
            "the control socket is for root alone: use sudo"
        );
        refused(target, &[403], (status, answer));
        for (said, status) in [
            (request("BREW", target, "", ""), 403),
            (request(method, "/v1/nowhere", "", ""), 403),
            (with_body(method, target, &huge), 403),
            (request(method, &format!("/{huge}"), "", ""), 431),
            (b"\x16\x03\x01\x02\r\n\r\n".to_vec(), 400),
        ] {
            refused(target, &[status], as_nobody(|| ask(socket, &said)));
        }
    }
    scene.end();
}

/// However many of them hang on, root is served meanwhile.
#[test]
fn strangers_do_not_keep_root_waiting() {
    const STRANGERS: usize = 200;
    let scene = opened_to_all();
    let socket = &scene.socket;
    eventually("root is served while strangers hang on", || {
        let strangers: Vec<UnixStream> = as_nobody(|| {
            let open = |_| Talk::open(socket).say(b"GET /v1/ports HTTP/1.1\r\nHo").0;
            (0..STRANGERS).map(open).collect()
        });
        assert_eq!(ask(socket, &request("GET", "/v1/status", "", "")).0, 200);
        // Those that are listened to have five seconds.
        let mut hang = strangers.iter().filter(|stranger| {
            stranger.set_nonblocking(true).expect("set");
            let heard = (&**stranger).read(&mut [0]);
            heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        hang.next().map(drop).ok_or("they were given up before")
    });
    let answer = eventually("one is listened to again", || {
        let talk = as_nobody(|| Talk::open(socket).say(&request("GET", "/", "", "")));
        talk.heard().ok_or("they hang on")
    });
    refused("a stranger", &[403], answer);
    scene.end();
}
