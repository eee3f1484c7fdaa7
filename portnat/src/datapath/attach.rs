//! Programs are attached to interfaces: by TCX links where the kernel has them (6.6), else by
//! clsact filters with a fixed place that a later portnat finds again.

use aya::programs::links::LinkOrder;
use aya::programs::tc::TcError;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcHandle,
    qdisc_add_clsact,
};
use aya::programs::{ProgramError, TcAttachType};
use nix::libc::{EEXIST, EINVAL, EOPNOTSUPP};

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

    /// Every program that is attached somewhere.
    pub(super) const PROGRAMS: [&'static str; 5] = [
        "nat_in",
        "uplink_out",
        "bridge_out",
        "nat_in_l3",
        "uplink_out_l3",
    ];

    /// The program for this hook of an interface, if there is one. Packets begin with Ethernet's
    /// header or with none: the model attaches to no interface with another header.
    pub(super) fn program(self, interface: &Interface) -> Option<&'static str> {
        let ethernet = interface.layer == LinkLayer::Ethernet;
        match (self, interface.role) {
            (Hook::Ingress, _) if ethernet => Some("nat_in"),
            (Hook::Ingress, _) => Some("nat_in_l3"),
            (Hook::Egress, Role::Uplink) if ethernet => Some("uplink_out"),
            (Hook::Egress, Role::Uplink) => Some("uplink_out_l3"),
            (Hook::Egress, Role::Bridge) => Some("bridge_out"),
            (Hook::Egress, Role::Port) => None,
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
    /// The interface whose clsact queueing discipline we added, to be removed with the filter.
    pub(super) added_qdisc: bool,
}

impl Datapath {
    /// Attaches a program to a hook of an interface.
    pub(super) fn attach(
        &mut self,
        index: u32,
        interface: &str,
        hook: Hook,
        name: &'static str,
    ) -> Result<(), DatapathError> {
        let failed = |error: &ProgramError| DatapathError::attach(name, interface, error);
        let attachment = match self.mode {
            AttachMode::Tcx => self
                .attach_tcx(interface, hook, name)
                .map_err(|e| failed(&e))?,
            AttachMode::Clsact => self
                .attach_clsact(interface, hook, name)
                .map_err(|e| failed(&e))?,
            AttachMode::Auto => match self.attach_tcx(interface, hook, name) {
                Ok(attachment) => attachment,
                // Before 6.6 the kernel does not know the attach type.
                Err(error) if matches!(errno(&error), Some(EINVAL | EOPNOTSUPP)) => self
                    .attach_clsact(interface, hook, name)
                    .map_err(|e| failed(&e))?,
                Err(error) => return Err(failed(&error)),
            },
        };
        self.attachments.insert((index, hook), attachment);
        Ok(())
    }

    fn attach_tcx(
        &mut self,
        interface: &str,
        hook: Hook,
        name: &'static str,
    ) -> Result<Attachment, ProgramError> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        let link =
            self.classifier(name)?
                .attach_with_options(interface, hook.attach_type(), options)?;
        Ok(Attachment {
            program: name,
            link,
            added_qdisc: false,
        })
    }

    fn attach_clsact(
        &mut self,
        interface: &str,
        hook: Hook,
        name: &'static str,
    ) -> Result<Attachment, ProgramError> {
        let added_qdisc = match qdisc_add_clsact(interface) {
            Ok(()) => true,
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(EEXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let program = self.classifier(name)?;
        let options = NlOptions {
            priority: PRIORITY,
            handle: HANDLE,
            classid: None,
        };
        let link = match program.attach_with_options(
            interface,
            hook.attach_type(),
            TcAttachOptions::Netlink(options),
        ) {
            // One of ours that was killed left its filter: it is replaced in place.
            Err(error) if errno(&error) == Some(EEXIST) => {
                let old = SchedClassifierLink::attached(
                    interface,
                    hook.attach_type(),
                    PRIORITY,
                    HANDLE,
                    None,
                )
                .map_err(TcError::IoError)?;
                program.attach_to_link(old)?
            }
            result => result?,
        };
        Ok(Attachment {
            program: name,
            link,
            added_qdisc,
        })
    }

    /// Detaches a program. An interface that is gone has taken its programs with it.
    ///
    /// Returns whether the clsact queueing discipline was ours.
    pub(super) fn detach(&mut self, index: u32, hook: Hook) -> bool {
        let Some(attachment) = self.attachments.remove(&(index, hook)) else {
            return false;
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
        attachment.added_qdisc
    }
}
