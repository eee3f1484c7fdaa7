//! The config file: TOML, whose keys are called as the options of `portnat run`; see
//! `docs/config.md`.
//!
//! It is read and judged as a whole before anything of it is used, and what is wrong is named by file,
//! line and field.

mod error;
mod values;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

pub use error::ConfigError;

use crate::control::{AimError, aim};
use crate::datapath::{LoadOptions, UdpMapping};
use crate::model::{
    AdmissionRule, FastPath, Interfaces, Mark, Masquerade, Network, RateLimit, Timeout,
};
use crate::spec::{Mapping, NamedSpec, SpecError, Wish};
use error::Place;
use values::{Choice, Publish, Text};

/// How long a file can be, in bytes. What the helper sends of it fits a message.
const LONGEST: u64 = 1 << 20;
/// How many flows there can be.
pub const MAX_FLOWS: RangeInclusive<u32> = 1..=16_777_216;
/// How many of them can be half-open.
pub const MAX_HALF_OPEN: RangeInclusive<u32> = 64..=16_777_216;

/// What a config file says; what it is silent about is `None` or empty.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    /// The ports to publish.
    pub publish: Vec<Wish>,
    /// Who may come in by published ports.
    pub allow: Vec<AdmissionRule<IpNet>>,
    /// Who may not.
    pub deny: Vec<AdmissionRule<IpNet>>,
    /// How many connections each source may open by them.
    pub limit: Vec<AdmissionRule<RateLimit>>,
    /// The interfaces to the outside.
    pub uplinks: Vec<Interfaces>,
    /// The interfaces that containers are behind.
    pub bridges: Vec<Interfaces>,
    /// Whose packets are masqueraded.
    pub masquerade: Vec<Masquerade>,
    /// To whom they are not.
    pub bypass: Vec<IpNet>,
    /// The bridges' modes.
    pub networks: Vec<Network>,
    /// Which packets go past the host's stack.
    pub fast_path: Option<FastPath>,
    /// From which port of the host a container's UDP socket is seen.
    pub udp_mapping: Option<UdpMapping>,
    /// How translated packets are marked.
    pub mark: Option<Mark>,
    /// How long flows live.
    pub timeouts: Vec<Timeout>,
    /// How many flows there can be at once.
    pub max_flows: Option<u32>,
    /// How many of them outsiders can have opened and not confirmed.
    pub max_half_open: Option<u32>,
    /// How many flows to the outside each container can have.
    pub max_flows_per_container: Option<u32>,
    path: PathBuf,
    /// Where the first container is told by its name.
    name: Option<Name>,
    /// The lines of some fields.
    lines: BTreeMap<&'static str, usize>,
}

/// Where a container is told by its name.
#[derive(Clone, Debug)]
struct Name {
    line: usize,
    field: String,
    spec: NamedSpec,
}

/// The file as it is written. What one value alone can be wrong about is judged where it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Written {
    publish: Vec<Spanned<Publish>>,
    allow: Vec<Text<AdmissionRule<IpNet>>>,
    deny: Vec<Text<AdmissionRule<IpNet>>>,
    limit: Vec<Text<AdmissionRule<RateLimit>>>,
    uplinks: Vec<Spanned<Text<Interfaces>>>,
    bridges: Vec<Spanned<Text<Interfaces>>>,
    masquerade: Vec<Text<Masquerade>>,
    bypass: Vec<Text<IpNet>>,
    networks: Vec<Text<Network>>,
    fast_path: Option<Choice<FastPath>>,
    udp_mapping: Option<Choice<UdpMapping>>,
    mark: Option<Text<Mark>>,
    timeouts: BTreeMap<String, Spanned<u64>>,
    max_flows: Option<Spanned<u32>>,
    max_half_open: Option<Spanned<u32>>,
    max_flows_per_container: Option<Spanned<u32>>,
}

impl ConfigFile {
    /// Reads and judges a file.
    ///
    /// # Errors
    /// It cannot be read, or names the first thing that makes no sense.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = text(path).map_err(|cause| ConfigError::Read {
            path: path.to_owned(),
            cause,
        })?;
        Self::parse(path, &text)
    }

    /// Judges a file's text.
    ///
    /// # Errors
    /// Names the first thing that makes no sense.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let place = Place { path, text };
        let written = toml::Deserializer::parse(text).map_err(|error| place.toml("", &error))?;
        let written: Written = serde_path_to_error::deserialize(written)
            .map_err(|error| place.toml(&field(error.path()), error.inner()))?;
        written.judge(&place)
    }

    /// Refuses containers' names, where there is no Docker that knows whose they are.
    ///
    /// # Errors
    /// Names the first.
    pub fn refuse_names(&self) -> Result<(), ConfigError> {
        match &self.name {
            None => Ok(()),
            Some(name) => Err(ConfigError::Field {
                path: self.path.clone(),
                line: Some(name.line),
                field: name.field.clone(),
                what: name.spec.without_docker().to_string(),
            }),
        }
    }

    /// Refuses what this file has other than portnat has run with since it started, and which cannot
    /// be changed meanwhile: tables keep the size they are made with.
    ///
    /// # Errors
    /// Names the field.
    pub fn check_fixed(
        &self,
        wanted: &LoadOptions,
        running: &LoadOptions,
    ) -> Result<(), ConfigError> {
        for (field, wanted, running) in [
            ("max-flows", wanted.max_flows, running.max_flows),
            ("max-half-open", wanted.max_half_open, running.max_half_open),
        ] {
            if wanted != running {
                let what = format!(
                    "it would be {wanted}, and is {running} as long as portnat runs: restart it"
                );
                return Err(ConfigError::Field {
                    path: self.path.clone(),
                    line: self.lines.get(field).copied(),
                    field: field.to_owned(),
                    what,
                });
            }
        }
        Ok(())
    }
}

/// The text of a config file.
///
/// # Errors
/// It cannot be read, or is longer than any that makes sense.
pub fn text(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8 text");
    String::from_utf8(text).map_err(no_text)
}

impl Written {
    fn judge(self, place: &Place) -> Result<ConfigFile, ConfigError> {
        let mut lines = BTreeMap::new();
        let mut bounded = |field, value: Option<Spanned<u32>>, bounds: RangeInclusive<u32>| {
            let Some(value) = value else { return Ok(None) };
            lines.insert(field, place.line(value.span().start));
            let (first, last) = (bounds.start(), bounds.end());
            match *value.get_ref() {
                number if bounds.contains(&number) => Ok(Some(number)),
                number => {
                    let what = format!("{number} is not a number from {first} to {last}");
                    Err(place.field(field, &value, what))
                }
            }
        };
        let max_flows = bounded("max-flows", self.max_flows, MAX_FLOWS)?;
        let max_half_open = bounded("max-half-open", self.max_half_open, MAX_HALF_OPEN)?;
        let max_flows_per_container = bounded(
            "max-flows-per-container",
            self.max_flows_per_container,
            MAX_FLOWS,
        )?;
        let mut timeouts = Vec::new();
        for (state, seconds) in &self.timeouts {
            let timeout = format!("{state}={}", seconds.get_ref()).parse();
            let field = format!("timeouts.{state}");
            timeouts.push(timeout.map_err(|what: String| place.field(&field, seconds, what))?);
        }
        for (number, bridge) in self.bridges.iter().enumerate() {
            let name = bridge.get_ref().0.name();
            let is_same = |uplink: &Spanned<Text<Interfaces>>| uplink.get_ref().0.name() == name;
            if name.is_some() && self.uplinks.iter().any(is_same) {
                let what = format!("{} is named as an uplink too", bridge.get_ref().0);
                return Err(place.field(&format!("bridges[{number}]"), bridge, what));
            }
        }
        let names = |list: Vec<Spanned<Text<Interfaces>>>| {
            let names = list.into_iter().map(|one| one.into_inner().0);
            names.collect::<Vec<_>>()
        };
        let (publish, name) = published(place, &self.publish)?;
        Ok(ConfigFile {
            publish,
            name,
            allow: plain(self.allow),
            deny: plain(self.deny),
            limit: plain(self.limit),
            uplinks: names(self.uplinks),
            bridges: names(self.bridges),
            masquerade: plain(self.masquerade),
            bypass: plain(self.bypass),
            networks: plain(self.networks),
            fast_path: self.fast_path.map(|choice| choice.0),
            udp_mapping: self.udp_mapping.map(|choice| choice.0),
            mark: self.mark.map(|mark| mark.0),
            timeouts,
            max_flows,
            max_half_open,
            max_flows_per_container,
            path: place.path.to_owned(),
            lines,
        })
    }
}

fn plain<T>(texts: Vec<Text<T>>) -> Vec<T> {
    texts.into_iter().map(|text| text.0).collect()
}

/// All that is to be published, of which no two want the same port of the host; and where the first name
/// is.
fn published(
    place: &Place,
    publish: &[Spanned<Publish>],
) -> Result<(Vec<Wish>, Option<Name>), ConfigError> {
    let mut specs: Vec<Wish> = Vec::new();
    let mut first = None;
    let mut add = |field: &str, at: usize, spec: Wish| match specs
        .iter()
        .find(|other| same_port(other, &spec))
    {
        Some(other) => {
            let what = format!("{spec} and {other} publish the same port of the host");
            Err(place.at(field, at, what))
        }
        None => {
            if let Some(spec) = spec.named().filter(|_| first.is_none()) {
                first = Some(Name {
                    line: place.line(at),
                    field: field.to_owned(),
                    spec: spec.clone(),
                });
            }
            specs.push(spec);
            Ok(())
        }
    };
    for (number, publish) in publish.iter().enumerate() {
        let at = publish.span().start;
        match publish.get_ref() {
            Publish::Spec(spec) => {
                let field = format!("publish[{number}]");
                add(&field, at, spec.clone())?;
            }
            Publish::Table(table) => {
                for (port, spec) in table.ports.iter().enumerate() {
                    let words = [spec.get_ref().clone()];
                    let field = format!("publish[{number}].ports[{port}]");
                    let aimed = aim(table.target.get_ref(), &words);
                    let aimed = aimed.map_err(|error| match error {
                        AimError::Spec(error @ SpecError::InvalidTarget { .. }) => {
                            let field = format!("publish[{number}].target");
                            place.field(&field, &table.target, error.to_string())
                        }
                        error => place.field(&field, spec, error.to_string()),
                    })?;
                    for aimed in aimed {
                        add(&field, spec.span().start, aimed)?;
                    }
                }
            }
        }
    }
    Ok((specs, first))
}

/// Whether both name a port of the host, and the same one.
fn same_port(one: &Wish, other: &Wish) -> bool {
    // A name may come to an address of either family.
    let is_v4 = |wish: &Wish| {
        let address = wish
            .mapping()
            .host_ip
            .or(wish.spec().map(|spec| spec.target));
        address.is_none_or(|address| address.is_ipv4())
    };
    let same_family = is_v4(one) == is_v4(other);
    let (one, other) = (one.mapping(), other.mapping());
    let everywhere = |spec: &Mapping| spec.host_ip.is_none_or(|ip| ip.is_unspecified());
    let named = |spec: &Mapping| spec.host_ports.filter(|_| spec.pool().is_none());
    let shared = named(&one).zip(named(&other));
    shared.is_some_and(|(one, other)| one.intersection(other).is_some())
        && one.protocol == other.protocol
        && same_family
        && (one.host_ip == other.host_ip || everywhere(&one) || everywhere(&other))
}

/// A field's path as one would write it.
fn field(path: &serde_path_to_error::Path) -> String {
    let mut words = String::new();
    for segment in path.iter() {
        match segment {
            serde_path_to_error::Segment::Seq { index } => words += &format!("[{index}]"),
            // What toml puts around a value whose place is asked for.
            serde_path_to_error::Segment::Map { key } if !key.starts_with("$__") => {
                let dot = if words.is_empty() { "" } else { "." };
                words += &format!("{dot}{key}");
            }
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests;
