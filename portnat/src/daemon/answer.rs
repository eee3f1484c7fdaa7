//! What comes by the control socket.

use tracing::debug;

use super::Daemon;
use crate::control::{FlowKeys, Look, Request};
use crate::datapath::{DatapathError, FlowTable};
use crate::net::ticks_per_second;

impl Daemon {
    /// Does what is asked; whoever asked may not wait for it any more.
    pub(super) async fn answer(&mut self, request: Request) {
        let heard = match request {
            Request::Look(answer) => answer.send(self.look()).is_ok(),
            Request::End(keys, answer) => answer.send(self.end(&keys)).is_ok(),
            Request::Publish(wishes, answer) => answer.send(self.publish(&wishes).await).is_ok(),
            Request::Unpublish(selector, answer) => {
                answer.send(self.unpublish(&selector).await).is_ok()
            }
            Request::Status(answer) => answer.send(self.status().await).is_ok(),
            Request::Reload(answer) => answer.send(self.reload().await).is_ok(),
        };
        if !heard {
            debug!("nobody waits for an answer at the control socket any more");
        }
    }

    fn look(&mut self) -> Result<Look, DatapathError> {
        Ok(Look {
            published: self.ledger.listed(),
            names: self.names(),
            ended: self.datapath.ended()?,
            drops: self.datapath.drops()?,
            accelerated: self.datapath.accelerated()?,
            max_flows: self.options.load.max_flows,
            probes: self.datapath.probes()?,
            flows: self.datapath.flow_reader()?,
            now: self.datapath.now()?,
            hz: ticks_per_second(),
            lifetimes: self.options.lifetimes,
        })
    }

    pub(super) fn end(&mut self, keys: &FlowKeys) -> Result<u64, DatapathError> {
        Ok(self.end_family(&keys.v4)? + self.end_family(&keys.v6)?)
    }

    fn end_family<A: FlowTable>(
        &mut self,
        keys: &[portnat_common::Tuple<A>],
    ) -> Result<u64, DatapathError> {
        let mut ended = 0;
        for key in keys {
            ended += u64::from(self.datapath.end(key)?);
        }
        Ok(ended)
    }
}
