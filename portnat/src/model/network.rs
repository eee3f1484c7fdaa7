//! Who reaches the containers behind a bridge by their own addresses, and as whom they are seen outside.

use std::fmt;
use std::str::FromStr;

use portnat_common::subnet::{CLOSED, ISOLATED, MASQUERADED, ROUTED};
use serde::{Deserialize, Serialize};

/// A bridge's mode, in Docker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// What containers send outside is masqueraded, and nobody but their own bridge's containers and the
    /// host reaches them but by published ports.
    #[default]
    Nat,
    /// The same, but everybody outside who knows a way reaches them.
    NatUnprotected,
    /// Nothing is translated: everybody who knows a way reaches those of their ports that are published,
    /// and can ping them; what they ask outside is answered.
    Routed,
}

/// A bridge with its mode: `docker0=routed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The bridge's name.
    pub bridge: String,
    /// Its mode.
    pub mode: NetworkMode,
}

impl NetworkMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nat, Self::NatUnprotected, Self::Routed];

    /// What the datapath is told of the bridge's subnets.
    #[must_use]
    pub const fn flags(self) -> u32 {
        match self {
            Self::Nat => MASQUERADED | CLOSED,
            Self::NatUnprotected => MASQUERADED | ISOLATED,
            Self::Routed => ROUTED,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::NatUnprotected => "nat-unprotected",
            Self::Routed => "routed",
        }
    }
}

impl FromStr for NetworkMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mode = Self::ALL.into_iter().find(|mode| mode.name() == text);
        mode.ok_or_else(|| format!("no mode: {text:?}: there are nat, nat-unprotected and routed"))
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((bridge, mode)) if !bridge.is_empty() => Ok(Network {
                bridge: bridge.to_owned(),
                mode: mode.parse()?,
            }),
            _ => Err(format!(
                "{text:?} is no bridge's mode: say for example docker0=routed"
            )),
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.bridge, self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridges_mode_is_read_and_shown() {
        for mode in NetworkMode::ALL {
            let text = format!("br-0=1={mode}");
            assert!(text.parse::<Network>().is_err(), "{text}");
            let text = format!("docker0={mode}");
            let network: Network = text.parse().expect("a bridge's mode");
            assert_eq!((network.mode, network.to_string()), (mode, text));
            let json = format!(r#"{{"bridge":"docker0","mode":"{mode}"}}"#);
            assert_eq!(serde_json::to_string(&network).expect("serializes"), json);
            assert_eq!(
                serde_json::from_str::<Network>(&json).expect("reads"),
                network
            );
        }
        for text in [
            "",
            "docker0",
            "=nat",
            "docker0=",
            "docker0=NAT",
            "docker0=l3",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
