//! What a device does for the stack, as `ethtool --offload` shows it.

use std::ffi::CStr;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Something that a device may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// It puts packets together that belong together; a veth polls for it.
    Gro,
    /// It computes checksums of what is sent.
    TxChecksums,
}

/// `struct ethtool_value` of `include/uapi/linux/ethtool.h`.
#[repr(C)]
struct Value {
    command: u32,
    value: u32,
}

impl Feature {
    /// The commands that get and set it, `ETHTOOL_GGRO` and the like.
    const fn commands(self) -> (u32, u32) {
        match self {
            Feature::Gro => (0x2b, 0x2c),
            Feature::TxChecksums => (0x16, 0x17),
        }
    }

    /// Whether a device of the calling thread's network namespace does it.
    ///
    /// # Errors
    /// There is no such device.
    pub fn is_on(self, device: &CStr) -> io::Result<bool> {
        Ok(ask(device, self.commands().0, 0)? != 0)
    }

    /// Makes such a device do it, or not any more.
    ///
    /// # Errors
    /// There is no such device, or it does not do it.
    pub fn set(self, device: &CStr, on: bool) -> io::Result<()> {
        ask(device, self.commands().1, on.into())?;
        // What a device does not do it does not always refuse.
        match self.is_on(device)? == on {
            true => Ok(()),
            false => Err(Errno::EOPNOTSUPP.into()),
        }
    }
}

fn ask(device: &CStr, command: u32, value: u32) -> io::Result<u32> {
    let mut value = Value { command, value };
    // SAFETY: numbers and a union of such, for which zero is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if device.count_bytes() >= request.ifr_name.len() {
        return Err(Errno::ENODEV.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(device.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let asked = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: the kernel reads the request and the value that it points to, and writes that one; both
    // live until the call is over.
    let answer = unsafe {
        libc::ioctl(
            asked.as_raw_fd(),
            libc::SIOCETHTOOL as libc::Ioctl,
            &raw mut request,
        )
    };
    Errno::result(answer)?;
    Ok(value.value)
}
