//! One anonymous network namespace, and ways to run code in it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use super::error::{During, Result};
use super::links::Links;

/// Settings that a new namespace would copy from the machine (`net.core.devconf_inherit_init_net`
/// is 0 by default), where Docker or a distribution may have changed them. A lab must not differ
/// from one machine to the next.
const BASELINE: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/route_localnet", "0"),
    ("net/ipv4/conf/default/route_localnet", "0"),
];

/// Duplicate address detection holds a new IPv6 address back for a second or more, to find a
/// rival that a lab cannot have. The kernel takes the greater of `all` and the interface's own.
const ACCEPT_DAD: &[&str] = &[
    "net/ipv6/conf/all/accept_dad",
    "net/ipv6/conf/default/accept_dad",
];

/// A network namespace without a name.
///
/// It lives as long as a clone of this handle, a thread, a process or a socket in it. A thread
/// joins a namespace for good: each piece of code runs on a thread of its own, and the caller's
/// never changes place.
#[derive(Clone, Debug)]
pub struct Namespace {
    file: Arc<OwnedFd>,
}

impl Namespace {
    /// Creates a namespace, with its loopback interface up, forwarding off and IPv6 addresses
    /// usable as soon as they are added.
    ///
    /// # Errors
    /// Without `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, or when the kernel's limit of namespaces is
    /// reached.
    pub fn new() -> Result<Self> {
        let file = on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            // Not /proc/self: that is the process's first thread, which stayed where it was.
            Ok::<_, io::Error>(File::open("/proc/thread-self/ns/net")?.into())
        })
        .during(|| "creating a network namespace".into())?;

        let namespace = Self {
            file: Arc::new(file),
        };
        for &(name, value) in BASELINE {
            namespace.sysctl(name, value)?;
        }
        if namespace.has_ipv6() {
            for name in ACCEPT_DAD {
                namespace.sysctl(name, "0")?;
            }
        }
        namespace.links().set_up("lo")?;
        Ok(namespace)
    }

    /// The namespace that a process is in.
    ///
    /// # Errors
    /// When there is no such process, or it is not ours to look at.
    pub fn of_process(id: u32) -> Result<Self> {
        let file = File::open(format!("/proc/{id}/ns/net"))
            .during(|| format!("opening the network namespace of process {id}"))?;
        Ok(Self {
            file: Arc::new(file.into()),
        })
    }

    /// Runs `f` in the namespace and returns its answer. The caller waits; `f` may borrow from
    /// it.
    ///
    /// # Panics
    /// With the panic of `f`, so that an assertion in it fails the test around it; or when the
    /// process no longer may enter its own namespace.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        on_own_thread(|| {
            self.enter();
            f()
        })
    }

    /// Starts a thread called `name` in the namespace, for something that outlasts the call.
    ///
    /// # Panics
    /// When the system has no thread to give; the thread itself, when the process no longer may
    /// enter its own namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let namespace = self.clone();
        let in_namespace = move || {
            namespace.enter();
            drop(namespace); // From here on the thread itself keeps the namespace.
            f()
        };
        thread::Builder::new()
            .name(name.into())
            .spawn(in_namespace)
            .unwrap_or_else(|error| panic!("starting thread {name}: {error}"))
    }

    /// Prepares a program to be run in the namespace.
    ///
    /// The program is killed when the *thread* that started it ends: that is how Linux defines
    /// `PR_SET_PDEATHSIG`. It cannot outlive the process, then; but do not start it inside
    /// [`run`](Self::run), whose thread is short-lived. It sees the machine's `/sys`, so it finds
    /// interfaces by netlink only.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let namespace = self.clone();
        let parent = Pid::this();
        let prepare = move || {
            setns(&*namespace.file, CloneFlags::CLONE_NEWNET)?;
            set_pdeathsig(Signal::SIGKILL)?;
            // A parent that died before the line above sends no signal any more.
            if getppid() == parent {
                Ok(())
            } else {
                Err(Errno::ESRCH.into())
            }
        };

        let mut command = Command::new(program);
        // SAFETY: between fork and exec, only what is async-signal-safe may run. `prepare` makes
        // three bare system calls and neither allocates nor locks.
        unsafe { command.pre_exec(prepare) };
        command
    }

    /// The namespace's links, addresses and routes.
    pub const fn links(&self) -> Links<'_> {
        Links::new(self)
    }

    /// Writes a network setting, such as `net/ipv4/ip_forward`. The slashes let an interface's
    /// name have dots.
    ///
    /// # Errors
    /// When there is no such setting, or it does not take the value.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.run(|| fs::write(sysctl_path(name), value))
            .during(|| format!("setting sysctl {name} to {value}"))
    }

    /// Reads a network setting, without the line's end.
    ///
    /// # Errors
    /// When there is no such setting, or it may only be written.
    pub fn sysctl_get(&self, name: &str) -> Result<String> {
        self.run(|| fs::read_to_string(sysctl_path(name)))
            .map(|value| value.trim_end().to_owned())
            .during(|| format!("reading sysctl {name}"))
    }

    /// The open namespace, for `setns` or a netlink request.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether the kernel speaks IPv6 at all; `ipv6.disable=1` makes it forget.
    fn has_ipv6(&self) -> bool {
        self.run(|| sysctl_path("net/ipv6").exists())
    }

    /// Moves the calling thread into the namespace.
    fn enter(&self) {
        setns(&*self.file, CloneFlags::CLONE_NEWNET)
            .unwrap_or_else(|error| panic!("entering a namespace of the lab: {error}"));
    }
}

/// `/proc/sys/net` shows the network namespace of the thread that looks.
fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

/// Runs `f` on a new thread and returns its answer, or goes on with its panic. The thread has the
/// caller's name, so that the panic's message tells which test it was.
fn on_own_thread<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let name = thread::current().name().unwrap_or("lab").to_owned();
    thread::scope(|scope| {
        thread::Builder::new()
            .name(name)
            .spawn_scoped(scope, f)
            .unwrap_or_else(|error| panic!("starting a thread: {error}"))
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}
