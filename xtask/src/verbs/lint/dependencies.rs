//! Each direct dependency has a line in docs/dependencies.md that says what it is for, and no line is
//! left of one that is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    cargo,
    exec::{self, say},
};

/// The list.
const LIST: &str = "docs/dependencies.md";

/// Who uses each, as the list says it: `portnat`, or `portnat (tests)`.
type Users = BTreeMap<String, BTreeSet<String>>;

/// Compares the list with the manifests.
pub(super) fn check() -> Result<()> {
    say(&format!("comparing {LIST} with the manifests"));
    let metadata =
        exec::output(cargo::command().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata = serde_json::from_str(&metadata).context("what `cargo metadata` says")?;
    let list = fs::read_to_string(cargo::root().join(LIST)).context(LIST)?;
    let wrong = differences(&listed(&list)?, &declared(&metadata));
    if !wrong.is_empty() {
        bail!(
            "{LIST} is not what the manifests say:\n{}",
            wrong.join("\n")
        );
    }
    Ok(())
}

/// The rows of all tables: the name in backticks, who uses it, what for.
fn listed(list: &str) -> Result<Users> {
    let mut users = Users::new();
    for line in list.lines() {
        let Some(row) = line.strip_prefix("| `") else {
            continue;
        };
        let cells: Vec<_> = row
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let [name, by, why] = cells[..] else {
            bail!("{LIST}: not three cells: {line}");
        };
        if why.is_empty() {
            bail!("{LIST}: what for? {line}");
        }
        let by = by.split(',').map(|user| user.trim().to_owned()).collect();
        let name = name.trim_end_matches('`').to_owned();
        if users.insert(name, by).is_some() {
            bail!("{LIST}: twice: {line}");
        }
    }
    Ok(users)
}

/// What the manifests of the workspace say; dependencies on each other are none of others'.
fn declared(metadata: &Value) -> Users {
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut users = Users::new();
    for package in array(&metadata["packages"]) {
        let user = package["name"].as_str().unwrap_or_default();
        for dependency in array(&package["dependencies"]) {
            if !dependency["path"].is_null() {
                continue;
            }
            let kind = match dependency["kind"].as_str() {
                Some("dev") => " (tests)",
                Some("build") => " (build)",
                _ => "",
            };
            let name = dependency["name"].as_str().unwrap_or_default();
            let users = users.entry(name.to_owned()).or_default();
            users.insert(format!("{user}{kind}"));
        }
    }
    // Who has it anyway needs no second mention for its tests.
    for users in users.values_mut() {
        let all = users.clone();
        users.retain(|user| {
            user.strip_suffix(" (tests)")
                .is_none_or(|package| !all.contains(package))
        });
    }
    users
}

fn differences(listed: &Users, declared: &Users) -> Vec<String> {
    let names: BTreeSet<_> = listed.keys().chain(declared.keys()).collect();
    let said = |users: Option<&BTreeSet<String>>| match users {
        Some(users) => Vec::from_iter(users.iter().map(String::as_str)).join(", "),
        None => "nobody".to_owned(),
    };
    names
        .into_iter()
        .filter(|name| listed.get(*name) != declared.get(*name))
        .map(|name| {
            format!(
                "  {name}: listed for {}, used by {}",
                said(listed.get(name)),
                said(declared.get(name))
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages": [
        {"name": "portnat", "dependencies": [
            {"name": "tokio", "kind": null}, {"name": "tokio", "kind": "dev"},
            {"name": "object", "kind": "build"}, {"name": "portnat-common", "kind": null, "path": "/x"}
        ]},
        {"name": "xtask", "dependencies": [{"name": "tokio", "kind": "dev"}]}
    ]}"#;

    fn wrong(list: &str) -> Vec<String> {
        let metadata = serde_json::from_str(METADATA).expect("JSON");
        differences(&listed(list).expect("a list"), &declared(&metadata))
    }

    #[test]
    fn a_list_that_agrees() {
        let list = "# Words\n\n| crate | in | what for |\n|---|---|---|\n\
                    | `object` | portnat (build) | stripping |\n\
                    | `tokio` | portnat, xtask (tests) | the loop |\n";
        assert_eq!(wrong(list), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_or_left_over_or_elsewhere_is_named() {
        let list = "| `serde` | portnat | JSON |\n| `tokio` | portnat | the loop |\n";
        assert_eq!(
            wrong(list),
            [
                "  object: listed for nobody, used by portnat (build)",
                "  serde: listed for portnat, used by nobody",
                "  tokio: listed for portnat, used by portnat, xtask (tests)",
            ]
        );
    }

    #[test]
    fn a_row_says_what_for_and_is_there_once() {
        assert!(listed("| `serde` | portnat | |\n").is_err());
        assert!(listed("| `serde` | portnat |\n").is_err());
        assert!(listed("| `a` | b | c |\n| `a` | b | c |\n").is_err());
    }
}
