//! The far ends of containers' links, in namespaces of their own: a device there is asked whether it
//! polls (GRO), and told to.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::thread;

use futures_util::StreamExt as _;
use nix::net::if_::if_indextoname;
use nix::sched::{CloneFlags, setns};
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Feature, NetError};

/// Where programs that make namespaces keep them, beside those that processes are in.
const KEPT: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// The other end of a veth, in another network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarEnd {
    /// The number that this namespace has for the other one.
    pub namespace: i32,
    /// Its index there.
    pub index: u32,
}

impl FarEnd {
    /// Switches GRO on or off at this end. Returns whether that was a change.
    ///
    /// # Errors
    /// [`NetError::FarEnd`] if the namespace is found nowhere or the kernel refuses.
    pub async fn set_gro(self, handle: &rtnetlink::Handle, on: bool) -> Result<bool, NetError> {
        let set = async {
            let namespace = self.find_namespace(handle).await?;
            let (tell, told) = oneshot::channel();
            // A thread joins a namespace for good, so it is one of its own.
            thread::Builder::new()
                .name("far end".to_owned())
                .spawn(move || tell.send(set_gro(namespace, self.index, on)))?;
            told.await.map_err(io::Error::other)?
        };
        set.await
            .map_err(|cause: io::Error| NetError::FarEnd { cause })
    }

    /// Opens the namespace. It is not kept open, or it would outlive its container.
    async fn find_namespace(self, handle: &rtnetlink::Handle) -> io::Result<File> {
        let mut seen = BTreeSet::new();
        for path in namespaces() {
            // Processes go, and not all may be looked at.
            let Ok(file) = File::open(&path) else {
                continue;
            };
            let Ok(metadata) = file.metadata() else {
                continue;
            };
            if seen.insert((metadata.dev(), metadata.ino()))
                && number(handle, &file).await == Some(self.namespace)
            {
                return Ok(file);
            }
        }
        Err(io::Error::other("no process is in its namespace"))
    }
}

/// Where there may be a namespace.
fn namespaces() -> impl Iterator<Item = PathBuf> {
    let entries = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten();
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let of_processes = entries("/proc")
        .filter(move |entry| entry.file_name().to_str().is_some_and(is_process))
        .map(|entry| entry.path().join("ns/net"));
    let kept = KEPT.into_iter().flat_map(entries).map(|entry| entry.path());
    of_processes.chain(kept)
}

/// The number that this namespace has for another, if it has one.
async fn number(handle: &rtnetlink::Handle, namespace: &File) -> Option<i32> {
    let mut wanted = NsidMessage::default();
    let fd = u32::try_from(namespace.as_raw_fd()).ok()?;
    wanted.attributes.push(NsidAttribute::Fd(fd));
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(wanted));
    request.header.flags = NLM_F_REQUEST;
    let answer = handle.clone().request(request).ok()?.next().await?;
    let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) = answer.payload else {
        return None;
    };
    answer
        .attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            NsidAttribute::Id(number) => u32::try_from(number).is_ok().then_some(number),
            _ => None,
        })
}

/// Joins the namespace with the calling thread.
fn set_gro(namespace: File, index: u32, on: bool) -> io::Result<bool> {
    setns(&namespace, CloneFlags::CLONE_NEWNET)?;
    drop(namespace);
    let name = if_indextoname(index)?;
    if Feature::Gro.is_on(&name)? == on {
        return Ok(false);
    }
    Feature::Gro.set(&name, on)?;
    Ok(true)
}
