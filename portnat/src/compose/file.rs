//! A file's services and their ports.

mod node;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use node::Node;

use super::interpolate::{Variables, interpolate};
use super::{Complaint, Declared, Outcome};
use crate::spec::{Mapping, SpecError};

/// Reads a compose file's text. `variables` says what `${NAME}` is.
#[must_use]
pub fn read(text: &str, variables: &Variables<'_>) -> Outcome {
    let mut reader = Reader {
        variables,
        outcome: Outcome::default(),
    };
    match Node::load(text) {
        Ok(Some(root)) => reader.file(&root),
        Ok(None) => reader.complain(1, "", "there is nothing in it"),
        Err((line, what)) => reader.complain(line, "", &what),
    }
    reader.outcome.compare();
    reader.outcome.complaints.sort_by_key(|one| one.line);
    reader.outcome
}

struct Reader<'a> {
    variables: &'a Variables<'a>,
    outcome: Outcome,
}

impl Reader<'_> {
    fn complain(&mut self, line: usize, field: &str, what: &str) {
        let complaints = &mut self.outcome.complaints;
        complaints.push(complaint(line, field, what));
    }

    fn leave_out(&mut self, line: usize, field: &str, what: &str) {
        self.outcome.left_out.push(complaint(line, field, what));
    }

    fn file(&mut self, root: &Node) {
        if let Some(included) = root.get("include") {
            self.leave_out(included.line(), "include", "is not followed");
        }
        let Some(services) = root.get("services") else {
            return self.complain(root.line(), "", "it has no services");
        };
        let Some(services) = services.entries() else {
            return self.complain(services.line(), "services", "is not a mapping");
        };
        for (name, service) in services {
            let field = format!("services.{name}");
            match service.entries() {
                Some(_) => self.service(name, &field, service),
                None if service.is_null() => {}
                None => self.complain(service.line(), &field, "is not a mapping"),
            }
        }
    }

    fn service(&mut self, name: &str, field: &str, service: &Node) {
        if let Some(extended) = service.get("extends") {
            self.leave_out(
                extended.line(),
                &format!("{field}.extends"),
                "is not followed",
            );
        }
        let Some(ports) = service.get("ports").filter(|ports| !ports.is_null()) else {
            return;
        };
        let field = format!("{field}.ports");
        let Some(entries) = ports.items() else {
            return self.complain(ports.line(), &field, "is not a list");
        };
        let mode = service.get("network_mode");
        let mode = mode.and_then(|mode| self.text(mode).ok());
        if let Some(mode) = mode.filter(|mode| mode != "bridge" && !mode.is_empty()) {
            let what = format!("nothing is published with network_mode {mode}");
            return self.complain(ports.line(), &field, &what);
        }
        for (number, entry) in entries.iter().enumerate() {
            match self.port(entry) {
                Ok((mapping, name_of_it, app_protocol)) => self.outcome.ports.push(Declared {
                    service: name.to_owned(),
                    line: entry.line(),
                    mapping,
                    name: name_of_it,
                    app_protocol,
                }),
                Err((line, key, what)) => {
                    let field = format!("{field}[{number}]{key}");
                    self.complain(line, &field, &what);
                }
            }
        }
    }

    /// An entry of either form; or the line, what to add to the field's name, and what is wrong.
    fn port(&self, entry: &Node) -> Result<Port, (usize, String, String)> {
        let wrong = |what: String| (entry.line(), String::new(), what);
        match entry.entries() {
            Some(keys) => self.long(entry, keys),
            None => {
                let text = self.text(entry).map_err(wrong)?;
                let mapping = Mapping::parse(&text).map_err(|error| wrong(words(&error)))?;
                Ok((mapping, None, None))
            }
        }
    }

    fn long(&self, entry: &Node, keys: &[(String, Node)]) -> Result<Port, (usize, String, String)> {
        let [mut target, mut published, mut host_ip, mut protocol] = [const { String::new() }; 4];
        let (mut name, mut app_protocol) = (None, None);
        for (key, value) in keys {
            let wrong = |what| (value.line(), format!(".{key}"), what);
            let text = || self.text(value).map_err(wrong);
            match key.as_str() {
                "target" => target = text()?,
                "published" => published = text()?,
                "host_ip" => host_ip = text()?,
                "protocol" => protocol = text()?,
                "name" => name = Some(text()?),
                "app_protocol" => app_protocol = Some(text()?),
                "mode" => match text()?.as_str() {
                    "host" | "ingress" => {}
                    mode => return Err(wrong(format!("{mode}: there are host and ingress"))),
                },
                _ if key.starts_with("x-") => {}
                _ => return Err(wrong("there is no such field".to_owned())),
            }
        }
        let wrong = |what| (entry.line(), String::new(), what);
        if target.is_empty() {
            return Err(wrong("target is missing".to_owned()));
        }
        // An address of IPv6 may have brackets or not.
        let host_ip = match host_ip.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => host_ip,
        };
        let text = format!("{host_ip}:{published}:{target}/{protocol}");
        let mapping = Mapping::parse(&text).map_err(|error| wrong(words(&error)))?;
        Ok((mapping, name, app_protocol))
    }

    /// A value's text, with variables in their places.
    fn text(&self, node: &Node) -> Result<String, String> {
        let text = node.text().ok_or("is neither a word nor a number")?;
        interpolate(text, self.variables)
    }
}

/// A port, its name, and what is spoken there.
type Port = (Mapping, Option<String>, Option<String>);

fn complaint(line: usize, field: &str, what: &str) -> Complaint {
    Complaint {
        line,
        field: field.to_owned(),
        what: what.to_owned(),
    }
}

/// An error with its cause, where that says more.
fn words(error: &SpecError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
