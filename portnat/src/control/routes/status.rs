//! What the daemon is like.

use hyper::StatusCode;

use super::{Answer, Desk, no_parameters};
use crate::control::Request;
use crate::control::http::json;

impl Desk {
    pub(super) async fn status(&self, query: &str) -> Answer {
        no_parameters(query)?;
        let status = self.ask(Request::Status).await?;
        Ok(json(StatusCode::OK, &status))
    }
}
