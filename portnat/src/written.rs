//! Small files in which a portnat writes down what the next one has to know.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Where the kernel names this run of it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Such a file. What it says is true until the machine is booted again.
#[derive(Serialize, Deserialize)]
struct Written<T> {
    boot: String,
    #[serde(flatten)]
    what: T,
}

/// The name of this run of the kernel: another after each boot. Without `/proc` it is empty.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string(BOOT_ID).unwrap_or_default();
    id.trim_end().to_owned()
}

/// Reads what was written since the machine was booted; `None`, if there is nothing.
///
/// # Errors
/// It cannot be read, or makes no sense.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => {
            let written: Written<T> = serde_json::from_slice(&text?)?;
            Ok((written.boot == boot_id()).then_some(written.what))
        }
    }
}

/// Writes a file anew: who reads it meanwhile, or after we are killed or the machine has stopped, finds
/// the old one or the new.
///
/// # Errors
/// The file system refuses, or this is nothing with names (a struct or a map); the old one is there.
pub(crate) fn replace(path: &Path, what: &impl Serialize) -> io::Result<()> {
    let written = Written {
        boot: boot_id(),
        what,
    };
    let new = path.with_extension("new");
    put(&new, path, &written).inspect_err(|_| {
        // What is not whole is of no use; that it cannot be removed is the lesser evil.
        let _ = fs::remove_file(&new);
    })
}

fn put(new: &Path, path: &Path, written: &impl Serialize) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(new)?;
    file.write_all(&serde_json::to_vec(written)?)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    // Of a name alone it is the empty path.
    let folder = path.parent().filter(|path| *path != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Removes a file, if it is there.
///
/// # Errors
/// The file system refuses.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Things {
        numbers: Vec<u32>,
    }

    #[test]
    fn what_is_written_is_read_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("netns-1-things");
        let read = || read::<Things>(&path).expect("readable");
        assert_eq!(read(), None);
        for numbers in [vec![1, 2, 3], vec![4]] {
            let things = Things { numbers };
            replace(&path, &things).expect("writable");
            assert_eq!(read(), Some(things));
        }
        let files = fs::read_dir(folder.path()).expect("is there").count();
        assert_eq!(files, 1, "nothing is beside it");
        remove(&path).expect("removable");
        remove(&path).expect("it is gone");
        assert_eq!(read(), None);
    }

    #[test]
    fn what_was_written_before_a_boot_counts_no_more() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("things");
        replace(&path, &Things { numbers: vec![1] }).expect("writable");
        let text = fs::read_to_string(&path).expect("readable");
        fs::write(&path, text.replace(&boot_id(), "another")).expect("written");
        assert_eq!(read::<Things>(&path).expect("readable"), None);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("things");
        fs::write(&path, r#"{"boot": "", "numbers": [1, 2"#).expect("written");
        read::<Things>(&path).expect_err("it is not whole");
    }
}
