//! What people write: specs, the config file, compose files.

use std::path::Path;

use portnat::compose;
use portnat::config::ConfigFile;
use portnat::spec::{ExposeSpec, Mapping, PublishSpec};

/// What is read is written such that it is read as the same; what is refused is so in words.
pub fn spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match text.parse::<PublishSpec>() {
        Ok(spec) => {
            let written = spec.to_string();
            assert_eq!(
                written.parse(),
                Ok(spec),
                "{text:?} is written as {written:?}"
            );
            let (docker, _) = written.split_once('@').expect("a target");
            assert!(Mapping::parse(docker).is_ok(), "{docker:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(spec) = text.parse::<ExposeSpec>() {
        let written = spec.to_string();
        assert_eq!(
            written.parse(),
            Ok(spec),
            "{text:?} is written as {written:?}"
        );
    }
}

/// A file is read or refused, in one line that names the file.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(error) = ConfigFile::parse(Path::new("portnat.toml"), text) {
        assert!(error.to_string().starts_with("portnat.toml:"), "{error}");
    }
}

/// A compose file is judged, with lines that it has.
pub fn compose(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let variable = |name: &str| (!name.is_empty()).then(|| "8080".to_owned());
    let outcome = compose::read(text, &variable);
    // In YAML a carriage return ends a line too.
    let lines = text.matches(['\n', '\r']).count() + 2;
    for complaint in outcome.complaints.iter().chain(&outcome.left_out) {
        assert!((1..=lines).contains(&complaint.line), "{complaint}");
        assert!(!complaint.what.is_empty(), "{complaint}");
    }
    for port in &outcome.ports {
        assert!((1..=lines).contains(&port.line), "{port:?}");
        let written = port.mapping.to_string();
        assert_eq!(Mapping::parse(&written), Ok(port.mapping), "{written:?}");
        assert!(!port.hosts().is_empty(), "{port:?}");
    }
}
