//! Labels are a container's, whoever publishes it: Docker, or somebody by its name or an address of its.

use super::Wanted;
use crate::docker::labels::Labels;
use crate::docker::observed::Container;
use crate::model::Admission;
use crate::spec::PublishSpec;

/// A container that has labels of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Labelled {
    container: String,
    /// What they say, or why they make no sense.
    says: Result<Labels, String>,
}

impl Labelled {
    /// None where there is no label.
    pub(super) fn of(container: &Container) -> Option<Self> {
        (!container.labels.is_empty()).then(|| Labelled {
            container: container.name.clone(),
            says: Labels::read(&container.labels),
        })
    }

    /// Empty where there is no label.
    ///
    /// # Errors
    /// Why they make no sense.
    pub(super) fn says(own: Option<&Self>) -> Result<Labels, String> {
        own.map_or_else(|| Ok(Labels::default()), |own| own.says.clone())
    }
}

impl Wanted {
    /// What its container's labels say of who may come in by this; of who is no container, nothing.
    ///
    /// # Errors
    /// They make no sense, or do not say the same of all its ports, so that who may come in is not clear.
    pub fn admission(&self, spec: &PublishSpec) -> Result<Admission, String> {
        let Some(Labelled { container, says }) = self.labelled.get(&spec.target) else {
            return Ok(Admission::default());
        };
        let labels = says.as_ref();
        let labels = labels.map_err(|why| format!("container {container}: {why}"))?;
        let same = labels.of_all(spec.container_ports, spec.protocol);
        same.cloned().ok_or_else(|| {
            let ports = spec.container_ports;
            format!(
                "container {container}: its labels do not say the same of all ports {ports}/{}: publish them \
                 apart",
                spec.protocol
            )
        })
    }
}
