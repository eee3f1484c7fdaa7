//! Small files in which a portnat writes down what the next one has to know.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where the kernel names this run of it.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The name of this run of the kernel: another after each boot. Without `/proc` it is empty.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string(BOOT_ID).unwrap_or_default();
    id.trim_end().to_owned()
}

/// Reads such a file; `None`, if it is not there.
///
/// # Errors
/// It cannot be read, or makes no sense.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => Ok(Some(serde_json::from_slice(&text?)?)),
    }
}

/// Writes a file anew: who reads it meanwhile, or after we are killed or the machine has stopped, finds
/// the old one or the new.
///
/// # Errors
/// The file system refuses; the old one is there.
pub(crate) fn replace(path: &Path, written: &impl Serialize) -> io::Result<()> {
    let new = path.with_extension("new");
    put(&new, path, written).inspect_err(|_| {
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

    #[test]
    fn what_is_written_is_read_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("netns-1-things");
        assert_eq!(read::<Vec<u32>>(&path).expect("readable"), None);
        for numbers in [vec![1, 2, 3], vec![4]] {
            replace(&path, &numbers).expect("writable");
            assert_eq!(read(&path).expect("readable"), Some(numbers));
        }
        let files = fs::read_dir(folder.path()).expect("is there").count();
        assert_eq!(files, 1, "nothing is beside it");
        remove(&path).expect("removable");
        remove(&path).expect("it is gone");
        assert_eq!(read::<Vec<u32>>(&path).expect("readable"), None);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("things");
        fs::write(&path, "[1, 2").expect("written");
        read::<Vec<u32>>(&path).expect_err("it is no list");
    }
}
