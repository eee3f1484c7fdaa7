//! A dockerd of a test's own.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, thread};

use portnat::lab::Namespace;
use tempfile::TempDir;

use crate::support::eventually;

/// What dockerd is told when portnat does its work.
pub(super) const WITHOUT_RULES: [&str; 3] = [
    "--iptables=false",
    "--ip6tables=false",
    "--userland-proxy=false",
];

/// The image of all containers: busybox alone.
const IMAGE: &str = "busybox";

/// Which Docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The one of this machine's Debian.
    Stable,
    /// The newest of Debian.
    Newest,
}

/// A dockerd, its containerd and its containers, in process and mount namespaces of their own: with the first
/// process there, which dies with the thread that started it, all of them are gone.
pub(super) struct Dockerd {
    shell: Child,
    orders: ChildStdin,
    folder: TempDir,
    /// Where its programs are, and the machine's.
    path: OsString,
    /// The folder below each cgroup hierarchy that its containers are in.
    cgroup: String,
    line: String,
}

impl Which {
    pub(super) fn variable(self) -> &'static str {
        match self {
            Which::Stable => "PORTNAT_TEST_DOCKER",
            Which::Newest => "PORTNAT_TEST_DOCKER_NEWEST",
        }
    }

    fn folder(self) -> Option<PathBuf> {
        let folder = env::var_os(self.variable()).map(PathBuf::from);
        if folder.is_none() {
            let test = thread::current();
            let test = test.name().unwrap_or("a test");
            // Not by eprintln!, of which nothing is shown for a test that passes.
            let said = writeln!(
                io::stderr(),
                "SKIPPED {test}: no {}: run it by `cargo xtask test e2e`",
                self.variable()
            );
            said.expect("standard error");
        }
        folder
    }
}

impl Dockerd {
    /// One in this namespace, ready when this returns; `None` where it is not there.
    #[track_caller]
    pub(super) fn start(host: &Namespace, which: Which, arguments: &[&str]) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let own = which.folder()?;
        let stable = Which::Stable.folder()?;
        let folders = [&own, &stable].into_iter();
        let folders = folders.flat_map(|it| ["usr/sbin", "usr/bin"].map(|bin| it.join(bin)));
        let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
        let path = env::join_paths(folders.chain(system)).expect("no colons");
        let folder = tempfile::tempdir().expect("a directory");
        let at = folder.path().display();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("portnat-e2e-{}-{number}", std::process::id());
        let line = format!(
            "dockerd --data-root {at}/data --exec-root {at}/exec -p {at}/pid -H unix://{at}/docker.sock \
             --storage-driver vfs --cgroup-parent /{cgroup} {} </dev/null >>{at}/log 2>&1 &",
            arguments.join(" ")
        );
        // Its own /sys shows its own network, and what it makes below /run nobody else sees.
        let script = "mount -t tmpfs none /run && mount -t sysfs none /sys && \
                      { mount -t cgroup2 none /sys/fs/cgroup || exit 1; } && \
                      while read -r line; do eval \"$line\"; done";
        let mut shell = host
            .command("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", script])
            .env("PATH", &path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut dockerd = Dockerd {
            orders: shell.stdin.take().expect("is piped"),
            shell,
            folder,
            path,
            cgroup,
            line,
        };
        dockerd.start_again();
        dockerd.import(&stable);
        Some(dockerd)
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> String {
        let socket = self.folder.path().join("docker.sock");
        socket.to_str().expect("is text").to_owned()
    }

    /// Ends it by this signal.
    #[track_caller]
    pub(super) fn end(&mut self, signal: &str) {
        let pid = self.folder.path().join("pid");
        let order = format!(
            "it=$(cat {0}); kill -{signal} $it; wait $it; rm -f {0}",
            pid.display()
        );
        self.order(&order);
        eventually("dockerd ends", || match pid.exists() {
            true => Err("it is there"),
            false => Ok(()),
        });
    }

    /// Starts it once more.
    #[track_caller]
    pub(super) fn start_again(&mut self) {
        let line = self.line.clone();
        self.order(&line);
        eventually("dockerd", || match self.try_docker(&["version"]) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("{why}\n{}", self.log())),
        });
    }

    /// What a command of docker prints, which has to work.
    #[track_caller]
    pub(super) fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments)
            .unwrap_or_else(|why| panic!("docker {arguments:?}: {why}"))
    }

    /// The same, or what it says to standard error.
    pub(super) fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(arguments).output().expect("docker");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// A command of docker.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut docker = Command::new("docker");
        docker
            .args(arguments)
            .env("PATH", &self.path)
            .env("DOCKER_HOST", format!("unix://{}", self.socket()))
            .env("DOCKER_CONFIG", self.folder.path());
        docker
    }

    /// Runs a container that does nothing, and returns its network namespace.
    #[track_caller]
    pub(super) fn run(&self, name: &str, options: &[&str]) -> Namespace {
        self.docker(&[&["run", "-d", "--name", name], options, &sleeping()].concat());
        self.namespace(name)
    }

    /// A container's network namespace, as long as it runs.
    #[track_caller]
    pub(super) fn namespace(&self, name: &str) -> Namespace {
        let id = self.docker(&["inspect", "-f", "{{.Id}}", name]);
        let process = eventually("the container's process", || {
            process_in(&format!("{}/{id}", self.cgroup)).ok_or("is none")
        });
        Namespace::of_process(process).expect("a network namespace")
    }

    /// A container's address in a network, of IPv4.
    #[track_caller]
    pub(super) fn address(&self, name: &str, network: &str) -> IpAddr {
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        let address = self.docker(&["inspect", "-f", &format, name]);
        address.parse().unwrap_or_else(|_| panic!("{address:?}"))
    }

    fn import(&self, tools: &Path) {
        let root = self.folder.path().join("root");
        fs::create_dir_all(root.join("bin")).expect("a folder");
        let busybox = ["bin/busybox", "usr/bin/busybox"].map(|it| tools.join(it));
        let busybox = busybox.iter().find(|it| it.is_file()).expect("busybox");
        fs::copy(busybox, root.join("bin/busybox")).expect("copied");
        let archive = self.folder.path().join("root.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
        assert!(tar.status().expect("tar").success());
        self.docker(&["import", archive.to_str().expect("is text"), IMAGE]);
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").expect("a shell that reads");
    }

    fn log(&self) -> String {
        let log = fs::read(self.folder.path().join("log")).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(2000)..];
        String::from_utf8_lossy(tail).into_owned()
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("what dockerd has said:\n{}", self.log());
        }
        // With it goes the first process of the namespace, and with that all others.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        let gone = || process_in(&self.cgroup).is_none();
        while !gone() {
            thread::yield_now();
        }
        for hierarchy in ["", "unified"] {
            let top = Path::new("/sys/fs/cgroup").join(hierarchy);
            remove_cgroup(&top.join(&self.cgroup));
        }
    }
}

/// The command of a container that does nothing.
pub(super) fn sleeping() -> [&'static str; 4] {
    [IMAGE, "/bin/busybox", "sleep", "1000000"]
}

/// The first process in a cgroup of this name.
fn process_in(cgroup: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.find(|id| {
        let its = fs::read(format!("/proc/{id}/cgroup")).unwrap_or_default();
        let wanted = cgroup.as_bytes();
        its.windows(wanted.len()).any(|it| it == wanted)
    })
}

/// Cgroups are removed by themselves, each before the one around it.
fn remove_cgroup(folder: &Path) {
    let inner = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in inner.filter(|entry| entry.path().is_dir()) {
        remove_cgroup(&entry.path());
    }
    // It may never have been there.
    let _ = fs::remove_dir(folder);
}
