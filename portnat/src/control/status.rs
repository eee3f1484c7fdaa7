//! What the daemon is like: what it holds on to, and what it cannot do.

use serde::{Deserialize, Serialize};

/// What the daemon is like. Its fields are those of the JSON, see `docs/api.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process's number.
    pub pid: u32,
    /// The name of its network namespace.
    pub namespace: String,
    /// Whether everything stays when it ends.
    pub persist: bool,
    /// The names of the interfaces to the outside.
    pub uplinks: Vec<String>,
    /// The names of those that containers are behind.
    pub bridges: Vec<String>,
    /// The names of the bridges of networks that lead nowhere.
    #[serde(default)]
    pub internal: Vec<String>,
    /// Whether IPv6 packets are to be forwarded.
    pub ipv6: bool,
    /// The programs that it has attached to TC's hooks.
    pub attached: Vec<Attached>,
    /// Whether it wants packets of established flows to go past the host's stack.
    pub fast_path: bool,
    /// `off`, or where XDP is: `auto`, `native` or `generic`.
    pub xdp: String,
    /// The indices of the bridges' ports whose containers could get packets by XDP.
    pub frame_ports: Vec<u32>,
    /// What could not be done at the last look at the host.
    pub complaints: Vec<String>,
    /// Whether its helper process has ended, without which it reads no config.
    #[serde(default)]
    pub helper_gone: bool,
}

/// A program at a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// `in` or `out`.
    pub hook: String,
    /// The program's name.
    pub program: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scripts rely on it: a field may come, none may go.
    #[test]
    fn the_fields_that_are_documented() {
        let status = Status {
            version: "0.1.0".to_owned(),
            pid: 7,
            namespace: "netns-1".to_owned(),
            uplinks: vec!["eth0".to_owned()],
            attached: vec![Attached {
                interface: "eth0".to_owned(),
                index: 2,
                hook: "in".to_owned(),
                program: "nat_in".to_owned(),
            }],
            xdp: "off".to_owned(),
            ..Status::default()
        };
        let json = serde_json::to_string(&status).expect("JSON");
        assert_eq!(
            json,
            r#"{"version":"0.1.0","pid":7,"namespace":"netns-1","persist":false,"#.to_owned()
                + r#""uplinks":["eth0"],"bridges":[],"internal":[],"ipv6":false,"attached":[{"interface":"eth0","#
                + r#""index":2,"hook":"in","program":"nat_in"}],"fast_path":false,"xdp":"off","#
                + r#""frame_ports":[],"complaints":[],"helper_gone":false}"#
        );
        let read: Status = serde_json::from_str(&json).expect("our own JSON");
        assert_eq!(read, status);
    }
}
