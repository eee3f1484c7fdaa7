//! The commands' end of the socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::query::{Query, selector};
use super::{
    Ended, Problem, PublishRequest, PublishedPorts, Reloaded, Stats, Status, UnpublishedPorts,
    plain,
};
use crate::flows::{FlowFilter, FlowList, PortFilter};
use crate::report::Report;
use crate::spec::Target;

/// How long a daemon may be silent.
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks the portnat that serves a socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "no portnat answers at {}: {cause}: start it with `portnat run`, or name its socket with \
         --socket PATH",
        socket.display(),
        cause = plain(cause)
    )]
    Nobody {
        /// The socket.
        socket: PathBuf,
        /// What the kernel says.
        cause: io::Error,
    },
    /// The file's mode keeps us out.
    #[error("the socket {} is for root alone: use sudo", .0.display())]
    Denied(PathBuf),
    /// The daemon says no.
    #[error("{0}")]
    Refused(String),
    /// The answer breaks off or makes no sense.
    #[error("the portnat at {} does not answer as it should: {reason}", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// How.
        reason: String,
    },
}

impl Client {
    /// A client of the portnat that serves `socket`; nothing is asked yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Client {
            socket: socket.to_owned(),
        }
    }

    /// The published ports and what came through them.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub fn ports(&self) -> Result<Report, ClientError> {
        self.read(&self.ask(Method::GET, "/v1/ports")?)
    }

    /// The flows that `filter` means, as the JSON that came.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub fn flows_json(&self, filter: &FlowFilter) -> Result<Bytes, ClientError> {
        self.ask(Method::GET, &flows(filter, false))
    }

    /// The flows that `filter` means.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub fn flows(&self, filter: &FlowFilter) -> Result<FlowList, ClientError> {
        self.read(&self.flows_json(filter)?)
    }

    /// Ends the flows that `filter` means, or all if it says nothing. Returns how many there were.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub fn flush(&self, filter: &FlowFilter) -> Result<u64, ClientError> {
        let path = flows(filter, filter.is_everything());
        let ended: Ended = self.read(&self.ask(Method::DELETE, &path)?)?;
        Ok(ended.ended)
    }

    /// How the datapath fares.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub fn stats(&self) -> Result<Stats, ClientError> {
        self.read(&self.ask(Method::GET, "/v1/stats")?)
    }

    /// What the daemon is like.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.read(&self.ask(Method::GET, "/v1/status")?)
    }

    /// Publishes ports of a target, all of them or none.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub fn publish(&self, request: &PublishRequest) -> Result<PublishedPorts, ClientError> {
        let body = serde_json::to_vec(request).map_err(|error| self.broken(error))?;
        self.read(&self.say(Method::POST, "/v1/ports", body)?)
    }

    /// Publishes a target's ports no more; of `specs` if there are any, else all.
    ///
    /// # Errors
    /// There is no answer, or a refusal: there may be none.
    pub fn unpublish_target(
        &self,
        target: &Target,
        specs: &[String],
    ) -> Result<UnpublishedPorts, ClientError> {
        self.unpublish(&selector::of_target(target, specs))
    }

    /// Publishes some ports of the host no more.
    ///
    /// # Errors
    /// There is no answer, or a refusal: there may be none.
    pub fn unpublish_port(&self, port: &PortFilter) -> Result<UnpublishedPorts, ClientError> {
        self.unpublish(&selector::of_port(port))
    }

    fn unpublish(&self, query: &str) -> Result<UnpublishedPorts, ClientError> {
        self.read(&self.ask(Method::DELETE, &format!("/v1/ports?{query}"))?)
    }

    /// Has the config file be read anew.
    ///
    /// # Errors
    /// There is no answer, or a refusal.
    pub fn reload(&self) -> Result<Reloaded, ClientError> {
        self.read(&self.ask(Method::POST, "/v1/reload")?)
    }

    fn read<T: DeserializeOwned>(&self, json: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(json).map_err(|error| self.broken(error))
    }

    fn ask(&self, method: Method, path: &str) -> Result<Bytes, ClientError> {
        self.say(method, path, Vec::new())
    }

    fn say(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, ClientError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.broken(error))?;
        runtime.block_on(async {
            let answer = timeout(PATIENCE, self.exchange(method, path, body)).await;
            answer.unwrap_or_else(|_| Err(self.broken("it is silent")))
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Bytes, ClientError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|cause| match cause.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied(self.socket.clone()),
            _ => ClientError::Nobody {
                socket: self.socket.clone(),
                cause,
            },
        })?;
        let connection = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connection.map_err(|error| self.broken(error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .body(Full::<Bytes>::from(body))
            .map_err(|error| self.broken(error))?;
        let answer = async {
            let response = sender.send_request(request).await;
            self.body(response.map_err(|error| self.broken(error))?)
                .await
        };
        // The connection is over when the answer is; its own error is the answer's too.
        let (answer, _) = tokio::join!(answer, connection);
        answer
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| self.broken(error))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let problem = serde_json::from_slice::<Problem>(&body);
        Err(ClientError::Refused(problem.map_or_else(
            |_| format!("the portnat at {} says {status}", self.socket.display()),
            |problem| problem.error,
        )))
    }

    fn broken(&self, reason: impl ToString) -> ClientError {
        ClientError::Broken {
            socket: self.socket.clone(),
            reason: reason.to_string(),
        }
    }
}

fn flows(filter: &FlowFilter, all: bool) -> String {
    let query = Query {
        filter: filter.clone(),
        all,
    };
    format!("/v1/flows?{}", query.write())
}
