//! The host's own sockets.

use core::mem::zeroed;

use aya_ebpf::bindings::{__sk_buff, bpf_sock, bpf_sock_tuple};
use aya_ebpf::helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp};
use portnat_common::address::is_mapped;
use portnat_common::wire::protocol;
use portnat_common::{Address, Tuple};

/// The packet's own network namespace, BPF_F_CURRENT_NETNS.
const THIS_NAMESPACE: u64 = u64::MAX;

/// Whether a socket of the host, connected or listening, would take a packet with this tuple.
#[inline(always)]
pub(crate) fn takes<A: Address>(skb: *mut __sk_buff, tuple: &Tuple<A>) -> bool {
    // SAFETY: numbers only, for which zero is a value.
    let mut wanted: bpf_sock_tuple = unsafe { zeroed() };
    let (src_port, dst_port) = (tuple.src_port.to_be(), tuple.dst_port.to_be());
    let (src, dst) = (tuple.src.words(), tuple.dst.words());
    // The union has no tag: its size, as the helper is told it, says which family it is.
    let ends_v4 = match (src, dst) {
        ([src], [dst]) => Some((*src, *dst)),
        // As IPv6's tables hold them.
        ([_, _, _, src], [.., dst]) if is_mapped(&tuple.dst.widen()) => Some((*src, *dst)),
        _ => None,
    };
    let size = if let Some((src, dst)) = ends_v4 {
        // SAFETY: writing to a union's field.
        let v4 = unsafe { &mut wanted.__bindgen_anon_1.ipv4 };
        (v4.saddr, v4.daddr, v4.sport, v4.dport) = (src, dst, src_port, dst_port);
        size_of_val(v4)
    } else {
        // SAFETY: as above.
        let v6 = unsafe { &mut wanted.__bindgen_anon_1.ipv6 };
        v6.saddr.copy_from_slice(src);
        v6.daddr.copy_from_slice(dst);
        (v6.sport, v6.dport) = (src_port, dst_port);
        size_of_val(v6)
    };
    let socket: *mut bpf_sock = match tuple.protocol {
        // SAFETY: the context, and as many bytes of the tuple as are said.
        protocol::TCP => unsafe {
            bpf_skc_lookup_tcp(skb.cast(), &mut wanted, size as u32, THIS_NAMESPACE, 0)
        },
        // SAFETY: as above.
        protocol::UDP => unsafe {
            bpf_sk_lookup_udp(skb.cast(), &mut wanted, size as u32, THIS_NAMESPACE, 0)
        },
        _ => return false,
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the look-up has taken a reference.
    unsafe { bpf_sk_release(socket.cast()) };
    true
}
