//! What comes by the control socket, with a daemon that is played here.

use portnat::control::{self, ChangeError, PublishedPorts, Request, Unpublishing};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};

/// What there are answers of.
const STATUSES: [&str; 10] = [
    "200", "400", "404", "405", "408", "409", "413", "422", "431", "503",
];

/// Whatever is said, there is one answer of HTTP with JSON in a line; and what the daemon is asked for
/// makes sense. By the first byte the client goes on to listen or closes its half.
pub fn control(data: &[u8]) {
    let Some((how, said)) = data.split_first() else {
        return;
    };
    // Time stands still, and jumps where everybody waits.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let heard = runtime.block_on(converse(how & 1 == 0, said.to_vec()));
    judge(said, &heard);
}

async fn converse(closes: bool, said: Vec<u8>) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(4096);
    let (requests, asked) = mpsc::channel(8);
    tokio::spawn(control::serve(server, requests));
    tokio::spawn(play(asked));
    let (mut from, mut to) = tokio::io::split(client);
    let speaker = tokio::spawn(async move {
        // It may have heard enough before the end.
        let _ = to.write_all(&said).await;
        if closes {
            let _ = to.shutdown().await;
        }
        to
    });
    let mut heard = Vec::new();
    from.read_to_end(&mut heard).await.expect("memory");
    drop(speaker.await);
    heard
}

/// A daemon that has no tables.
async fn play(mut asked: mpsc::Receiver<Request>) {
    while let Some(request) = asked.recv().await {
        match request {
            Request::Look(_) | Request::End(..) | Request::Status(_) => {}
            Request::Publish(specs, answer) => {
                assert!((1..=1024).contains(&specs.len()), "{}", specs.len());
                for spec in specs {
                    assert_eq!(spec.to_string().parse(), Ok(spec));
                }
                let _ = answer.send(Ok(PublishedPorts::default()));
            }
            Request::Unpublish(_, answer) => {
                let (number, ended) = oneshot::channel();
                let _ = number.send(7);
                let ports = Vec::new();
                let _ = answer.send(Ok(Unpublishing {
                    ports,
                    waiting: Vec::new(),
                    ended,
                }));
            }
            Request::Reload(answer) => {
                let _ = answer.send(Err(ChangeError::NoConfig));
            }
        }
    }
}

fn judge(said: &[u8], heard: &[u8]) {
    let heard = std::str::from_utf8(heard).expect("text");
    // Who asks whether a body is wanted is told so first.
    let answer = heard.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
    if answer.is_empty() {
        // Nobody has asked for anything.
        assert!(said.iter().all(u8::is_ascii_whitespace), "no answer");
        return;
    }
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut words = head.split(' ');
    let version = words.next().expect("a version");
    assert!(["HTTP/1.1", "HTTP/1.0"].contains(&version), "{head}");
    let status = words.next().expect("a status");
    assert!(STATUSES.contains(&status), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    if body.is_empty() {
        assert!(said.starts_with(b"HEAD"), "{head}");
        return;
    }
    let line = body.strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n'), "{body}");
    let value: Value = serde_json::from_str(line).expect("JSON");
    if status != "200" {
        let fields = value.as_object().expect("an object");
        let problem = value["error"].as_str().expect("words");
        assert_eq!(fields.len(), 1, "{body}");
        assert!((1..600).contains(&problem.chars().count()), "{body}");
        assert!(!problem.contains(char::is_control), "{body}");
    }
}
