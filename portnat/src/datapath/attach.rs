//! Programs are attached to interfaces: by TCX links where the kernel has them (6.6), else by
//! clsact filters with a fixed place that a later portnat finds again.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aya::programs::Link as _;
use aya::programs::links::{FdLink, LinkError, LinkOrder};
use aya::programs::tc::TcError;
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact,
};
use aya::programs::{ProgramError, TcAttachType};
use nix::libc::{EEXIST, EINVAL, ENODEV, EOPNOTSUPP};
use nix::net::if_::if_indextoname;

use super::error::{DatapathError, errno};
use super::left::FoundLink;
use super::load::Datapath;
use super::pins::{Place, Spot, remove_file};
use crate::model::{Interface, Role};
use crate::net::LinkLayer;

/// Where a clsact filter of ours lies: "pn" as a number, behind most others.
pub(super) const PRIORITY: u16 = 0x706e;
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
            (Hook::Ingress, Role::Internal) => Some("internal_in"),
            (Hook::Egress, Role::Internal) => Some("internal_out"),
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

    pub(super) const fn attach_type(self) -> TcAttachType {
        match self {
            Hook::Ingress => TcAttachType::Ingress,
            Hook::Egress => TcAttachType::Egress,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::Ingress => "in",
            Hook::Egress => "out",
        })
    }
}

/// A program at a hook.
pub(super) struct Attachment {
    pub(super) program: &'static str,
    hold: Hold,
}

/// A link, which ends when this is dropped, unless it is pinned.
pub(super) struct HeldLink {
    link: FdLink,
    pin: Option<PathBuf>,
}

impl HeldLink {
    /// Ends it.
    pub(super) fn end(self) -> io::Result<()> {
        drop(self.link);
        self.pin.map_or(Ok(()), |pin| remove_file(&pin))
    }
}

/// By what it is held there.
enum Hold {
    /// A TCX link.
    Link(HeldLink),
    /// A clsact filter, which is removed when this is dropped.
    Filter(SchedClassifierLink),
    /// A clsact filter that is to outlive us.
    Staying,
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
            AttachMode::Tcx => self.attach_tcx(index, name, hook, program),
            AttachMode::Clsact => Err(None),
            AttachMode::Auto => match self.attach_tcx(index, name, hook, program) {
                // Before 6.6 the kernel does not know the attach type.
                Err(Some(error)) if matches!(errno(&error), Some(EINVAL | EOPNOTSUPP)) => Err(None),
                result => result,
            },
        };
        let hold = match attached {
            Ok(link) => {
                // At once: who is killed takes along what is not pinned.
                let link = self.hold((index, Place::Tc(hook)), link)?;
                self.remove_left_behind(index, name, hook);
                Hold::Link(link)
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
            Err(None) => {
                let filter = self
                    .attach_clsact(index, name, hook, program)
                    .map_err(failed)?;
                if self.keeping.persists() {
                    // What is dropped is removed; this is but numbers.
                    std::mem::forget(filter);
                    Hold::Staying
                } else {
                    Hold::Filter(filter)
                }
            }
        };
        self.attachments
            .insert((index, hook), Attachment { program, hold });
        Ok(())
    }

    /// Pins a link that is to outlive us.
    pub(super) fn hold(&self, spot: Spot, link: FdLink) -> Result<HeldLink, DatapathError> {
        let Some(pins) = self.keeping.pins() else {
            return Ok(HeldLink { link, pin: None });
        };
        let path = pins.link(spot);
        // One that was taken over is pinned there.
        if path.exists() {
            return Ok(HeldLink {
                link,
                pin: Some(path),
            });
        }
        let pinned = link.pin(&path).map_err(|error| DatapathError::Pins {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        Ok(HeldLink {
            link: pinned.into(),
            pin: Some(path),
        })
    }

    /// Puts a program in the place of the one that a link has; not a packet goes by in between.
    fn replace(&mut self, found: FoundLink, program: &'static str) -> Result<FdLink, ProgramError> {
        let program = self.classifier(program)?;
        if program.info()?.id() == found.program {
            return Ok(found.link);
        }
        let link = SchedClassifierLink::try_from(found.link).map_err(no_link)?;
        let link = program.attach_to_link(link)?;
        program.take_link(link)?.try_into().map_err(no_link)
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
        index: u32,
        interface: &str,
        hook: Hook,
        program: &'static str,
    ) -> Result<FdLink, Option<ProgramError>> {
        if let Some(found) = self.keeping.take_link((index, Place::Tc(hook))) {
            match self.replace(found, program) {
                Ok(link) => {
                    self.keeping.adopted += 1;
                    return Ok(link);
                }
                Err(error) => {
                    tracing::warn!(
                        "taking over {program} at {interface}: {error}: it is attached anew"
                    );
                    self.keeping.remove_link((index, Place::Tc(hook)));
                }
            }
        }
        let options = TcAttachOptions::TcxOrder(LinkOrder::default());
        let attach = hook.attach_type();
        self.classifier(program)
            .and_then(|program| {
                let link = program.attach_with_options(interface, attach, options)?;
                program.take_link(link)?.try_into().map_err(no_link)
            })
            .map_err(Some)
    }

    fn attach_clsact(
        &mut self,
        index: u32,
        interface: &str,
        hook: Hook,
        program: &'static str,
    ) -> Result<SchedClassifierLink, ProgramError> {
        match qdisc_add_clsact(interface) {
            Ok(()) => self.qdiscs.push(index),
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let name = program;
        let program = self.classifier(name)?;
        let attach = hook.attach_type();
        let options = NlOptions {
            priority: PRIORITY,
            handle: HANDLE,
            classid: None,
        };
        let options = TcAttachOptions::Netlink(options);
        let link = match program.attach_with_options(interface, attach, options) {
            // One of ours that was killed left its filter: it is replaced in place.
            Err(error) if errno(&error) == Some(EEXIST) => {
                let old = SchedClassifierLink::attached(interface, attach, PRIORITY, HANDLE, None)
                    .map_err(TcError::IoError)?;
                let link = program.attach_to_link(old)?;
                self.qdiscs.push(index);
                self.keeping.adopted += 1;
                link
            }
            result => result?,
        };
        self.classifier(name)?.take_link(link)
    }

    /// Puts another program in a program's place, with no moment between them. Where that fails the
    /// place is empty, and is filled as any other.
    pub(super) fn swap(&mut self, index: u32, hook: Hook, program: &'static str) {
        let loaded = self.ensure_loaded(program);
        let Some(Attachment { program: old, hold }) = self.attachments.remove(&(index, hook))
        else {
            return;
        };
        match self.put_in_place(index, hook, hold, program) {
            Ok(hold) => drop(
                self.attachments
                    .insert((index, hook), Attachment { program, hold }),
            ),
            Err(error) => {
                tracing::debug!(
                    "{program} in place of {old} at interface {index}: {error}, {loaded:?}"
                );
            }
        }
    }

    fn put_in_place(
        &mut self,
        index: u32,
        hook: Hook,
        hold: Hold,
        program: &'static str,
    ) -> Result<Hold, ProgramError> {
        let filter = match hold {
            Hold::Link(HeldLink { link, pin }) => {
                // Of no program in particular.
                let found = FoundLink { link, program: 0 };
                let link = self.replace(found, program)?;
                return Ok(Hold::Link(HeldLink { link, pin }));
            }
            Hold::Filter(filter) => filter,
            Hold::Staying => filter_at(index, hook).map_err(TcError::IoError)?,
        };
        let program = self.classifier(program)?;
        let filter = program.attach_to_link(filter)?;
        let filter = program.take_link(filter)?;
        if self.keeping.persists() {
            std::mem::forget(filter);
            return Ok(Hold::Staying);
        }
        Ok(Hold::Filter(filter))
    }

    /// Detaches a program. An interface that is gone has taken its programs with it.
    pub(super) fn detach(&mut self, index: u32, hook: Hook) {
        let Some(attachment) = self.attachments.remove(&(index, hook)) else {
            return;
        };
        let detached = match attachment.hold {
            Hold::Link(link) => link.end().map_err(|error| error.to_string()),
            Hold::Filter(filter) => filter.detach().map_err(|error| error.to_string()),
            Hold::Staying => remove_filter(index, hook),
        };
        if let Err(error) = detached {
            tracing::debug!(
                "detaching {} from interface {index}: {error}",
                attachment.program
            );
        }
    }

    /// Leaves everything attached.
    pub fn leave(mut self) {
        for attachment in std::mem::take(&mut self.attachments).into_values() {
            if let Hold::Filter(filter) = attachment.hold {
                std::mem::forget(filter);
            }
        }
    }
}

/// A link that is of another kind than its pin says.
pub(super) fn no_link(error: LinkError) -> ProgramError {
    ProgramError::IOError(io::Error::other(error))
}

/// Removes the clsact filter of ours at an interface, if there is one.
pub(super) fn remove_filter(index: u32, hook: Hook) -> Result<(), String> {
    let filter = filter_at(index, hook).map_err(|error| error.to_string())?;
    filter.detach().map_err(|error| error.to_string())
}

/// The clsact filter of ours at an interface.
fn filter_at(index: u32, hook: Hook) -> io::Result<SchedClassifierLink> {
    let name = if_indextoname(index)?;
    let attach = hook.attach_type();
    SchedClassifierLink::attached(&name.to_string_lossy(), attach, PRIORITY, HANDLE, None)
}
