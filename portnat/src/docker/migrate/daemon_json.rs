//! Docker's config file: three keys are changed, all others stay as they are written.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// What Docker does by itself unless these are false.
const KEYS: [&str; 3] = ["iptables", "ip6tables", "userland-proxy"];

/// The file's text, key by key.
#[derive(Clone, Debug, Default)]
pub(super) struct DaemonJson {
    entries: Vec<(String, Box<RawValue>)>,
}

/// A key that gets another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// The key.
    pub key: &'static str,
    /// Its value until now, as it is written; none if it is not there.
    pub before: Option<String>,
    /// Its value from then on.
    pub after: Option<String>,
}

impl DaemonJson {
    /// Reads it. To Docker an empty file is as none.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        match text.trim().is_empty() {
            true => Ok(Self::default()),
            false => serde_json::from_str(text),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let mut entries = self.entries.iter();
        entries.find_map(|(name, value)| (name == key).then(|| value.get()))
    }

    /// Has Docker leave it to portnat.
    pub(super) fn switch(&mut self) -> Result<Vec<KeyChange>, serde_json::Error> {
        let values = KEYS.map(|key| (key, Some("false".to_owned())));
        self.change(values.into_iter())
    }

    /// Has it as before; without anything that says how that was, as Docker has it by default.
    pub(super) fn switch_back(
        &mut self,
        before: Option<&Self>,
    ) -> Result<Vec<KeyChange>, serde_json::Error> {
        let values = KEYS.map(|key| {
            let before = before.and_then(|before| before.get(key));
            (key, before.map(str::to_owned))
        });
        self.change(values.into_iter())
    }

    /// Whether it says the same as another, if perhaps in another order.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let sorted = |json: &Self| {
            let entries = json.entries.iter();
            let mut all: Vec<_> = entries
                .map(|(key, value)| (key.clone(), value.get().to_owned()))
                .collect();
            all.sort();
            all
        };
        sorted(self) == sorted(other)
    }

    fn change(
        &mut self,
        values: impl Iterator<Item = (&'static str, Option<String>)>,
    ) -> Result<Vec<KeyChange>, serde_json::Error> {
        let mut changes = Vec::new();
        for (key, after) in values {
            let before = self.get(key).map(str::to_owned);
            if before == after {
                continue;
            }
            let value = after.clone().map(RawValue::from_string).transpose()?;
            let at = self.entries.iter().position(|(name, _)| name == key);
            self.entries.retain(|(name, _)| name != key);
            if let Some(value) = value {
                let at = at.unwrap_or(self.entries.len());
                self.entries
                    .insert(at.min(self.entries.len()), (key.to_owned(), value));
            }
            changes.push(KeyChange { key, before, after });
        }
        Ok(changes)
    }
}

impl<'de> Deserialize<'de> for DaemonJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = DaemonJson;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DaemonJson, A::Error> {
                let mut entries: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    // Docker takes the last, people perhaps the first.
                    if entries.iter().any(|(known, _)| *known == key) {
                        let why =
                            format!("{key:?} stands there twice: leave the one that is meant");
                        return Err(A::Error::custom(why));
                    }
                    entries.push((key, map.next_value()?));
                }
                Ok(DaemonJson { entries })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The file's text. What the values look like inside stays as it was.
impl fmt::Display for DaemonJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (number, (key, value)) in self.entries.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let key = serde_json::Value::from(key.as_str());
            write!(f, "{comma}\n  {key}: {value}")?;
        }
        f.write_str("\n}\n")
    }
}

/// As `"iptables": false (was true)`.
impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeyChange { key, before, after } = self;
        match after {
            Some(after) => write!(f, "\"{key}\": {after}")?,
            None => write!(f, "\"{key}\" not set")?,
        }
        match before {
            Some(before) => write!(f, " (was {before})"),
            None => f.write_str(" (was not set)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: &str = r#"{
    "log-opts": { "max-size" : "10m",
                  "z": [1,  2] },
    "iptables": true,
    "bip": "10.1.0.1/24"
}
"#;

    #[test]
    fn all_other_keys_stay_as_they_are_written() {
        let mut json = DaemonJson::read(OTHERS).expect("JSON");
        let changes = json.switch().expect("values");
        let changes: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            changes,
            [
                "\"iptables\": false (was true)",
                "\"ip6tables\": false (was not set)",
                "\"userland-proxy\": false (was not set)",
            ]
        );
        let wanted = r#"{
  "log-opts": { "max-size" : "10m",
                  "z": [1,  2] },
  "iptables": false,
  "bip": "10.1.0.1/24",
  "ip6tables": false,
  "userland-proxy": false
}
"#;
        assert_eq!(json.to_string(), wanted);
        assert_eq!(json.switch().expect("values"), [], "it is so already");

        let before = DaemonJson::read(OTHERS).expect("JSON");
        let back = json.switch_back(Some(&before)).expect("values");
        assert_eq!(back.len(), 3);
        assert!(json.is_same_as(&before), "{json}");
    }

    #[test]
    fn a_file_that_is_not_there_gets_the_three_alone() {
        let mut json = DaemonJson::read("").expect("nothing");
        json.switch().expect("values");
        let text = json.to_string();
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let wanted =
            serde_json::json!({"iptables": false, "ip6tables": false, "userland-proxy": false});
        assert_eq!(read, wanted);
        json.switch_back(None).expect("values");
        assert!(json.is_same_as(&DaemonJson::default()));
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for text in ["[]", "{", "{\"iptables\": }", "{} x"] {
            DaemonJson::read(text).expect_err(text);
        }
        let twice = "{\n  \"bip\": \"10.1.0.1/24\",\n  \"bip\": \"10.2.0.1/24\"\n}";
        let error = DaemonJson::read(twice).expect_err("it is not clear");
        let error = error.to_string();
        assert!(
            error.contains("\"bip\" stands there twice: leave"),
            "{error}"
        );
        assert!(error.contains("line 3"), "{error}");
    }
}
