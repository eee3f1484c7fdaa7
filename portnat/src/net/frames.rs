//! Which devices take frames of which the host has made no packets.
//!
//! What XDP redirects to a veth arrives only where its other end polls, and is lost else without a
//! word. The kernel keeps a flag of that at the near end, the same that it asks itself at each frame
//! (`NETDEV_XDP_ACT_NDO_XMIT`), and tells it by generic netlink since Linux 6.3.

use std::collections::BTreeSet;
use std::io;

use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use nix::errno::Errno;
use rtnetlink::packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable,
    NetlinkMessage, NetlinkPayload, NetlinkSerializable, Nla as _, NlasIterator, Parseable as _,
    ParseableParametrized,
};
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_GENERIC};

use super::NetError;
use super::error::reason;

/// The family of `include/uapi/linux/netdev.h`, and what is asked of it (`NETDEV_CMD_DEV_GET`).
const FAMILY: &str = "netdev";
const DEV_GET: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX` and `NETDEV_A_DEV_XDP_FEATURES`.
const INDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_NDO_XMIT` and `NETDEV_XDP_ACT_NDO_XMIT_SG`: frames in one buffer, and in several.
const TAKES_ALL_FRAMES: u64 = 1 << 2 | 1 << 6;

/// The indices of the interfaces of this network namespace that take frames.
///
/// # Errors
/// [`NetError::Dump`] if the kernel does not say.
pub fn frame_takers() -> Result<BTreeSet<u32>, NetError> {
    ask().map_err(|error| NetError::Dump {
        objects: "devices that take frames",
        reason: reason(&error),
    })
}

fn ask() -> io::Result<BTreeSet<u32>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let wanted = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())],
    });
    let id = request(&socket, wanted, 0)?
        .into_iter()
        .flat_map(|answer| answer.payload.nlas)
        .find_map(|attribute| match attribute {
            GenlCtrlAttrs::FamilyId(id) => Some(id),
            _ => None,
        })
        .ok_or(Errno::ENOENT)?;
    let mut wanted = GenlMessage::from_payload(Device::default());
    wanted.set_resolved_family_id(id);
    let devices = request(&socket, wanted, NLM_F_DUMP)?;
    Ok(devices
        .iter()
        .filter(|device| device.payload.xdp_features & TAKES_ALL_FRAMES == TAKES_ALL_FRAMES)
        .map(|device| device.payload.index)
        .collect())
}

/// Sends a request and gathers the answers: one, or those up to the end of a dump.
fn request<T>(
    socket: &Socket,
    message: GenlMessage<T>,
    flags: u16,
) -> io::Result<Vec<GenlMessage<T>>>
where
    GenlMessage<T>: NetlinkSerializable + NetlinkDeserializable,
    T: std::fmt::Debug,
{
    let mut request = NetlinkMessage::from(message);
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    loop {
        let (received, _) = socket.recv_from_full()?;
        let mut rest = &received[..];
        while !rest.is_empty() {
            let answer =
                NetlinkMessage::<GenlMessage<T>>::deserialize(rest).map_err(io::Error::other)?;
            let length = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            match answer.payload {
                NetlinkPayload::InnerMessage(message) => answers.push(message),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => return Ok(answers),
            }
        }
        if flags & NLM_F_DUMP == 0 {
            return Ok(answers);
        }
    }
}

/// A device, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Device {
    index: u32,
    xdp_features: u64,
}

impl GenlFamily for Device {
    fn family_name() -> &'static str {
        FAMILY
    }

    fn command(&self) -> u8 {
        DEV_GET
    }

    fn version(&self) -> u8 {
        1
    }
}

/// A request for all devices names none.
impl Emitable for Device {
    fn buffer_len(&self) -> usize {
        0
    }

    fn emit(&self, _buffer: &mut [u8]) {}
}

impl ParseableParametrized<[u8], GenlHeader> for Device {
    fn parse_with_param(bytes: &[u8], _header: GenlHeader) -> Result<Self, DecodeError> {
        let mut device = Device::default();
        for attribute in NlasIterator::new(bytes) {
            let attribute = DefaultNla::parse(&attribute?)?;
            let mut value = vec![0; attribute.value_len()];
            attribute.emit_value(&mut value);
            let wrong = |_| DecodeError::from("an attribute of a wrong length");
            match attribute.kind() {
                INDEX => device.index = u32::from_ne_bytes(value.try_into().map_err(wrong)?),
                XDP_FEATURES => {
                    device.xdp_features = u64::from_ne_bytes(value.try_into().map_err(wrong)?);
                }
                _ => {}
            }
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_from_what_the_kernel_says() {
        let attribute = |kind, value: &[u8]| {
            let attribute = DefaultNla::new(kind, value.to_vec());
            let mut bytes = vec![0; Emitable::buffer_len(&attribute)];
            attribute.emit(&mut bytes);
            bytes
        };
        let header = GenlHeader { cmd: 1, version: 1 };
        let parsed = |parts: &[Vec<u8>]| Device::parse_with_param(&parts.concat(), header);
        let device = parsed(&[
            attribute(INDEX, &7_u32.to_ne_bytes()),
            attribute(2, &[]),
            attribute(XDP_FEATURES, &103_u64.to_ne_bytes()),
            attribute(9, &[1; 8]),
        ]);
        let expected = Device {
            index: 7,
            xdp_features: 103,
        };
        assert_eq!(device.expect("a device"), expected);
        parsed(&[attribute(INDEX, &[1])]).expect_err("too short");
    }
}
