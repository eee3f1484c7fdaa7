//! Random traffic in words: who says what to whom, what is answered, and what happens meanwhile.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portnat_common::settings::Lifetimes;
use portnat_common::wire::sctp::chunk;
use portnat_common::wire::{protocol, tcp};
use proptest::prelude::*;

use super::packet::{Carries, Packet, packet};
use super::world::HZ;

/// A place that has an address in each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Outside.
    Client,
    /// Outside too.
    Remote,
    /// A container, whose ports are published.
    Web,
    /// Another on the same bridge.
    Dns,
    /// One on another bridge.
    Neighbour,
    /// Behind the host, but in no subnet that it knows.
    Elsewhere,
    /// The host, to the outside.
    Host,
    /// The host, on the first bridge.
    Gateway,
    /// Nobody outside the host may say this.
    Loopback,
}

impl Who {
    /// Its address.
    pub(crate) fn address(self, ipv6: bool) -> IpAddr {
        let (v4, v6): ([u8; 4], [u16; 3]) = match self {
            Who::Client => ([198, 51, 100, 7], [0x2001, 0xdb8, 9]),
            Who::Remote => ([203, 0, 113, 5], [0x2001, 0xdb8, 5]),
            Who::Web => ([172, 17, 0, 2], [0xfd00, 0x17, 0]),
            Who::Dns => ([172, 17, 0, 3], [0xfd00, 0x17, 0]),
            Who::Neighbour => ([172, 18, 0, 2], [0xfd00, 0x18, 0]),
            Who::Elsewhere => ([10, 0, 0, 9], [0x2001, 0xdb8, 0xa]),
            Who::Host => ([192, 0, 2, 1], [0x2001, 0xdb8, 1]),
            Who::Gateway => ([172, 17, 0, 1], [0xfd00, 0x17, 0]),
            Who::Loopback => ([127, 0, 0, 1], [0, 0, 0]),
        };
        if ipv6 {
            let [a, b, c] = v6;
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, v4[3].into()).into()
        } else {
            Ipv4Addr::from(v4).into()
        }
    }

    fn at(self, port: u16, ipv6: bool) -> SocketAddr {
        SocketAddr::new(self.address(ipv6), port)
    }
}

/// A published port that can come and go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) protocol: u8,
    /// `None` is every address of the host.
    pub(crate) address: Option<Who>,
    pub(crate) port: u16,
    pub(crate) target: (Who, u16),
}

impl Slot {
    /// Where it is published.
    pub(crate) fn address(&self, ipv6: bool) -> IpAddr {
        match (self.address, ipv6) {
            (Some(who), _) => who.address(ipv6),
            (None, false) => Ipv4Addr::UNSPECIFIED.into(),
            (None, true) => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// What it leads to.
    pub(crate) fn target(&self, ipv6: bool) -> SocketAddr {
        self.target.0.at(self.target.1, ipv6)
    }
}

const fn slot(protocol: u8, address: Option<Who>, port: u16, target: (Who, u16)) -> Slot {
    Slot {
        protocol,
        address,
        port,
        target,
    }
}

/// Published ports. Of several ones of a target the first speaks for it.
pub(crate) const SLOTS: [Slot; 6] = [
    slot(protocol::TCP, None, 8080, (Who::Web, 80)),
    slot(protocol::UDP, None, 8080, (Who::Web, 80)),
    slot(protocol::UDP, Some(Who::Host), 5353, (Who::Dns, 53)),
    slot(protocol::TCP, Some(Who::Host), 5354, (Who::Dns, 5354)),
    slot(protocol::SCTP, None, 8080, (Who::Web, 80)),
    slot(protocol::TCP, None, 8081, (Who::Web, 80)),
];

/// How many of them are published at first.
pub(crate) const PUBLISHED_AT_FIRST: usize = 5;

/// A UDP port of a socket of the host's.
pub(crate) const HOSTS_OWN_PORT: u16 = 5360;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It is not of the version that its Ethernet header says.
    Version,
    /// It says that it is longer than it is.
    TooLong,
    /// It ends within its transport header.
    TooShort,
    /// It comes in by the uplink, also where its source is a container.
    Place,
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A packet comes in, or goes out by the interface that leads to its destination.
    Say {
        inbound: bool,
        packet: Packet,
        lie: Option<Lie>,
    },
    /// A packet that came out is answered: the newest, the one before, and so on. What acknowledges,
    /// acknowledges all that there was, or a byte less.
    Answer { back: usize, flags: u8, right: bool },
    /// Who has sent such a packet sends another.
    Again { back: usize, flags: u8 },
    /// What has come in goes out by the next interface.
    Onward { back: usize },
    /// So many ticks pass.
    Pass(u64),
    /// A port is published, or no more if it is.
    Toggle(usize),
    /// All flows are examined.
    Sweep,
}

fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => Just(tcp::ACK),
        4 => Just(tcp::SYN),
        2 => Just(tcp::SYN | tcp::ACK),
        2 => Just(tcp::FIN | tcp::ACK),
        1 => Just(tcp::RST),
        1 => Just(tcp::RST | tcp::ACK),
        1 => (0u8..8).prop_flat_map(|low| prop_oneof![Just(low), Just(low | tcp::ACK)]),
    ]
}

/// Of every kind of chunk that means something to the NAT.
pub(crate) fn chunks() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![
        chunk::INIT,
        chunk::INIT_ACK,
        chunk::COOKIE_ECHO,
        chunk::COOKIE_ACK,
        chunk::DATA,
        chunk::ABORT,
        chunk::SHUTDOWN_COMPLETE,
        0xc1,
    ])
}

fn carries() -> impl Strategy<Value = Carries> {
    prop_oneof![
        8 => flags().prop_map(Carries::Tcp),
        6 => Just(Carries::Udp),
        1 => Just(Carries::UdpUnchecked),
        3 => chunks().prop_map(Carries::Sctp),
        1 => Just(Carries::SctpUnchecked(chunk::DATA)),
        2 => Just(Carries::EchoRequest),
        1 => Just(Carries::EchoReply),
        1 => Just(Carries::Protocol(47)),
    ]
}

/// From whom, with which port, and to whom; and whether it comes in.
type Ends = (bool, (Who, u16), (Who, u16));

/// Few ends, so that packets meet flows and get into each other's way.
fn ends() -> BoxedStrategy<Ends> {
    use Who::{Client, Dns, Elsewhere, Gateway, Host, Loopback, Neighbour, Remote, Web};
    let inside = prop::sample::select(vec![Web, Web, Web, Dns, Dns, Neighbour, Elsewhere]);
    let ports = vec![80u16, 80, 53, 5353, 5354, 7000, 8080, 40000, HOSTS_OWN_PORT];
    let inside_port = prop::sample::select(ports);
    let own = prop::sample::select(vec![Host, Host, Host, Gateway, Loopback]);
    let anybody = prop::sample::select(vec![
        Client, Remote, Web, Dns, Neighbour, Gateway, Elsewhere, Loopback,
    ]);
    let inside = (inside, inside_port.clone());
    let anybody = || anybody.clone();
    prop_oneof![
        6 => (Just(true), outside(), (own.clone(), published())),
        6 => (Just(false), inside.clone(), outside()),
        // From a container to the host.
        2 => (Just(true), inside, (own, published())),
        1 => (any::<bool>(), (anybody(), inside_port), (anybody(), published())),
    ]
    .boxed()
}

/// The same where nobody gets into another's way.
fn certain_ends() -> BoxedStrategy<Ends> {
    use Who::{Dns, Elsewhere, Host, Neighbour, Web};
    let inside = prop::sample::select(vec![
        (Web, 80u16),
        (Web, 80),
        (Web, 7000),
        (Dns, 5354),
        (Dns, 7001),
        (Neighbour, 7002),
        (Elsewhere, 7003),
    ]);
    prop_oneof![
        6 => (Just(true), outside(), (Just(Host), published())),
        4 => (Just(false), inside.clone(), outside()),
        1 => (Just(true), inside, (Just(Host), published())),
    ]
    .boxed()
}

fn outside() -> impl Strategy<Value = (Who, u16)> {
    let who = prop::sample::select(vec![Who::Client, Who::Client, Who::Remote]);
    (who, prop::sample::select(vec![40000u16, 40000, 53, 5000]))
}

/// Mostly ports that are published.
fn published() -> impl Strategy<Value = u16> {
    let ports = vec![8080u16, 8080, 8080, 8081, 5353, 5353, 5354, 80, 7000];
    prop::sample::select(ports)
}

/// Somebody says something, in one piece. Without chance each container has ports of its own that
/// masquerade keeps, so that dice are hardly thrown.
pub(crate) fn say(ipv6: bool, chance: bool) -> impl Strategy<Value = Step> {
    let ends = if chance { ends() } else { certain_ends() };
    let shape = (
        0usize..=2,
        prop_oneof![
            40 => Just(None),
            1 => Just(Some(Lie::Version)),
            1 => Just(Some(Lie::TooLong)),
            1 => Just(Some(Lie::TooShort)),
            4 => Just(Some(Lie::Place)),
        ],
    );
    let payload = prop::collection::vec(any::<u8>(), 0..24);
    (ends, carries(), shape, payload).prop_map(
        move |((inbound, from, to), carries, (options, lie), payload)| {
            let packet = Packet {
                src: from.0.at(from.1, ipv6),
                dst: to.0.at(to.1, ipv6),
                ..packet(carries, "0.0.0.0:0", "0.0.0.0:0")
            };
            let packet = if chance { packet } else { certain(packet) };
            let packet = packet.with_options(options).saying(&payload);
            // Of another protocol the lie would be the smallest trouble.
            let lie = lie.filter(|_| !matches!(carries, Carries::Protocol(_)));
            Step::Say {
                inbound,
                packet,
                lie,
            }
        },
    )
}

/// A ping has no published port to come from: its identifier is one that masquerade keeps.
pub(crate) fn certain(mut packet: Packet) -> Packet {
    if packet.carries == Carries::EchoRequest && packet.src.port() < 1024 {
        packet.src.set_port(packet.src.port() + 7100);
    }
    packet
}

/// Around every life time: a tick before its end, at its end, after it, and the same a second later.
fn time() -> impl Strategy<Value = Step> {
    let lives = Lifetimes::standard(HZ);
    let times = vec![
        0,
        lives.tcp_opening.0,
        lives.tcp_established.0,
        lives.tcp_closing.0,
        lives.udp_unanswered.0,
        lives.udp_answered.0,
        lives.udp_half_open.0,
        lives.sctp_opening.0,
        lives.sctp_established.0,
        lives.sctp_closing.0,
        lives.icmp.0,
    ];
    let offsets = vec![-1, 0, 1, HZ as i64 - 1, HZ as i64, HZ as i64 + 1];
    (prop::sample::select(times), prop::sample::select(offsets))
        .prop_map(|(time, offset)| Step::Pass(time.saturating_add_signed(offset)))
}

/// Any step, of IPv6 or IPv4.
pub(crate) fn step(ipv6: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => say(ipv6, true),
        8 => answer(),
        3 => again(),
        2 => onward(),
        3 => time(),
        1 => (0..SLOTS.len()).prop_map(Step::Toggle),
        1 => Just(Step::Sweep),
    ]
}

/// Somebody answers.
pub(crate) fn answer() -> impl Strategy<Value = Step> {
    let right = prop_oneof![8 => Just(true), 1 => Just(false)];
    (back(), flags(), right).prop_map(|(back, flags, right)| Step::Answer { back, flags, right })
}

/// Somebody goes on.
pub(crate) fn again() -> impl Strategy<Value = Step> {
    (back(), flags()).prop_map(|(back, flags)| Step::Again { back, flags })
}

fn onward() -> impl Strategy<Value = Step> {
    back().prop_map(|back| Step::Onward { back })
}

/// Mostly the newest.
fn back() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0), 1 => 0usize..8]
}
