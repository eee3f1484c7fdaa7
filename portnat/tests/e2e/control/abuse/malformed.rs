//! What makes no sense.

use std::fs;
use std::io::Write as _;
use std::net::Shutdown;

use super::Talk;
use super::scene::{Scene, endpoints, in_chunks, refused, request, with_body};

#[test]
fn every_endpoint_refuses_what_makes_no_sense() {
    let scene = Scene::new();
    for (method, path) in endpoints() {
        let takes_body = (method, path) == ("POST", "/v1/ports");
        let unwanted = if takes_body { 400 } else { 413 };
        let ask = |headers: &str, body: &str| request(method, path, headers, body);
        let at = |target: &str| request(method, target, "", "");
        let cases = [
            (at(&format!("{path}?%zz=%")), 400),
            (at(&format!("{path}?%00%ff=%00")), 400),
            (at(&format!("{path}?port=8080/tcp&port=8080/tcp")), 400),
            (at(&format!("{path}/")), 404),
            (at(&format!("/{path}")), 404),
            (at(&format!("{path}%00")), 404),
            (at(&path.to_uppercase()), 404),
            (at(&path.replace("v1", "v1/../v1")), 404),
            (request("BREW", path, "", ""), 405),
            (request(&method.to_lowercase(), path, "", ""), 405),
            (with_body(method, path, "hello"), unwanted),
            (in_chunks(method, path, "zz\r\n"), unwanted),
            (
                in_chunks(method, path, "ffffffffffffffffff\r\n{}"),
                unwanted,
            ),
            (ask("Content-Length: -1\r\n", ""), 400),
            (ask("Content-Length: 1\r\nContent-Length: 2\r\n", "{}"), 400),
            (ask("Transfer-Encoding: gzip\r\n", "{}"), 400),
            (ask("no colon\r\n", ""), 400),
            (ask("A\0B: c\r\n", ""), 400),
            (ask("A: b\0c\r\n", ""), 400),
            (format!("{method} {path} HTTP/3.0\r\n\r\n").into(), 400),
            (format!("{method} {path}\r\n\r\n").into(), 400),
            (format!("{method}{path} HTTP/1.1\r\n\r\n").into(), 400),
        ];
        for (said, status) in cases {
            let what = String::from_utf8_lossy(&said).into_owned();
            refused(&what, &[status], scene.ask(&said));
        }
        // Which of both counts is hyper's to say; never is one request taken for two.
        let smuggled = "0\r\n\r\nDELETE /v1/ports?target=172.17.0.2 HTTP/1.1\r\n\r\n";
        let two = in_chunks(method, path, smuggled);
        let two =
            String::from_utf8_lossy(&two).replace("\r\nHost", "\r\nContent-Length: 4\r\nHost");
        refused("two lengths", &[400, 413], scene.ask(two.as_bytes()));
        let both = [
            request("GET", "/v1/one", "", ""),
            request("GET", "/v1/two", "", ""),
        ];
        let answer = scene.ask(&both.concat());
        let words = answer.1["error"].as_str().expect("words").to_owned();
        refused("two requests", &[404], answer);
        assert!(words.starts_with("there is no /v1/one:"), "{words}");
        // Bytes that are no text, and half a body.
        let said = [method.as_bytes(), b" /v1/\xff\xfe HTTP/1.1\r\n\r\n"].concat();
        refused("no text", &[400, 404], scene.ask(&said));
        let mut talk = Talk::open(&scene.socket);
        let half = request(method, path, "Content-Length: 9\r\n", "{");
        talk.0.write_all(&half).expect("sent");
        talk.0.shutdown(Shutdown::Write).expect("closed");
        refused("half a body", &[unwanted], talk.hear());
    }
    scene.end();
}

#[test]
fn bodies_that_make_no_sense_publish_nothing() {
    let scene = Scene::new();
    let deep = "[".repeat(500_000);
    let deep_field = format!("{{\"target\":{deep}");
    let unknown = format!("{{\"{}\":1}}", "x".repeat(100_000));
    let spec = |spec: &str| format!(r#"{{"target":"172.17.0.2","specs":["{spec}"]}}"#);
    let target = |target: &str| format!(r#"{{"target":"{target}","specs":["9000:80"]}}"#);
    let no_sense = [
        "null",
        "[]",
        "{}",
        "1e999",
        &deep,
        &deep_field,
        // A field that nobody knows.
        &unknown,
        r#"{"target":"172.17.0.2","specs":"80"}"#,
        r#"{"target":"172.17.0.2","specs":[[]]}"#,
        r#"{"target":"172.17.0.2","target":"172.17.0.2","specs":["80"]}"#,
        r#"{"target":"172.17.0.2","specs":["80"]} {}"#,
        "{\"target\":\"\u{0}\",\"specs\":[\"80\"]}",
        &spec(r"9000:80\ud800"),
        &spec(r"9000:80\u0000"),
        &spec(r"\n9000:80"),
        &spec("9000:80@172.17.0.3"),
        &spec("9000:99999999999999999999"),
        &spec("9000-8000:80"),
        &spec("0-65535:0-65535"),
        &spec("[::1:9000:80"),
        &target("0.0.0.0"),
        &target("224.0.0.1"),
        &target("255.255.255.255"),
        &target("172.17.0.2/16"),
        &target("fe80::1%eth0"),
    ]
    .map(|body| (body.to_owned(), 400));
    // These make sense and cannot be.
    let not_possible = [
        target("192.0.2.1"),
        spec("5353:54/udp"),
        spec("9000-9001:80-81\",\"9001:80"),
        spec("9000:80\",\"8080:82"),
    ]
    .map(|body| (body, 409));
    for (body, status) in no_sense.into_iter().chain(not_possible) {
        let said = with_body("POST", "/v1/ports", &body);
        let what: String = body.chars().take(80).collect();
        refused(&what, &[status], scene.ask(&said));
    }
    scene.end();
}

#[test]
fn parameters_that_make_no_sense_end_nothing() {
    let scene = Scene::new();
    let ask = |method: &str, path: &str, query: &str, status: u16| {
        let said = request(method, &format!("{path}?{query}"), "", "");
        let what = format!("{method} {path}?{query}");
        refused(&what, &[status], scene.ask(&said));
    };
    for query in [
        "port=99999999999999999999",
        "port=8080/tcp/tcp",
        "port=-1",
        "port=[::1",
        "target=300.1.2.3",
        "target=172.17.0.2/33",
        "target=",
        "target=172.17.0.2&target=172.17.0.3",
    ] {
        ask("GET", "/v1/flows", query, 400);
        ask("DELETE", "/v1/flows", query, 400);
        ask("DELETE", "/v1/ports", query, 400);
    }
    for query in [
        "",
        "all=false",
        "all=true&proto=tcp",
        "all=true&colour=red",
        "proto=256",
        "client=1.2.3",
    ] {
        ask("DELETE", "/v1/flows", query, 400);
    }
    for (query, status) in [
        ("", 400),
        ("spec=80", 400),
        ("target=172.17.0.2&spec=", 400),
        ("target=172.17.0.2&spec=81", 404),
        ("target=172.17.0.2&spec=80&spec=81", 404),
        ("port=4", 404),
        ("port=8080/icmp", 404),
    ] {
        ask("DELETE", "/v1/ports", query, status);
    }
    scene.end();
}

/// However much there is of it.
#[test]
fn a_config_file_that_makes_no_sense_changes_nothing() {
    let scene = Scene::new();
    let config = scene.folder.path().join("portnat.toml");
    let good = fs::read(&config).expect("is there");
    let reload = with_body("POST", "/v1/reload", "");
    for text in [
        b"publish = [".to_vec(),
        b"\xff\xfe".to_vec(),
        b"publish = [\"8080:80@172.17.0.2\"]\ncolour = 1\n".to_vec(),
        b"[".repeat(1_000_000),
        b"a = ".repeat(1_000_000),
        // More than the helper's messages hold: it must not be taken for gone.
        b"# \n".repeat(7_000_000),
    ] {
        fs::write(&config, &text).expect("written");
        let what = format!("{} bytes of a config file", text.len());
        refused(&what, &[422], scene.ask(&reload));
    }
    fs::remove_file(&config).expect("is there");
    refused("no file", &[422], scene.ask(&reload));
    fs::write(&config, good).expect("written");
    assert_eq!(scene.ask(&reload).0, 200);
    scene.end();
}
