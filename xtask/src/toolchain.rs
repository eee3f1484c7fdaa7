//! Which compiler builds the eBPF crate: the choice, as a pure function of what is there.
//!
//! core for bpfel is no rustup component. Either a nightly builds it from `rust-src`, or it comes
//! prebuilt with Debian's rustc-web, a stable compiler that `RUSTC_BOOTSTRAP` lets use it.

use std::{fmt, path::PathBuf};

use crate::linker;

/// The nightly to get where none is: aya-ebpf builds with it, and its LLVM is the linker's.
pub(crate) const PINNED_NIGHTLY: &str = "nightly-2026-05-20";

/// What of Debian makes [`Way::Prebuilt`].
pub(crate) const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// Where Debian's rustc is; rustup's is never there.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// How core for bpfel comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `-Z build-std=core` with this rustup toolchain.
    BuildStd(String),
    /// Debian's prebuilt one.
    Prebuilt,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuildStd(toolchain) => f.write_str(toolchain),
            Self::Prebuilt => f.write_str("Debian's rustc"),
        }
    }
}

/// What `rustc -vV` says, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// As in `1.96.0`.
    pub(crate) release: String,
    /// The triple that it runs on.
    pub(crate) host: String,
    /// As in `22.1.8`.
    pub(crate) llvm: String,
}

impl Version {
    /// Reads the output of `rustc -vV`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(|value| value.trim().to_owned())
        };
        Some(Self {
            release: field("release")?,
            host: field("host")?,
            llvm: field("LLVM version")?,
        })
    }

    fn llvm_major(&self) -> Option<u32> {
        self.llvm.split('.').next()?.parse().ok()
    }
}

/// A compiler that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiler {
    pub(crate) version: Version,
    pub(crate) sysroot: PathBuf,
    /// Whether it has core: `rust-src` on one way, the bpfel library on the other.
    pub(crate) has_core: bool,
}

/// A way, and the compiler that it would use, if that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) way: Way,
    pub(crate) compiler: Option<Compiler>,
}

/// A way that works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    pub(crate) way: Way,
    pub(crate) version: Version,
    pub(crate) sysroot: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { release, llvm, .. } = &self.version;
        let core = match self.way {
            Way::BuildStd(_) => "core from rust-src",
            Way::Prebuilt => "core prebuilt",
        };
        write!(f, "{} ({release}, LLVM {llvm}, {core})", self.way)
    }
}

/// The first candidate that can build the eBPF crate, or what each of them lacks.
pub(crate) fn choose(candidates: Vec<Candidate>) -> Result<Toolchain, String> {
    let mut lacks = Vec::new();
    for candidate in candidates {
        match judge(candidate) {
            Ok(toolchain) => return Ok(toolchain),
            Err(lack) => lacks.push(lack),
        }
    }
    Err(lacks.join("; "))
}

fn judge(Candidate { way, compiler }: Candidate) -> Result<Toolchain, String> {
    let Some(Compiler {
        version,
        sysroot,
        has_core,
    }) = compiler
    else {
        return Err(format!("{way} is not installed"));
    };
    if !has_core {
        return Err(match way {
            Way::BuildStd(_) => format!("{way} has no rust-src"),
            Way::Prebuilt => format!("{way} {} has no core for bpfel", version.release),
        });
    }
    if version.llvm_major() != Some(linker::LLVM_MAJOR) {
        return Err(format!(
            "{way} has LLVM {} where bpf-linker {} reads that of LLVM {}",
            version.llvm,
            linker::VERSION,
            linker::LLVM_MAJOR
        ));
    }
    Ok(Toolchain {
        way,
        version,
        sysroot,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)
binary: rustc
commit-hash: ac68faa20c58cbccd01ee7208bf3b6e93a7d7f96
commit-date: 2026-05-25
host: x86_64-unknown-linux-gnu
release: 1.96.0
LLVM version: 22.1.8
";

    fn compiler(llvm: &str, has_core: bool) -> Compiler {
        Compiler {
            version: Version {
                release: "1.97.0-nightly".to_owned(),
                host: "x86_64-unknown-linux-gnu".to_owned(),
                llvm: llvm.to_owned(),
            },
            sysroot: PathBuf::from("/sysroot"),
            has_core,
        }
    }

    fn nightly(compiler: Option<Compiler>) -> Candidate {
        Candidate {
            way: Way::BuildStd("nightly".to_owned()),
            compiler,
        }
    }

    fn debian(compiler: Option<Compiler>) -> Candidate {
        Candidate {
            way: Way::Prebuilt,
            compiler,
        }
    }

    #[test]
    fn rustc_tells_its_version() {
        let version = Version::parse(DEBIAN).expect("this is what rustc prints");
        assert_eq!(version.release, "1.96.0");
        assert_eq!(version.host, "x86_64-unknown-linux-gnu");
        assert_eq!(version.llvm, "22.1.8");
        assert_eq!(version.llvm_major(), Some(22));
    }

    #[test]
    fn a_rustc_without_llvm_is_none_of_ours() {
        let text = DEBIAN.replace("LLVM version: 22.1.8\n", "");
        assert_eq!(Version::parse(&text), None);
    }

    #[test]
    fn a_nightly_with_its_source_comes_first() {
        let both = vec![
            nightly(Some(compiler("22.1.4", true))),
            debian(Some(compiler("22.1.8", true))),
        ];
        let chosen = choose(both).expect("both work");
        assert_eq!(chosen.way, Way::BuildStd("nightly".to_owned()));
    }

    #[test]
    fn what_does_not_fit_is_passed_over() {
        for unfit in [
            None,
            Some(compiler("22.1.4", false)),
            Some(compiler("23.1.0", true)),
        ] {
            let candidates = vec![
                nightly(unfit.clone()),
                debian(Some(compiler("22.1.8", true))),
            ];
            let chosen = choose(candidates).expect("Debian's works");
            assert_eq!(chosen.way, Way::Prebuilt, "instead of {unfit:?}");
        }
    }

    #[test]
    fn each_lack_is_named() {
        let lacks = choose(vec![
            Candidate {
                way: Way::BuildStd(PINNED_NIGHTLY.to_owned()),
                compiler: None,
            },
            nightly(Some(compiler("22.1.4", false))),
            debian(Some(compiler("19.1.7", true))),
        ])
        .expect_err("none of them works");
        assert_eq!(
            lacks,
            "nightly-2026-05-20 is not installed; nightly has no rust-src; \
             Debian's rustc has LLVM 19.1.7 where bpf-linker 0.10.3 reads that of LLVM 22"
        );
    }
}
