//! What `iptables-save` prints (iptables-save(8)).

/// The tables of one family, as one of the tools shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) tables: Vec<Table>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) chains: Vec<Chain>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: String,
    /// What becomes of a packet that no rule decides over; none in a chain that others lead to.
    pub(super) policy: Option<String>,
    /// What stands behind `-A CHAIN`.
    pub(super) rules: Vec<String>,
}

impl Saved {
    pub(super) fn read(text: &str) -> Self {
        let mut saved = Saved::default();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                saved.tables.push(Table {
                    name: name.trim().to_owned(),
                    chains: Vec::new(),
                });
                continue;
            }
            let Some(table) = saved.tables.last_mut() else {
                continue;
            };
            if let Some(declared) = line.strip_prefix(':') {
                let mut words = declared.split_whitespace();
                let name = words.next().unwrap_or_default().to_owned();
                let policy = words.next().filter(|policy| *policy != "-");
                table.chains.push(Chain {
                    name,
                    policy: policy.map(str::to_owned),
                    rules: Vec::new(),
                });
            } else if let Some((name, rule)) =
                line.strip_prefix("-A ").and_then(|it| it.split_once(' '))
                && let Some(chain) = table.chains.iter_mut().find(|it| it.name == name)
            {
                chain.rules.push(rule.trim_end().to_owned());
            }
        }
        saved
    }
}

/// The part of a saved text that is about these tables.
pub(super) fn only(text: &str, tables: &[&str]) -> String {
    let mut kept = String::new();
    let mut is_wanted = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            is_wanted = tables.contains(&name.trim());
        }
        if is_wanted {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The chain that a rule leads to, if it leads to one; else its target.
pub(super) fn leads_to(rule: &str) -> Option<&str> {
    let mut words = rule.split_whitespace();
    words.find(|word| ["-j", "-g"].contains(word))?;
    words.next()
}
