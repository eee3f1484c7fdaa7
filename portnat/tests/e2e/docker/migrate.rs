//! A Docker with its own rules and proxies is switched to portnat, and back.

use std::fs;
use std::path::{Path, PathBuf};

use portnat::lab::{Lab, Namespace, Server};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ground::{Dockerd, Which};
use super::serving::{answers, lab, refused};
use crate::daemon::{Daemon, Ended, PORTNAT};
use crate::support::{at, eventually, tcp_server};

/// The config file before, as somebody has written it.
const CONFIG: &str = "{\n    \"iptables\": true,\n    \"max-concurrent-uploads\" :  7\n}\n";

/// A Docker that reads its config from a file.
struct Scene {
    docker: Dockerd,
    lab: Lab,
    folder: TempDir,
}

impl Scene {
    fn new(which: Which, arguments: &[&str]) -> Option<Self> {
        let lab = lab();
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("daemon.json");
        fs::write(&file, CONFIG).expect("written");
        let named = ["--config-file", file.to_str().expect("is text")];
        let docker = Dockerd::start(&lab.host, which, &[&named, arguments].concat())?;
        Some(Scene {
            docker,
            lab,
            folder,
        })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("daemon.json")
    }

    fn config(&self) -> String {
        fs::read_to_string(self.file()).expect("is there")
    }

    /// Which file it reads dockerd's command line says.
    fn migrate(&self, arguments: &[&str]) -> Ended {
        let mut command = self.lab.host.command(PORTNAT);
        command.args(["docker", "migrate", "--docker", &self.docker.socket()]);
        let mut migrating = Daemon::spawn({
            command.args(arguments);
            command
        });
        let stdout = std::io::read_to_string(migrating.stdout()).expect("text");
        Ended {
            stdout,
            ..migrating.wait()
        }
    }

    #[track_caller]
    fn migrated(&self, arguments: &[&str]) -> String {
        let ended = self.migrate(arguments);
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        ended.stdout
    }

    /// Docker's one container, which comes back with Docker.
    fn web(&self) -> (Namespace, Server) {
        let web = eventually("web runs", || {
            match self
                .docker
                .try_docker(&["inspect", "-f", "{{.State.Running}}", "web"])
            {
                Ok(running) if running == "true" => Ok(self.docker.namespace("web")),
                other => Err(other),
            }
        });
        let server = tcp_server(&web, self.docker.address("web", "bridge"), 80);
        (web, server)
    }

    fn restart(&mut self) -> (Namespace, Server) {
        self.docker.end("TERM");
        self.docker.start_again();
        self.web()
    }

    fn rules(&self) -> String {
        rules(&self.lab.host)
    }
}

/// All rules of a namespace, without comments and counters.
fn rules(host: &Namespace) -> String {
    let saved = ["iptables-nft-save", "ip6tables-nft-save"].map(|tool| tell(host, tool, &[]));
    let lines = saved.iter().flat_map(|text| text.lines());
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines.fold(String::new(), |all, line| {
        let line = line.split(" [").next().unwrap_or_default();
        all + line + "\n"
    })
}

#[track_caller]
fn tell(host: &Namespace, tool: &str, arguments: &[&str]) -> String {
    let output = host.command(tool).args(arguments).output().expect(tool);
    assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn backup(file: &Path) -> PathBuf {
    file.with_extension("json.before-portnat")
}

#[test]
fn docker_is_switched_to_portnat_and_back() {
    for which in [Which::Stable, Which::Newest] {
        let Some(mut scene) = Scene::new(which, &[]) else {
            return;
        };
        let host = scene.lab.host.clone();
        let options = [
            "-p",
            "8080:80",
            "--restart",
            "always",
            "--stop-signal",
            "KILL",
        ];
        scene.docker.run("web", &options);
        scene
            .docker
            .docker(&["network", "create", "--internal", "inner"]);
        scene.docker.docker(&["network", "create", "other"]);
        scene
            .docker
            .run("lost", &["--network", "other", "-p", "127.0.0.1:8081:81"]);
        let (_, server) = scene.web();
        answers(&scene.lab.client, at(Lab::HOST, 8080));
        tell(
            &host,
            "iptables-nft",
            &["-A", "FORWARD", "-s", "203.0.113.0/24", "-j", "DROP"],
        );
        tell(
            &host,
            "iptables-nft",
            &["-I", "DOCKER-USER", "-s", "198.51.100.0/24", "-j", "DROP"],
        );
        let before = scene.rules();

        // First it only says what it would do.
        let told = scene.migrated(&[]);
        for line in [
            "\"iptables\": false (was true), \"ip6tables\": false (was not set)",
            "container lost has ports and no restart policy",
            "iptables-nft -t nat -D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
            "portnat run --deny 198.51.100.0/24 says the same",
            "nothing is changed yet",
            "systemctl restart docker",
        ] {
            assert!(told.contains(line), "{line}:\n{told}");
        }
        let told: Value = serde_json::from_str(&scene.migrated(&["--json"])).expect("JSON");
        assert_eq!(told["refused"], json!([]));
        assert_eq!(told["applied"], json!(false));
        assert_eq!(
            (scene.rules(), scene.config()),
            (before.clone(), CONFIG.to_owned())
        );

        scene.migrated(&["--apply"]);
        let config: Value = serde_json::from_str(&scene.config()).expect("JSON");
        assert_eq!(
            config,
            json!({
                "iptables": false, "ip6tables": false, "userland-proxy": false,
                "max-concurrent-uploads": 7,
            })
        );
        let kept = fs::read_to_string(backup(&scene.file())).expect("a copy");
        assert_eq!(kept, CONFIG);
        let left = scene.rules();
        let dockers: Vec<_> = left.lines().filter(|it| it.contains("DOCKER")).collect();
        let users = [
            ":DOCKER-USER -",
            "-A FORWARD -j DOCKER-USER",
            "-A DOCKER-USER -s 198.51.100.0/24 -j DROP",
        ];
        for line in &dockers {
            let is_his = users.contains(line) || *line == "-A DOCKER-USER -j RETURN";
            assert!(is_his, "{line}:\n{left}");
        }
        for line in users
            .iter()
            .chain(&["-A FORWARD -s 203.0.113.0/24 -j DROP"])
        {
            assert!(left.lines().any(|it| it == *line), "{line}:\n{left}");
        }
        assert!(
            !left.contains("172.17.0.") && !left.contains("MASQUERADE"),
            "{left}"
        );
        let again = scene.migrated(&["--apply"]);
        assert!(again.contains("nothing is to be changed"), "{again}");
        assert_eq!(scene.rules(), left);

        // Before Docker is restarted, and behind that.
        let portnat = Daemon::run(&scene.lab, &["--docker", &scene.docker.socket()]);
        answers(&scene.lab.client, at(Lab::HOST, 8080));
        drop(server);
        let (web, server) = scene.restart();
        answers(&scene.lab.client, at(Lab::HOST, 8080));
        assert_eq!(server.peers()[0].ip(), Lab::CLIENT);
        let outside = tcp_server(&scene.lab.client, Lab::CLIENT, 7);
        answers(&web, at(Lab::CLIENT, 7));
        assert_eq!(outside.peers()[0].ip(), Lab::HOST, "masqueraded");
        refused(&scene.lab.client, at(Lab::HOST, 80));
        assert_eq!(scene.rules(), left, "Docker has written none");
        portnat.stop();
        drop(server);

        let told = scene.migrated(&["--back"]);
        assert!(told.contains("\"iptables\": true (was false)"), "{told}");
        scene.migrated(&["--back", "--apply"]);
        assert_eq!(scene.config(), CONFIG, "letter by letter");
        assert!(!backup(&scene.file()).exists());
        let (_, _server) = scene.restart();
        answers(&scene.lab.client, at(Lab::HOST, 8080));
        let back = scene.rules();
        assert!(
            back.contains("-A FORWARD -s 203.0.113.0/24 -j DROP"),
            "{back}"
        );
        assert!(back.contains(users[2]), "{back}");
        assert!(!back.contains("portnat"), "{back}");
        scene.docker.docker(&["start", "lost"]);
        let sorted = |rules: &str| {
            let mut lines: Vec<_> = rules.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        let back = scene.rules();
        assert_eq!(sorted(&back), sorted(&before));
    }
}

/// Each of these is in the way, and then nothing at all is changed.
#[test]
fn what_would_be_lost_is_in_the_way() {
    let Some(scene) = Scene::new(Which::Stable, &["--userland-proxy=true"]) else {
        return;
    };
    let host = &scene.lab.host;
    scene.docker.run("web", &["-p", "8080:80"]);
    let parent = format!("parent={}", Lab::UPLINK);
    scene
        .docker
        .docker(&["network", "create", "-d", "macvlan", "-o", &parent, "lan"]);
    scene.docker.run("near", &["--network", "lan"]);
    tell(host, "iptables-nft", &["-N", "MINE"]);
    for rule in [
        "MINE -j DOCKER",
        "DOCKER -s 203.0.113.0/24 -j DROP",
        "DOCKER-USER -p tcp -m conntrack --ctorigdstport 8080 -s 198.51.100.0/24 -j DROP",
    ] {
        let words: Vec<_> = ["-I"].into_iter().chain(rule.split(' ')).collect();
        tell(host, "iptables-nft", &words);
    }
    let before = scene.rules();
    for arguments in [&[][..], &["--apply"]] {
        let ended = scene.migrate(arguments);
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        for line in [
            "dockerd is started with --userland-proxy=true",
            "container near is in network lan, whose driver macvlan",
            "-A MINE -j DOCKER: leads to a chain of Docker's",
            "-A DOCKER -s 203.0.113.0/24 -j DROP: is in a chain of Docker's and none of its rules",
            "portnat run --deny 8080=198.51.100.0/24 says the same",
            "nothing is changed: what is refused is in the way",
        ] {
            assert!(ended.stdout.contains(line), "{line}:\n{}", ended.stdout);
        }
        assert_eq!(
            (scene.rules(), scene.config()),
            (before.clone(), CONFIG.to_owned())
        );
        assert!(!backup(&scene.file()).exists());
    }
}
