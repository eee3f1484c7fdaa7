//! A container, Docker and portnat are restarted in every order, and one is away while another changes.

use portnat::lab::{Lab, Namespace, Server, probe};

use super::ground::{Dockerd, WITHOUT_RULES, Which};
use super::serving::{answers, echo, lab, refused};
use crate::daemon::Daemon;
use crate::support::{at, eventually, payload, tcp_server};

/// All of it.
struct Scene<'l> {
    lab: &'l Lab,
    docker: Dockerd,
    portnat: Option<Daemon>,
    web: Option<(Namespace, Server)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Container,
    Docker,
    Portnat,
}

use Part::{Container, Docker, Portnat};

const ORDERS: [[Part; 3]; 6] = [
    [Container, Docker, Portnat],
    [Container, Portnat, Docker],
    [Docker, Container, Portnat],
    [Docker, Portnat, Container],
    [Portnat, Container, Docker],
    [Portnat, Docker, Container],
];

impl<'l> Scene<'l> {
    fn new(lab: &'l Lab, arguments: &[&str]) -> Option<Self> {
        let docker = Dockerd::start(&lab.host, Which::Stable, arguments)?;
        // It takes no notice of SIGTERM, for which Docker would wait.
        let at_once = ["--stop-signal", "KILL", "--restart", "always"];
        docker.run("web", &[&at_once[..], &["-p", "8080:80"]].concat());
        let mut scene = Scene {
            lab,
            docker,
            portnat: None,
            web: None,
        };
        scene.begin(Portnat);
        scene.serves();
        Some(scene)
    }

    fn end(&mut self, part: Part) {
        match part {
            Container => {
                self.docker.docker(&["stop", "-t", "0", "web"]);
            }
            Docker => self.docker.end("TERM"),
            Portnat => {
                let portnat = self.portnat.take().expect("it runs");
                portnat.stop();
            }
        }
    }

    fn begin(&mut self, part: Part) {
        match part {
            Container => {
                self.docker.docker(&["start", "web"]);
            }
            Docker => self.docker.start_again(),
            Portnat => {
                let socket = self.docker.socket();
                self.portnat = Some(Daemon::run(self.lab, &["--docker", &socket]));
            }
        }
    }

    /// The port leads to the container that is there now, with a server of its own.
    #[track_caller]
    fn serves(&mut self) {
        self.web = None;
        let running = ["inspect", "-f", "{{.State.Running}}", "web"];
        eventually("web runs", || match self.docker.try_docker(&running) {
            Ok(running) if running == "true" => Ok(()),
            other => Err(other),
        });
        let web = self.docker.namespace("web");
        let server = tcp_server(&web, self.docker.address("web", "bridge"), 80);
        eventually("8080 answers", || {
            probe::tcp_echo(&self.lab.client, at(Lab::HOST, 8080), &payload(100))
        });
        assert!(!server.peers().is_empty());
        self.web = Some((web, server));
    }
}

/// Each ends and begins before the next does.
#[test]
fn one_after_the_other_in_every_order() {
    let lab = lab();
    let Some(mut scene) = Scene::new(&lab, &WITHOUT_RULES) else {
        return;
    };
    for order in ORDERS {
        for part in order {
            scene.end(part);
            scene.begin(part);
        }
        scene.serves();
    }
    scene.docker.docker(&["rm", "-f", "web"]);
    refused(&lab.client, at(Lab::HOST, 8080));
    let portnat = scene.portnat.take().expect("it runs");
    let table = portnat.stop();
    assert!(!table.contains("8080"), "a ghost:\n{table}");
}

/// All end before the first begins, in this order and the opposite one. A container cannot end or begin
/// without Docker, so its turn is where Docker is.
#[test]
fn docker_and_portnat_are_away_together() {
    let lab = lab();
    let Some(mut scene) = Scene::new(&lab, &WITHOUT_RULES) else {
        return;
    };
    for (first, second) in [(Docker, Portnat), (Portnat, Docker)] {
        for (begins_first, begins_second) in [(first, second), (second, first)] {
            scene.end(first);
            scene.end(second);
            scene.begin(begins_first);
            scene.begin(begins_second);
            scene.serves();
        }
    }
}

/// What changes while portnat is away, or Docker is and comes back, leaves no ghost and loses nothing.
#[test]
fn what_changes_meanwhile_is_seen() {
    let lab = lab();
    let live = [&WITHOUT_RULES[..], &["--live-restore"]].concat();
    let Some(mut scene) = Scene::new(&lab, &live) else {
        return;
    };
    scene.end(Portnat);
    // Docker's own socket is there, behind which nobody is.
    echo(&lab.client, at(Lab::HOST, 8080)).expect_err("nobody serves it");
    scene.docker.run("more", &["-p", "8081:81"]);
    scene.docker.docker(&["rm", "-f", "web"]);
    scene.web = None;
    scene.begin(Portnat);
    let more = scene.docker.namespace("more");
    let address = scene.docker.address("more", "bridge");
    let _server = tcp_server(&more, address, 81);
    answers(&lab.client, at(Lab::HOST, 8081));
    refused(&lab.client, at(Lab::HOST, 8080));

    // A portnat that begins while Docker is away has nothing of it, and all when it is back.
    scene.docker.end("KILL");
    scene.end(Portnat);
    scene.begin(Portnat);
    let portnat = scene.portnat.as_mut().expect("it runs");
    portnat.line("Docker does not answer");
    refused(&lab.client, at(Lab::HOST, 8081));
    scene.begin(Docker);
    answers(&lab.client, at(Lab::HOST, 8081));
    scene.end(Portnat);
}
