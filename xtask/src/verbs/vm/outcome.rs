//! What a guest's console says.

use serde::Serialize;

use super::{guest::MARK, trials::Trial};

/// What a kernel was found to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// As `uname -r` has it.
    pub(super) release: String,
    /// As `uname -v` has it, with the package's version.
    pub(super) version: String,
    /// The programs that were loaded.
    pub(super) programs: Vec<Program>,
    pub(super) trials: Vec<Tried>,
    /// Whether there are SCTP sockets.
    pub(super) sctp_sockets: bool,
    /// The kernel's bits for what has gone wrong in it.
    pub(super) tainted: Option<u64>,
    /// Whether the init came to its end.
    pub(super) done: bool,
}

/// What a program came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Program {
    pub(super) name: String,
    /// How many instructions the verifier looked at; 0 where the kernel does not say (before 5.16).
    pub(super) instructions: u64,
    /// How long loading took, in seconds.
    pub(super) seconds: f64,
}

/// What came of a trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Tried {
    pub(super) name: String,
    pub(super) passed: bool,
    /// The tests that failed.
    pub(super) failed: Vec<String>,
    /// How long it took, in seconds.
    pub(super) seconds: f64,
}

/// The kernel has said that it is broken: an oops, a bad page or a warning (kernel.org's
/// tainted-kernels).
const BROKEN: u64 = 1 << 5 | 1 << 7 | 1 << 9;

impl Outcome {
    /// Reads the console of a guest with these trials.
    pub(super) fn read<'l>(lines: impl Iterator<Item = &'l str>, trials: &[Trial]) -> Self {
        let mut outcome = Outcome::default();
        let mut since = 0.0;
        let mut passed = None;
        let mut failed = Vec::new();
        for line in lines {
            if let Some(program) = program(line) {
                outcome.programs.push(program);
            } else if let Some(test) = line.strip_prefix("test ") {
                if let Some((name, "FAILED")) = test.split_once(" ... ") {
                    failed.push(name.to_owned());
                }
                passed = passed_in(line).or(passed);
            } else if line.contains("SCTP sockets are there") {
                outcome.sctp_sockets = true;
            }
            let Some((word, rest)) = line.strip_prefix(MARK).map(two_words) else {
                continue;
            };
            match word {
                "kernel" => outcome.release = rest.to_owned(),
                "version" => outcome.version = rest.to_owned(),
                "begin" => {
                    (passed, failed) = (None, Vec::new());
                    let name = rest.to_owned();
                    outcome.trials.push(Tried {
                        name,
                        ..Tried::default()
                    });
                }
                "end" => {
                    let (code, uptime) = two_words(rest);
                    let now = uptime.parse().unwrap_or(since);
                    let Some(tried) = outcome.trials.last_mut() else {
                        continue;
                    };
                    let trial = trials.iter().find(|trial| trial.name == tried.name);
                    tried.passed = code == "0"
                        && trial.is_some_and(|trial| match (trial.exact, passed) {
                            (true, passed) => passed == Some(trial.tests.len()),
                            (false, passed) => passed > Some(0),
                        });
                    tried.failed = std::mem::take(&mut failed);
                    tried.seconds = now - since;
                    since = now;
                }
                "tainted" => outcome.tainted = rest.parse().ok(),
                "done" => outcome.done = true,
                _ => {}
            }
        }
        outcome
    }

    /// Whether all trials were passed, and the kernel is well.
    pub(super) fn is_good(&self, trials: &[Trial]) -> bool {
        self.done
            && self.tainted.is_some_and(|bits| bits & BROKEN == 0)
            && self.trials.len() == trials.len()
            && self.trials.iter().all(|tried| tried.passed)
    }

    /// What is not good about it, in a few words.
    pub(super) fn complaint(&self) -> String {
        let failed = self.trials.iter().filter(|tried| !tried.passed);
        let failed: Vec<_> = failed
            .map(|tried| match tried.failed.is_empty() {
                true => tried.name.clone(),
                false => tried.failed.join(", "),
            })
            .collect();
        match (failed.is_empty(), self.done) {
            (false, _) => failed.join(", "),
            (true, false) => "it did not come to its end".to_owned(),
            (true, true) => format!("the kernel says that it is broken: {:?}", self.tainted),
        }
    }
}

fn two_words(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

/// How many tests have passed, in the line that says so at the end.
fn passed_in(line: &str) -> Option<usize> {
    let counts = line.strip_prefix("test result: ok. ")?;
    counts.split_once(" passed")?.0.parse().ok()
}

/// The program in what portnat says of one: `program NAME: N instructions verified, … , 12.3ms`.
fn program(line: &str) -> Option<Program> {
    let (name, rest) = line.split_once("program ")?.1.split_once(": ")?;
    let (instructions, rest) = rest.split_once(" instructions verified, ")?;
    let (_, elapsed) = rest.rsplit_once(", ")?;
    Some(Program {
        name: name.to_owned(),
        instructions: instructions.parse().ok()?,
        seconds: seconds(elapsed)?,
    })
}

/// A duration as Rust writes it.
fn seconds(text: &str) -> Option<f64> {
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let number: f64 = text[..end].parse().ok()?;
    let unit = match &text[end..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(number * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(name: &str, tests: &[&str]) -> Trial {
        Trial {
            name: name.to_owned(),
            tests: tests.iter().map(|&test| test.to_owned()).collect(),
            exact: true,
        }
    }

    const CONSOLE: &str = "[    1.2] something of the kernel's
@portnat kernel 6.12.95-cloud-amd64
@portnat version #1 SMP Debian 6.12.95-1
@portnat begin programs
running 1 test
test survival::programs::all_are_loaded ... ok
---- survival::programs::all_are_loaded stdout ----
DEBUG program nat_in: 539000 instructions verified, 61000 bytes of machine code, 1.5s
DEBUG program clock: 12 instructions verified, 61 bytes of machine code, 734.1ms
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 200 filtered out; finished in 9s

@portnat end 0 20.50
@portnat begin sctp
SCTP sockets are there
test a ... ok
test b ... FAILED
test result: FAILED. 1 passed; 1 failed; 0 ignored

@portnat end 101 30.75
@portnat tainted 0
@portnat done
";

    fn read(text: &str) -> (Outcome, [Trial; 2]) {
        let trials = [
            trial("programs", &["survival::programs::all_are_loaded"]),
            trial("sctp", &["a", "b"]),
        ];
        (Outcome::read(text.lines(), &trials), trials)
    }

    #[test]
    fn the_console_says_what_was_found() {
        let (outcome, trials) = read(CONSOLE);
        assert_eq!(outcome.release, "6.12.95-cloud-amd64");
        assert_eq!(outcome.version, "#1 SMP Debian 6.12.95-1");
        let [nat_in, clock] = &outcome.programs[..] else {
            panic!("two programs: {outcome:?}");
        };
        assert_eq!((&*nat_in.name, nat_in.instructions), ("nat_in", 539_000));
        assert!((nat_in.seconds - 1.5).abs() < 1e-9);
        assert!((clock.seconds - 0.7341).abs() < 1e-9);
        let [programs, sctp] = &outcome.trials[..] else {
            panic!("two trials: {outcome:?}");
        };
        assert!(programs.passed && !sctp.passed && outcome.sctp_sockets);
        assert!((sctp.seconds - 10.25).abs() < 1e-9);
        assert_eq!(sctp.failed, ["b"]);
        assert!(outcome.done && !outcome.is_good(&trials));
        assert_eq!(outcome.complaint(), "b");
    }

    #[test]
    fn only_the_end_is_good() {
        let good = CONSOLE
            .replace("b ... FAILED", "b ... ok")
            .replace("result: FAILED. 1 passed; 1", "result: ok. 2 passed; 0")
            .replace("end 101", "end 0");
        let is_good = |text: &str| {
            let (outcome, trials) = read(text);
            outcome.is_good(&trials)
        };
        assert!(is_good(&good));
        // It stopped before, one test was not there, the kernel has warned.
        assert!(!is_good(&good.replace("@portnat done", "")));
        assert!(!is_good(&good.replace("ok. 2 passed", "ok. 1 passed")));
        assert!(!is_good(&good.replace("tainted 0", "tainted 512")));
        assert!(!is_good(&good.replace("tainted 0", "")));
    }
}
