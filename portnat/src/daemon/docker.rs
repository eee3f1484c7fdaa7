//! What Docker has is published, and its networks are as it says.

mod dead;
mod feed;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{error, warn};

use super::admissions::Admissions;
use super::called::{self, Called};
use super::change::say;
use super::handed_on::{HandedOn, Words};
use super::ports::PortHolder;
use super::said::Said;
use super::{Config, Daemon};
use crate::docker::{Named, Observed, Wanted};
use crate::model::{AdmissionRules, Change, Intent, Ledger, Origin, Publication, PublishedPort};
use crate::net::{NetError, Snapshot, has_ipv6, snapshot};
use crate::spec::PublishSpec;
pub(super) use feed::News;

/// What the file of Docker's last answer is called, behind the network namespace's name: Docker may be down when
/// the next portnat starts, and its containers go on all the same.
pub(super) const FILE: &str = "docker";

const WORDS: Words = Words {
    unread: "what Docker has is not known before it answers",
    unwritten: "the next portnat will not know what Docker has before it answers",
    stale: "the next portnat may publish what Docker has not any more",
};

/// How long portnat waits for Docker when it starts: so that what a portnat before this one has left for
/// Docker's containers is taken over.
const AT_THE_START: Duration = Duration::from_secs(5);

/// What is known of Docker.
pub(super) struct Docker {
    news: mpsc::Receiver<News>,
    last: HandedOn<Observed>,
    wanted: Wanted,
    /// What of it could not be done at the last try.
    refused: Said,
}

/// What is wanted for Docker, as far as it can be.
pub(super) struct Settled {
    ledger: Ledger,
    intent: Intent,
    change: Change,
    called: Vec<Called>,
    /// Why the rest cannot be.
    refused: Vec<String>,
}

impl Docker {
    /// Begins to follow the Docker that is meant, if one is, and waits for its first answer. Until then it
    /// has what it had with a portnat before this one, if that `was_there`.
    pub(super) async fn begin(config: &Config, was_there: bool) -> Result<Option<Self>, NetError> {
        let mut last = HandedOn::new(config, FILE, WORDS)?;
        let Some(socket) = &config.docker else {
            last.forget();
            return Ok(None);
        };
        let left = was_there.then(|| last.read()).flatten();
        let mut docker = Docker {
            news: feed::follow(socket.clone()),
            last,
            wanted: awaited(left.as_ref().map_or_else(Wanted::default, of)),
            refused: Said::default(),
        };
        match timeout(AT_THE_START, docker.news.recv()).await {
            Ok(Some(news)) => docker.hear(news),
            Ok(None) => {}
            Err(_) => warn!("Docker takes its time to answer: going on without"),
        }
        Ok(Some(docker))
    }

    /// What is heard next; never where there is no Docker.
    pub(super) async fn next(docker: &mut Option<Self>) -> Option<News> {
        docker.as_mut()?.news.recv().await
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Observed(observed) => {
                self.wanted = awaited(of(&observed));
                self.last.write(Some(observed));
            }
            News::Gone => {}
        }
    }

    /// What comes of it beside all else. What cannot be published is left out.
    pub(super) fn settle(
        &self,
        ledger: &Ledger,
        intent: &Intent,
        (holder, admission): (&PortHolder, &AdmissionRules),
        host: &Snapshot,
        called: &[Called],
    ) -> anyhow::Result<Settled> {
        let mut specs = self.wanted.specs.clone();
        let mut refused = self.wanted.refused.clone();
        let judge = |next: &Ledger| {
            let intent = Intent {
                published: next.ports(),
                managed: self.wanted.managed.clone(),
                ..intent.clone()
            };
            let admitted = admission.of(&intent.published);
            admitted.map_err(|why| why.to_string())?;
            intent.check_targets(host).map_err(|why| why.to_string())
        };
        let followed = called::follow(called, &self.wanted, ledger, holder, judge)?;
        let ledger = &followed.ledger;
        refused.extend(followed.refused);
        let source = holder.beside_docker(&self.wanted.unlisted)?;
        let mut makes_room = false;
        loop {
            let mut next = ledger.clone();
            let many = specs.len();
            let gone = |one: &Publication| {
                makes_room && one.origin == Origin::Docker && !specs.contains(&one.spec)
            };
            let gone = next.unpublish(gone).removed;
            match next.replace(&specs, Origin::Docker, &source) {
                Ok(mut change) => {
                    change.removed.extend(gone);
                    change.removed.extend(followed.change.removed.clone());
                    change.asked.extend(followed.change.asked.clone());
                    let admissions = match Admissions::of(admission, Some(&self.wanted), &next) {
                        Ok(admissions) => admissions,
                        Err(why) => {
                            let mut wrong = next.iter().filter(|one| {
                                let mut hosts = one.ports.iter().map(PublishedPort::host);
                                hosts.any(|host| Some(host.as_str()) == why.port())
                            });
                            let wrong = wrong.next().map(|one| one.spec);
                            specs.retain(|spec| Some(*spec) != wrong);
                            refused.push(why.to_string());
                            if specs.len() == many {
                                return Err(why.into());
                            }
                            continue;
                        }
                    };
                    let intent = Intent {
                        admissions: admissions.of,
                        published: next.ports(),
                        managed: self.wanted.managed.clone(),
                        ..intent.clone()
                    };
                    let checked = intent.check_targets(host);
                    let Err(why) = checked else {
                        refused.extend(admissions.shut.into_iter().map(|it| it.words));
                        return Ok(Settled {
                            ledger: next,
                            intent,
                            change,
                            called: followed.called,
                            refused,
                        });
                    };
                    if let NetError::OwnTarget { target } | NetError::RoutedTarget { target } = &why
                    {
                        specs.retain(|spec| spec.target != *target);
                    }
                    refused.push(why.to_string());
                }
                // What goes may be in the way of what comes.
                Err(_) if !makes_room => {
                    makes_room = true;
                    continue;
                }
                Err(why) => {
                    specs.retain(|spec| spec.to_string() != why.spec());
                    refused.push(self.about(why.spec(), &why));
                }
            }
            if specs.len() == many {
                anyhow::bail!(refused.pop().unwrap_or_default());
            }
        }
    }

    /// Why a spec cannot be published, with the name of its container.
    fn about(&self, spec: &str, why: &dyn std::error::Error) -> String {
        let mut wanted = self.wanted.specs.iter();
        let target = wanted.find(|wanted| wanted.to_string() == spec);
        let name = target.and_then(|PublishSpec { target, .. }| self.wanted.names.get(target));
        let cause = why.source().map(|cause| format!(": {cause}"));
        let why = match cause {
            // It is in its words already.
            Some(cause) if !why.to_string().contains(&cause) => format!("{why}{cause}"),
            _ => why.to_string(),
        };
        match name {
            Some(Named { container, .. }) => format!("container {container}: {why}"),
            None => why,
        }
    }

    /// Says what could not be done, unless it was said before.
    fn complain(&mut self, refused: Vec<String>) {
        for new in self.refused.news(refused) {
            error!("{new}");
        }
    }

    /// Says what could not be, and returns what could.
    pub(super) fn take(&mut self, settled: Settled) -> (Ledger, Intent, Vec<Called>) {
        self.complain(settled.refused);
        (settled.ledger, settled.intent, settled.called)
    }

    /// What comes of what it has.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Leaves nothing for the next portnat.
    pub(super) fn forget(&mut self) {
        self.last.forget();
    }
}

/// What comes of what Docker has on this host.
fn of(observed: &Observed) -> Wanted {
    Wanted::of(observed, has_ipv6())
}

/// The same where Docker may have more by now, of which it will tell.
fn awaited(mut wanted: Wanted) -> Wanted {
    wanted.managed.awaits = true;
    wanted
}

impl Daemon {
    /// Whose the containers' addresses are.
    pub(super) fn names(&self) -> Arc<BTreeMap<IpAddr, Named>> {
        let names = self.docker.as_ref().map(|docker| &docker.wanted.names);
        names.cloned().unwrap_or_default()
    }

    /// Does as Docker has it now.
    pub(super) async fn hear_of_docker(&mut self, news: News) {
        if let Some(docker) = &mut self.docker {
            docker.hear(news);
        }
        self.do_as_docker_has_it().await;
    }

    /// Tries again what was refused: a port may be free by now.
    pub(super) async fn try_dockers_again(&mut self) {
        let refused = |docker: &Docker| !docker.refused.all().is_empty();
        if self.docker.as_ref().is_some_and(refused) {
            self.do_as_docker_has_it().await;
        }
    }

    async fn do_as_docker_has_it(&mut self) {
        let Some(docker) = self.docker.take() else {
            return;
        };
        let refused = match self.settle_with(&docker).await {
            Ok(refused) => refused,
            Err(error) => vec![format!(
                "Docker's containers are not as they should be: {error}"
            )],
        };
        self.docker.insert(docker).complain(refused);
    }

    async fn settle_with(&mut self, docker: &Docker) -> anyhow::Result<Vec<String>> {
        let host = snapshot(&self.handle).await?;
        let known = (&self.holder, &self.admission);
        let called = &self.called;
        let settled = docker.settle(&self.ledger, &self.intent, known, &host, called)?;
        let Settled {
            ledger,
            intent,
            change,
            called,
            refused,
        } = settled;
        let same_ports = intent.published == self.intent.published;
        let same_rules = intent.admissions == self.intent.admissions;
        if !(same_ports && same_rules) || intent.managed != self.intent.managed {
            let next = (ledger, called);
            self.commit(host, next, intent, self.options).await?;
            say(&change);
            // Nobody asked how many there are.
            drop(self.end_flows(&change));
        } else {
            self.take_called(called);
        }
        Ok(refused)
    }
}
