//! Requests that change what is published.

use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Answer, Desk, Refusal, bad, failed, no_parameters};
use crate::control::http::json;
use crate::control::query::selector;
use crate::control::{
    PublishRequest, Reloaded, Reloading, Request, UnpublishedPorts, Unpublishing,
};

/// How long the body of a request may be, in bytes.
const BODY_SIZE: usize = 1024 * 1024;
/// How long it may take.
const BODY_TIME: Duration = Duration::from_secs(10);

impl Desk {
    pub(super) async fn publish(&self, query: &str, body: Incoming) -> Answer {
        no_parameters(query)?;
        let request: PublishRequest = read(body).await?;
        let wishes = request.wishes().map_err(bad)?;
        let ports = self
            .ask(|answer| Request::Publish(wishes, answer))
            .await??;
        Ok(json(StatusCode::OK, &ports))
    }

    pub(super) async fn unpublish(&self, query: &str) -> Answer {
        let selector = selector::read(query).map_err(bad)?;
        let asked = self.ask(|answer| Request::Unpublish(selector, answer));
        let Unpublishing {
            ports: unpublished,
            waiting,
            ended,
        } = asked.await??;
        let answer = UnpublishedPorts {
            unpublished,
            flows_ended: number(ended).await?,
            waiting,
        };
        Ok(json(StatusCode::OK, &answer))
    }

    pub(super) async fn reload(&self, query: &str) -> Answer {
        no_parameters(query)?;
        let Reloading { reloaded, ended } = self.ask(Request::Reload).await??;
        let answer = Reloaded {
            flows_ended: number(ended).await?,
            ..reloaded
        };
        Ok(json(StatusCode::OK, &answer))
    }
}

/// How many flows have ended, once they have.
async fn number(ended: oneshot::Receiver<u64>) -> Result<u64, Refusal> {
    let unknown = |_| failed("it is done, but for flows that could not be ended: see the log");
    ended.await.map_err(unknown)
}

/// Reads a body of JSON.
async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, Refusal> {
    let collected = timeout(BODY_TIME, Limited::new(body, BODY_SIZE).collect()).await;
    let bytes: Bytes = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let words = format!("the body of the request has more than {BODY_SIZE} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, words));
        }
        Ok(Err(error)) => return Err(bad(format!("the body of the request: {error}"))),
        Err(_) => {
            let words = format!(
                "the body of the request took more than {} seconds",
                BODY_TIME.as_secs()
            );
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, words));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| bad(format!("the body of the request: {error}")))
}
