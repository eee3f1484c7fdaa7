//! What is too much, what never comes to its end, and what comes all at once.

use std::thread;

use super::Talk;
use super::scene::{REQUESTS, Scene, ask, endpoints, in_chunks, refused, request, with_body};

#[test]
fn every_endpoint_refuses_what_is_too_much() {
    const MEGABYTES: usize = 3 * 1024 * 1024;
    let scene = Scene::new();
    let long = "x".repeat(20_000);
    let whole = "x".repeat(MEGABYTES);
    let chunk = format!("{MEGABYTES:x}\r\n{whole}\r\n0\r\n\r\n");
    let endless = "Content-Length: 18446744073709551615\r\n";
    for (method, path) in endpoints() {
        let cases = [
            (request(method, &format!("{path}?{long}"), "", ""), 431),
            (request(method, path, &format!("A: {long}\r\n"), ""), 431),
            (request(method, path, &"A: b\r\n".repeat(1000), ""), 431),
            (with_body(method, path, &whole), 413),
            (in_chunks(method, path, &chunk), 413),
            // As much as there may be in a head.
            (
                request(method, &format!("{path}?{}", &long[..12_000]), "", ""),
                400,
            ),
        ];
        for (number, (said, status)) in cases.into_iter().enumerate() {
            let what = format!("{method} {path}, {number}");
            refused(&what, &[status], scene.ask(&said));
        }
        let said = request(method, path, endless, &whole);
        refused("more than any body has", &[413, 431], scene.ask(&said));
    }
    scene.end();
}

/// As much as there may be in a body.
#[test]
fn more_ports_than_there_are_hold_nobody_up() {
    let scene = Scene::new();
    let publish = |specs: &[String]| {
        let specs = serde_json::to_string(specs).expect("JSON");
        let body = format!(r#"{{"target":"172.17.0.2","specs":{specs}}}"#);
        assert!(body.len() < 1024 * 1024);
        with_body("POST", "/v1/ports", &body)
    };
    let named: Vec<_> = (1..60_000).map(|port| format!("{port}:80")).collect();
    for (what, specs, status) in [
        ("a long spec", vec!["8".repeat(1_000_000)], 400),
        ("each port", named, 400),
        ("any port", vec!["80".to_owned(); 200_000], 400),
    ] {
        refused(what, &[status], scene.ask(&publish(&specs)));
    }
    scene.end();
}

/// As many as are served at once, all of which hang: in their head, or in their body.
#[test]
fn every_endpoint_gives_up_what_never_comes() {
    let scene = Scene::new();
    let mut hanging = Vec::new();
    for (method, path) in endpoints() {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: loc").into_bytes();
        let body = request(method, path, "Content-Length: 99\r\n", "{");
        let takes_body = (method, path) == ("POST", "/v1/ports");
        let unwanted = if takes_body { 408 } else { 413 };
        for (said, status) in [(head, 408), (body, unwanted)] {
            let what = format!("{method} {path}: {status}");
            hanging.push((what, status, Talk::open(&scene.socket).say(&said)));
        }
    }
    // It waits until one of them is given up, and no longer.
    assert_eq!(scene.ask(&request("GET", "/v1/status", "", "")).0, 200);
    for (what, status, talk) in hanging {
        refused(&what, &[status], talk.hear());
    }
    scene.end();
}

/// Nothing gets in another's way, and what cannot be given but to one is given to one.
#[test]
fn everything_at_once() {
    const CLIENTS: u16 = 24;
    const ROUNDS: usize = 3;
    let scene = Scene::new();
    let socket = &scene.socket;
    let tell = |method: &str, target: &str, body: &str| match body {
        "" => ask(socket, &request(method, target, "", "")),
        _ => ask(socket, &with_body(method, target, body)),
    };
    let publish = |port: u16, target_port: u16| {
        let specs = format!(r#"["{port}:{target_port}"]"#);
        let body = format!(r#"{{"target":"172.17.0.2","specs":{specs}}}"#);
        tell("POST", "/v1/ports", &body)
    };
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let port = 9000 + client;
                for round in 0..ROUNDS {
                    let (status, answer) = publish(port, 80);
                    assert_eq!(status, 200, "{answer}");
                    for turn in 0..REQUESTS.len() {
                        // Each begins somewhere else.
                        let number = (turn + round + usize::from(client)) % REQUESTS.len();
                        let (method, target, body) = REQUESTS[number];
                        let (status, answer) = tell(method, target, body);
                        let expected = if target.ends_with("port=4") { 404 } else { 200 };
                        assert_eq!(status, expected, "{method} {target}: {answer}");
                    }
                    let (status, answer) = tell("DELETE", &format!("/v1/ports?port={port}"), "");
                    assert_eq!(status, 200, "{answer}");
                }
            });
        }
    });
    let answers = thread::scope(|scope| {
        let asked: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || publish(9999, 1000 + client)))
            .collect();
        let answers = asked.into_iter().map(|asked| asked.join());
        answers.map(|answer| answer.expect("an answer")).collect()
    });
    let (given, others): (Vec<_>, Vec<_>) =
        Vec::into_iter(answers).partition(|(status, _)| *status == 200);
    assert_eq!(given.len(), 1, "{given:?}");
    for answer in others {
        refused("another has it", &[409], answer);
    }
    assert_eq!(tell("DELETE", "/v1/ports?port=9999", "").0, 200);
    scene.end();
}
