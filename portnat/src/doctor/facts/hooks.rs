//! What runs at the hooks where the daemon has its programs.

use crate::control::Attached;
use crate::datapath::{Hook, programs_at};
use crate::net::{Filter, filters};

/// A hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct HookFacts {
    /// What the daemon has there.
    pub(in crate::doctor) attached: Attached,
    /// The programs that are attached by TCX, in their order; `None` without TCX. Or why that is not known.
    pub(in crate::doctor) programs: Result<Option<Vec<String>>, String>,
    /// The clsact filters, in their order. Or why that is not known.
    pub(in crate::doctor) filters: Result<Vec<Filter>, String>,
}

/// Looks at the hooks.
pub(super) async fn gather(handle: &rtnetlink::Handle, attached: &[Attached]) -> Vec<HookFacts> {
    let mut facts = Vec::new();
    for one in attached {
        let hook = Hook::ALL
            .into_iter()
            .find(|hook| hook.to_string() == one.hook);
        let Some(hook) = hook else {
            continue;
        };
        let programs = programs_at(&one.interface, hook);
        let filters = filters(handle, one.index, hook == Hook::Ingress).await;
        facts.push(HookFacts {
            attached: one.clone(),
            programs: programs.map_err(|error| error.to_string()),
            filters: filters.map_err(|error| error.to_string()),
        });
    }
    facts
}
