//! Who is published may also be told by a container's name, which Docker knows.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{Mapping, PublishSpec, SpecError, grammar};

/// What to publish, and of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Of whom is told by an address.
    Of(PublishSpec),
    /// By a container's name.
    Named(NamedSpec),
}

/// Of whom something is published: an address, or a container's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The address.
    Address(IpAddr),
    /// The name.
    Container(String),
}

/// What to publish of a container that is told by its name.
///
/// ```
/// use portnat::spec::{NamedSpec, Wish};
///
/// let Wish::Named(spec) = "8080:80@web".parse()? else { panic!() };
/// assert_eq!(spec.name, "web");
/// let address = "172.17.0.2".parse().expect("an address");
/// assert_eq!(spec.at(address)?.to_string(), "8080:80/tcp@172.17.0.2");
/// # Ok::<(), portnat::spec::SpecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedSpec {
    /// What Docker's part says.
    pub mapping: Mapping,
    /// The container's name.
    pub name: String,
}

impl NamedSpec {
    /// The same, for the address that the container has.
    ///
    /// # Errors
    /// It cannot be reached from the host's address.
    pub fn at(&self, target: IpAddr) -> Result<PublishSpec, SpecError> {
        PublishSpec::of(self.mapping, target, &self.to_string())
    }

    /// What is wrong about it where there is no Docker.
    #[must_use]
    pub fn without_docker(&self) -> SpecError {
        SpecError::NameWithoutDocker {
            name: self.name.clone(),
            spec: self.to_string(),
        }
    }
}

impl FromStr for Wish {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text.split_once('@') {
            Some((docker, name)) if is_name(name) => Ok(Wish::Named(NamedSpec {
                mapping: Mapping::parse(docker)?,
                name: name.to_owned(),
            })),
            _ => text.parse().map(Wish::Of),
        }
    }
}

impl Wish {
    /// What Docker's part says.
    #[must_use]
    pub fn mapping(&self) -> Mapping {
        match self {
            Wish::Of(spec) => spec.mapping(),
            Wish::Named(spec) => spec.mapping,
        }
    }

    /// The same on this address, unless it names one itself.
    ///
    /// # Errors
    /// The target cannot be reached from there.
    pub fn or_on(self, address: IpAddr) -> Result<Self, SpecError> {
        match self {
            Wish::Of(spec) => spec.or_on(address).map(Wish::Of),
            Wish::Named(mut spec) => {
                spec.mapping.host_ip.get_or_insert(address);
                Ok(Wish::Named(spec))
            }
        }
    }

    /// The address of whom it is about, if that is told.
    #[must_use]
    pub fn spec(&self) -> Option<PublishSpec> {
        match self {
            Wish::Of(spec) => Some(*spec),
            Wish::Named(_) => None,
        }
    }

    /// The container of whom it is about, if that is told.
    #[must_use]
    pub fn named(&self) -> Option<&NamedSpec> {
        match self {
            Wish::Of(_) => None,
            Wish::Named(spec) => Some(spec),
        }
    }
}

/// Refuses names, where nobody knows whose they are.
///
/// # Errors
/// Tells the first.
pub fn refuse_names(wishes: &[Wish]) -> Result<(), SpecError> {
    match wishes.iter().find_map(Wish::named) {
        Some(spec) => Err(spec.without_docker()),
        None => Ok(()),
    }
}

/// Whether Docker may call a container so. What is written with digits and dots alone is meant as an
/// address, and what is one is one.
fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    let begins = letters.next().is_some_and(|it| it.is_ascii_alphanumeric());
    let goes_on = letters.all(|it| it.is_ascii_alphanumeric() || "_.-".contains(it));
    let is_word = text.chars().any(|it| !(it.is_ascii_digit() || it == '.'));
    begins && goes_on && is_word && grammar::address(text).is_none()
}

impl FromStr for Target {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match grammar::address(text) {
            Some(address) => Ok(Target::Address(address)),
            None if is_name(text) => Ok(Target::Container(text.to_owned())),
            None => Err(SpecError::InvalidTarget {
                target: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => address.fmt(f),
            Target::Container(name) => f.write_str(name),
        }
    }
}

impl From<PublishSpec> for Wish {
    fn from(spec: PublishSpec) -> Self {
        Wish::Of(spec)
    }
}

/// The canonical spelling: parsing it gives the same again.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wish::Of(spec) => spec.fmt(f),
            Wish::Named(spec) => spec.fmt(f),
        }
    }
}

/// Alike.
impl fmt::Display for NamedSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.mapping, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Wish, String> {
        text.parse().map_err(|error: SpecError| error.to_string())
    }

    #[test]
    fn what_is_no_address_may_be_a_name() {
        for (text, name) in [
            ("80@web", "web"),
            ("127.0.0.1:8000-8009:80-89/udp@my_app-1.x", "my_app-1.x"),
            // No address; Docker lets a container be called so.
            ("80@0a", "0a"),
        ] {
            let wish = read(text).expect(text);
            assert_eq!(wish.named().expect(text).name, name);
            assert_eq!(read(&wish.to_string()), Ok(wish));
        }
        for text in ["80@172.17.0.2", "80@fd00::2", "80@[fd00::2]"] {
            let wish = read(text).expect(text);
            assert_eq!(wish, Wish::Of(text.parse().expect(text)));
        }
        for text in [
            "80@",
            "80@172.17.0.300",
            "80@-x",
            "80@a b",
            "80@web/x",
            "80@::1",
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with("invalid target: "), "{error}");
        }
        assert!(read("x:80@web").expect_err("a port").contains("hostPort"));
    }

    #[test]
    fn a_name_is_on_the_addresses_that_its_container_can_be_reached_from() {
        let wish = read("192.0.2.1:8080:80@web").expect("a spec");
        let named = wish.named().expect("a name");
        named
            .at("172.17.0.2".parse().expect("an address"))
            .expect("of one family");
        let error = named.at("fd00::2".parse().expect("an address"));
        let error = error.expect_err("of two").to_string();
        assert!(
            error.starts_with("192.0.2.1:8080:80/tcp@web: an IPv6 target"),
            "{error}"
        );
        let host = "192.0.2.3".parse().expect("an address");
        let told = read("80@web").expect("a spec").or_on(host).expect("names");
        assert_eq!(told.to_string(), "192.0.2.3::80/tcp@web");
    }
}
