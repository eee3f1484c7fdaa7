//! What a portnat has left is taken away, without one.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::adopt::{attached_elsewhere, record_path, written_beside};
use super::{adopt, commands, docker, ports};
use crate::datapath::{Leftovers, Pins};
use crate::net::{Singleton, Sysctls, namespace_name, remove_clsact, restore_reserved_ports};
use crate::written;

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Programs that were attached.
    pub programs: usize,
    /// Tables that were pinned.
    pub tables: usize,
    /// Sysctls that were changed.
    pub sysctls: usize,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("there was nothing to clean up");
        }
        let Removed {
            programs,
            tables,
            sysctls,
        } = self;
        write!(
            f,
            "detached {programs} programs, removed {tables} tables, looked after {sysctls} changed \
             sysctls"
        )
    }
}

/// Detaches and unpins all that a portnat has left in this network namespace, and puts back what it
/// changed. `pin_dir` and `socket` are what it was started with.
///
/// # Errors
/// A portnat runs here: what is pinned is in use, and it would attach anew what is detached. Or the kernel
/// refuses.
pub async fn clean_up(pin_dir: &Path, socket: &Path) -> anyhow::Result<Removed> {
    let _singleton = Singleton::acquire()?;
    let pins = Pins::new(pin_dir, &namespace_name()?);
    let Leftovers {
        programs,
        tables,
        qdiscs,
    } = pins.clean_up()?;
    if programs == 0
        && tables == 0
        && let Some(interface) = attached_elsewhere()
    {
        bail!("{}", adopt::elsewhere(&interface, pin_dir));
    }
    if !qdiscs.is_empty() {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("opening a netlink socket")?;
        tokio::spawn(connection);
        for index in qdiscs {
            remove_clsact(&handle, index).await?;
        }
    }
    for file in [commands::FILE, docker::FILE] {
        let path = written_beside(socket, file)?;
        written::remove(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    let mut sysctls = Sysctls::recorded(&record_path(socket)?, false)?;
    let mut changed = sysctls.count();
    sysctls.restore()?;
    changed += usize::from(restore_reserved_ports(&written_beside(
        socket,
        ports::FILE,
    )?)?);
    Ok(Removed {
        programs,
        tables,
        sysctls: changed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_what_was_there() {
        assert_eq!(
            Removed::default().to_string(),
            "there was nothing to clean up"
        );
        let removed = Removed {
            programs: 7,
            tables: 48,
            sysctls: 3,
        };
        assert_eq!(
            removed.to_string(),
            "detached 7 programs, removed 48 tables, looked after 3 changed sysctls"
        );
    }
}
