//! What comes by the socket, answered by a server whose daemon is played here. Time stands still
//! but where everybody waits, and then jumps.

use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::control::serve;

/// An answer as it came.
#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: String,
}

impl Heard {
    /// The only field of the answer to what cannot be done.
    #[track_caller]
    fn error(&self) -> String {
        assert!(
            self.head.contains("content-type: application/json"),
            "{self:?}"
        );
        let problem: Problem = serde_json::from_str(&self.body).expect("a problem");
        let value: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(value.as_object().map(|fields| fields.len()), Some(1));
        problem.error
    }
}

/// Reads until the connection is closed.
async fn hear(client: &mut UnixStream) -> Heard {
    let mut text = Vec::new();
    // The end may be rough where the rest of what was said is not wanted.
    let _ = client.read_to_end(&mut text).await;
    let text = String::from_utf8(text).expect("text");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).expect("a status");
    Heard {
        status: status.parse().expect("a number"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A client of a server whose daemon has stopped.
fn connect() -> UnixStream {
    let (client, server) = UnixStream::pair().expect("a pair of sockets");
    let (requests, _) = mpsc::channel(1);
    tokio::spawn(serve(server, requests));
    client
}

async fn ask(said: impl AsRef<[u8]>) -> Heard {
    let mut client = connect();
    // What is too long is not read to its end.
    let _ = client.write_all(said.as_ref()).await;
    hear(&mut client).await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there() {
    let heard = ask(get("/v1/flow")).await;
    assert_eq!(heard.status, 404);
    assert_eq!(
        heard.error(),
        "there is no /v1/flow: there are /v1/ports, /v1/flows, /v1/stats, /v1/status and /v1/reload"
    );
    for (request, allowed) in [
        ("POST /v1/flows", "GET, DELETE"),
        ("PUT /v1/ports", "GET, POST, DELETE"),
        ("POST /v1/stats", "GET"),
    ] {
        let heard = ask(format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(heard.status, 405, "{heard:?}");
        let header = format!("\r\nallow: {allowed}\r\n");
        assert!(heard.head.contains(&header), "{heard:?}");
        assert!(heard.error().contains(allowed), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn filters_that_make_no_sense() {
    for (path, words) in [
        ("/v1/flows?port=http", "port: no port of the host: \"http\""),
        ("/v1/flows?colour=red", "unknown parameter \"colour\""),
        ("/v1/ports?port=80", "takes no parameters"),
    ] {
        let heard = ask(get(path)).await;
        assert_eq!(heard.status, 400, "{heard:?}");
        assert!(heard.error().contains(words), "{heard:?}");
    }
    for path in ["/v1/flows", "/v1/flows?all=true&proto=tcp"] {
        let request = format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let heard = ask(request).await;
        assert_eq!(heard.status, 400, "{heard:?}");
        assert!(heard.error().starts_with("which flows?"), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_stops() {
    for path in ["/v1/ports", "/v1/flows", "/v1/stats"] {
        let heard = ask(get(path)).await;
        assert_eq!(heard.status, 503, "{heard:?}");
        assert_eq!(heard.error(), "portnat is about to stop");
    }
}

fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /v1/ports HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[tokio::test(start_paused = true)]
async fn a_body_that_makes_no_sense() {
    for (body, words) in [
        ("", "the body of the request: EOF"),
        ("8080:80@172.17.0.2", "the body of the request: "),
        (r#"{"target":"172.17.0.2"}"#, "missing field `specs`"),
        (
            r#"{"target":"172.17.0.2","specs":["80"],"colour":"red"}"#,
            "unknown field `colour`",
        ),
        (r#"{"target":"172.17.0.2","specs":[]}"#, "specs is empty"),
        (
            r#"{"target":"172.17.0.2","specs":[80]}"#,
            "invalid type: integer",
        ),
        (r#"{"target":"1.2","specs":["80"]}"#, "invalid target: 1.2"),
        (
            r#"{"target":"172.17.0.2","specs":["80","x:80"]}"#,
            "invalid hostPort: x",
        ),
        (
            r#"{"target":"172.17.0.2","specs":["80@172.17.0.3"]}"#,
            "the target is said once",
        ),
    ] {
        let heard = ask(post(body)).await;
        assert_eq!(heard.status, 400, "{body}: {heard:?}");
        assert!(heard.error().contains(words), "{body}: {heard:?}");
    }
}

/// Of what was sent no more is told than people read, and nothing that moves a cursor.
#[tokio::test(start_paused = true)]
async fn a_problem_is_a_short_line() {
    let long = "8".repeat(100_000);
    let heard = ask(post(&format!(
        r#"{{"target":"172.17.0.2","specs":["{long}"]}}"#
    )))
    .await;
    assert_eq!(heard.status, 400, "{heard:?}");
    let words = heard.error();
    assert!(
        words.ends_with("888…") && words.chars().count() == 501,
        "{words}"
    );
    let heard = ask(post(
        r#"{"target":"172.17.0.2","specs":["\u001b[31m\n:80"]}"#,
    ))
    .await;
    assert!(heard.error().contains("?[31m?"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn more_specs_than_anybody_needs() {
    let specs = vec!["80"; 1025];
    let specs = serde_json::to_string(&specs).expect("JSON");
    let heard = ask(post(&format!(
        r#"{{"target":"172.17.0.2","specs":{specs}}}"#
    )))
    .await;
    assert_eq!(heard.status, 400, "{heard:?}");
    assert!(
        heard.error().starts_with("more than 1024 specs"),
        "{heard:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_or_never_comes() {
    let heard = ask(post(&" ".repeat(1024 * 1024 + 1))).await;
    assert_eq!(heard.status, 413, "{heard:?}");
    assert!(heard.error().contains("1048576 bytes"), "{heard:?}");
    let mut client = connect();
    let started = Instant::now();
    let begun = b"POST /v1/ports HTTP/1.1\r\nContent-Length: 9\r\n\r\n{";
    client.write_all(begun).await.expect("sent");
    let heard = hear(&mut client).await;
    assert_eq!(heard.status, 408, "{heard:?}");
    assert!(heard.error().contains("more than 10 seconds"), "{heard:?}");
    assert!(started.elapsed() < WHOLE_TIME);
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_daemon_that_stops() {
    let publish = post(r#"{"target":"172.17.0.2","specs":["80"]}"#);
    let unpublish = "DELETE /v1/ports?target=172.17.0.2 HTTP/1.1\r\n\r\n".to_owned();
    let reload = "POST /v1/reload HTTP/1.1\r\n\r\n".to_owned();
    for request in [publish, unpublish, reload] {
        let heard = ask(request).await;
        assert_eq!(heard.status, 503, "{heard:?}");
    }
    let heard = ask("DELETE /v1/ports HTTP/1.1\r\n\r\n").await;
    assert_eq!(heard.status, 400, "{heard:?}");
    assert!(heard.error().starts_with("which ports?"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http() {
    for said in [
        &b"hello\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /v1/ports HTTP/9.9\r\n\r\n",
        b"GET /v1/ports HTTP/1.1\r\nbad header\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let heard = ask(said).await;
        assert_eq!(heard.status, 400, "{heard:?}");
        assert!(
            heard.error().starts_with("this is no HTTP request"),
            "{heard:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_long() {
    let long = format!("GET /v1/ports?{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    let many = "a: b\r\n".repeat(1000);
    let many = format!("GET /v1/ports HTTP/1.1\r\n{many}\r\n");
    for said in [long, many] {
        let heard = ask(said).await;
        assert_eq!(heard.status, 431, "{heard:?}");
        assert!(heard.error().contains("16384 bytes"), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_asked_for() {
    let length = "POST /v1/flows HTTP/1.1\r\nContent-Length: 10000000\r\n\r\n";
    let body = "x".repeat(300_000);
    let chunked = "GET /v1/flows HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for said in [length.to_owned() + &body, chunked.to_owned()] {
        let heard = ask(said).await;
        assert_eq!(heard.status, 413, "{heard:?}");
        assert!(heard.error().contains("no body"), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_comes_to_the_point() {
    for said in ["", "GET /v1/ports HTTP/1.1\r\nHost: loc"] {
        let started = Instant::now();
        let heard = ask(said).await;
        assert_eq!(heard.status, 408, "{heard:?}");
        assert!(heard.error().contains("more than 5 seconds"), "{heard:?}");
        assert!(started.elapsed() >= HEAD_TIME);
    }
}

/// One that says a little from time to time is no better.
#[tokio::test(start_paused = true)]
async fn a_client_that_trickles() {
    let mut client = connect();
    let started = Instant::now();
    for byte in get("/v1/ports").bytes() {
        if client.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let heard = hear(&mut client).await;
    assert_eq!(heard.status, 408, "{heard:?}");
    assert!(started.elapsed() < 3 * WHOLE_TIME);
}

/// Its place is free again in the end, and not before it had its chance.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read() {
    let (mut client, server) = UnixStream::pair().expect("a pair of sockets");
    let endless = || {
        let pieces = futures_util::stream::repeat_with(|| {
            Ok::<_, io::Error>(hyper::body::Frame::data(Bytes::from_static(&[b' '; 4096])))
        });
        let body = http_body_util::StreamBody::new(pieces);
        with_type(StatusCode::OK, body.boxed_unsync())
    };
    let started = Instant::now();
    client.write_all(get("/").as_bytes()).await.expect("sent");
    converse(server, async |_| endless()).await;
    let took = started.elapsed();
    assert!((WHOLE_TIME..2 * WHOLE_TIME).contains(&took), "{took:?}");
}

/// As `nc -N` does.
#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_half() {
    let mut client = connect();
    client.write_all(get("/").as_bytes()).await.expect("sent");
    client.shutdown().await.expect("closed");
    assert_eq!(hear(&mut client).await.status, 404);
}
