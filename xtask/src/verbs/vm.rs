//! `cargo xtask vm`: portnat's own tests on other kernels, in virtual machines.

mod guest;
mod initramfs;
mod kernels;
mod outcome;
mod qemu;
mod table;
mod trials;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    apt, cargo, ebpf,
    exec::{self, say},
};
use initramfs::Initramfs;
use kernels::Kernel;
use outcome::Outcome;
use qemu::Qemu;
use table::Row;

/// Programs that the tests or the guest's init start, and Debian's packages that have them.
const TOOLS: [(&str, &str); 5] = [
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("kmod", "kmod"),
    ("nft", "nftables"),
    ("tcpdump", "tcpdump"),
];

/// What makes guests.
const HERE: [(&str, &str); 2] = [("depmod", "kmod"), ("strip", "binutils")];

/// The kernel's modules that the tests could need: folders, and files that lie among many.
const MODULES: [&str; 8] = [
    "net",
    "lib",
    "crypto",
    "arch/x86/crypto",
    "drivers/net/dummy.ko",
    "drivers/net/macvlan.ko",
    "drivers/net/tun.ko",
    "drivers/net/veth.ko",
];

/// What is tried where no series are named: the oldest that Debian looks after, and later ones.
const SERIES: [&str; 6] = ["5.10", "6.1", "6.12", "6.18", "7.2", "7.3"];

/// The short form of that.
const SHORT: [&str; 2] = ["5.10", "7.3"];

/// What is asked for.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Series of kernels, such as 6.12; the newest one that Debian has of each is taken. By default six,
    /// from 5.10 on.
    series: Vec<String>,
    /// Two kernels by default, the oldest and the newest, and little more than that programs are loaded;
    /// where there is no QEMU or no kernel, say so and succeed.
    #[arg(long)]
    short: bool,
    /// Tests to run instead of the usual ones: parts of their names.
    #[arg(last = true)]
    filters: Vec<String>,
}

/// Runs the tests on each kernel; what was found is in target/vm.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (kernels, qemu) = match provide(options) {
        Ok(provided) => provided,
        Err(error) if options.short => {
            say(&format!("SKIPPING THE TESTS ON OTHER KERNELS: {error:#}"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    ebpf::build()?;
    let folder = cargo::target().join("vm");
    fs::create_dir_all(&folder)?;
    let programs = build(&folder)?;
    let mut rows = Vec::new();
    for kernel in &kernels {
        rows.push(try_kernel(kernel, options, &programs, &qemu, &folder)?);
        // What is known so far, whoever loses patience.
        table::write(&rows, qemu.version(), &folder)?;
    }
    println!("{}", table::text(&rows));
    match rows.iter().filter(|row| !row.good).count() {
        0 => Ok(()),
        bad => bail!(
            "{bad} of {} kernels are not good: {} has their consoles",
            rows.len(),
            folder.display()
        ),
    }
}

/// Everything that must be had from elsewhere.
fn provide(options: &Options) -> Result<(Vec<Kernel>, Qemu)> {
    ensure!(
        env::consts::ARCH == "x86_64",
        "guests are for x86_64, which this machine is not"
    );
    for (program, package) in TOOLS.into_iter().chain(HERE) {
        apt::require(program, package)?;
    }
    let qemu = Qemu::provide()?;
    let kernels = if options.series.is_empty() {
        let usual = if options.short { &SHORT[..] } else { &SERIES };
        let usual: Vec<_> = usual.iter().map(|&name| name.to_owned()).collect();
        kernels::provide(&usual, false)
    } else {
        kernels::provide(&options.series, true)
    };
    Ok((kernels?, qemu))
}

/// portnat and its tests.
struct Programs {
    /// The path by which the tests know portnat.
    portnat: PathBuf,
    /// The tests and portnat, without what only a debugger needs.
    stripped: [PathBuf; 2],
}

/// Builds the tests as `cargo xtask test e2e` does.
fn build(folder: &Path) -> Result<Programs> {
    say("building the tests");
    let mut cargo = cargo::command();
    cargo.args(["test", "--package", "portnat", "--test", "e2e", "--no-run"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let messages = cargo
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(messages.status.success(), "the tests cannot be built");
    let messages = String::from_utf8(messages.stdout)?;
    let find = |name: &str| {
        executable(&messages, name).with_context(|| format!("cargo does not say where {name} is"))
    };
    let portnat = find("portnat")?;
    let mut stripped = [find("e2e")?, portnat.clone()];
    for (program, name) in stripped.iter_mut().zip(["e2e", "portnat"]) {
        let to = folder.join(name);
        exec::output(Command::new("strip").arg("-o").arg(&to).arg(&*program))?;
        *program = to;
    }
    Ok(Programs { portnat, stripped })
}

/// Where cargo has put the program of that name.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

fn try_kernel(
    kernel: &Kernel,
    options: &Options,
    programs: &Programs,
    qemu: &Qemu,
    folder: &Path,
) -> Result<Row> {
    let release = &kernel.release;
    say(&format!("booting Linux {release}"));
    let trials = match options.filters.is_empty() {
        true => trials::of(kernel.version(), options.short),
        false => trials::named(&options.filters),
    };
    let limit = match options.short {
        true => guest::SHORT,
        false => guest::PATIENT,
    };
    let archive = folder.join(format!("{release}.cpio"));
    pack(kernel, programs, &guest::init(&trials, limit), &archive)?;
    let log = folder.join(format!("{release}.log"));
    let began = Instant::now();
    let time = Duration::from_secs(limit) * trials.len() as u32;
    let lines = guest::boot(qemu, &kernel.image()?, &archive, time, &log, |line| {
        if let Some(test) = line.strip_prefix("test ")
            && line.contains(" ... ")
        {
            say(&format!("{release}: {test}"));
        }
    })?;
    fs::remove_file(archive)?;
    let mut outcome = Outcome::read(lines.iter().map(String::as_str), &trials);
    if outcome.release.is_empty() {
        outcome.release.clone_from(release);
    }
    let good = outcome.is_good(&trials);
    if !good {
        say(&format!(
            "Linux {release}: {}: see {}",
            outcome.complaint(),
            log.display()
        ));
    }
    Ok(Row {
        outcome,
        good,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Writes what the guest finds when it starts.
fn pack(kernel: &Kernel, programs: &Programs, init: &str, archive: &Path) -> Result<()> {
    let mut initramfs = Initramfs::new(archive)?;
    for place in [
        "/dev", "/proc", "/run", "/sys", "/tmp", "/var/lib", "/var/tmp",
    ] {
        initramfs.folder(place)?;
    }
    initramfs.file("/init", init.as_bytes())?;
    // tcpdump becomes somebody of its own.
    initramfs.file(
        "/etc/passwd",
        b"root:x:0:0::/:/bin/sh\ntcpdump:x:100:100::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )?;
    // nft asks for these by name.
    initramfs.file(
        "/etc/protocols",
        b"icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\nsctp 132 SCTP\n",
    )?;
    initramfs.file(
        "/etc/group",
        b"root:x:0:\ntcpdump:x:100:\nnogroup:x:65534:\n",
    )?;
    for (tool, _) in TOOLS {
        let found = exec::find(tool).with_context(|| format!("there is no {tool}"))?;
        initramfs.program(format!("/bin/{tool}"), &found)?;
    }
    // The kernel asks this for modules.
    initramfs.link("/sbin/modprobe", "/bin/kmod")?;
    let [tests, portnat] = &programs.stripped;
    initramfs.program(&programs.portnat, portnat)?;
    initramfs.program(guest::TESTS, tests)?;
    pack_modules(kernel, &mut initramfs)?;
    initramfs.finish()
}

/// The modules, and the lists of what they are for and need.
fn pack_modules(kernel: &Kernel, initramfs: &mut Initramfs) -> Result<()> {
    let release = &kernel.release;
    let stage = cargo::target().join(format!("vm/{release}.modules"));
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    let from = kernel.modules()?;
    let to = stage.join("lib/modules").join(release);
    for module in MODULES {
        // Newer ones are compressed; kmod does not mind.
        for ending in ["", ".xz", ".zst"] {
            let (from, to) = (from.join(format!("{module}{ending}")), to.join("kernel"));
            let to = to.join(format!("{module}{ending}"));
            if !from.exists() {
                continue;
            }
            to.parent().map_or(Ok(()), fs::create_dir_all)?;
            exec::output(Command::new("cp").arg("-r").arg(from).arg(to))?;
        }
    }
    let depmod = exec::find("depmod").context("there is no depmod")?;
    exec::output(Command::new(depmod).arg("-b").arg(&stage).arg(release))?;
    initramfs.tree(Path::new("/lib/modules"), &stage.join("lib/modules"))?;
    Ok(fs::remove_dir_all(stage)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_programs_are() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"e2e"},"executable":null}
not for us
{"reason":"compiler-artifact","target":{"name":"portnat"},"executable":"/t/debug/portnat"}
{"reason":"compiler-artifact","target":{"name":"e2e"},"executable":"/t/debug/deps/e2e-1"}"#;
        assert_eq!(
            executable(messages, "e2e"),
            Some("/t/debug/deps/e2e-1".into())
        );
        assert_eq!(
            executable(messages, "portnat"),
            Some("/t/debug/portnat".into())
        );
        assert_eq!(executable(messages, "progrun"), None);
    }
}
