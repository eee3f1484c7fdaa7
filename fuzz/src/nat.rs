//! The NAT over plain memory.

use etherparse::{IpNumber, IpSlice};
use portnat_common::nat::{self as common, Hook, Sight};
use portnat_common::{Bytes, V4, V6, Verdict};
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::model::Run;
use crate::support::traffic::{Step, step};
use crate::support::world::TestFamily;

/// How many bytes say what a step is. Each step has its own, so that one can be exchanged, added or
/// left out and the others stay what they are.
const STEP: usize = 4;
/// How many steps and frames there are at most: what matters happens within a few.
const MOST: usize = 96;

/// Compares the NAT with its model, step by step: verdicts, packets byte for byte, tables.
pub fn nat(data: &[u8]) {
    match data.split_first() {
        Some((0x80.., rest)) => steps::<V6>(rest),
        Some((_, rest)) => steps::<V4>(rest),
        None => {}
    }
}

fn steps<F: TestFamily>(data: &[u8]) {
    let mut run = Run::<F>::new();
    let strategy = step(F::OWN[0].is_ipv6());
    for bytes in data.chunks(STEP).take(MOST) {
        run.step(&step_of(&strategy, bytes));
    }
}

/// The step that the strategy of the property tests makes, if its dice begin with these bytes.
fn step_of(strategy: &impl Strategy<Value = Step>, bytes: &[u8]) -> Step {
    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let mut seed = [0; 32];
    for (place, byte) in seed.iter_mut().zip(bytes) {
        *place = *byte;
    }
    let dice = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let tree = strategy.new_tree(&mut TestRunner::new_with_rng(config, dice));
    tree.expect("nothing is filtered out").current()
}

/// Any bytes, seen at any hook with a link header or without, after a few steps: nothing panics, what
/// passes is not touched, and what was sound before translation is so afterwards.
pub fn frames(data: &[u8]) {
    match data.split_first() {
        Some((first @ 0x80.., rest)) => any_frames::<V6>(first & 7, rest),
        Some((first, rest)) => any_frames::<V4>(first & 7, rest),
        None => {}
    }
}

fn any_frames<F: TestFamily>(steps: u8, data: &[u8]) {
    let mut run = Run::<F>::new();
    let strategy = step(F::OWN[0].is_ipv6());
    let (first, mut rest) = data.split_at(data.len().min(usize::from(steps) * STEP));
    for bytes in first.chunks(STEP) {
        run.step(&step_of(&strategy, bytes));
    }
    for _ in 0..MOST {
        let &[how, length, ref bytes @ ..] = rest else {
            break;
        };
        let (frame, others) = bytes.split_at(bytes.len().min(usize::from(length)));
        rest = others;
        let hook = [Hook::In, Hook::Outside, Hook::Inside, Hook::Local][usize::from(how & 3)];
        let sight = Sight {
            hook,
            l3: if how & 4 == 0 { 14 } else { 0 },
            forwarded: how & 8 == 0,
        };
        meet(&run, frame, sight);
    }
    run.world.assert_tidy("any frames");
}

fn meet<F: TestFamily>(run: &Run<F>, frame: &[u8], sight: Sight) {
    let mut after = frame.to_vec();
    let verdict = common::process::<F, _, _>(&mut Bytes(&mut after), sight, &run.world);
    match verdict {
        // Any bytes may be a later fragment, which waits as it came.
        Verdict::Pass | Verdict::Held => assert_eq!(frame, after, "{verdict:?} changes it"),
        Verdict::Translated | Verdict::Redirect if is_sound(frame, sight.l3) => {
            assert!(is_sound(&after, sight.l3), "{frame:02x?}\n{after:02x?}");
        }
        _ => {}
    }
}

/// Whether the checksums of a packet, which is no fragment, are right.
fn is_sound(frame: &[u8], l3: usize) -> bool {
    let Some(Ok(ip)) = frame.get(l3..).map(IpSlice::from_slice) else {
        return false;
    };
    let payload = ip.payload();
    let number = payload.ip_number;
    let carried = payload.payload;
    let addresses = match &ip {
        IpSlice::Ipv4(v4) if sum(&[v4.header().slice()]) != 0xffff => return false,
        IpSlice::Ipv4(_) if number == IpNumber::ICMP => Vec::new(),
        IpSlice::Ipv4(v4) => [v4.header().source(), v4.header().destination()].concat(),
        IpSlice::Ipv6(v6) => [v6.header().source(), v6.header().destination()].concat(),
    };
    let length = u16::try_from(carried.len()).unwrap_or_default();
    let pseudo = match addresses.is_empty() {
        true => [0; 4],
        false => [
            0,
            number.0,
            length.to_be_bytes()[0],
            length.to_be_bytes()[1],
        ],
    };
    let is_summed = match number {
        IpNumber::UDP => carried.get(6..8).is_some_and(|field| field != [0, 0]),
        IpNumber::TCP | IpNumber::ICMP | IpNumber::IPV6_ICMP => true,
        _ => false,
    };
    !payload.fragmented && (!is_summed || sum(&[&addresses, &pseudo, carried]) == 0xffff)
}

/// The sum of RFC 1071 over pieces of even length but for the last.
fn sum(pieces: &[&[u8]]) -> u16 {
    let words = pieces.iter().flat_map(|piece| piece.chunks(2));
    let mut sum: u32 = words
        .map(|word| match *word {
            [high, low] => u32::from(u16::from_be_bytes([high, low])),
            [high] => u32::from(high) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
