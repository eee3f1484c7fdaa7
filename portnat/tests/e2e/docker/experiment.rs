//! Two networks, a server that is published as 8080:80, and everybody who may ask for it: what portnat makes of
//! it, and what Docker itself does by iptables and its proxy. `docs/docker-parity.md` has the same
//! table.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use portnat::lab::{Lab, Namespace, Server};

use super::ground::{Dockerd, WITHOUT_RULES, Which};
use crate::daemon::Daemon;
use crate::support::{ANSWER, eventually};

/// More than the second after which a SYN is sent again.
const PATIENCE: Duration = Duration::from_millis(2500);

/// What comes of asking, and as whom the server has seen who asked.
#[derive(Clone, PartialEq, Eq)]
enum Outcome {
    Seen(String),
    Refused,
    Silence,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Seen(whom) => write!(f, "seen as {whom}"),
            Outcome::Refused => f.write_str("refused"),
            Outcome::Silence => f.write_str("silence"),
        }
    }
}

/// By who asks, and what for.
type Results = BTreeMap<(&'static str, &'static str), Outcome>;

/// The places of the experiment.
struct Scene {
    docker: Dockerd,
    places: BTreeMap<&'static str, Namespace>,
    /// What the addresses are called.
    names: BTreeMap<IpAddr, &'static str>,
    targets: BTreeMap<&'static str, SocketAddr>,
    _server: Server,
}

impl Scene {
    fn new(lab: &Lab, which: Which, arguments: &[&str]) -> Option<Self> {
        let docker = Dockerd::start(&lab.host, which, arguments)?;
        for (name, subnet) in [("net1", "10.99.1.0/24"), ("net2", "10.99.2.0/24")] {
            docker.docker(&["network", "create", "--subnet", subnet, name]);
        }
        let server = docker.run("server", &["--network", "net1", "-p", "8080:80"]);
        let same = docker.run("same", &["--network", "net1"]);
        let other = docker.run("other", &["--network", "net2"]);
        let own = docker.address("server", "net1");
        let gateway: IpAddr = "10.99.1.1".parse().expect("an address");
        let host = IpAddr::from(Lab::HOST);
        let targets = [
            (
                "127.0.0.1:8080",
                ("127.0.0.1".parse().expect("an address"), 8080),
            ),
            (
                "127.0.0.1:80",
                ("127.0.0.1".parse().expect("an address"), 80),
            ),
            ("[::1]:8080", ("::1".parse().expect("an address"), 8080)),
            ("host:8080", (host, 8080)),
            ("host:80", (host, 80)),
            ("host6:8080", (Lab::HOST_V6.into(), 8080)),
            ("gateway:8080", (gateway, 8080)),
            ("server:80", (own, 80)),
            ("server:8080", (own, 8080)),
        ];
        let names = [
            (host, "host"),
            (Lab::CLIENT.into(), "client"),
            (gateway, "gateway"),
            (own, "server"),
            (docker.address("same", "net1"), "same"),
            (docker.address("other", "net2"), "other"),
        ];
        Some(Scene {
            _server: Server::http(&server, SocketAddr::new(own, 80)).expect("a server"),
            docker,
            places: BTreeMap::from([
                ("host", lab.host.clone()),
                ("client", lab.client.clone()),
                ("same", same),
                ("other", other),
                ("server", server),
            ]),
            names: names.into(),
            targets: targets.map(|(name, to)| (name, to.into())).into(),
        })
    }

    /// Everybody asks for everything, at once.
    fn results(&self) -> Results {
        let questions = self.places.iter().flat_map(|(from, place)| {
            let own = |target: &str| target.starts_with("127.") || target.starts_with("[::1]");
            let asked = self
                .targets
                .iter()
                .filter(move |(target, _)| *from == "host" || !own(target));
            // Containers have no IPv6 here.
            let asked =
                asked.filter(move |(_, to)| to.is_ipv4() || ["host", "client"].contains(from));
            asked.map(move |(target, to)| (*from, place, *target, *to))
        });
        thread::scope(|scope| {
            let asking: Vec<_> = questions
                .map(|(from, place, target, to)| {
                    let asking = scope.spawn(move || place.run(|| self.ask(to)));
                    ((from, target), asking)
                })
                .collect();
            let heard = asking.into_iter();
            heard
                .map(|(question, asking)| (question, asking.join().expect("an outcome")))
                .collect()
        })
    }

    fn ask(&self, to: SocketAddr) -> Outcome {
        let mut stream = match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Outcome::Refused,
            Err(error) if error.kind() == ErrorKind::TimedOut => return Outcome::Silence,
            Err(error) => panic!("{to}: {error}"),
        };
        let mut heard = String::new();
        stream.set_read_timeout(Some(ANSWER)).expect("set");
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
        // What was heard until then counts.
        let _ = stream.read_to_string(&mut heard);
        let whom = heard
            .lines()
            .find_map(|line| line.strip_prefix("hello, you are "));
        let Some(whom) = whom else {
            return Outcome::Silence;
        };
        let whom: SocketAddr = whom.parse().expect("an address");
        let name = self.names.get(&whom.ip()).map(ToString::to_string);
        Outcome::Seen(name.unwrap_or_else(|| whom.ip().to_string()))
    }
}

fn lab() -> Lab {
    let lab = Lab::builder()
        .containers(0)
        .ipv6(true)
        .client_routes_via_host(true);
    lab.build().expect("a lab")
}

fn seen(whom: &str) -> Outcome {
    Outcome::Seen(whom.to_owned())
}

/// What portnat makes of it.
fn wanted() -> Results {
    use Outcome::{Refused, Silence};
    let mut wanted = Results::from([
        // Published for the host itself, by the bridge's address.
        (("host", "127.0.0.1:8080"), seen("gateway")),
        (("host", "127.0.0.1:80"), Refused),
        (("host", "[::1]:8080"), seen("gateway")),
        (("host", "host:8080"), seen("gateway")),
        (("host", "host6:8080"), seen("gateway")),
        (("host", "gateway:8080"), seen("gateway")),
        // The container itself is there too.
        (("host", "server:80"), seen("gateway")),
        // From outside.
        (("client", "host:8080"), seen("client")),
        (("client", "host6:8080"), seen("gateway")),
        (("client", "gateway:8080"), seen("client")),
        (("client", "server:80"), Silence),
        (("client", "server:8080"), Silence),
        // Within a network nobody comes between.
        (("same", "server:80"), seen("same")),
        (("same", "host:8080"), seen("gateway")),
        (("same", "gateway:8080"), seen("gateway")),
        (("server", "server:80"), seen("server")),
        (("server", "host:8080"), seen("gateway")),
        (("server", "gateway:8080"), seen("gateway")),
        // Networks are isolated but for what is published.
        (("other", "server:80"), Silence),
        (("other", "server:8080"), Silence),
        (("other", "host:8080"), seen("other")),
        (("other", "gateway:8080"), seen("other")),
    ]);
    for who in ["host", "same", "server"] {
        wanted.insert((who, "server:8080"), Refused);
    }
    for who in ["host", "client", "same", "other", "server"] {
        wanted.insert((who, "host:80"), Refused);
    }
    wanted
}

#[track_caller]
fn assert_same(found: &Results, wanted: &Results) {
    let differs = |question| found.get(question) != wanted.get(question);
    let all = found.keys().chain(wanted.keys()).filter(|it| differs(it));
    let differences: BTreeMap<_, _> = all
        .map(|question| (question, (found.get(question), wanted.get(question))))
        .collect();
    assert!(differences.is_empty(), "found and wanted: {differences:#?}");
}

#[test]
fn everybody_reaches_what_is_published_and_nothing_else() {
    for which in [Which::Stable, Which::Newest] {
        let lab = lab();
        let Some(scene) = Scene::new(&lab, which, &WITHOUT_RULES) else {
            return;
        };
        let portnat = Daemon::run(&lab, &["--docker", &scene.docker.socket()]);
        assert_same(&scene.results(), &wanted());
        portnat.stop();
    }
}

/// With its own iptables and proxy, but for what portnat does otherwise.
#[test]
fn docker_itself_does_the_same_but_for_what_is_listed() {
    let lab = lab();
    let Some(scene) = Scene::new(&lab, Which::Newest, &[]) else {
        return;
    };
    eventually("Docker's rules", || scene.ask_from("client", "host:8080"));
    let differences = [
        // The host asks itself by its own address, and nobody comes between.
        (("host", "host:8080"), seen("host")),
        // What a container of another network asks for goes by the proxy, as whose address it comes.
        (("other", "host:8080"), seen("gateway")),
        (("other", "gateway:8080"), seen("gateway")),
    ];
    let mut wanted = wanted();
    wanted.extend(differences);
    assert_same(&scene.results(), &wanted);
}

impl Scene {
    fn ask_from(&self, place: &str, target: &str) -> Result<(), Outcome> {
        match self.places[place].run(|| self.ask(self.targets[target])) {
            Outcome::Seen(_) => Ok(()),
            other => Err(other),
        }
    }
}
