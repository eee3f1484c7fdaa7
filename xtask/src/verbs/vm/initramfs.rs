//! What a guest finds when it starts: an archive of files that the kernel unpacks into its memory.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use cpio::newc::{self, ModeFileType};

use crate::exec;

/// An archive that is being written, in the format that cpio calls newc.
pub(super) struct Initramfs {
    writer: BufWriter<File>,
    there: BTreeSet<PathBuf>,
}

impl Initramfs {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self {
            writer: BufWriter::new(file),
            there: BTreeSet::new(),
        })
    }

    /// A folder, with those that it lies in.
    pub(super) fn folder(&mut self, place: impl AsRef<Path>) -> Result<()> {
        let place = place.as_ref();
        if place.parent().is_none() || !self.there.insert(place.to_owned()) {
            return Ok(());
        }
        self.folder(place.parent().unwrap_or(Path::new("/")))?;
        self.entry(place, ModeFileType::Directory, 0o755, &[])
    }

    /// A file with this content that everybody may run, or read at least.
    pub(super) fn file(&mut self, place: impl AsRef<Path>, content: &[u8]) -> Result<()> {
        self.put(place.as_ref(), ModeFileType::Regular, 0o755, content)
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, place: &str, to: &str) -> Result<()> {
        self.put(
            Path::new(place),
            ModeFileType::Symlink,
            0o777,
            to.as_bytes(),
        )
    }

    /// A program of this machine's, and the libraries that it is linked with where they lie here.
    pub(super) fn program(&mut self, place: impl AsRef<Path>, program: &Path) -> Result<()> {
        self.copy(place.as_ref(), program)?;
        // It fails for a static one.
        let libraries = exec::output(Command::new("ldd").arg(program)).unwrap_or_default();
        for library in paths_in(&libraries) {
            self.copy(library, library)?;
        }
        Ok(())
    }

    /// All that lies below a folder.
    pub(super) fn tree(&mut self, place: &Path, from: &Path) -> Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let place = place.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => self.tree(&place, &entry.path())?,
                false => self.copy(&place, &entry.path())?,
            }
        }
        Ok(())
    }

    fn copy(&mut self, place: &Path, from: &Path) -> Result<()> {
        if self.there.contains(place) {
            return Ok(());
        }
        let content = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
        self.file(place, &content)
    }

    fn put(&mut self, place: &Path, kind: ModeFileType, mode: u32, content: &[u8]) -> Result<()> {
        self.folder(place.parent().unwrap_or(Path::new("/")))?;
        if !self.there.insert(place.to_owned()) {
            return Ok(());
        }
        self.entry(place, kind, mode, content)
    }

    fn entry(&mut self, place: &Path, kind: ModeFileType, mode: u32, content: &[u8]) -> Result<()> {
        let name = place.strip_prefix("/").unwrap_or(place);
        let name = std::str::from_utf8(name.as_os_str().as_bytes())?;
        let length = content.len().try_into().context("4 GiB are too much")?;
        let mut entry = newc::Builder::new(name)
            .ino(self.there.len() as u32)
            .nlink(1)
            .mode(mode)
            .set_mode_file_type(kind)
            .write(&mut self.writer, length);
        entry.write_all(content)?;
        entry.finish()?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<()> {
        newc::trailer(&mut self.writer)?;
        Ok(self.writer.flush()?)
    }
}

/// The files in what ldd prints: `name => /path (0x…)`, or `/path (0x…)`.
fn paths_in(libraries: &str) -> impl Iterator<Item = &Path> {
    libraries.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.find(|word| word.starts_with('/')).map(Path::new)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_where_ldd_says() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f51)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f52)\n";
        let found: Vec<_> = paths_in(text).collect();
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, expected.map(Path::new));
        assert_eq!(paths_in("\tnot a dynamic executable\n").count(), 0);
    }
}
