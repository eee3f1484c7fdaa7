//! What was found, and how it is told.

use std::fmt;

use serde::Serialize;

use super::Fix;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing, and nothing needs to be done.
    Note,
    /// Something does not work for all, or will not one day.
    Warning,
    /// Something does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check it is of, filled in by [`super::diagnose`]; `docs/doctor.md` lists them.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is so, in a line.
    pub summary: String,
    /// What that means; empty where all is well.
    pub meaning: String,
    /// The commands, or else the changes, that mend it; whether all of several are needed the meaning says.
    pub remedies: Vec<String>,
    /// What `--fix` would do about it.
    #[serde(skip)]
    pub fix: Option<Fix>,
}

/// Something that was done about a finding, or could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mended {
    /// The check whose finding it was.
    pub check: &'static str,
    /// Whether it was done.
    pub done: bool,
    /// What was done, or why it was not.
    pub what: String,
}

/// All that was found. Its fields are those of the JSON, see `docs/doctor.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// What was done before, with `--fix`.
    pub mended: Vec<Mended>,
    /// The findings, in the order of the checks.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// All is well.
    pub(super) fn ok(summary: impl Into<String>) -> Self {
        Finding {
            check: "",
            severity: Severity::Ok,
            summary: summary.into(),
            meaning: String::new(),
            remedies: Vec::new(),
            fix: None,
        }
    }

    /// Something is to be said.
    pub(super) fn new(
        severity: Severity,
        summary: impl Into<String>,
        meaning: impl Into<String>,
    ) -> Self {
        Finding {
            severity,
            meaning: meaning.into(),
            ..Self::ok(summary)
        }
    }

    /// With a command that mends it.
    pub(super) fn mended_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedies.push(remedy.into());
        self
    }

    /// With what `--fix` does.
    pub(super) fn fixed_by(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }
}

impl Diagnosis {
    /// Whether there is anything that should be mended.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let bad = |finding: &Finding| finding.severity >= Severity::Warning;
        !self.findings.iter().any(bad)
    }

    fn count(&self, severity: Severity) -> usize {
        let of_it = self.findings.iter();
        of_it.filter(|finding| finding.severity == severity).count()
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Fault => "fault",
        })
    }
}

/// How wide the columns before a summary are.
const SEVERITIES: usize = 9;
const CHECKS: usize = 15;
/// How many letters of prose fit in a line behind them.
const WIDTH: usize = 100 - SEVERITIES - 2;

/// A line each; behind what is not well what it means, and what mends it.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Mended { check, done, what } in &self.mended {
            let word = if *done { "mended" } else { "failed" };
            writeln!(f, "{word:SEVERITIES$}{check:CHECKS$}{what}")?;
        }
        for finding in &self.findings {
            let Finding {
                check, severity, ..
            } = finding;
            writeln!(
                f,
                "{severity:SEVERITIES$}{check:CHECKS$}{}",
                finding.summary
            )?;
            for line in wrapped(&finding.meaning) {
                writeln!(f, "{:SEVERITIES$}  {line}", "")?;
            }
            for remedy in &finding.remedies {
                writeln!(f, "{:SEVERITIES$}  > {remedy}", "")?;
            }
        }
        write!(f, "{}", self.sum())
    }
}

impl Diagnosis {
    fn sum(&self) -> String {
        let number = |severity, one: &str| match self.count(severity) {
            1 => format!("1 {one}"),
            many => format!("{many} {one}s"),
        };
        [
            number(Severity::Fault, "fault"),
            number(Severity::Warning, "warning"),
            number(Severity::Note, "note"),
        ]
        .join(", ")
    }
}

/// Prose in lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis() -> Diagnosis {
        Diagnosis {
            mended: vec![Mended {
                check: "conntrack",
                done: true,
                what: "net.netfilter.nf_conntrack_tcp_be_liberal = 1 (was 0)".to_owned(),
            }],
            findings: vec![
                Finding {
                    check: "kernel",
                    ..Finding::ok("Linux 6.18")
                },
                Finding {
                    check: "rp-filter",
                    ..Finding::new(
                        Severity::Warning,
                        "it is strict on eth0",
                        "packets are dropped ".repeat(6),
                    )
                    .mended_by("sysctl -w net.ipv4.conf.eth0.rp_filter=2")
                },
            ],
        }
    }

    #[test]
    fn a_finding_is_a_line_and_what_is_not_well_is_explained() {
        let text = diagnosis().to_string();
        let expected = "\
mended   conntrack      net.netfilter.nf_conntrack_tcp_be_liberal = 1 (was 0)
ok       kernel         Linux 6.18
warning  rp-filter      it is strict on eth0
           packets are dropped packets are dropped packets are dropped packets are dropped packets
           are dropped packets are dropped
           > sysctl -w net.ipv4.conf.eth0.rp_filter=2
0 faults, 1 warning, 0 notes";
        assert_eq!(text, expected);
    }

    #[test]
    fn warnings_and_faults_are_not_well() {
        let mut diagnosis = diagnosis();
        assert!(!diagnosis.is_well());
        diagnosis.findings[1].severity = Severity::Note;
        assert!(diagnosis.is_well());
        diagnosis.findings[1].severity = Severity::Fault;
        assert!(!diagnosis.is_well());
    }

    /// Scripts rely on it: a field may come, none may go.
    #[test]
    fn the_fields_that_are_documented() {
        let mut diagnosis = diagnosis();
        diagnosis.findings.remove(0);
        diagnosis.findings[0].meaning = "m".to_owned();
        let json = serde_json::to_string(&diagnosis).expect("JSON");
        assert_eq!(
            json,
            r#"{"mended":[{"check":"conntrack","done":true,"#.to_owned()
                + r#""what":"net.netfilter.nf_conntrack_tcp_be_liberal = 1 (was 0)"}],"#
                + r#""findings":[{"check":"rp-filter","severity":"warning","#
                + r#""summary":"it is strict on eth0","meaning":"m","#
                + r#""remedies":["sysctl -w net.ipv4.conf.eth0.rp_filter=2"]}]}"#
        );
    }
}
