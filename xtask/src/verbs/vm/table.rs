//! What was found, for people and for programs.

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::json;

use super::{outcome::Outcome, trials};

/// A kernel, what was found, and whether that is good.
pub(super) struct Row {
    pub(super) outcome: Outcome,
    pub(super) good: bool,
    /// How long the guest took, in seconds.
    pub(super) seconds: f64,
}

/// Two tables: what works on which kernel, and what the verifier does there.
pub(super) fn text(rows: &[Row]) -> String {
    let mut heads = vec!["kernel"];
    heads.extend(trials::names());
    heads.extend(["SCTP sockets", "result"]);
    let works = rows.iter().map(|row| {
        let mut cells = vec![kernel(row)];
        cells.extend(trials::names().into_iter().map(|name| {
            let tried = row.outcome.trials.iter().find(|tried| tried.name == name);
            let cell = tried.map_or("–", |tried| if tried.passed { "yes" } else { "**no**" });
            cell.to_owned()
        }));
        let sctp = if row.outcome.sctp_sockets {
            "yes"
        } else {
            "–"
        };
        let result = match row.good {
            true => format!("good, {:.0} s", row.seconds),
            false => format!("**{}**", row.outcome.complaint()),
        };
        cells.extend([sctp.to_owned(), result]);
        cells
    });
    let mut names: Vec<_> = rows
        .iter()
        .flat_map(|row| &row.outcome.programs)
        .map(|program| &*program.name)
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut programs = vec!["program".to_owned()];
    programs.extend(rows.iter().map(kernel));
    let programs: Vec<_> = programs.iter().map(String::as_str).collect();
    let costs = names.iter().map(|name| {
        let mut cells = vec![format!("`{name}`")];
        cells.extend(rows.iter().map(|row| {
            let mut programs = row.outcome.programs.iter();
            let program = programs.find(|program| program.name == *name);
            program.map_or("–".to_owned(), |program| match program.instructions {
                0 => format!("{:.1} s", program.seconds),
                number => format!("{number}, {:.1} s", program.seconds),
            })
        }));
        cells
    });
    format!("{}\n{}", table(&heads, works), table(&programs, costs))
}

/// The same and more as JSON.
pub(super) fn json(rows: &[Row], qemu: &str) -> String {
    let kernels: Vec<_> = rows
        .iter()
        .map(|row| json!({ "good": row.good, "seconds": row.seconds, "found": row.outcome }))
        .collect();
    format!("{:#}\n", json!({ "qemu": qemu, "kernels": kernels }))
}

/// Writes both.
pub(super) fn write(rows: &[Row], qemu: &str, folder: &Path) -> Result<()> {
    fs::write(folder.join("kernels.md"), text(rows))?;
    fs::write(folder.join("kernels.json"), json(rows, qemu))?;
    Ok(())
}

/// The package's version, which says more than the release; that is what there is without.
fn kernel(row: &Row) -> String {
    let outcome = &row.outcome;
    let version = outcome.version.split(" Debian ").nth(1);
    let version = version.and_then(|text| text.split_whitespace().next());
    version.unwrap_or(&outcome.release).to_owned()
}

fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heads: Vec<_> = heads.iter().map(|&head| head.to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(heads.len()));
    let rows: String = rows.map(|cells| line(&cells)).collect();
    line(&heads) + &rule + &rows
}

#[cfg(test)]
mod tests {
    use super::super::outcome::{Program, Tried};
    use super::*;

    #[test]
    fn a_kernel_is_a_row_and_then_a_column() {
        let outcome = Outcome {
            release: "5.10.0-46-cloud-amd64".to_owned(),
            version: "#1 SMP Debian 5.10.251-1 (2026-02-01)".to_owned(),
            programs: vec![Program {
                name: "nat_in".to_owned(),
                instructions: 0,
                seconds: 1.25,
            }],
            trials: vec![Tried {
                name: "clsact".to_owned(),
                passed: true,
                ..Tried::default()
            }],
            ..Outcome::default()
        };
        let row = Row {
            outcome,
            good: false,
            seconds: 1.0,
        };
        let text = text(&[row]);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[0].starts_with("| kernel | programs | clsact |"),
            "{text}"
        );
        assert!(lines[2].starts_with("| 5.10.251-1 | – | yes |"), "{text}");
        assert!(
            lines[2].ends_with("| **it did not come to its end** |"),
            "{text}"
        );
        assert_eq!(lines[4], "| program | 5.10.251-1 |");
        assert_eq!(lines[6], "| `nat_in` | 1.2 s |");
    }
}
