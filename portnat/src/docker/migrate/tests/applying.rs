//! All is done, or nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

/// What takes the place of `iptables-nft` and its relatives: `NAME-restore` writes down what it is told, and
/// fails where it is told so.
fn tool(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    let script = "#!/bin/sh\ntext=$(cat)\n\
        case \"$*\" in *--test*) exit 0;; esac\n\
        echo \"$* $text\" >>\"$0.told\"\n\
        case \"$text\" in *FAIL*) echo no >&2; exit 1;; esac\n";
    let file = folder.join(format!("{name}-restore"));
    fs::write(&file, script).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("set");
    path.to_str().expect("is text").to_owned()
}

fn told(tool: &str) -> String {
    fs::read_to_string(format!("{tool}-restore.told")).unwrap_or_default()
}

struct Ground {
    folder: tempfile::TempDir,
    facts: Facts,
    plan: Plan,
}

/// Two tools, of which the second may fail.
fn ground(second: &str) -> Ground {
    let folder = tempfile::tempdir().expect("a directory");
    let tools = ["one", "two"].map(|name| tool(folder.path(), name));
    let mut facts = facts("", "");
    facts.file.path = folder.path().join("daemon.json");
    facts.file.text = Some("{\"bip\": \"10.1.0.1/24\"}".to_owned());
    fs::write(&facts.file.path, "{\"bip\": \"10.1.0.1/24\"}").expect("written");
    fs::set_permissions(&facts.file.path, fs::Permissions::from_mode(0o600)).expect("set");
    // Of the first nothing names the other's bridge.
    let open = PLAIN.replace("FORWARD DROP", "FORWARD ACCEPT");
    let texts = [open, PLAIN.replace("docker0", second)];
    facts.tables = tools
        .into_iter()
        .zip(texts)
        .map(|(tool, text)| Tables { tool, text })
        .collect();
    let running = facts.docker.as_mut().expect("is there");
    running.reads = Some(facts.file.path.clone());
    running
        .observed
        .networks
        .push(network("x", second, &["172.20.0.0/16"], false));
    let plan = Plan::of(&facts).expect("JSON");
    assert_eq!(plan.rules.len(), 2);
    Ground {
        folder,
        facts,
        plan,
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("is there").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.contains("json")).collect();
    names.sort();
    names
}

#[test]
fn the_file_and_the_rules_are_changed() {
    let Ground {
        folder,
        facts,
        plan,
    } = ground("docker1");
    apply(&plan, &facts).expect("can be done");
    assert_eq!(
        files(folder.path()),
        ["daemon.json", "daemon.json.before-portnat"]
    );
    let written = fs::read_to_string(&facts.file.path).expect("is there");
    assert!(written.contains("\"iptables\": false"), "{written}");
    let backup = folder.path().join("daemon.json.before-portnat");
    for file in [&facts.file.path, &backup] {
        let mode = fs::metadata(file).expect("is there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{}", file.display());
    }
    for (tables, change) in facts.tables.iter().zip(&plan.rules) {
        let wanted = format!("--wait 5 --noflush {}\n", change.script.trim_end());
        assert_eq!(told(&tables.tool), wanted);
    }
}

/// Who does it once more, after a change of his own, still finds the way back to the beginning.
#[test]
fn what_was_there_at_first_is_kept() {
    let Ground {
        folder,
        mut facts,
        plan,
    } = ground("docker1");
    let first = "{\"bip\": \"10.9.0.1/24\"}";
    let backup = folder.path().join("daemon.json.before-portnat");
    fs::write(&backup, first).expect("written");
    facts.file.backup = Some(first.to_owned());
    apply(&plan, &facts).expect("can be done");
    assert_eq!(fs::read_to_string(&backup).expect("is there"), first);
}

#[test]
fn what_fails_is_undone() {
    let Ground {
        folder,
        facts,
        plan,
    } = ground("dockerFAIL");
    let error = apply(&plan, &facts).expect_err("one fails").to_string();
    assert!(error.contains("two-restore: no"), "{error}");
    assert_eq!(files(folder.path()), ["daemon.json"]);
    let written = fs::read_to_string(&facts.file.path).expect("is there");
    assert_eq!(written, "{\"bip\": \"10.1.0.1/24\"}");
    // What was there is there again, as a whole.
    let told = told(&facts.tables[0].tool);
    assert!(
        told.ends_with(&format!(" {}\n", facts.tables[0].text.trim_end())),
        "{told}"
    );
}

#[test]
fn what_is_refused_is_not_begun() {
    let Ground {
        folder,
        facts,
        mut plan,
    } = ground("docker1");
    plan.refused.push(Obstacle {
        what: "no".to_owned(),
        remedy: "none".to_owned(),
    });
    apply(&plan, &facts).expect_err("is refused");
    assert_eq!(files(folder.path()), ["daemon.json"]);
    assert_eq!(told(&facts.tables[0].tool), "");
}
