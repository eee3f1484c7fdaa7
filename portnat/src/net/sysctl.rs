//! Sysctls of the network namespace: one that is set and restored, one that is read.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::NetError;
use super::error::reason;

/// Resolved by the kernel to the calling thread's network namespace.
const ROOT: &str = "/proc/sys";

/// The sysctls that were changed, put back by [`restore`](Sysctls::restore) or on drop.
///
/// A host is a guest's house: only what must be changed is, and it is said, remembered and undone.
/// `ip_forward` is never touched; forwarding is switched on for one link at a time.
#[derive(Debug)]
pub struct Sysctls {
    root: PathBuf,
    changed: Vec<Changed>,
}

/// A sysctl that no longer has the value it had.
#[derive(Debug)]
struct Changed {
    key: String,
    previous: String,
    /// Kept open, because an open sysctl stays that of its own namespace and link: it can be
    /// restored from any thread, and never in a new link that got the name of an old one.
    file: File,
}

impl Default for Sysctls {
    fn default() -> Self {
        Self::new()
    }
}

impl Sysctls {
    /// Nothing is changed yet.
    #[must_use]
    pub fn new() -> Self {
        Self::under(Path::new(ROOT))
    }

    fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            changed: Vec::new(),
        }
    }

    /// Lets the link forward IPv4 packets that it receives; nothing is done if it does already.
    ///
    /// # Errors
    ///
    /// [`NetError::InterfaceName`] for what cannot be a link's name, [`NetError::UnknownInterface`]
    /// if there is no such link (any more), and [`NetError::ReadSysctl`] or
    /// [`NetError::WriteSysctl`] if the kernel refuses.
    pub fn enable_forwarding(&mut self, interface: &str) -> Result<(), NetError> {
        check_interface(interface)?;
        // As sysctl(8) spells it: the dots of a name become slashes.
        let key = format!("net.ipv4.conf.{}.forwarding", interface.replace('.', "/"));
        let path = self
            .root
            .join("net/ipv4/conf")
            .join(interface)
            .join("forwarding");
        self.set(key, &path, "1").map_err(|error| match error {
            NetError::ReadSysctl { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                NetError::UnknownInterface {
                    name: interface.to_owned(),
                }
            }
            other => other,
        })
    }

    fn set(&mut self, key: String, path: &Path, value: &str) -> Result<(), NetError> {
        let previous = read(&key, path)?;
        if previous == value {
            return Ok(());
        }
        let write = || {
            let file = File::options().write(true).open(path)?;
            write(&file, value)?;
            Ok(file)
        };
        match write() {
            Ok(file) => {
                tracing::info!("set {key} = {value} (was {previous}), restored at exit");
                self.changed.push(Changed {
                    key,
                    previous,
                    file,
                });
                Ok(())
            }
            Err(cause) => Err(NetError::WriteSysctl {
                key,
                value: value.to_owned(),
                cause,
            }),
        }
    }

    /// Puts every changed value back, the last change first. A link that has vanished took its
    /// value along.
    ///
    /// # Errors
    ///
    /// The first [`NetError::WriteSysctl`], after all the others were tried; none is tried again.
    pub fn restore(&mut self) -> Result<(), NetError> {
        let mut result = Ok(());
        while let Some(Changed {
            key,
            previous,
            file,
        }) = self.changed.pop()
        {
            match write(&file, &previous) {
                Ok(()) => tracing::info!("restored {key} = {previous}"),
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {
                    tracing::debug!("{key} is gone with its interface");
                }
                Err(cause) if result.is_ok() => {
                    result = Err(NetError::WriteSysctl {
                        key,
                        value: previous,
                        cause,
                    });
                }
                Err(cause) => {
                    tracing::warn!("cannot restore {key} = {previous}: {}", reason(&cause));
                }
            }
        }
        result
    }
}

impl Drop for Sysctls {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            tracing::warn!("{error}");
        }
    }
}

/// The range of ports that the kernel takes local ports from, both ends included
/// (`net.ipv4.ip_local_port_range`, which holds for IPv6 too).
///
/// # Errors
///
/// [`NetError::ReadSysctl`] without `/proc`, [`NetError::SysctlValue`] if it holds no two ports.
pub fn local_port_range() -> Result<(u16, u16), NetError> {
    let key = "net.ipv4.ip_local_port_range";
    let text = read(key, &Path::new(ROOT).join("net/ipv4/ip_local_port_range"))?;
    port_range(&text).ok_or_else(|| NetError::SysctlValue {
        key: key.to_owned(),
        value: text,
        expected: "two ports",
    })
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once(char::is_whitespace)?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

fn read(key: &str, path: &Path) -> Result<String, NetError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end().to_owned()),
        Err(cause) => Err(NetError::ReadSysctl {
            key: key.to_owned(),
            cause,
        }),
    }
}

/// At offset 0, whatever was written before: the kernel takes a value only there.
fn write(file: &File, value: &str) -> io::Result<()> {
    file.write_all_at(format!("{value}\n").as_bytes(), 0)
}

/// A link's name is one file name here. `all` and `default` are none: writing to them would let
/// every link forward.
fn check_interface(name: &str) -> Result<(), NetError> {
    let special = matches!(name, "" | "." | ".." | "all" | "default");
    if special || name.contains(['/', '\0']) {
        return Err(NetError::InterfaceName {
            name: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like /proc/sys, for the time of one test.
    struct Tree(PathBuf);

    impl Tree {
        fn new(test: &str, interfaces: &[(&str, &str)]) -> Self {
            let name = format!("portnat-sysctl-{}-{test}", std::process::id());
            let tree = Self(std::env::temp_dir().join(name));
            for (interface, value) in interfaces {
                let path = tree.path(interface);
                fs::create_dir_all(path.parent().expect("is in a directory")).expect("made");
                fs::write(path, format!("{value}\n")).expect("written");
            }
            tree
        }

        fn path(&self, interface: &str) -> PathBuf {
            self.0
                .join("net/ipv4/conf")
                .join(interface)
                .join("forwarding")
        }

        fn value(&self, interface: &str) -> String {
            fs::read_to_string(self.path(interface)).expect("readable")
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_value_is_set_and_restored() {
        let tree = Tree::new("restore", &[("eth0", "0"), ("eth0.5", "0")]);
        let mut sysctls = Sysctls::under(&tree.0);
        sysctls.enable_forwarding("eth0").expect("settable");
        sysctls.enable_forwarding("eth0.5").expect("settable");
        assert_eq!(sysctls.changed[1].key, "net.ipv4.conf.eth0/5.forwarding");
        assert_eq!([tree.value("eth0"), tree.value("eth0.5")], ["1\n", "1\n"]);
        sysctls.restore().expect("restorable");
        assert_eq!([tree.value("eth0"), tree.value("eth0.5")], ["0\n", "0\n"]);
    }

    #[test]
    fn the_last_change_is_undone_first() {
        let tree = Tree::new("order", &[("eth0", "0")]);
        let mut sysctls = Sysctls::under(&tree.0);
        let set = |sysctls: &mut Sysctls, value| {
            sysctls
                .set("key".to_owned(), &tree.path("eth0"), value)
                .expect("settable");
        };
        set(&mut sysctls, "1");
        set(&mut sysctls, "2");
        sysctls.restore().expect("restorable");
        assert_eq!(tree.value("eth0"), "0\n");
    }

    #[test]
    fn dropping_restores() {
        let tree = Tree::new("drop", &[("eth0", "0")]);
        let mut sysctls = Sysctls::under(&tree.0);
        sysctls.enable_forwarding("eth0").expect("settable");
        drop(sysctls);
        assert_eq!(tree.value("eth0"), "0\n");
    }

    #[test]
    fn what_is_on_already_is_not_ours_to_switch_off() {
        let tree = Tree::new("on", &[("eth0", "1")]);
        let mut sysctls = Sysctls::under(&tree.0);
        sysctls.enable_forwarding("eth0").expect("nothing to do");
        assert!(sysctls.changed.is_empty());
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let tree = Tree::new("unknown", &[]);
        let error = Sysctls::under(&tree.0)
            .enable_forwarding("eth9")
            .expect_err("not there");
        assert!(matches!(error, NetError::UnknownInterface { name } if name == "eth9"));
    }

    #[test]
    fn no_name_leads_out_of_one_interfaces_directory() {
        let tree = Tree::new("names", &[]);
        for name in [
            "", ".", "..", "../all", "a/b", "/etc", "all", "default", "a\0b",
        ] {
            let refusal = Sysctls::under(&tree.0).enable_forwarding(name);
            assert!(
                matches!(refusal, Err(NetError::InterfaceName { .. })),
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_port_range_is_two_ports() {
        assert_eq!(port_range("32768\t60999"), Some((32768, 60999)));
        assert_eq!(port_range("32768"), None);
        assert_eq!(port_range("32768\t99999"), None);
        let (first, last) = local_port_range().expect("this host has one");
        assert!(first <= last);
    }
}
