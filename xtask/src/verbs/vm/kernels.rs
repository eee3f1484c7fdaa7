//! Debian's kernels for virtual machines: found in the package indices, which are signed and have the
//! packages' checksums, and unpacked; nothing is installed.

use std::{
    cmp::Ordering,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    apt, cargo,
    exec::{self, say},
};

/// The suites with kernels of different series. None of them has many packages but the last.
const SUITES: [(&str, &str); 6] = [
    ("debian-security", "bullseye-security"),
    ("debian-security", "bookworm-security"),
    ("debian-security", "trixie-security"),
    ("debian", "bookworm-backports"),
    ("debian", "trixie-backports"),
    ("debian", "unstable"),
];

/// Who has signed them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// What the packages' names begin with: that of a kernel with its modules, and of a kernel without
/// (from 6.19 on) and its modules.
const WHOLE: &str = "linux-image-";
const BARE: &str = "linux-binary-";
const MODULES: &str = "linux-modules-";

/// What they end with.
const FLAVOUR: &str = "-cloud-amd64";

/// How long the package indices are as good as new.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// The file that says when they were read.
const STAMP: &str = "updated";

/// A kernel, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// As `uname -r` has it.
    pub(super) release: String,
    folder: PathBuf,
}

impl Kernel {
    /// What is booted.
    pub(super) fn image(&self) -> Result<PathBuf> {
        let places = [
            format!("boot/vmlinuz-{}", self.release),
            format!("usr/lib/modules/{}/vmlinuz", self.release),
        ];
        self.first(&places)
    }

    /// The folder of its modules.
    pub(super) fn modules(&self) -> Result<PathBuf> {
        let places = ["lib", "usr/lib"].map(|lib| format!("{lib}/modules/{}/kernel", self.release));
        self.first(&places)
    }

    fn first(&self, places: &[String]) -> Result<PathBuf> {
        let mut paths = places.iter().map(|place| self.folder.join(place));
        paths
            .find(|path| path.exists())
            .with_context(|| format!("{} has none of {}", self.release, places.join(", ")))
    }

    /// Major and minor version.
    pub(super) fn version(&self) -> (u32, u32) {
        version(&self.release).unwrap_or_default()
    }
}

/// The newest kernel of each of these series, in their order. One that Debian has no more is an error, or
/// else it is said.
pub(super) fn provide(series: &[String], needed: bool) -> Result<Vec<Kernel>> {
    let mut offered = offered().unwrap_or_else(|error| {
        say(&format!("going on with the kernels at hand: {error:#}"));
        Vec::new()
    });
    offered.extend(unpacked());
    let mut kernels = Vec::new();
    for name in series {
        let asked = version(name).with_context(|| format!("{name} is no series such as 6.12"))?;
        match newest(&offered, asked) {
            Some(release) => kernels.push(unpack(release)?),
            None if needed => bail!("Debian has no Linux {name} now"),
            None => say(&format!("WITHOUT LINUX {name}: Debian has none now")),
        }
    }
    ensure!(!kernels.is_empty(), "no kernel is to be had");
    Ok(kernels)
}

/// Where kernels are unpacked.
fn home() -> PathBuf {
    cargo::target().join("tools/kernels")
}

/// The releases in the package indices.
fn offered() -> Result<Vec<String>> {
    ensure!(exec::find("apt-get").is_some(), "this is no Debian");
    update()?;
    let mut releases = Vec::new();
    for prefix in [WHOLE, BARE] {
        let names = exec::output(apt_tool("apt-cache").args(["pkgnames", prefix]))?;
        releases.extend(
            names
                .lines()
                .filter_map(|name| release(name, prefix))
                .map(str::to_owned),
        );
    }
    // apt-get is content even if it has got nothing.
    if releases.is_empty() {
        read_anew();
    }
    Ok(releases)
}

/// Has the indices be read anew the next time.
fn read_anew() {
    // What is not there is not fresh either.
    let _ = fs::remove_file(lists().join(STAMP));
}

/// The releases that were unpacked earlier.
fn unpacked() -> Vec<String> {
    let entries = fs::read_dir(home()).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(FLAVOUR))
        .collect()
}

/// Brings the indices up to date, which are our own and not the machine's.
fn update() -> Result<()> {
    let lists = lists();
    let stamp = lists.join(STAMP);
    let is_fresh = |stamp: &Path| {
        let age = fs::metadata(stamp).ok()?.modified().ok()?.elapsed().ok()?;
        Some(age < FRESH)
    };
    if is_fresh(&stamp) == Some(true) {
        return Ok(());
    }
    say("reading which kernels Debian has");
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(lists.join(folder))?;
    }
    let sources = SUITES.map(|(archive, suite)| {
        format!(
            "deb [arch=amd64 signed-by={KEYRING}] http://deb.debian.org/{archive} {suite} main\n"
        )
    });
    fs::write(lists.join("sources.list"), sources.concat())?;
    // An archive that has gone is one less, as long as there are others.
    match exec::output(apt_tool("apt-get").args(["-q", "update"])) {
        Ok(_) => fs::write(stamp, "")?,
        Err(error) => say(&format!("not all of Debian's kernels are seen: {error:#}")),
    }
    Ok(())
}

fn lists() -> PathBuf {
    cargo::target().join("tools/apt-kernels")
}

/// apt-get or apt-cache, with these indices and no others.
fn apt_tool(name: &str) -> Command {
    let lists = lists();
    let lists = lists.display();
    let mut tool = Command::new(name);
    for option in [
        format!("Dir::Etc::sourcelist={lists}/sources.list"),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={lists}/lists"),
        format!("Dir::Cache={lists}/cache"),
        "Acquire::Languages=none".to_owned(),
        // The last one's index is 60 MB otherwise.
        "Acquire::GzipIndexes=true".to_owned(),
    ] {
        tool.args(["-o", &option]);
    }
    tool
}

/// Unpacks a kernel, unless it is.
fn unpack(release: String) -> Result<Kernel> {
    let folder = home().join(&release);
    let kernel = Kernel { release, folder };
    if kernel.folder.is_dir() {
        return Ok(kernel);
    }
    let release = &kernel.release;
    say(&format!("unpacking Debian's Linux {release}"));
    let part = home().join(format!("{release}.part"));
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    let [whole, bare, modules] = [WHOLE, BARE, MODULES].map(|prefix| format!("{prefix}{release}"));
    let names = exec::output(apt_tool("apt-cache").args(["pkgnames", &bare]))?;
    let packages: &[&str] = match names.lines().any(|name| name == bare) {
        true => &[&bare, &modules],
        false => &[&whole],
    };
    // What cannot be had may have gone since.
    apt::unpack(apt_tool("apt-get"), packages, &part).inspect_err(|_| read_anew())?;
    fs::rename(&part, &kernel.folder)?;
    Ok(kernel)
}

/// The release of the kernel in a package: neither one for debugging nor one that lacks its signature,
/// nor one that is but the name of another, as `6.1-cloud-amd64` is.
fn release<'n>(package: &'n str, prefix: &str) -> Option<&'n str> {
    let release = package.strip_prefix(prefix)?;
    let is_whole = release.splitn(3, '.').count() == 3 && version(release).is_some();
    (release.ends_with(FLAVOUR) && is_whole).then_some(release)
}

/// Major and minor version of a release, or of a series by its name.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.splitn(3, '.');
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next()?.parse().ok()?))
}

/// The newest release of a series.
fn newest(releases: &[String], series: (u32, u32)) -> Option<String> {
    let of_it = releases
        .iter()
        .filter(|release| version(release) == Some(series));
    of_it.max_by(|a, b| compare(a, b)).cloned()
}

/// Which of two releases is older: the numbers tell, in order.
fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |release: &str| -> Vec<u64> {
        let words = release.split(|c: char| !c.is_ascii_digit());
        words.filter_map(|word| word.parse().ok()).collect()
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_in_a_packages_name() {
        let of = |package| release(package, WHOLE);
        assert_eq!(
            of("linux-image-6.12.95+deb12-cloud-amd64"),
            Some("6.12.95+deb12-cloud-amd64")
        );
        assert_eq!(of("linux-image-6.1.0-56-cloud-amd64-unsigned"), None);
        assert_eq!(of("linux-image-6.1.0-56-cloud-amd64-dbg"), None);
        assert_eq!(of("linux-image-6.1.0-56-amd64"), None);
        assert_eq!(of("linux-image-cloud-amd64"), None);
        assert_eq!(of("linux-image-6.1-cloud-amd64"), None);
    }

    #[test]
    fn a_series_is_major_and_minor() {
        assert_eq!(version("6.12"), Some((6, 12)));
        assert_eq!(version("5.10.0-46-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("6"), None);
        assert_eq!(version("cloud.amd64"), None);
    }

    #[test]
    fn the_newest_of_a_series_is_taken() {
        let releases = [
            "6.12.9+deb12-cloud-amd64",
            "6.1.0-0.deb11.52-cloud-amd64",
            "6.12.117+deb13-cloud-amd64",
            "6.12.117+deb12-cloud-amd64",
            "6.1.0-9-cloud-amd64",
            "6.1.0-56-cloud-amd64",
        ];
        let releases = releases.map(str::to_owned);
        let newest = |series| newest(&releases, series);
        assert_eq!(newest((6, 12)).as_deref(), Some(releases[2].as_str()));
        assert_eq!(newest((6, 1)).as_deref(), Some(releases[5].as_str()));
        assert_eq!(newest((5, 10)), None);
    }
}
