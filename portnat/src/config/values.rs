//! Values of a config file.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use clap::ValueEnum;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::spec::Wish;

/// What is written as text, as on the command line.
#[derive(Clone, Debug)]
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let value = text
            .parse()
            .map_err(|error| match T::Err::to_string(&error) {
                // Some say only what is wrong, and not about what.
                what if what.contains(&text) => D::Error::custom(what),
                what => D::Error::custom(format!("{text:?}: {what}")),
            });
        value.map(Text)
    }
}

/// One of some words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice<T>(pub(super) T);

impl<'de, T: ValueEnum> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::from_str(&text, false).map(Choice).map_err(|_| {
            let values = T::value_variants().iter();
            let values = values.filter_map(ValueEnum::to_possible_value);
            let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
            D::Error::custom(format!("{text:?} is none of {}", names.join(", ")))
        })
    }
}

/// Ports to publish: `"8080:80@172.17.0.2"`, or a table for several of a target.
#[derive(Debug)]
pub(super) enum Publish {
    Spec(Wish),
    Table(PublishTable),
}

impl<'de> Deserialize<'de> for Publish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Publish;

            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a spec such as \"8080:80@172.17.0.2\", or a table with target and ports",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Publish, E> {
                let spec = text.parse().map_err(E::custom);
                spec.map(Publish::Spec)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Publish, A::Error> {
                PublishTable::deserialize(MapAccessDeserializer::new(map)).map(Publish::Table)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// Ports of a target.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct PublishTable {
    /// The target's address, or with Docker its name.
    pub(super) target: Spanned<String>,
    /// What of it, in the words of Docker's `-p`.
    pub(super) ports: Vec<Spanned<String>>,
}
