//! How long flows live, where the user says it.

use std::fmt;
use std::str::FromStr;

use portnat_common::{Lifetimes, Ticks};

/// The longest life time in seconds: a year, so that no sum of ticks overflows.
const LONGEST: u64 = 365 * 24 * 3600;

/// A state in which flows live for so long without a packet: `tcp-established=7440`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    state: State,
    seconds: u64,
}

/// The life time of a state.
type Field = fn(&mut Lifetimes) -> &mut Ticks;

/// A state by the name that the command line has for it.
#[derive(Clone, Copy, Debug)]
struct State {
    name: &'static str,
    field: Field,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for State {}

/// All states.
const STATES: [State; 10] = [
    State::new("tcp-opening", |all| &mut all.tcp_opening),
    State::new("tcp-established", |all| &mut all.tcp_established),
    State::new("tcp-closing", |all| &mut all.tcp_closing),
    State::new("sctp-opening", |all| &mut all.sctp_opening),
    State::new("sctp-established", |all| &mut all.sctp_established),
    State::new("sctp-closing", |all| &mut all.sctp_closing),
    State::new("udp-half-open", |all| &mut all.udp_half_open),
    State::new("udp-unanswered", |all| &mut all.udp_unanswered),
    State::new("udp-answered", |all| &mut all.udp_answered),
    State::new("icmp", |all| &mut all.icmp),
];

impl State {
    const fn new(name: &'static str, field: Field) -> Self {
        State { name, field }
    }
}

impl Timeout {
    /// Makes this state's life time what was asked for, with `hz` ticks a second.
    pub fn apply(&self, lifetimes: &mut Lifetimes, hz: u64) {
        *(self.state.field)(lifetimes) = Ticks(self.seconds * hz);
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, seconds) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not STATE=SECONDS"))?;
        let state = STATES.into_iter().find(|state| state.name == name);
        let state = state.ok_or_else(|| {
            let names: Vec<_> = STATES.iter().map(|state| state.name).collect();
            format!("there is no state {name:?}: there are {}", names.join(", "))
        })?;
        match seconds.parse() {
            Ok(seconds @ 1..=LONGEST) => Ok(Timeout { state, seconds }),
            _ => Err(format!(
                "{seconds:?} is not a number of seconds from 1 to {LONGEST}"
            )),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.state.name, self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_life_time() {
        let standard = Lifetimes::standard(100);
        for state in STATES {
            let text = format!("{}=7", state.name);
            let timeout: Timeout = text.parse().expect("a time-out");
            assert_eq!(timeout.to_string(), text);
            let mut lifetimes = standard;
            timeout.apply(&mut lifetimes, 100);
            let changed = STATES.into_iter().filter(|other| {
                *(other.field)(&mut lifetimes) != *(other.field)(&mut standard.clone())
            });
            let changed: Vec<_> = changed.map(|other| other.name).collect();
            assert_eq!(changed, [state.name]);
            assert_eq!(*(state.field)(&mut lifetimes), Ticks(700));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, culprit) in [
            ("tcp-established", "STATE=SECONDS"),
            (
                "tcp=5",
                "there is no state \"tcp\": there are tcp-opening, ",
            ),
            ("icmp=0", "\"0\" is not a number of seconds"),
            ("icmp=1h", "\"1h\""),
            ("icmp=99999999999", "from 1 to 31536000"),
        ] {
            let error = text.parse::<Timeout>().expect_err(text);
            assert!(error.contains(culprit), "{error}");
        }
    }
}
