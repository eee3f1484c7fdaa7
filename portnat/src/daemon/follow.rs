//! The datapath is kept in step with what the host looks like.

use tracing::{info, warn};

use super::Daemon;
use crate::datapath::DatapathError;
use crate::net::{NetError, Snapshot, local_reserved_ports, remove_clsact, snapshot};

impl Daemon {
    /// Brings the datapath in step with the host as it is now. What fails now is tried again at the
    /// next change or round: an interface can go while we attach to it.
    pub(super) async fn follow(&mut self) {
        let complaints = match snapshot(&self.handle).await {
            Ok(host) => match self.reconcile(host).await {
                Ok(complaints) => complaints,
                Err(error) => vec![error.to_string()],
            },
            Err(error) => vec![error.to_string()],
        };
        self.complain(complaints);
    }

    /// Says what cannot be done, and returns what of it is new: the same complaint again says nothing
    /// new.
    pub(super) fn complain(&mut self, complaints: Vec<String>) -> Vec<String> {
        let news = self.complaints.news(complaints);
        for complaint in &news {
            warn!("{complaint}");
        }
        news
    }

    /// As [`Daemon::follow`], of this alone.
    pub(super) fn look_for_conntrack(&mut self) {
        match self.decide_fast() {
            Ok(complaint) => {
                if let Some(news) = complaint.and_then(|it| self.complaints.also(it)) {
                    warn!("{news}");
                }
            }
            Err(error) => warn!("{error}"),
        }
    }

    /// What cannot be done for one interface is said and does not keep the others from it.
    pub(super) async fn reconcile(
        &mut self,
        mut host: Snapshot,
    ) -> Result<Vec<String>, DatapathError> {
        self.held_uplinks.hold(&mut host);
        let mut desired = self.intent.desired(&host);
        let mut complaints = Vec::new();
        match local_reserved_ports() {
            Ok(reserved) => self.reserved = reserved,
            Err(error) => complaints.push(error.to_string()),
        }
        desired.reserved.clone_from(&self.reserved);
        let names = host
            .links
            .iter()
            .map(|link| (link.index, link.name.clone()));
        let followed = self.sysctls.follow_links(&names.collect());
        complaints.extend(followed.err().map(|error| error.to_string()));
        for interface in &desired.forwarding {
            let mut enable = || {
                self.sysctls.enable_forwarding(interface)?;
                if desired.uses_v6() {
                    self.sysctls.enable_forwarding_v6(interface)?;
                }
                Ok::<_, NetError>(())
            };
            complaints.extend(enable().err().map(|error| error.to_string()));
        }
        let let_go = self.sysctls.forward_only(&desired.forwarding);
        complaints.extend(let_go.err().map(|error| error.to_string()));
        if let Some(loopback) = &desired.loopback {
            let set = self.sysctls.accept_own_answers(loopback);
            complaints.extend(set.err().map(|error| error.to_string()));
        }
        complaints.extend(self.intent.missing_egress(&host));
        complaints.extend(self.keep_ports_apart(&host).await);
        complaints.extend(self.decide_fast()?);
        let attached = self.datapath.apply(&desired)?;
        complaints.extend(attached.failed.iter().map(ToString::to_string));
        self.remove_qdiscs(attached.qdiscs).await;
        // That is no reason not to start: the others are reached.
        let unreached = self.intent.out_of_reach(&host).collect();
        for news in self.unreached.news(unreached) {
            warn!("{news}");
        }
        self.report_uplinks(&desired);
        self.receivers.see(&host);
        self.lease_frames().await;
        Ok(complaints)
    }

    /// Lets packets past the stack as long as connection tracking takes it. Where it cannot be made
    /// to, returns what keeps it from that.
    fn decide_fast(&mut self) -> Result<Option<String>, DatapathError> {
        if !self.options.is_fast() {
            self.let_past(false)?;
            return Ok(None);
        }
        let liberal = self.sysctls.be_liberal();
        self.let_past(self.options.fast_path.lets_past(liberal.is_ok()))?;
        Ok(liberal.err().map(|error| error.to_string()))
    }

    fn let_past(&mut self, fast: bool) -> Result<(), DatapathError> {
        if self.datapath.set_fast(fast)? {
            let what = if fast { "may go past" } else { "stay in" };
            info!("packets of established flows {what} the host's stack");
        }
        Ok(())
    }

    pub(super) async fn remove_qdiscs(&self, indices: Vec<u32>) {
        for index in indices {
            if let Err(error) = remove_clsact(&self.handle, index).await {
                warn!("{error}");
            }
        }
    }
}
