//! The real binary, started in a namespace, listened to and stopped.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use portnat::lab::{Lab, Namespace};
use tempfile::TempDir;

use crate::support::{INTERVAL, patience};

/// The binary under test.
pub(crate) const PORTNAT: &str = env!("CARGO_BIN_EXE_portnat");

/// The name of a control socket.
const SOCKET: &str = "portnat.sock";

/// A running `portnat`, or another program that is used alike. It is killed when dropped; what it said is shown if a test fails.
///
/// It dies with the thread that started it, which must be the test's own.
pub(crate) struct Daemon {
    process: Child,
    said: Arc<Said>,
    /// How many lines of it were awaited already.
    heard: usize,
    /// Where its control socket and its state are, unless it was told otherwise.
    folder: Option<TempDir>,
}

/// What a process has written to standard error.
#[derive(Default)]
struct Said {
    so_far: Mutex<Speech>,
    more: Condvar,
}

#[derive(Default)]
struct Speech {
    lines: Vec<String>,
    over: bool,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: Vec<String>,
}

/// A row of the table of published ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) flows: u64,
    pub(crate) packets_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) packets_out: u64,
    pub(crate) bytes_out: u64,
}

impl Row {
    /// What has come since the table was like this.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Row {
            flows: self.flows - earlier.flows,
            packets_in: self.packets_in - earlier.packets_in,
            bytes_in: self.bytes_in - earlier.bytes_in,
            packets_out: self.packets_out - earlier.packets_out,
            bytes_out: self.bytes_out - earlier.bytes_out,
        }
    }
}

impl Daemon {
    /// `portnat run` in the lab's host, ready when this returns.
    #[track_caller]
    pub(crate) fn run(lab: &Lab, arguments: &[&str]) -> Self {
        let mut daemon = Self::start(&lab.host, arguments);
        daemon.wait_for_line("ready");
        daemon
    }

    /// The same, without waiting for anything. The flow table is small, the control socket and the
    /// state are its own, unless told otherwise.
    pub(crate) fn start(namespace: &Namespace, arguments: &[&str]) -> Self {
        let mut command = namespace.command(PORTNAT);
        command.arg("run").args(arguments);
        if !arguments.contains(&"--max-flows") {
            command.args(["--max-flows", "4096"]);
        }
        let folder = tempfile::tempdir().expect("a directory");
        if !arguments.contains(&"--socket") {
            command.arg("--socket").arg(folder.path().join(SOCKET));
        }
        if !arguments.contains(&"--state") {
            command.arg("--state").arg(folder.path());
        }
        let mut daemon = Self::spawn(command);
        daemon.folder = Some(folder);
        daemon
    }

    /// Starts a command that is complete but for its standard streams.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let obey = || {
            for name in [Signal::SIGHUP, Signal::SIGINT] {
                // SAFETY: no handler of ours is taken away.
                unsafe { signal(name, SigHandler::SigDfl) }?;
            }
            Ok(())
        };
        // Tests that nohup runs, or a shell in the background, have them ignored, and so would what they start.
        // SAFETY: bare system calls, which neither allocate nor lock.
        unsafe { command.pre_exec(obey) };
        let mut process = command
            // What it says must not depend on it.
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        let stderr = process.stderr.take().expect("is piped");
        let said = Arc::new(Said::default());
        thread::spawn({
            let said = Arc::clone(&said);
            move || said.listen(stderr)
        });
        Self {
            process,
            said,
            heard: 0,
            folder: None,
        }
    }

    /// Its control socket, where that is one of its own.
    pub(crate) fn socket(&self) -> PathBuf {
        let folder = self.folder.as_ref().expect("was not told otherwise");
        folder.path().join(SOCKET)
    }

    /// Runs another command of portnat, about this one.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(PORTNAT);
        command.args(arguments).arg("--socket").arg(self.socket());
        let mut asking = Self::spawn(command);
        // It may say more than a pipe holds, and gives up by itself in the end.
        let mut stdout = String::new();
        let read = asking.stdout().read_to_string(&mut stdout);
        read.expect("text");
        Ended {
            stdout,
            ..asking.wait()
        }
    }

    /// The same, for a command that has to work; returns what it prints.
    #[track_caller]
    pub(crate) fn told(&self, arguments: &[&str]) -> String {
        let ended = self.ask(arguments);
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        assert_eq!(ended.stderr, [""; 0], "{ended:#?}");
        ended.stdout
    }

    /// Waits for a line of standard error that contains `pattern` and comes after the last one that
    /// was awaited, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_line(&mut self, pattern: &str) -> String {
        let deadline = Instant::now() + patience();
        let mut speech = self.said.lock();
        loop {
            let news = &speech.lines[self.heard..];
            if let Some(at) = news.iter().position(|line| line.contains(pattern)) {
                let line = news[at].clone();
                self.heard += at + 1;
                return line;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!speech.over, "it ended without saying {pattern:?}");
            assert!(!left.is_zero(), "it did not say {pattern:?} in time");
            let waited = self.said.more.wait_timeout(speech, left);
            (speech, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The first line of standard error that contains `pattern`, of all there were.
    #[track_caller]
    pub(crate) fn line(&self, pattern: &str) -> String {
        let speech = self.said.lock();
        let mut lines = speech.lines.iter();
        lines
            .find(|line| line.contains(pattern))
            .unwrap_or_else(|| panic!("it did not say {pattern:?}"))
            .clone()
    }

    /// The process's number.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().try_into().expect("a process's number"))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it has not been waited for yet");
    }

    /// Its standard output, to be read while it runs.
    pub(crate) fn stdout(&mut self) -> impl BufRead + use<> {
        BufReader::new(self.process.stdout.take().expect("is asked for once"))
    }

    /// Stops it by SIGTERM, as systemd would; returns its table.
    #[track_caller]
    pub(crate) fn stop(self) -> String {
        self.stop_by(Signal::SIGTERM)
    }

    /// Stops it by a signal that it should obey.
    #[track_caller]
    pub(crate) fn stop_by(self, signal: Signal) -> String {
        self.signal(signal);
        let ended = self.wait();
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        ended.stdout
    }

    /// Waits until it ends.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let deadline = Instant::now() + patience();
        let status = loop {
            match self.process.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if Instant::now() > deadline => panic!("it did not end in time"),
                None => thread::sleep(INTERVAL),
            }
        };
        let mut stdout = String::new();
        if let Some(mut pipe) = self.process.stdout.take() {
            pipe.read_to_string(&mut stdout).expect("text");
        }
        let mut speech = self.said.lock();
        while !speech.over {
            let waited = self.said.more.wait(speech);
            speech = waited.unwrap_or_else(PoisonError::into_inner);
        }
        Ended {
            status,
            stdout,
            stderr: speech.lines.clone(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("process {} said:", self.process.id());
            for line in &self.said.lock().lines {
                eprintln!("  {line}");
            }
        }
        // Neither fails but on one that has ended and was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, Speech> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down what comes until the end.
    fn listen(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            self.lock().lines.push(line);
            self.more.notify_all();
        }
        self.lock().over = true;
        self.more.notify_all();
    }
}

/// The row of a published port, such as `0.0.0.0:8080/tcp`, in a table.
#[track_caller]
pub(crate) fn row(table: &str, port: &str) -> Row {
    let line = table
        .lines()
        .find(|line| line.split_whitespace().next() == Some(port))
        .unwrap_or_else(|| panic!("no {port} in\n{table}"));
    let numbers: Vec<u64> = line
        .split_whitespace()
        .skip(2)
        .map(|number| number.parse().expect("a number"))
        .collect();
    let &[flows, packets_in, bytes_in, packets_out, bytes_out] = numbers.as_slice() else {
        panic!("not five numbers for {port} in\n{table}");
    };
    Row {
        flows,
        packets_in,
        bytes_in,
        packets_out,
        bytes_out,
    }
}
