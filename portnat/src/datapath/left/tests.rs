use super::*;
use crate::datapath::{AttachMode, LAYOUT, UdpMapping, XdpMode};

fn options(max_flows: u32) -> LoadOptions {
    LoadOptions {
        max_flows,
        max_half_open: 64,
        max_flows_per_container: 1024,
        udp_mapping: UdpMapping::default(),
        mark: None,
        attach: AttachMode::Auto,
        xdp: XdpMode::Off,
        trace: false,
    }
}

fn wanted(max_flows: u32) -> BTreeMap<String, Definition> {
    definitions(&options(max_flows)).expect("our own object")
}

fn names(wanted: &BTreeMap<String, Definition>) -> BTreeSet<String> {
    wanted.keys().cloned().collect()
}

#[test]
fn the_same_maps_go_on() {
    let maps = wanted(4096);
    assert!(RESIZED.iter().all(|name| maps.contains_key(*name)));
    assert_eq!(fate(&maps, &maps), Fate::GoOn(names(&maps)));
    // A newer portnat has one more, an older one has had one more.
    let mut fewer = maps.clone();
    fewer.remove("TOTALS");
    assert_eq!(fate(&maps, &fewer), Fate::GoOn(names(&fewer)));
    assert_eq!(fate(&fewer, &maps), Fate::GoOn(names(&fewer)));
}

#[test]
fn flows_go_over_to_tables_of_another_size_along_with_what_counts_them() {
    let (maps, larger) = (wanted(4096), wanted(8192));
    let Fate::GoOver(same) = fate(&larger, &maps) else {
        panic!("{:?}", fate(&larger, &maps));
    };
    assert!(same.contains("PUBLISHED4") && same.contains("TOTALS"));
    assert!(RESIZED.iter().all(|name| !same.contains(*name)));
    assert_eq!(same.len() + RESIZED.len(), maps.len());
}

#[test]
fn what_has_another_layout_is_not_read() {
    let maps = wanted(4096);
    for change in [
        |map: &mut Definition| map.value += 8,
        |map: &mut Definition| map.flags ^= 1,
        |map: &mut Definition| map.kind = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32,
    ] {
        let mut others = maps.clone();
        change(others.get_mut("FLOWS4").expect("is there"));
        assert_eq!(
            fate(&maps, &others),
            Fate::Unknown("their FLOWS4 is another".to_owned())
        );
    }
    // One whose size is not the user's.
    let mut others = maps.clone();
    others.get_mut("PUBLISHED4").expect("is there").entries += 1;
    assert!(matches!(fate(&maps, &others), Fate::Unknown(_)));
}

#[test]
fn a_new_reason_to_drop_packets_costs_the_counters_and_no_flow() {
    let maps = wanted(4096);
    let mut others = maps.clone();
    others.get_mut("DROPS").expect("is there").entries -= 1;
    let Fate::GoOn(same) = fate(&maps, &others) else {
        panic!("{:?}", fate(&maps, &others));
    };
    assert!(!same.contains("DROPS") && same.len() == maps.len() - 1);
}

/// If this fails, what a later portnat reads in these tables is not what an earlier one wrote: raise
/// [`LAYOUT`], and what is expected here, unless the change was one of sizes alone. Then what is
/// expected is enough, for sizes are compared where flows are taken over.
#[test]
fn the_layout_has_the_number_it_had() {
    let maps = wanted(4096);
    let sizes = |name: &str| (maps[name].key, maps[name].value);
    assert_eq!(LAYOUT, 1);
    assert_eq!(sizes("FLOWS4"), (16, 128));
    assert_eq!(sizes("FLOWS6"), (40, 128));
    assert_eq!(sizes("QUEUE4"), (0, 24));
    assert_eq!(sizes("MAPPINGS4"), (12, 4));
    assert_eq!(sizes("OWNERS4"), (8, 32));
    assert_eq!(sizes("CONTAINERS4"), (4, 8));
    assert_eq!(sizes("TOTALS"), (4, 32));
}
