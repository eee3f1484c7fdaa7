//! Bridges that are uplinks stay uplinks.

use std::collections::BTreeSet;

use crate::net::{LinkKind, Snapshot};

/// The bridges that have had a default route while we looked.
///
/// A bridge without one is taken to have containers behind it. But a default route goes and comes
/// back, with a lease or a router, and in between the LAN behind such a bridge must not be taken for
/// containers and be masqueraded.
#[derive(Debug, Default)]
pub struct UplinkBridges(BTreeSet<u32>);

impl UplinkBridges {
    /// Remembers those that have a default route, and gives it back to those that had one.
    pub fn hold(&mut self, snapshot: &mut Snapshot) {
        self.0
            .retain(|index| snapshot.link_by_index(*index).is_some());
        for link in &mut snapshot.links {
            if link.kind != LinkKind::Bridge {
                continue;
            }
            if link.has_default_route() {
                self.0.insert(link.index);
            } else if self.0.contains(&link.index) {
                link.default_v4 = true;
            }
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
        let mut held = UplinkBridges::default();
        let look = |held: &mut UplinkBridges, links: Vec<Link>| {
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
}
