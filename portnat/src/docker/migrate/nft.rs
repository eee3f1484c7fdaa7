//! Docker's own tables of nftables, which 29 and later have where its `firewall-backend` is `nftables`.

use std::collections::BTreeSet;

use serde::Deserialize;

/// How they are called. Nobody else's rules can lead into them.
const TABLE: &str = "docker-bridges";

/// What `nft -j list ruleset` prints, as far as it matters (libnftables-json(5)).
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    chain: Option<Chain>,
    rule: Option<Rule>,
}

#[derive(Deserialize)]
struct Chain {
    family: String,
    table: String,
    name: String,
    hook: Option<String>,
}

#[derive(Deserialize)]
struct Rule {
    family: String,
    table: String,
    chain: String,
}

/// Those of them that packets meet, as `ip docker-bridges`. Docker 29 makes one at each start, also where it is to
/// write no rules; to that one nothing leads.
pub(super) fn at_work(listing: &str) -> Result<Vec<String>, serde_json::Error> {
    let listing: Listing = serde_json::from_str(listing)?;
    let chains = listing.nftables.iter().filter_map(|it| it.chain.as_ref());
    let hooked: BTreeSet<_> = chains
        .filter(|chain| chain.hook.is_some())
        .map(|chain| (&chain.family, &chain.table, &chain.name))
        .collect();
    let rules = listing.nftables.iter().filter_map(|it| it.rule.as_ref());
    let dockers = rules.filter(|rule| {
        rule.table == TABLE && hooked.contains(&(&rule.family, &rule.table, &rule.chain))
    });
    let names: BTreeSet<_> = dockers
        .map(|rule| format!("{} {}", rule.family, rule.table))
        .collect();
    Ok(names.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Docker 29.1 has them, shortened.
    #[test]
    fn tables_that_nothing_leads_to_are_no_work() {
        let chain = |table: &str, name: &str, rest: &str| {
            format!(
                r#"{{"chain": {{"family": "ip", "table": "{table}", "name": "{name}"{rest}}}}}"#
            )
        };
        let rule = |table: &str, chain: &str| {
            let rule = format!(r#""family": "ip", "table": "{table}", "chain": "{chain}""#);
            format!(r#"{{"rule": {{{rule}, "handle": 7, "expr": [{{"drop": null}}]}}}}"#)
        };
        let hook = r#", "type": "filter", "hook": "prerouting", "prio": -300, "policy": "accept""#;
        let left = [
            r#"{"metainfo": {"version": "1.0.6"}}"#.to_owned(),
            r#"{"table": {"family": "ip", "name": "docker-bridges", "handle": 1}}"#.to_owned(),
            chain("docker-bridges", "raw-PREROUTING", hook),
            chain("docker-bridges", "filter-forward-in__docker0", ""),
            rule("docker-bridges", "filter-forward-in__docker0"),
            chain("mine", "raw-PREROUTING", hook),
            rule("mine", "raw-PREROUTING"),
        ];
        let listing = |objects: &[String]| format!(r#"{{"nftables": [{}]}}"#, objects.join(", "));
        assert_eq!(at_work(&listing(&left)).expect("JSON"), [""; 0]);
        let works = [&left[..], &[rule("docker-bridges", "raw-PREROUTING")]].concat();
        let found = at_work(&listing(&works)).expect("JSON");
        assert_eq!(found, ["ip docker-bridges"]);
    }
}
