//! What is asked for, and what the answer is made of.

mod change;
mod stats;
mod status;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{StreamExt as _, once, poll_fn};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as _, Frame};
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::http::{Body, json, line, refusal, text, with_type};
use super::query::Query;
use super::{ChangeError, ENDED_AT_ONCE, Ended, FlowKeys, Look, Request};
use crate::datapath::DatapathError;
use crate::flows::FlowFilter;
use crate::report::Report;

/// How long the daemon's loop may take to answer, and somebody else to read the tables.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a report is begun anew because flows were collected under it.
const ATTEMPTS: usize = 3;
/// How many pieces of an answer wait for a client that reads slowly.
const PIECES: usize = 4;

/// Where requests are handed in.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    requests: mpsc::Sender<Request>,
    /// One reads the tables at a time: a copy of a full one takes many megabytes.
    survey: Arc<Semaphore>,
}

/// Why a request is not met.
struct Refusal {
    status: StatusCode,
    words: String,
}

impl Refusal {
    fn new(status: StatusCode, words: impl Into<String>) -> Self {
        let words = words.into();
        Refusal { status, words }
    }

    fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "portnat is about to stop")
    }
}

impl From<DatapathError> for Refusal {
    fn from(error: DatapathError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        Self::new(error.status(), error.to_string())
    }
}

type Answer = Result<Response<Body>, Refusal>;

/// Answers a request.
pub(super) async fn answer(
    request: hyper::Request<hyper::body::Incoming>,
    desk: Desk,
) -> Response<Body> {
    let allowed = match request.uri().path() {
        "/v1/ports" => "GET, POST, DELETE",
        "/v1/flows" => "GET, DELETE",
        "/v1/stats" | "/v1/status" => "GET",
        "/v1/reload" => "POST",
        path => {
            let words = format!(
                "there is no {path}: there are /v1/ports, /v1/flows, /v1/stats, /v1/status and \
                 /v1/reload"
            );
            return refusal(StatusCode::NOT_FOUND, words);
        }
    };
    let (head, body) = request.into_parts();
    let takes_body = head.method == Method::POST && head.uri.path() == "/v1/ports";
    if !(takes_body || body.is_end_stream()) {
        let words = "such a request has no body: filters belong in the URL";
        return refusal(StatusCode::PAYLOAD_TOO_LARGE, words);
    }
    let query = head.uri.query().unwrap_or_default();
    let answer = match (&head.method, head.uri.path()) {
        (&Method::GET, "/v1/ports") => desk.ports(query).await,
        (&Method::POST, "/v1/ports") => desk.publish(query, body).await,
        (&Method::DELETE, "/v1/ports") => desk.unpublish(query).await,
        (&Method::GET, "/v1/flows") => desk.flows(query).await,
        (&Method::DELETE, "/v1/flows") => desk.flush(query).await,
        (&Method::GET, "/v1/stats") => desk.stats(query).await,
        (&Method::GET, "/v1/status") => desk.status(query).await,
        (&Method::POST, "/v1/reload") => desk.reload(query).await,
        (method, path) => {
            let words = format!("{path} knows no {method}, only {allowed}");
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, words);
            let allowed = HeaderValue::from_static(allowed);
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
    };
    answer.unwrap_or_else(|why| refusal(why.status, why.words))
}

impl Desk {
    pub(super) fn new(requests: mpsc::Sender<Request>) -> Self {
        let survey = Arc::new(Semaphore::new(1));
        Desk { requests, survey }
    }

    async fn ports(&self, query: &str) -> Answer {
        no_parameters(query)?;
        let place = self.place().await?;
        let mut look = self.look().await?;
        let mut attempts = ATTEMPTS;
        loop {
            let (report, ended) = beside(&place, move |go_on| {
                let Look {
                    published, drops, ..
                } = &look;
                let report = look.totals(go_on).map(|totals| {
                    let report = Report::new(published, &totals, drops, look.accelerated);
                    line(&report.named(&look.names))
                });
                (report, look.ended)
            })
            .await?;
            let report = report?;
            look = self.look().await?;
            attempts -= 1;
            // What was collected meanwhile may be in neither.
            if look.ended == ended || attempts == 0 {
                return Ok(text(StatusCode::OK, report));
            }
        }
    }

    async fn flows(&self, query: &str) -> Answer {
        let filter = Query::read(query).map_err(bad)?.filter;
        let place = self.place().await?;
        let look = self.look().await?;
        let (pieces, mut written) = mpsc::channel(PIECES);
        spawn_blocking(move || {
            look.list(&filter, &pieces);
            drop(place);
        });
        // As long as nothing is sent it can still be said what failed.
        let first = match written.recv().await {
            Some(Ok(first)) => first,
            Some(Err(error)) => return Err(failed(error.to_string())),
            None => return Err(failed("the flows could not be read")),
        };
        let rest = poll_fn(move |context| written.poll_recv(context));
        let pieces = once(std::future::ready(Ok(first))).chain(rest);
        let body = StreamBody::new(pieces.map(|piece| piece.map(Frame::data)));
        Ok(with_type(StatusCode::OK, body.boxed_unsync()))
    }

    async fn flush(&self, query: &str) -> Answer {
        let Query { filter, all } = Query::read(query).map_err(bad)?;
        if all != filter.is_everything() {
            let words = "which flows? Say port, target, client or proto, or all=true alone";
            return Err(bad(words.to_owned()));
        }
        let mut keys = self.keys(filter).await?;
        let mut ended = 0;
        while !keys.is_empty() {
            let some = keys.some(ENDED_AT_ONCE);
            ended += self.ask(|answer| Request::End(some, answer)).await??;
        }
        Ok(json(StatusCode::OK, &Ended { ended }))
    }

    async fn keys(&self, filter: FlowFilter) -> Result<FlowKeys, Refusal> {
        let place = self.place().await?;
        let look = self.look().await?;
        Ok(beside(&place, move |go_on| look.keys(&filter, go_on)).await??)
    }

    async fn look(&self) -> Result<Look, Refusal> {
        Ok(self.ask(Request::Look).await??)
    }

    /// Asks the daemon's loop.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            let sent = self.requests.send(request(answer)).await;
            sent.map_err(|_| Refusal::stopping())?;
            answered.await.map_err(|_| Refusal::stopping())
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            let words = format!(
                "the daemon has been busy for {} seconds",
                PATIENCE.as_secs()
            );
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, words))
        })
    }

    /// The right to read the tables.
    async fn place(&self) -> Result<Arc<OwnedSemaphorePermit>, Refusal> {
        let place = Arc::clone(&self.survey).acquire_owned();
        match timeout(PATIENCE, place).await {
            Ok(Ok(place)) => Ok(Arc::new(place)),
            _ => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "others are reading the flows: try again",
            )),
        }
    }
}

/// Does work on a thread of its own, which is told when nobody waits for it any more.
async fn beside<T: Send + 'static>(
    place: &Arc<OwnedSemaphorePermit>,
    work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let (answer, answered) = oneshot::channel();
    let place = Arc::clone(place);
    spawn_blocking(move || {
        let result = work(&|| !answer.is_closed());
        drop(place);
        // Nobody may wait for it.
        let _ = answer.send(result);
    });
    answered
        .await
        .map_err(|_| failed("the flows could not be read"))
}

fn no_parameters(query: &str) -> Result<(), Refusal> {
    match query {
        "" => Ok(()),
        _ => Err(bad("such a request takes no parameters".to_owned())),
    }
}

fn bad(words: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, words)
}

fn failed(words: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, words)
}
