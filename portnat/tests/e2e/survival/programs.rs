//! All programs are loaded where all is to go on: no later portnat can then be refused one.

use portnat::datapath::Datapath;

use super::place::kill;
use super::{Scene, persist};

/// What any host could need.
const ALWAYS: [&str; 12] = [
    "nat_in",
    "uplink_out",
    "bridge_out",
    "local_out",
    "internal_in",
    "internal_out",
    "nat_in_l3",
    "uplink_out_l3",
    "clock",
    "knows_ipv6_flag",
    "sweep_flows",
    "end_flow",
];

/// What they could need where packets go past the stack.
const FAST: [&str; 2] = ["port_in", "port_out"];

/// What is loaded where frames go past the stack, by the word that asks for it.
const FRAMES: [(&str, &str); 2] = [("native", "uplink_xdp"), ("generic", "uplink_xdp_generic")];

/// Each is printed with what it came to, for who compares kernels.
#[test]
fn all_are_loaded() {
    let scene = Scene::new();
    let mut expected = ALWAYS.to_vec();
    if Datapath::can_be_fast() {
        expected.extend(FAST);
    }
    let forms: Vec<_> = match Datapath::knows_frames() {
        true => FRAMES.map(Some).to_vec(),
        false => vec![None],
    };
    for form in forms {
        let mut arguments = persist("auto", &["-v"]);
        if let Some((word, program)) = form {
            arguments.extend(["--xdp", word]);
            expected.push(program);
        }
        let daemon = scene.place.run(&scene.lab, &arguments);
        scene.assert_at_work();
        for program in expected.drain(..) {
            let line = daemon.line(&format!("program {program}: "));
            println!("{line}");
        }
        // The second one goes on with what there is, and loads what is not.
        kill(daemon);
    }
}
