//! YAML, as far as compose files go: mappings, lists and words, each with its line.

use saphyr::{MarkedYaml, ScalarStyle, ScanError, YamlData, YamlLoader};
use saphyr_parser::Parser;

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    line: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Null,
    /// As it is written: 080 is not 80, and yes is a word.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The first document's; none where there is no document. Or the line and what is wrong there.
    pub(super) fn load(text: &str) -> Result<Option<Self>, (usize, String)> {
        let wrong = |error: &ScanError| (error.marker().line(), error.info().to_owned());
        let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
        loader.early_parse(false);
        let mut parser = Parser::new_from_str(text);
        parser
            .load(&mut loader, true)
            .map_err(|error| wrong(&error))?;
        if let Some(error) = loader.error() {
            return Err(wrong(error));
        }
        Ok(loader.into_documents().first().map(Self::of))
    }

    fn of(yaml: &MarkedYaml<'_>) -> Self {
        let kind = match &yaml.data {
            YamlData::Representation(text, style, _) => match (style, text.as_ref()) {
                (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Kind::Null,
                (_, text) => Kind::Text(text.to_owned()),
            },
            YamlData::Sequence(items) => Kind::List(items.iter().map(Self::of).collect()),
            YamlData::Mapping(entries) => Kind::Map(map(entries.iter())),
            YamlData::Tagged(_, inner) => return Self::of(inner),
            _ => Kind::Null,
        };
        Self {
            line: yaml.span.start.line(),
            kind,
        }
    }

    /// Where it begins, counted from 1.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.kind, Kind::Null)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn items(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn entries(&self) -> Option<&[(String, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// What a mapping has under a name.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        let mut entries = self.entries()?.iter();
        entries.find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// A mapping's entries, and behind them those of what is merged into it (`<<`) and that it has not itself.
fn map<'a>(
    entries: impl Iterator<Item = (&'a MarkedYaml<'a>, &'a MarkedYaml<'a>)>,
) -> Vec<(String, Node)> {
    let mut map = Vec::new();
    let mut merged = Vec::new();
    for (key, value) in entries {
        let value = Node::of(value);
        match (Node::of(key).text(), &value.kind) {
            (Some("<<"), Kind::Map(more)) => merged.extend(more.clone()),
            (Some("<<"), Kind::List(all)) => {
                let all = all.iter().filter_map(Node::entries);
                merged.extend(all.flatten().cloned());
            }
            (Some(key), _) => map.push((key.to_owned(), value)),
            (None, _) => {}
        }
    }
    for (key, value) in merged {
        if map.iter().all(|(there, _)| *there != key) {
            map.push((key, value));
        }
    }
    map
}
