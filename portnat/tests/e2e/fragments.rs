//! Fragments of which some never come. All others are in [`crate::matrix`].

use portnat::lab::Lab;

use crate::daemon::{Daemon, row};
use crate::pieces::{Cutter, ORDERS};
use crate::support::{assert_nothing_lost, at, payload, udp_server};

/// What waits in vain keeps nobody else waiting.
#[test]
fn a_datagram_without_its_first_fragment_stays_where_it_is() {
    let lab = Lab::builder().build().expect("a lab");
    let server = udp_server(&lab.containers[0].namespace, lab.containers[0].address, 53);
    let daemon = Daemon::run(&lab, &["-p", "5353:53/udp@172.17.0.2"]);
    let to = at(Lab::HOST, 5353);
    let cutter = Cutter::new(&lab.client, Lab::CLIENT, to);
    let sent = payload(2600);
    cutter.send(&sent, &[2, 1]);
    assert!(
        cutter.ask(&sent, ORDERS[5]) == sent,
        "something else came back"
    );
    assert_eq!(server.peers().len(), 1);
    let table = daemon.stop();
    assert_eq!(row(&table, "0.0.0.0:5353/udp").packets_in, 3, "{table}");
    assert_nothing_lost(&table);
}
