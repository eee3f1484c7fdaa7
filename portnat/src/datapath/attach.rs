//! Programs are attached to interfaces: by TCX links where the kernel has them (6.6), else by
//! clsact filters with a fixed place that a later portnat finds again.

use aya::programs::Link as _;
use aya::programs::links::LinkOrder;
use aya::programs::tc::TcError;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcHandle,
    qdisc_add_clsact,
};
use aya::programs::{ProgramError, TcAttachType};
use nix::libc::{EEXIST, EINVAL, ENODEV, EOPNOTSUPP};

use super::error::{DatapathError, errno};
use super::load::Datapath;
use crate::model::{Interface, Role};
use crate::net::LinkLayer;

/// Where a clsact filter of ours lies: "pn" as a number, behind most others.
const PRIORITY: u16 = 0x706e;
const HANDLE: TcHandle = TcHandle::new(0, 1);

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// TCX where the kernel has it, else clsact.
    #[default]
    Auto,
    /// TCX links (Linux 6.6, commit e420bed02507).
    Tcx,
    /// Filters of the clsact queueing discipline.
    Clsact,
}

/// A hook of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Packets come in.
    Ingress,
    /// Packets go out.
    Egress,
}

impl Hook {
    /// Both.
    pub const ALL: [Hook; 2] = [Hook::Ingress, Hook::Egress];

    /// The programs that every host needs. Those for interfaces without a link layer are loaded
    /// when there is one: verification is most of what starting takes.
    pub(super) const PROGRAMS: [&'static str; 3] = ["nat_in", "uplink_out", "bridge_out"];

    /// The program for this hook of an interface, if there is one. Packets begin with Ethernet's
    /// header or with none: the model attaches to no interface with another header.
    pub(super) fn program(self, interface: &Interface) -> Option<&'static str> {
        let ethernet = interface.layer == LinkLayer::Ethernet;
        match (self, interface.role) {
            (Hook::Ingress, Role::Loopback) => None,
            (Hook::Ingress, Role::Port) if interface.fast => Some("port_in"),
            (Hook::Egress, Role::Port) if interface.fast => Some("port_out"),
            (Hook::Ingress, _) if ethernet => Some("nat_in"),
            (Hook::Ingress, _) => Some("nat_in_l3"),
            (Hook::Egress, Role::Uplink) if ethernet => Some("uplink_out"),
            (Hook::Egress, Role::Uplink) => Some("uplink_out_l3"),
            (Hook::Egress, Role::Bridge) => Some("bridge_out"),
            (Hook::Egress, Role::Port) => None,
            (Hook::Egress, Role::Loopback) => Some("local_out"),
        }
    }

    const fn attach_type(self) -> TcAttachType {
        match self {
            Hook::Ingress => TcAttachType::Ingress,
            Hook::Egress => TcAttachType::Egress,
        }
    }
}

/// A program at a hook.
pub(super) struct Attachment {
    pub(super) program: &'static str,
    link: SchedClassifierLinkId,
}

impl Datapath {
    /// Attaches a program to a hook of an interface.
    pub(super) fn attach(
        &mut self,
        index: u32,
        interface: &Interface,
        hook: Hook,
        program: &'static str,
    ) -> Result<(), DatapathError> {
        self.ensure_loaded(program)?;
        let name = &interface.name;
        let failed = |error: ProgramError| DatapathError::attach(program, name, &error);
        let attached = match self.mode {
            AttachMode::Tcx => self.attach_tcx(name, hook, program),
            AttachMode::Clsact => Err(None),
            AttachMode::Auto => match self.attach_tcx(name, hook, program) {
                // Before 6.6 the kernel does not know the attach type.
                Err(Some(error)) if matches!(errno(&error), Some(EINVAL | EOPNOTSUPP)) => Err(None),
                result => result,
            },
        };
        let link = match attached {
            Ok(link) => {
                self.remove_left_behind(index, name, hook);
                link
            }
            // It went while we looked: the next look knows.
            Err(Some(error)) if errno(&error) == Some(ENODEV) => return Ok(()),
            Err(Some(error)) => return Err(failed(error)),
            Err(None) if interface.ingress_qdisc => {
                return Err(DatapathError::Attach {
                    program,
                    interface: name.clone(),
                    reason: "it has an `ingress` queueing discipline, beside which there is no \
                             clsact: replace it by clsact, which takes the same filters"
                        .to_owned(),
                });
            }
            Err(None) => self
                .attach_clsact(index, name, hook, program)
                .map_err(failed)?,
        };
        self.attachments
            .insert((index, hook), Attachment { program, link });
        Ok(())
    }

    /// Removes the filter that a portnat left behind which used clsact and was killed: beside a TCX
    /// link it would translate every packet a second time, by tables that nobody keeps.
    fn remove_left_behind(&mut self, index: u32, interface: &str, hook: Hook) {
        let attach = hook.attach_type();
        let Ok(old) = SchedClassifierLink::attached(interface, attach, PRIORITY, HANDLE, None)
        else {
            return;
        };
        // There is none as a rule, which is an error too.
        if old.detach().is_ok() {
            tracing::info!("removed what a killed portnat left at {interface}");
            self.qdiscs.push(index);
        }
    }

    /// `Err(None)` is for who wants clsact instead.
    fn attach_tcx(
        &mut self,
        interface: &str,
        hook: Hook,
        program: &'static str,
    ) -> Result<SchedClassifierLinkId, Option<ProgramError>> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        let attach = hook.attach_type();
        self.classifier(program)
            .and_then(|program| program.attach_with_options(interface, attach, options))
            .map_err(Some)
    }

    fn attach_clsact(
        &mut self,
        index: u32,
        interface: &str,
        hook: Hook,
        program: &'static str,
    ) -> Result<SchedClassifierLinkId, ProgramError> {
        match qdisc_add_clsact(interface) {
            Ok(()) => self.qdiscs.push(index),
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let program = self.classifier(program)?;
        let attach = hook.attach_type();
        let options = NlOptions {
            priority: PRIORITY,
            handle: HANDLE,
            classid: None,
        };
        match program.attach_with_options(interface, attach, TcAttachOptions::Netlink(options)) {
            // One of ours that was killed left its filter: it is replaced in place.
            Err(error) if errno(&error) == Some(EEXIST) => {
                let old = SchedClassifierLink::attached(interface, attach, PRIORITY, HANDLE, None)
                    .map_err(TcError::IoError)?;
                let link = program.attach_to_link(old)?;
                self.qdiscs.push(index);
                Ok(link)
            }
            result => result,
        }
    }

    /// Puts another program in a program's place, with no moment between them. Where that fails the
    /// place is empty, and is filled as any other.
    pub(super) fn swap(&mut self, index: u32, hook: Hook, program: &'static str) {
        let loaded = self.ensure_loaded(program);
        let Some(Attachment { program: old, link }) = self.attachments.remove(&(index, hook))
        else {
            return;
        };
        let link = self
            .classifier(old)
            .and_then(|old| old.take_link(link))
            .and_then(|link| self.classifier(program)?.attach_to_link(link));
        match link {
            Ok(link) => drop(
                self.attachments
                    .insert((index, hook), Attachment { program, link }),
            ),
            Err(error) => {
                tracing::debug!(
                    "{program} in place of {old} at interface {index}: {error}, {loaded:?}"
                );
            }
        }
    }

    /// Detaches a program. An interface that is gone has taken its programs with it.
    pub(super) fn detach(&mut self, index: u32, hook: Hook) {
        let Some(attachment) = self.attachments.remove(&(index, hook)) else {
            return;
        };
        let detached = self
            .classifier(attachment.program)
            .and_then(|program| program.detach(attachment.link));
        if let Err(error) = detached {
            tracing::debug!(
                "detaching {} from interface {index}: {error}",
                attachment.program
            );
        }
    }
}
