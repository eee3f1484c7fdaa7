//! How the datapath fares.

use hyper::StatusCode;

use super::{Answer, Desk, beside, no_parameters};
use crate::control::http::json;

impl Desk {
    pub(super) async fn stats(&self, query: &str) -> Answer {
        no_parameters(query)?;
        let place = self.place().await?;
        let look = self.look().await?;
        let stats = beside(&place, move |go_on| look.stats(go_on)).await??;
        Ok(json(StatusCode::OK, &stats))
    }
}
