//! What SECURITY.md claims has a test that shows it: each test that is named there is there.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{cargo, exec::say};

/// The claims.
const CLAIMS: &str = "SECURITY.md";

/// Looks for each test.
pub(super) fn check() -> Result<()> {
    say(&format!("looking for the tests that {CLAIMS} names"));
    let root = cargo::root();
    let text = fs::read_to_string(root.join(CLAIMS)).context(CLAIMS)?;
    let named = named(&text);
    ensure!(!named.is_empty(), "{CLAIMS} names no tests");
    let missing: Vec<_> = named
        .iter()
        .filter(|(name, file)| !is_there(&root, name, file))
        .map(|(name, file)| format!("  {name} in {file}"))
        .collect();
    if !missing.is_empty() {
        bail!(
            "{CLAIMS} names tests that are not there:\n{}",
            missing.join("\n")
        );
    }
    Ok(())
}

/// The links to Rust files whose text is a word of code: tests, and where they are.
fn named(text: &str) -> Vec<(&str, &str)> {
    let links = text.split("[`").skip(1);
    links
        .filter_map(|link| {
            let (name, rest) = link.split_once("`](")?;
            let (file, _) = rest.split_once(')')?;
            (file.ends_with(".rs") && !name.contains('.')).then_some((name, file))
        })
        .collect()
}

fn is_there(root: &Path, name: &str, file: &str) -> bool {
    fs::read_to_string(root.join(file)).is_ok_and(|code| has_test(&code, name))
}

/// Whether there is a function of this name that says of itself that it is a test.
fn has_test(code: &str, name: &str) -> bool {
    let lines: Vec<_> = code.lines().map(str::trim).collect();
    let head = format!("fn {name}(");
    let is_head = |line: &str| line.trim_start_matches("async ").starts_with(&head);
    lines.iter().enumerate().any(|(number, line)| {
        let before = lines[..number].iter().rev();
        let mut said = before.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        is_head(line) && said.any(|line| *line == "#[test]" || line.starts_with("#[tokio::test"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "
        #[test]
        fn plain() {}
        #[tokio::test(start_paused = true)]
        async fn waits() {}
        /// Words.
        #[test]
        // More.
        #[ignore]
        fn dressed() {}
        fn helper() {}
    ";

    #[test]
    fn a_test_says_so() {
        for name in ["plain", "waits", "dressed"] {
            assert!(has_test(CODE, name), "{name}");
        }
        for name in ["helper", "plai", "lain", "nothing"] {
            assert!(!has_test(CODE, name), "{name}");
        }
    }

    #[test]
    fn links_to_tests_are_those_to_code_that_name_no_file() {
        let text =
            "[`a_b`](x/y.rs), [`c`](d.rs); [`http.rs`](e.rs), [words](f.rs), [`g`](h.md), [`i`]";
        assert_eq!(named(text), [("a_b", "x/y.rs"), ("c", "d.rs")]);
    }
}
