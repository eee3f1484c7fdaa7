//! What the programs say, when they were loaded to say it.

use std::future::Future;

use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;
use tracing::warn;

use super::error::DatapathError;
use super::load::Datapath;

impl Datapath {
    /// Passes the programs' messages on to our log, for as long as it is polled.
    ///
    /// # Errors
    /// The programs have no place for messages.
    pub fn messages(&mut self) -> Result<impl Future<Output = ()> + 'static, DatapathError> {
        let logger = EbpfLogger::init(&mut self.ebpf)
            .map_err(|error| DatapathError::table("AYA_LOGS", error))?;
        Ok(async move {
            // SAFETY: the logger keeps the map whose descriptor this is for as long as it lives.
            let mut logger = match unsafe { AsyncFd::register(logger) } {
                Ok(logger) => logger,
                Err(error) => return warn!("following the programs' messages: {error}"),
            };
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        })
    }
}
