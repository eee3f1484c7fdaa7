//! Variables in a value, as compose has them: `$NAME`, `${NAME}`, `${NAME:-default}` and the like.

/// Where variables are looked up.
pub(super) type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Puts variables' values in their places; `$$` is a dollar sign. What is not set is empty, unless it says
/// otherwise.
///
/// # Errors
/// What is wrong, in a few words.
pub(super) fn interpolate(text: &str, variables: &Variables<'_>) -> Result<String, String> {
    let mut done = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        done.push_str(before);
        rest = match after.chars().next() {
            Some('$') => {
                done.push('$');
                &after[1..]
            }
            Some('{') => {
                let end = closing(after).ok_or_else(|| format!("{text}: a brace is missing"))?;
                done.push_str(&braced(&after[1..end], variables)?);
                &after[end + 1..]
            }
            _ => {
                let length = name_length(after);
                if length == 0 {
                    return Err(format!("{text}: no variable behind $; a dollar sign is $$"));
                }
                done.push_str(&variables(&after[..length]).unwrap_or_default());
                &after[length..]
            }
        };
    }
    done.push_str(rest);
    Ok(done)
}

/// Where the brace ends that the text begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// What stands between braces.
fn braced(text: &str, variables: &Variables<'_>) -> Result<String, String> {
    let (name, rest) = text.split_at(name_length(text));
    if name.is_empty() {
        return Err(format!("${{{text}}}: no variable"));
    }
    // With a colon what is empty counts as not set.
    let value = variables(name);
    let (value, operation) = match rest.strip_prefix(':') {
        Some(operation) => (value.filter(|value| !value.is_empty()), operation),
        None => (value, rest),
    };
    let Some(operator) = operation.chars().next() else {
        return match rest {
            "" => Ok(value.unwrap_or_default()),
            _ => Err(format!("${{{text}}}: nothing behind the colon")),
        };
    };
    let word = &operation[operator.len_utf8()..];
    match (operator, value) {
        ('-' | '?', Some(value)) => Ok(value),
        ('-', None) | ('+', Some(_)) => interpolate(word, variables),
        ('+', None) => Ok(String::new()),
        ('?', None) => Err(match word {
            "" => format!("variable {name} is not set"),
            _ => format!("variable {name} is not set: {word}"),
        }),
        _ => Err(format!("${{{text}}}: not understood")),
    }
}

/// How long a variable's name is that the text begins with.
fn name_length(text: &str) -> usize {
    let is_in_name = |letter: char| letter == '_' || letter.is_ascii_alphanumeric();
    if text.starts_with(|letter: char| letter.is_ascii_digit()) {
        return 0;
    }
    text.find(|letter| !is_in_name(letter))
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(text: &str) -> Result<String, String> {
        let variables = |name: &str| match name {
            "PORT" => Some("8080".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        interpolate(text, &variables)
    }

    #[test]
    fn variables_have_their_values() {
        for (text, expected) in [
            ("80:80", "80:80"),
            ("$PORT:80", "8080:80"),
            ("${PORT}:80/udp", "8080:80/udp"),
            ("$$PORT", "$PORT"),
            ("${NONE}", ""),
            ("$NONE:80", ":80"),
            ("${NONE-1}${EMPTY-2}${EMPTY:-3}${PORT:-4}", "138080"),
            ("${NONE:-${PORT}}:80", "8080:80"),
            ("${PORT:+${NONE:-a}}${NONE+b}${EMPTY+c}${EMPTY:+d}", "ac"),
            ("${PORT?it has to be}", "8080"),
        ] {
            assert_eq!(done(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, words) in [
            ("${PORT", "${PORT: a brace is missing"),
            ("80$", "80$: no variable behind $; a dollar sign is $$"),
            ("$1", "$1: no variable behind $; a dollar sign is $$"),
            ("${}", "${}: no variable"),
            ("${PORT:}", "${PORT:}: nothing behind the colon"),
            ("${PORT*2}", "${PORT*2}: not understood"),
            ("${NONE?}", "variable NONE is not set"),
            (
                "${EMPTY:?say a port}",
                "variable EMPTY is not set: say a port",
            ),
        ] {
            assert_eq!(done(text), Err(words.to_owned()), "{text}");
        }
    }
}
