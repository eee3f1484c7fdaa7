//! Dockers for the tests: unpacked from Debian's packages, not installed, so that none of them starts by
//! itself and touches the machine's network.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    apt::{self, Apt},
    cargo,
    exec::say,
};

/// Where the tests look for this machine's own Debian's Docker, with a runtime and a static busybox.
const STABLE: &str = "PORTNAT_TEST_DOCKER";

/// Where they look for the newest, of which the runtime is the other's: it wants a newer libc.
const NEWEST: &str = "PORTNAT_TEST_DOCKER_NEWEST";

/// Where the newest is.
const UNSTABLE: &str = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                        http://deb.debian.org/debian unstable main\n";

/// The variables that tell the tests of both Dockers. Who cannot be had is said; its tests are skipped.
pub(crate) fn provide() -> Vec<(&'static str, PathBuf)> {
    let mut found = Vec::new();
    for (variable, get) in [(STABLE, stable as fn() -> _), (NEWEST, newest)] {
        match get() {
            Ok(folder) => found.push((variable, folder)),
            Err(error) => say(&format!(
                "SKIPPING THE TESTS WITH DOCKER THAT NEED {variable}: {error:#}"
            )),
        }
    }
    found
}

fn stable() -> Result<PathBuf> {
    let folder = cargo::target().join("tools/docker-stable");
    if folder.join("usr/sbin/dockerd").is_file() {
        return Ok(folder);
    }
    say("unpacking Docker from this Debian's packages");
    if let Some(apt) = Apt::here() {
        apt.update();
    }
    let get = || Command::new("apt-get");
    // Last, as it is what is looked for.
    for packages in [
        &["busybox-static", "containerd", "runc"][..],
        &["docker.io"],
    ] {
        apt::unpack(get(), packages, &folder)?;
    }
    if !folder.join("usr/bin/docker").is_file() {
        apt::unpack(get(), &["docker-cli"], &folder)?;
    }
    Ok(folder)
}

fn newest() -> Result<PathBuf> {
    let folder = cargo::target().join("tools/docker-newest");
    if folder.join("usr/sbin/dockerd").is_file() {
        return Ok(folder);
    }
    say("unpacking the newest Docker from Debian's unstable suite");
    let lists = cargo::target().join("tools/apt-unstable");
    fs::create_dir_all(lists.join("lists/partial"))?;
    fs::create_dir_all(lists.join("cache/archives/partial"))?;
    fs::write(lists.join("sources.list"), UNSTABLE)?;
    let get = || {
        let mut get = Command::new("apt-get");
        let options = [
            format!("Dir::Etc::sourcelist={}/sources.list", lists.display()),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={}/lists", lists.display()),
            format!("Dir::Cache={}/cache", lists.display()),
            "Acquire::Languages=none".to_owned(),
        ];
        for option in options {
            get.args(["-o", &option]);
        }
        get
    };
    crate::exec::output(get().args(["-q", "update"]))?;
    apt::unpack(get(), &["containerd", "docker-cli", "docker.io"], &folder)?;
    // 50 MB that nobody needs again.
    fs::remove_dir_all(lists)?;
    Ok(folder)
}
