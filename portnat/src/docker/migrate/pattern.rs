//! Rules are recognised word by word, as `iptables-save` writes them.

/// What stands for a name of the pattern, in the order in which they come.
pub(super) type Captures<'w> = Vec<(String, &'w str)>;

/// Compares a rule with a pattern: a word in angle brackets stands for a word that `is_one` accepts by that
/// name, what stands between `[` and `]` may be missing.
pub(super) fn captures<'w>(
    pattern: &str,
    rule: &'w str,
    is_one: &dyn Fn(&str, &str) -> bool,
) -> Option<Captures<'w>> {
    let pattern: Vec<_> = pattern.split_whitespace().collect();
    let words: Vec<_> = rule.split_whitespace().collect();
    follow(&pattern, &words, is_one)
}

fn follow<'w>(
    pattern: &[&str],
    words: &[&'w str],
    is_one: &dyn Fn(&str, &str) -> bool,
) -> Option<Captures<'w>> {
    let Some((&first, rest)) = pattern.split_first() else {
        return words.is_empty().then(Vec::new);
    };
    if first == "[" {
        let end = rest.iter().position(|word| *word == "]")?;
        let with = [&rest[..end], &rest[end + 1..]].concat();
        return follow(&with, words, is_one).or_else(|| follow(&rest[end + 1..], words, is_one));
    }
    let (&word, others) = words.split_first()?;
    let name = first
        .strip_prefix('<')
        .and_then(|name| name.strip_suffix('>'));
    match name {
        Some(name) if is_one(name, word) => {
            let mut found = follow(rest, others, is_one)?;
            found.insert(0, (name.to_owned(), word));
            Some(found)
        }
        None if first == word => follow(rest, others, is_one),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_one_by_one() {
        let number = |name: &str, word: &str| name == "port" && word.parse::<u16>().is_ok();
        let found = |rule| captures("[ ! -i lo ] -p tcp --dport <port> -j DROP", rule, &number);
        assert_eq!(
            found("-p tcp --dport 80 -j DROP"),
            Some(vec![("port".to_owned(), "80")])
        );
        assert_eq!(
            found("! -i lo -p tcp --dport 80 -j DROP"),
            Some(vec![("port".to_owned(), "80")])
        );
        for other in [
            "-p tcp --dport http -j DROP",
            "-i lo -p tcp --dport 80 -j DROP",
            "-p tcp --dport 80 -j DROP -m comment",
            "-p tcp --dport 80",
            "",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
