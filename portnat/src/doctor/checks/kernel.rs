//! The kernel: what it can do, and whether we may.

use crate::cli::privileges::OLDEST;
use crate::doctor::facts::RUN;
use crate::doctor::{Facts, Finding, Severity};

/// What later kernels than the oldest can do, and what goes without it.
const LATER: [((u32, u32), &str, &str); 5] = [
    (
        (5, 12),
        "bpf_check_mtu",
        "nothing goes past the stack, and what is too long for a link is lost without an answer",
    ),
    (
        (5, 14),
        "namespace cookies",
        "pins of a network namespace that has ended can be taken for a later one's",
    ),
    (
        (6, 3),
        "devices that say whether they take frames",
        "there is no --xdp",
    ),
    (
        (6, 6),
        "TCX links",
        "clsact filters are used, before which others can be",
    ),
    (
        (6, 17),
        "IPv6 forwarding for each interface",
        "portnat has to make all of the host an IPv6 router",
    ),
];

pub(super) fn version(facts: &Facts) -> Vec<Finding> {
    let release = &facts.kernel.release;
    let Some(version) = facts.kernel.version else {
        return vec![Finding::new(
            Severity::Fault,
            format!("the kernel calls itself {release:?}"),
            "No version can be read from that, and portnat does not start on such a one.",
        )];
    };
    let (major, minor) = OLDEST;
    if version < OLDEST {
        let needed = format!("portnat needs Linux {major}.{minor} or later");
        return vec![
            Finding::new(
                Severity::Fault,
                format!("Linux {release} is too old"),
                format!("{needed}: its programs use what earlier kernels do not have."),
            )
            .mended_by("boot a newer kernel"),
        ];
    }
    let lacks = LATER.iter().filter(|(since, _, _)| version < *since);
    let lacks: Vec<_> = lacks.collect();
    if lacks.is_empty() {
        return vec![Finding::ok(format!(
            "Linux {release} has all that portnat makes use of"
        ))];
    }
    let names: Vec<_> = lacks.iter().map(|(_, name, _)| *name).collect();
    let summary = format!("Linux {release}, without {}", names.join(", "));
    let meanings: Vec<_> = lacks
        .iter()
        .map(|((major, minor), name, without)| {
            format!("Linux {major}.{minor} has {name}; before, {without}.")
        })
        .collect();
    vec![Finding::new(Severity::Note, summary, meanings.join(" "))]
}

pub(super) fn privileges(facts: &Facts) -> Vec<Finding> {
    let kernel = &facts.kernel;
    let missing: Vec<_> = RUN
        .iter()
        .filter(|(capability, _)| !kernel.may(*capability))
        .map(|(_, name)| *name)
        .collect();
    let sudo = "sudo portnat doctor";
    if !missing.is_empty() {
        return vec![
            Finding::new(
                Severity::Warning,
                format!("without {}", missing.join(" and ")),
                "portnat run needs these, and without them the doctor does not see the firewall's \
                 rules, nor whose sockets there are.",
            )
            .mended_by(sudo),
        ];
    }
    if !kernel.sees_all() {
        return vec![
            Finding::new(
                Severity::Note,
                "without CAP_SYS_ADMIN",
                "The names of other programs at our hooks and of other users' processes are not \
                 seen.",
            )
            .mended_by(sudo),
        ];
    }
    vec![Finding::ok("CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN")]
}

pub(super) fn jit(facts: &Facts) -> Vec<Finding> {
    let finding = match facts.sysctls.number("net/core/bpf_jit_enable") {
        Some(0) => Finding::new(
            Severity::Warning,
            "net.core.bpf_jit_enable is 0",
            "Programs are interpreted, which takes several times as long for each packet. Those \
             that are loaded already stay so: restart portnat afterwards.",
        )
        .mended_by("sysctl -w net.core.bpf_jit_enable=1"),
        Some(_) => Finding::ok("programs are compiled"),
        None => Finding::new(
            Severity::Note,
            "net.core.bpf_jit_enable is not seen here",
            "Either not in this network namespace, or the kernel has no compiler for BPF. Look \
             with: nsenter -t 1 -n sysctl net.core.bpf_jit_enable",
        ),
    };
    vec![finding]
}

pub(super) fn btf(facts: &Facts) -> Vec<Finding> {
    let path = "/sys/kernel/btf/vmlinux";
    let finding = match facts.kernel.btf {
        true => Finding::ok(path),
        false => Finding::new(
            Severity::Note,
            format!("no {path}"),
            "portnat works without; bpftool and bpftrace show less of it. It takes a kernel with \
             CONFIG_DEBUG_INFO_BTF.",
        ),
    };
    vec![finding]
}

pub(super) fn bpf_fs(facts: &Facts) -> Vec<Finding> {
    let path = "/sys/fs/bpf";
    let finding = match facts.kernel.bpf_fs {
        true => Finding::ok(format!("a BPF file system is mounted at {path}")),
        false => Finding::new(
            Severity::Note,
            format!("no BPF file system at {path}"),
            "Only --persist needs one, and mounts it if need be.",
        )
        .mended_by(format!("mount -t bpf bpf {path}")),
    };
    vec![finding]
}
