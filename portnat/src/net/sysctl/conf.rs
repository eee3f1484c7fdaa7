//! Names of the sysctls that every link has one of.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::NetError;

/// A sysctl of one link, `net.FAMILY.conf.LINK.NAME`, or of all of them; or one that is no link's,
/// `net.netfilter.NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Conf {
    /// `ipv4` or `ipv6`; or `netfilter`.
    family: Cow<'static, str>,
    /// A link's name, `all` or `default`; empty if it is no link's.
    of: String,
    /// The last part.
    name: Cow<'static, str>,
}

/// What `all` and `default` mean differs from one sysctl to another; they are no links.
pub(super) const ALL: &str = "all";
pub(super) const DEFAULT: &str = "default";

impl Conf {
    pub(super) fn v4(of: &str, name: &'static str) -> Self {
        Self::new("ipv4", of, name)
    }

    pub(super) fn v6(of: &str, name: &'static str) -> Self {
        Self::new("ipv6", of, name)
    }

    pub(super) fn netfilter(name: &'static str) -> Self {
        Self::new("netfilter", "", name)
    }

    fn new(family: &'static str, of: &str, name: &'static str) -> Self {
        Self {
            family: family.into(),
            of: of.to_owned(),
            name: name.into(),
        }
    }

    /// As sysctl(8) spells it: the dots of a link's name become slashes.
    pub(super) fn key(&self) -> String {
        if self.of.is_empty() {
            return format!("net.{}.{}", self.family, self.name);
        }
        let of = self.of.replace('.', "/");
        format!("net.{}.conf.{of}.{}", self.family, self.name)
    }

    pub(super) fn path(&self, root: &Path) -> PathBuf {
        if self.of.is_empty() {
            return root.join("net").join(&*self.family).join(&*self.name);
        }
        directory(root, &self.family)
            .join(&self.of)
            .join(&*self.name)
    }

    /// The same of another link.
    pub(super) fn of_link(&self, link: &str) -> Self {
        Self {
            of: link.to_owned(),
            ..self.clone()
        }
    }

    /// Whether it makes a link forward, in one of the families, and nothing else.
    pub(super) fn is_forwarding(&self) -> bool {
        matches!(
            (&*self.family, &*self.name),
            ("ipv4", "forwarding") | ("ipv6", "force_forwarding")
        )
    }

    /// Whether each part is a file name, or as good as none.
    pub(super) fn is_plain(&self) -> bool {
        let is_plain = |part: &str| !matches!(part, "." | "..") && !part.contains(['/', '\0']);
        [&*self.family, &self.of, &*self.name]
            .into_iter()
            .all(is_plain)
    }

    /// The link it belongs to, if it is one link's.
    pub(super) fn interface(&self) -> Option<&str> {
        Some(self.of.as_str()).filter(|of| !is_special(of))
    }

    /// The sysctls by which somebody else makes the whole host forward, this link included. After
    /// that the value of this one is no longer portnat's to take back.
    pub(super) fn host_wide(&self) -> Vec<Self> {
        match (self.interface(), &*self.family, &*self.name) {
            (Some(_), "ipv4", "forwarding") => vec![Self::v4(ALL, "forwarding")],
            (Some(_), "ipv6", "force_forwarding") => {
                vec![
                    Self::v6(ALL, "forwarding"),
                    Self::v6(ALL, "force_forwarding"),
                ]
            }
            _ => Vec::new(),
        }
    }
}

/// Where the links of a family have their directories.
pub(super) fn directory(root: &Path, family: &str) -> PathBuf {
    root.join("net").join(family).join("conf")
}

fn is_special(of: &str) -> bool {
    matches!(of, "" | ALL | DEFAULT)
}

/// A link's name is one file name here. `all` and `default` are none: writing to them would let
/// every link forward.
pub(super) fn check_interface(name: &str) -> Result<(), NetError> {
    let special = matches!(name, "" | "." | "..") || is_special(name);
    if special || name.contains(['/', '\0']) {
        return Err(NetError::InterfaceName {
            name: name.to_owned(),
        });
    }
    Ok(())
}
