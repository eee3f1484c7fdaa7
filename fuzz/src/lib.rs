//! What portnat's fuzzers do with bytes, apart from who makes them: libFuzzer under `cargo xtask fuzz`,
//! and the files in `corpus` and `regressions` under `cargo test`.
//!
//! - [`nat`]: any packets in any order and at any time, against the naive model of portnat-common's tests.
//! - [`frames`]: any bytes in a frame, among flows that live.
//! - [`spec`], [`config`], [`compose`]: what people write.
//! - [`control`]: what comes by the control socket.

mod control;
mod model;
mod nat;
mod text;

// The worlds of portnat-common's own tests.
#[path = "../../portnat-common/tests/nat/support/mod.rs"]
#[expect(dead_code, reason = "some of it only the tests there need")]
mod support;

pub use control::control;
pub use nat::{frames, nat};
pub use text::{compose, config, spec};

/// A fuzzer: it panics where something is wrong.
pub type Target = fn(&[u8]);

/// All of them, by the names of their programs.
pub const TARGETS: [(&str, Target); 6] = [
    ("nat", nat),
    ("frames", frames),
    ("spec", spec),
    ("config", config),
    ("compose", compose),
    ("control", control),
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::TARGETS;

    /// What was wrong once does not come back, and what fuzzers begin with is sound.
    #[test]
    fn what_is_kept_is_sound() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (name, target) in TARGETS {
            let mut files = 0;
            for folder in ["corpus", "regressions"] {
                // Not every target has failed at something.
                let folder = fs::read_dir(root.join(folder).join(name));
                for file in folder.into_iter().flatten() {
                    let path = file.expect("a file").path();
                    println!("{}", path.display());
                    target(&fs::read(&path).expect("it can be read"));
                    files += 1;
                }
            }
            assert!(files > 0, "{name} has no corpus");
        }
    }
}
