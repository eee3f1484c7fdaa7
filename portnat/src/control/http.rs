//! One connection: one request, whose size and time are limited, and one answer.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::Problem;

/// An answer's body. It breaks off where it cannot be completed, which a client notices.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long all of it may take, with the answer. Behind that is a client that does not read.
const WHOLE_TIME: Duration = Duration::from_secs(60);
/// How long the head of a request may be, in bytes.
const HEAD_SIZE: usize = 16 * 1024;
/// How many headers it may have.
const HEADERS: usize = 64;
/// How many characters of a problem are told.
const WORDS: usize = 500;
/// What a client that goes on talking may still say and for how long, so that it gets to read the
/// answer before the connection breaks.
const PARTING_SIZE: u64 = 1024 * 1024;
const PARTING_TIME: Duration = Duration::from_secs(1);

/// An answer as JSON, on a line.
pub(super) fn json(status: StatusCode, answer: &impl Serialize) -> Response<Body> {
    text(status, line(answer))
}

/// JSON on a line.
pub(super) fn line(answer: &impl Serialize) -> Vec<u8> {
    // Our own types are without maps that JSON does not have.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

/// An answer whose body is this JSON.
pub(super) fn text(status: StatusCode, json: Vec<u8>) -> Response<Body> {
    let body = Full::new(Bytes::from(json)).map_err(|never| match never {});
    with_type(status, body.boxed_unsync())
}

/// An answer whose body is JSON that may still be in the making.
pub(super) fn with_type(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Reads a request and gives it to `answer`. What is no request gets an answer too, if the client
/// stays to hear it.
pub(super) async fn converse<S, F>(stream: S, answer: impl Fn(Request<Incoming>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<Body>>,
{
    // Who does not keep to the time has lost interest.
    let _ = timeout(WHOLE_TIME, exchange(stream, answer)).await;
}

async fn exchange<S, F>(mut stream: S, answer: impl Fn(Request<Incoming>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<Body>>,
{
    let understood = AtomicBool::new(false);
    let service = service_fn(|request| {
        understood.store(true, Ordering::Relaxed);
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let io = TokioIo::new(Reticent {
        stream: &mut stream,
        understood: &understood,
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        // Whoever has said all may say so.
        .half_close(true)
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_SIZE)
        .max_headers(HEADERS)
        .timer(TokioTimer::new())
        .serve_connection(io, service)
        .await;
    if let (Err(error), false) = (served, understood.load(Ordering::Relaxed)) {
        // It may be gone, here and below.
        let _ = stream.write_all(&misunderstanding(&error)).await;
    }
    let _ = stream.shutdown().await;
    let mut rest = stream.take(PARTING_SIZE);
    let _ = timeout(
        PARTING_TIME,
        tokio::io::copy(&mut rest, &mut tokio::io::sink()),
    )
    .await;
}

/// An answer that names a problem, in one line. What somebody has sent may be in it: of that no more than
/// people read.
pub(super) fn refusal(status: StatusCode, words: impl Into<String>) -> Response<Body> {
    let words = words.into();
    let mut error: String = words.chars().take(WORDS).collect();
    if error.len() < words.len() {
        error.push('…');
    }
    let error = error.replace(char::is_control, "?");
    json(status, &Problem { error })
}

/// The answer to what hyper does not take for a request; its own would have no body.
fn misunderstanding(error: &hyper::Error) -> Vec<u8> {
    let (status, words) = if error.is_timeout() {
        let words = format!(
            "the head of the request took more than {} seconds",
            HEAD_TIME.as_secs()
        );
        (StatusCode::REQUEST_TIMEOUT, words)
    } else if error.is_parse_too_large() {
        let words = format!(
            "the head of the request has more than {HEAD_SIZE} bytes or {HEADERS} headers, or speaks of a \
             body that is longer than any"
        );
        (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, words)
    } else {
        (
            StatusCode::BAD_REQUEST,
            format!("this is no HTTP request: {error}"),
        )
    };
    let body = line(&Problem { error: words });
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// A stream on which nothing is said before a request was understood: hyper answers what it does
/// not understand by itself, without a word of why.
struct Reticent<'a, S> {
    stream: &'a mut S,
    understood: &'a AtomicBool,
}

impl<S> Reticent<'_, S> {
    fn may_speak(&self) -> bool {
        self.understood.load(Ordering::Relaxed)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Reticent<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Reticent<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.may_speak() {
            Pin::new(&mut *self.stream).poll_write(context, bytes)
        } else {
            Poll::Ready(Ok(bytes.len()))
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.may_speak() {
            Pin::new(&mut *self.stream).poll_shutdown(context)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

#[cfg(test)]
mod tests;
