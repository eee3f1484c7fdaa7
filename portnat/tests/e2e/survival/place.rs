//! A BPF file system and a directory for each test, of which nothing is left however it ends.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use portnat::lab::{Lab, Namespace};
use tempfile::TempDir;

use std::os::unix::process::CommandExt as _;

use crate::daemon::{Daemon, Ended, PORTNAT, Row, row};

/// Where daemons of one test pin things and have their socket.
///
/// The file system is mounted in a mount namespace of its own, which ends with this and the daemons:
/// what is pinned goes with it.
pub(crate) struct Place {
    mounts: File,
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        fs::create_dir(folder.path().join("bpf")).expect("a directory");
        let bpf = folder.path().join("bpf");
        let mounts = thread::spawn(move || {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).expect("a mount namespace");
            let none = None::<&str>;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(none, "/", none, private, none).expect("private mounts");
            mount(Some("bpf"), &bpf, Some("bpf"), MsFlags::empty(), none).expect("mounted");
            File::open("/proc/thread-self/ns/mnt").expect("is there")
        });
        Place {
            mounts: mounts.join().expect("it can be mounted"),
            folder,
        }
    }

    /// Where things are pinned.
    pub(crate) fn pins(&self) -> PathBuf {
        self.folder.path().join("bpf/portnat")
    }

    /// Where a config file can be.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("portnat.toml")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("portnat.sock")
    }

    /// Where changed sysctls are written down, if they are.
    pub(crate) fn records(&self) -> Vec<PathBuf> {
        self.written("-sysctls")
    }

    /// Runs something where the file system is seen.
    pub(crate) fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                unshare(CloneFlags::CLONE_FS).expect("a thread may");
                setns(&self.mounts, CloneFlags::CLONE_NEWNS).expect("it is ours");
                f()
            });
            there.join().expect("it does not panic")
        })
    }

    /// What is pinned.
    pub(crate) fn pinned(&self) -> BTreeSet<PathBuf> {
        self.inside(|| {
            let mut found = BTreeSet::new();
            gather(&self.pins(), &mut found);
            found
        })
    }

    /// Starts a command of portnat's in the host.
    fn spawn(&self, host: &Namespace, arguments: &[&str]) -> Daemon {
        let mut command = host.command(PORTNAT);
        command.args(arguments);
        command.arg("--pin-dir").arg(self.pins());
        command.arg("--socket").arg(self.socket());
        let mounts = self.mounts.try_clone().expect("a descriptor");
        let enter = move || Ok(setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)?);
        // SAFETY: a bare system call, which neither allocates nor locks.
        unsafe { command.pre_exec(enter) };
        Daemon::spawn(command)
    }

    /// Starts a daemon with these arguments and no others of consequence.
    pub(crate) fn start(&self, lab: &Lab, arguments: &[&str]) -> Daemon {
        let state = self.folder.path().join("state");
        let mut all = vec!["run", "--state", state.to_str().expect("text")];
        if !arguments.contains(&"--max-flows") {
            all.extend(["--max-flows", "4096"]);
        }
        all.extend(arguments);
        self.spawn(&lab.host, &all)
    }

    /// The same, ready when this returns.
    #[track_caller]
    pub(crate) fn run(&self, lab: &Lab, arguments: &[&str]) -> Daemon {
        let mut daemon = self.start(lab, arguments);
        daemon.wait_for_line("ready");
        daemon
    }

    /// Runs `portnat cleanup`.
    pub(crate) fn clean_up(&self, lab: &Lab) -> Ended {
        let mut cleanup = self.spawn(&lab.host, &["cleanup"]);
        let mut stdout = String::new();
        cleanup.stdout().read_to_string(&mut stdout).expect("text");
        Ended {
            stdout,
            ..cleanup.wait()
        }
    }

    /// Runs another command of portnat, about the running daemon, which has to work; returns what it
    /// prints.
    #[track_caller]
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        let told = self.try_told(arguments);
        assert!(told.status.success(), "{arguments:?}: {told:#?}");
        String::from_utf8(told.stdout).expect("text")
    }

    /// The same, whether it works or not.
    pub(crate) fn try_told(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = std::process::Command::new(PORTNAT);
        command.args(arguments).arg("--socket").arg(self.socket());
        command.output().expect("it starts")
    }

    /// What is written down beside the control socket under a name that ends so.
    pub(crate) fn written(&self, end: &str) -> Vec<PathBuf> {
        let files = fs::read_dir(self.folder.path()).expect("is there");
        let paths = files.map(|file| file.expect("a name").path());
        paths
            .filter(|path| path.to_string_lossy().ends_with(end))
            .collect()
    }

    /// The row of a port in what the running daemon tells.
    #[track_caller]
    pub(crate) fn row(&self, port: &str) -> Row {
        row(&self.told(&["ls"]), port)
    }
}

/// Kills a daemon and waits for its end.
pub(crate) fn kill(daemon: Daemon) {
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
}

fn gather(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            gather(&entry.path(), found);
        }
        found.insert(entry.path());
    }
}
