//! A virtual machine: it starts, does what its init says, and ends; what its console says is all that is
//! known of it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{qemu::Qemu, trials::Trial};

/// What QEMU is run with. It computes by itself: where there is a /dev/kvm that need not mean that it
/// runs any kernel. QEMU 7.2 crashes Linux 6.12 with `cx16`. What a processor needs against its own faults
/// only costs time here. A machine with much else to do can be too slow for 5.10's test of whether the timer
/// interrupts (`no_timer_check`).
const MACHINE: [&str; 20] = [
    "-machine",
    "q35",
    "-cpu",
    "max,-cx16",
    "-smp",
    "2",
    "-m",
    "1536",
    "-nodefaults",
    "-no-user-config",
    "-nic",
    "none",
    "-display",
    "none",
    "-serial",
    "stdio",
    "-no-reboot",
    "-append",
    "console=ttyS0 panic=-1 oops=panic mitigations=off no_timer_check quiet",
    "-kernel",
];

/// What lines of the init's begin with.
pub(super) const MARK: &str = "@portnat ";

/// How long a trial may take in the guest, in seconds: several times what it takes on a machine with
/// nothing else to do.
pub(super) const PATIENT: u64 = 1200;

/// The same for who has no time.
pub(super) const SHORT: u64 = 600;

/// How long all else may take.
const REST: Duration = Duration::from_secs(300);

/// Where the tests are.
pub(super) const TESTS: &str = "/bin/e2e";

/// What the guest's first process does. It needs /proc, /sys and the rest that any host has, and loads
/// what the kernel does not ask for by itself.
pub(super) fn init(trials: &[Trial], limit: u64) -> String {
    let mut script = format!(
        "#!/bin/busybox sh\n\
         export PATH=/sbin:/bin HOME=/ TMPDIR=/tmp PORTNAT_TEST_PATIENCE=600 PORTNAT_TEST_OWN_MACHINE=1\n\
         /bin/busybox --install -s /bin 2>/dev/null\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sys /sys\n\
         mount -t devtmpfs dev /dev\n\
         mount -t bpf bpf /sys/fs/bpf\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         modprobe -a br_netfilter tun veth bridge sch_ingress cls_bpf\n\
         ip link set lo up\n\
         echo \"{MARK}kernel $(uname -r)\"\n\
         echo \"{MARK}version $(uname -v)\"\n\
         try() {{\n\
         name=$1; shift\n\
         echo \"{MARK}begin $name\"\n\
         timeout -s KILL {limit} {TESTS} --test-threads 1 --show-output \"$@\" </dev/null 2>&1\n\
         result=$?\n\
         echo; echo \"{MARK}end $result $(cut -d ' ' -f 1 /proc/uptime)\"\n\
         }}\n"
    );
    for trial in trials {
        let exact = if trial.exact { "--exact " } else { "" };
        let tests: Vec<_> = trial.tests.iter().map(|test| quoted(test)).collect();
        let name = quoted(&trial.name);
        script += &format!("try {name} {exact}{}\n", tests.join(" "));
    }
    // The last words need a moment to leave.
    script += &format!(
        "tainted=$(cat /proc/sys/kernel/tainted)\n\
         [ \"$tainted\" = 0 ] || dmesg | grep -A 40 'cut here'\n\
         echo \"{MARK}tainted $tainted\"\n\
         echo \"{MARK}done\"\n\
         sleep 1\n\
         poweroff -f\n"
    );
    script
}

/// Boots a kernel and returns the lines of its console, all of which are in a file too. What does not end in
/// this time, and some for the rest, is ended.
pub(super) fn boot(
    qemu: &Qemu,
    image: &Path,
    initramfs: &Path,
    time: Duration,
    log: &Path,
    mut heard: impl FnMut(&str),
) -> Result<Vec<String>> {
    let mut console = File::create(log).with_context(|| format!("writing {}", log.display()))?;
    let complaints = console.try_clone()?;
    let mut running = qemu
        .command()
        .args(["-accel", qemu.accelerator()])
        .args(MACHINE)
        .arg(image)
        .arg("-initrd")
        .arg(initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(complaints)
        .spawn()
        .context("cannot start QEMU")?;
    let output = running.stdout.take().context("it is piped")?;
    let (sender, receiver) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + REST + time;
    let mut lines = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left) {
            Ok(line) => {
                writeln!(console, "{line}")?;
                heard(&line);
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                lines.push("it did not end in time".to_owned());
                break;
            }
        }
    }
    end(running);
    drop(receiver);
    // It panics at nothing.
    let _ = reader.join();
    Ok(lines)
}

/// Neither fails but for a process that has ended and was waited for.
fn end(mut qemu: Child) {
    let _ = qemu.kill();
    let _ = qemu.wait();
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_are_words_to_the_shell() {
        let trial = |name: &str, exact| Trial {
            name: name.to_owned(),
            tests: vec!["a::b".to_owned(), "it's".to_owned()],
            exact,
        };
        let script = init(&[trial("fast path", true), trial("named", false)], 300);
        let tries: Vec<_> = script
            .lines()
            .filter(|line| line.starts_with("try '"))
            .collect();
        assert_eq!(
            tries,
            [
                r"try 'fast path' --exact 'a::b' 'it'\''s'",
                r"try 'named' 'a::b' 'it'\''s'"
            ]
        );
    }
}
