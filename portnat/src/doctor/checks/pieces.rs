//! Ranges of published ports in pieces that all rules treat alike, so that one port of each is tried.

use crate::doctor::rules::Ruleset;
use crate::report::PortSides;

/// Where rules begin or cease to be met.
pub(super) struct Pieces(Vec<u16>);

impl Pieces {
    pub(super) fn of(rules: &Ruleset) -> Self {
        let mut edges: Vec<u16> = rules.edges().collect();
        edges.sort_unstable();
        edges.dedup();
        Pieces(edges)
    }

    /// A published range in pieces. Rules may ask for the host's ports or the target's.
    pub(super) fn cut(&self, sides: &PortSides) -> Vec<PortSides> {
        let within = |first: u16, last: u16| {
            let from = self.0.partition_point(|edge| *edge < first);
            let to = self.0.partition_point(|edge| *edge <= last);
            self.0[from..to].iter().map(move |edge| edge - first)
        };
        let mut offsets: Vec<u16> = within(sides.port, sides.port_end)
            .chain(within(sides.target_port, sides.target_port_end))
            .chain([0])
            .collect();
        offsets.sort_unstable();
        offsets.dedup();
        let ends = offsets.iter().skip(1).map(|next| next - 1);
        let ends = ends.chain([sides.port_end - sides.port]);
        offsets
            .iter()
            .zip(ends)
            .map(|(first, last)| PortSides {
                port: sides.port + first,
                port_end: sides.port + last,
                target_port: sides.target_port + first,
                target_port_end: sides.target_port + last,
                ..sides.clone()
            })
            .collect()
    }
}

/// Makes one of two pieces if they are in a row, or the same.
pub(super) fn join(piece: &mut PortSides, next: &PortSides) -> bool {
    if piece == next {
        return true;
    }
    let in_a_row = piece.port_end.checked_add(1) == Some(next.port)
        && piece.target_port_end.checked_add(1) == Some(next.target_port)
        && (piece.address, piece.target, piece.protocol)
            == (next.address, next.target, next.protocol);
    if in_a_row {
        (piece.port_end, piece.target_port_end) = (next.port_end, next.target_port_end);
    }
    in_a_row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::Transport;
    use crate::model::Origin;

    fn range(port: u16, port_end: u16) -> PortSides {
        PortSides {
            address: [0, 0, 0, 0].into(),
            port,
            port_end,
            protocol: Transport(6),
            target: [172, 17, 0, 2].into(),
            target_port: port - 8000,
            target_port_end: port_end - 8000,
            origin: Origin::Run,
            container: None,
            network: None,
        }
    }

    #[test]
    fn a_range_is_cut_where_rules_begin_or_cease_on_either_side() {
        let pieces = Pieces(vec![80, 120, 8090, 8100, 9000]);
        let cut = pieces.cut(&range(8080, 8110));
        let expected = [(8080, 8089), (8090, 8099), (8100, 8110)];
        assert_eq!(cut, expected.map(|(first, last)| range(first, last)));
        // The target's port 90.
        let pieces = Pieces(vec![90]);
        let cut = pieces.cut(&range(8080, 8110));
        assert_eq!(cut, [range(8080, 8089), range(8090, 8110)]);
        assert_eq!(Pieces(vec![]).cut(&range(8080, 8080)), [range(8080, 8080)]);
    }

    #[test]
    fn pieces_in_a_row_become_one() {
        let mut piece = range(8080, 8089);
        assert!(join(&mut piece, &range(8090, 8099)));
        assert_eq!(piece, range(8080, 8099));
        assert!(!join(&mut piece, &range(8101, 8101)));
        let elsewhere = PortSides {
            target_port: 1,
            ..range(8100, 8100)
        };
        assert!(!join(&mut piece, &elsewhere));
        assert_eq!(piece, range(8080, 8099));
    }
}
