//! When to take another [`Snapshot`](super::Snapshot).

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use nix::errno::Errno;
use rtnetlink::MulticastGroup;
use rtnetlink::sys::{AsyncSocket, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

use super::NetError;

/// What a snapshot is made of.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Tells when links, addresses or routes of a namespace have changed, and not what.
///
/// The kernel's messages are thrown away unread, because the answer to all of them is a new
/// snapshot. So there is nothing to decode, no queue that grows, and an overrun of the socket's
/// buffer, which loses messages, loses nothing here.
pub struct Watcher {
    socket: TokioSocket,
}

impl Watcher {
    /// Listens in the calling thread's network namespace. Made before a snapshot, it reports all
    /// that the snapshot has missed.
    ///
    /// # Errors
    ///
    /// [`NetError::Watch`] if the kernel gives no netlink socket.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new() -> Result<Self, NetError> {
        let listen = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
            for group in GROUPS {
                socket.socket_ref().add_membership(group as u32)?;
            }
            Ok(Self { socket })
        };
        listen().map_err(|cause| NetError::Watch { cause })
    }

    /// Waits until something has changed since the last call; many changes are reported as one.
    ///
    /// It may be cancelled: a change is forgotten only when it is reported.
    ///
    /// # Errors
    ///
    /// [`NetError::Watch`] if the socket fails. That messages were lost is not a failure.
    pub async fn changed(&mut self) -> Result<(), NetError> {
        // One byte is enough: the kernel discards the rest of a message.
        poll_fn(|context| drain(|| self.socket.poll_recv(context, &mut [0].as_mut_slice())))
            .await
            .map_err(|cause| NetError::Watch { cause })
    }
}

/// Receives until there is nothing left. Pending, if there was nothing at all.
fn drain(mut receive: impl FnMut() -> Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    let mut heard = false;
    loop {
        match receive() {
            Poll::Ready(Ok(())) => heard = true,
            Poll::Ready(Err(error)) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                // Messages were lost, so there were some; the kernel says it once.
                Errno::ENOBUFS => heard = true,
                Errno::EINTR => {}
                _ => return Poll::Ready(Err(error)),
            },
            Poll::Pending if heard => return Poll::Ready(Ok(())),
            Poll::Pending => return Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drains a socket that gives these answers, then has no more.
    fn drained(answers: &[Result<(), Errno>]) -> Poll<io::Result<()>> {
        let mut answers = answers.iter().copied();
        drain(|| match answers.next() {
            Some(answer) => Poll::Ready(answer.map_err(Into::into)),
            None => Poll::Pending,
        })
    }

    #[test]
    fn many_messages_are_one_change() {
        assert!(matches!(
            drained(&[Ok(()), Ok(()), Ok(())]),
            Poll::Ready(Ok(()))
        ));
    }

    #[test]
    fn a_false_alarm_is_no_change() {
        assert!(drained(&[]).is_pending());
        assert!(drained(&[Err(Errno::EINTR)]).is_pending());
    }

    #[test]
    fn an_overrun_is_a_change() {
        assert!(matches!(
            drained(&[Err(Errno::ENOBUFS)]),
            Poll::Ready(Ok(()))
        ));
    }

    #[test]
    fn a_failing_socket_is_a_failure() {
        assert!(matches!(
            drained(&[Ok(()), Err(Errno::EBADF)]),
            Poll::Ready(Err(_))
        ));
    }

    #[tokio::test]
    async fn anyone_may_watch() {
        Watcher::new().expect("no privilege is needed");
    }
}
