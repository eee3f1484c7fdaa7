//! Rules as `iptables-save` and its relatives write them (iptables-save(8)).

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::sets::protocol;
use super::{Action, Base, Chain, Family, Hook, Key, Rule, Ruleset, Test, Tool, UNTOLD, Value};

/// Targets that do something and let the packet go on to the next rule.
const GO_ON: [&str; 18] = [
    "LOG",
    "NFLOG",
    "MARK",
    "CONNMARK",
    "CT",
    "TRACE",
    "TCPMSS",
    "CHECKSUM",
    "NOTRACK",
    "AUDIT",
    "SET",
    "SECMARK",
    "CONNSECMARK",
    "CLASSIFY",
    "DSCP",
    "TOS",
    "TTL",
    "HL",
];

/// Options whose argument may begin with a `-`, as what somebody has written for people.
const ANY_TEXT: [&str; 5] = [
    "--comment",
    "--log-prefix",
    "--nflog-prefix",
    "--string",
    "--hex-string",
];

/// Reads what is saved. `tables` are those that are wanted, where not all are.
pub(in crate::doctor) fn read(
    saved: &str,
    tool: Tool,
    family: Family,
    tables: Option<&BTreeSet<(Family, String)>>,
) -> Ruleset {
    let is_wanted =
        |table: &str| tables.is_none_or(|tables| tables.contains(&(family, table.to_owned())));
    let mut ruleset = Ruleset::default();
    let mut table = String::new();
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            name.trim().clone_into(&mut table);
        } else if !is_wanted(&table) {
            continue;
        } else if let Some(declared) = line.strip_prefix(':') {
            let mut words = declared.split_whitespace();
            let name = words.next().unwrap_or_default();
            let policy = words.next().unwrap_or_default();
            let base = Hook::named(name).map(|hook| Base {
                hook,
                priority: priority(&table, hook),
                is_nat: table == "nat",
                drops: policy == "DROP",
            });
            ruleset.chains.push(Chain {
                tool,
                family,
                table: table.clone(),
                name: name.to_owned(),
                // A chain of the user's has no policy.
                base: base.filter(|_| policy != "-"),
                rules: Vec::new(),
            });
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let words = words(rule);
            let Some((name, words)) = words.split_first() else {
                continue;
            };
            let chains = ruleset.chains.iter_mut();
            let mut own = chains.filter(|chain| chain.table == table);
            if let Some(chain) = own.find(|chain| chain.name == *name) {
                chain.rules.push(read_rule(words, rule));
            }
        }
    }
    ruleset
}

/// When a table has its turn (`enum nf_ip_hook_priorities`).
fn priority(table: &str, hook: Hook) -> i64 {
    match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" if hook == Hook::Prerouting || hook == Hook::Output => -100,
        "security" => 50,
        _ => 0,
    }
}

/// The words of a line, where quotes hold some together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let Some(word) = words.last_mut() else {
            break;
        };
        match letter {
            '"' => is_quoted = !is_quoted,
            '\\' if is_quoted => word.extend(letters.next()),
            ' ' if !is_quoted => words.push(String::new()),
            letter => word.push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn read_rule(words: &[String], line: &str) -> Rule {
    let mut tests = Vec::new();
    let mut action = Action::Nothing;
    let mut has_target = false;
    let mut negated = false;
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(option) = words.next() {
        if option == "!" {
            negated = true;
            continue;
        }
        // All that is not an option belongs to the one before.
        let mut arguments = Vec::new();
        if ANY_TEXT.contains(&option) {
            arguments.extend(words.next());
        }
        while let Some(argument) = words.next_if(|word| !is_option(word)) {
            arguments.push(argument);
        }
        let argument = arguments.first().copied().unwrap_or_default();
        match option {
            "-m" | "--match" | "--comment" => {}
            "-j" | "--jump" => (action, has_target) = (jump(argument), true),
            "-g" | "--goto" => (action, has_target) = (Action::Goto(argument.to_owned()), true),
            "--to-destination" => action = Action::Redirect(argument.to_owned()),
            "--to-ports" if matches!(action, Action::Redirect(_)) => {
                action = Action::Redirect(format!("port {argument} of the host"));
            }
            // Options of a target are of no interest.
            _ if has_target => {}
            _ => tests.push(test(option, argument, negated)),
        }
        negated = false;
    }
    Rule {
        tests,
        action,
        name: line.to_owned(),
        text: format!("-A {line}"),
    }
}

fn is_option(word: &str) -> bool {
    word == "!" || (word.starts_with('-') && word.len() > 1 && !word.as_bytes()[1].is_ascii_digit())
}

fn jump(target: &str) -> Action {
    match target {
        "ACCEPT" => Action::Accept,
        "DROP" | "REJECT" => Action::Drop,
        "RETURN" => Action::Return,
        "DNAT" => Action::Redirect(UNTOLD.to_owned()),
        "REDIRECT" => Action::Redirect("the host itself".to_owned()),
        "SNAT" | "MASQUERADE" | "QUEUE" | "NFQUEUE" | "TPROXY" | "SYNPROXY" | "NETMAP"
        | "TARPIT" => Action::Unknown,
        other if GO_ON.contains(&other) => Action::Nothing,
        chain => Action::Jump(chain.to_owned()),
    }
}

fn test(option: &str, argument: &str, negated: bool) -> Test {
    let list = |read: fn(&str) -> Option<Value>| argument.split(',').map(read).collect();
    let name = |text: &str| Some(Value::Name(text.to_lowercase()));
    let (key, values): (_, Option<Vec<Value>>) = match option {
        "-i" | "--in-interface" => (Key::InInterface, Some(vec![interface(argument)])),
        "-o" | "--out-interface" => (Key::OutInterface, Some(vec![interface(argument)])),
        "-s" | "--source" => (Key::Source, list(network)),
        "-d" | "--destination" => (Key::Destination, list(network)),
        "--src-range" => (Key::Source, list(addresses)),
        "--dst-range" => (Key::Destination, list(addresses)),
        "-p" | "--protocol" => (Key::Protocol, list(transport)),
        "--sport" | "--sports" | "--source-port" | "--source-ports" => {
            (Key::SourcePort, list(ports))
        }
        "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
            (Key::DestinationPort, list(ports))
        }
        "--ctstate" | "--state" => {
            let never = ["dnat", "snat"];
            let values: Vec<_> = argument.split(',').filter_map(name).collect();
            let only_never = values
                .iter()
                .all(|value| matches!(value, Value::Name(name) if never.contains(&name.as_str())));
            let key = if only_never { Key::Status } else { Key::State };
            (key, Some(values))
        }
        "--ctstatus" => {
            let values: Vec<_> = argument.split(',').filter_map(name).collect();
            let ours = values.iter().any(
                |value| !matches!(value, Value::Name(name) if name == "dnat" || name == "snat"),
            );
            (Key::Status, (!ours).then_some(values))
        }
        "--dst-type" => (
            Key::DestinationType,
            Some(argument.split(',').filter_map(name).collect()),
        ),
        // It says of which connection no more than that there is one like it.
        _ => return Test::Unknown,
    };
    values.map_or(Test::Unknown, |values| Test::Known {
        key,
        values,
        negated,
    })
}

fn interface(text: &str) -> Value {
    Value::Name(match text.strip_suffix('+') {
        Some(beginning) => format!("{beginning}*"),
        None => text.to_owned(),
    })
}

fn network(text: &str) -> Option<Value> {
    if let Ok(net) = text.parse::<IpNet>() {
        return Some(Value::Net(net));
    }
    Some(Value::Net(text.parse::<IpAddr>().ok()?.into()))
}

fn addresses(text: &str) -> Option<Value> {
    let (first, last) = text.split_once('-')?;
    Some(Value::Addresses(first.parse().ok()?, last.parse().ok()?))
}

fn transport(text: &str) -> Option<Value> {
    Some(Value::Name(match text.parse() {
        Ok(number) => protocol(number),
        Err(_) => text.to_lowercase(),
    }))
}

fn ports(text: &str) -> Option<Value> {
    let (first, last) = text.split_once(':').unwrap_or((text, text));
    Some(Value::Numbers(first.parse().ok()?, last.parse().ok()?))
}
