//! What is an uplink stays one.

use std::collections::BTreeSet;

use crate::net::{LinkKind, Snapshot};

/// The links that have been uplinks while we looked.
///
/// One that goes down comes up again, and what comes in then must not find it without a program: the host
/// would refuse every connection that it does not know. Nor when a veth that is one loses its address, as by a
/// lease, and gets another. And a bridge without a default route is taken to
/// have containers behind it. But a default route goes and comes back, with a lease or a router, and in between
/// the LAN behind such a bridge must not be taken for containers and be masqueraded.
#[derive(Debug, Default)]
pub struct HeldUplinks {
    /// All of them.
    uplinks: BTreeSet<u32>,
    /// The bridges that had a default route.
    bridges: BTreeSet<u32>,
}

impl HeldUplinks {
    /// Remembers those that are uplinks, and gives back to those that were what made them so.
    pub fn hold(&mut self, snapshot: &mut Snapshot) {
        for held in [&mut self.uplinks, &mut self.bridges] {
            held.retain(|index| snapshot.link_by_index(*index).is_some());
        }
        let bridges = snapshot.links.iter_mut();
        for link in bridges.filter(|link| link.kind == LinkKind::Bridge) {
            if link.has_default_route() {
                self.bridges.insert(link.index);
            } else if self.bridges.contains(&link.index) {
                link.default_v4 = true;
            }
        }
        let uplinks = snapshot.default_uplinks();
        self.uplinks.extend(uplinks.iter().map(|link| link.index));
        for link in &mut snapshot.links {
            link.was_uplink = self.uplinks.contains(&link.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Link;

    fn bridge(index: u32, default_v4: bool) -> Link {
        Link {
            index,
            kind: LinkKind::Bridge,
            default_v4,
            up: true,
            ..Link::default()
        }
    }

    #[test]
    fn a_bridge_that_was_an_uplink_stays_one_until_it_is_gone() {
        let mut held = HeldUplinks::default();
        let look = |held: &mut HeldUplinks, links: Vec<Link>| {
            let mut snapshot = Snapshot { links };
            held.hold(&mut snapshot);
            snapshot
                .default_bridges()
                .iter()
                .map(|link| link.index)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            look(&mut held, vec![bridge(2, true), bridge(3, false)]),
            [3]
        );
        assert_eq!(
            look(&mut held, vec![bridge(2, false), bridge(3, false)]),
            [3]
        );
        assert_eq!(look(&mut held, vec![bridge(3, false)]), [3]);
        assert_eq!(
            look(&mut held, vec![bridge(2, false), bridge(3, false)]),
            [2, 3]
        );
    }

    #[test]
    fn an_uplink_that_goes_down_or_has_no_address_stays_one_until_it_is_gone() {
        let mut held = HeldUplinks::default();
        let link = |index, up| Link {
            index,
            up,
            ..Link::default()
        };
        let mut look = |links: Vec<Link>| {
            let mut snapshot = Snapshot { links };
            held.hold(&mut snapshot);
            let uplinks = snapshot.default_uplinks();
            uplinks.iter().map(|link| link.index).collect::<Vec<_>>()
        };
        // One that was never up is none.
        assert_eq!(look(vec![link(2, true), link(3, false)]), [2]);
        assert_eq!(look(vec![link(2, false), link(3, false)]), [2]);
        // Nor is one that a bridge has taken, down or up.
        let taken = Link {
            master: Some(4),
            ..link(2, false)
        };
        assert_eq!(look(vec![taken, bridge(4, false)]), [0_u32; 0]);
        assert_eq!(look(vec![link(3, false)]), [0_u32; 0]);
        assert_eq!(look(vec![link(2, false), link(3, true)]), [3]);
        let veth = |addresses: &[&str]| Link::made(5, "veth1", LinkKind::Veth, addresses);
        assert_eq!(look(vec![veth(&[])]), [0_u32; 0]);
        assert_eq!(look(vec![veth(&["192.0.2.1/24"])]), [5]);
        assert_eq!(look(vec![veth(&[])]), [5]);
    }
}
