//! `portnat compose check`, as a user's command.

use std::fs;
use std::process::{Command, Output};

use crate::daemon::PORTNAT;

fn check(folder: &tempfile::TempDir, arguments: &[&str]) -> Output {
    Command::new(PORTNAT)
        .args(["compose", "check"])
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("HERE", "8080")
        .output()
        .expect("running portnat")
}

#[test]
fn a_file_is_told_and_judged() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name, text| fs::write(folder.path().join(name), text).expect("writing");
    write(".env", "HERE=1\nBESIDE='9000'\n");
    let sound = "services:\n  web:\n    ports: ['${HERE}:80', '127.0.0.1:${BESIDE}:81/udp']\n";
    write("sound.yaml", sound);
    let told = check(&folder, &["sound.yaml"]);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    let lines = String::from_utf8(told.stdout).expect("text");
    let words: Vec<Vec<_>> = lines
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        words,
        [
            vec!["SERVICE", "PUBLISHED", "PORT", "NAME", "LINE"],
            vec!["web", "0.0.0.0:8080,", "[::]:8080", "80/tcp", "-", "3"],
            vec!["web", "127.0.0.1:9000", "81/udp", "-", "3"],
        ]
    );
    let json = check(&folder, &["--json", "sound.yaml"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let second = serde_json::json!({
        "service": "web", "line": 3, "host_ip": "127.0.0.1", "published": "9000", "target": "81",
        "protocol": "udp",
    });
    assert_eq!(json[1], second);

    write(
        "wrong.yaml",
        "services:\n  web:\n    ports: [80:80, 80:81]\n",
    );
    let told = check(&folder, &["wrong.yaml"]);
    assert_eq!(told.status.code(), Some(2), "{told:?}");
    let line =
        "portnat: wrong.yaml:3: services.web: 80:81/tcp is published in line 3 already, by web\n";
    assert_eq!(String::from_utf8_lossy(&told.stderr), line);

    let told = check(&folder, &["none.yaml"]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let line = "portnat: reading none.yaml: no such file or directory\n";
    assert_eq!(String::from_utf8_lossy(&told.stderr), line);
}
