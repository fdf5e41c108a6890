//! What minijinja does not tell about a template while it is compiled: filters and tests are looked
//! up when they are reached, but a misspelt one should not wait for the first row; and its list of
//! variables has holes (what is sliced, `{% set row = row.a %}`, arguments of `{% filter %}`).

use minijinja::{Environment, ErrorKind};

/// The first filter or test in `source` that `env` does not have, as a message.
pub(super) fn unknown(env: &Environment<'_>, source: &str) -> Option<String> {
    let words = tags(source)?;
    let mut state = env.empty_state();
    (0..words.len()).find_map(|at| {
        let before = at.checked_sub(1).map_or("", |before| words[before]);
        let (kind, name) = match words[at..] {
            ["|", name, ..] => (ErrorKind::UnknownFilter, name),
            ["is", "not", name, ..] | ["is", name, ..] if before != "." => (ErrorKind::UnknownTest, name),
            _ => return None,
        };
        let called = match kind {
            ErrorKind::UnknownFilter => state.apply_filter(name, &[]).map(drop),
            _ => state.perform_test(name, &[]).map(drop),
        };
        // Those that exist may complain too: they were given nothing to work on.
        let unknown = is_word(name) && called.is_err_and(|error| error.kind() == kind);
        unknown.then(|| format!("{kind} `{name}`"))
    })
}

/// Whether anything in `source` might read a row. `false` is certain, `true` is not.
pub(super) fn may_read_row(source: &str) -> bool {
    reads(source, &["row", "line", "index", "rows", "lines"])
}

/// Whether it might read one row by itself.
pub(super) fn may_read_one_row(source: &str) -> bool {
    reads(source, &["row", "line", "index"])
}

fn reads(source: &str, names: &[&str]) -> bool {
    tags(source).map_or_else(
        || names.iter().any(|name| source.contains(name)),
        |words| names.iter().any(|name| variables(&words, name).next().is_some()),
    )
}

/// The names after `variable.` wherever it is that variable for certain: if it also stands on its own, it may
/// be one of the template's.
pub(super) fn members<'s>(source: &'s str, variable: &str) -> Vec<&'s str> {
    let words = tags(source).unwrap_or_default();
    let members = variables(&words, variable).map(|after| match after {
        [".", name, ..] => Some(Some(*name)),
        ["[", ..] => Some(None),
        _ => None,
    });
    let members: Option<Vec<_>> = members.collect();
    members.into_iter().flatten().flatten().collect()
}

/// What follows `name` at each place where it is no attribute of something else.
fn variables<'w, 's>(words: &'w [&'s str], name: &str) -> impl Iterator<Item = &'w [&'s str]> {
    (0..words.len())
        .filter(move |&at| words[at] == name && at.checked_sub(1).is_none_or(|before| words[before] != "."))
        .map(|at| &words[at + 1..])
}

/// The words of all tags; `None` if there is a `{% raw %}`, where what looks like a tag may be text.
fn tags(source: &str) -> Option<Vec<&str>> {
    let words = words(source);
    (!words.contains(&"raw")).then_some(words)
}

/// Names and signs inside of all `{{ … }}` and `{% … %}`; no strings, no comments.
fn words(source: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let (open, inner) =
            rest[at + 1..].split_at(usize::from(rest.len() > at + 1 && rest.is_char_boundary(at + 2)));
        rest = inner;
        let close = match open {
            "{" => "}}",
            "%" => "%}",
            "#" => {
                rest = inner.split_once("#}").map_or("", |(_, after)| after);
                continue;
            }
            _ => continue,
        };
        // `}}` may also end two objects, one in the other.
        let mut depth = 0_usize;
        while !rest.is_empty() && (depth > 0 || !rest.starts_with(close)) {
            let (word, after) = rest.split_at(word_len(rest));
            match word {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if !word.starts_with(['"', '\'']) && !word.trim().is_empty() {
                words.push(word);
            }
            rest = after;
        }
        // Words of two tags are no neighbours.
        words.push(close);
    }
    words
}

/// Bytes of the string, name or single character that `source` starts with.
fn word_len(source: &str) -> usize {
    let Some(first) = source.chars().next() else { return 0 };
    if matches!(first, '"' | '\'') {
        let mut escaped = false;
        let end = source.char_indices().skip(1).find(|&(_, c)| {
            let ends = c == first && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return end.map_or(source.len(), |(at, _)| at + 1);
    }
    let name = source.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(source.len());
    name.max(first.len_utf8())
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_misspelt_and_nothing_else() {
        let env = Environment::new();
        for (source, expected) in [
            ("{{ row.a | uper }}", Some("unknown filter `uper`")),
            ("{{ a|upper|nope('x') }}", Some("unknown filter `nope`")),
            ("{% if a is oddd %}x{% endif %}", Some("unknown test `oddd`")),
            ("{{ a is not oddd }}", Some("unknown test `oddd`")),
            ("{ü{{ a|nope }}", Some("unknown filter `nope`")),
            ("{{ a|upper|join(',') is not none }}{{ b is divisibleby(3) }}", None),
            ("a | nope {% if x %} | nope {% endif %} is nope {", None),
            ("{{ '| nope' ~ \"}} | nope \\\" | nope\" }}", None),
            ("{# a | nope #}{{ row.is and b }}", None),
            ("{% raw %}{{ a | nope }}{% endraw %}", None),
            ("{{ {'a': {'b': 1}} | nope }}", Some("unknown filter `nope`")),
        ] {
            assert_eq!(unknown(&env, source).as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn nothing_that_may_read_the_row_is_overlooked() {
        for source in [
            "{{ row.a[:2] }}",
            "{{ (line|upper)[1:] }}",
            "{{ 'abc'[:index] }}",
            "{% set row = row.a %}{{ row }}",
            "{% filter replace('a', row.b) %}a{% endfilter %}",
            "{{ {'a': {'b': 1}} ~ row.c[:1] }}",
            "{% raw %}{# {% endraw %}{{ row.a[:2] }}#}",
        ] {
            assert!(may_read_row(source), "{source}");
        }
        for source in ["row {{ env.A[:2] }}", "{% for i in [1] %}{{ loop.index }}{% endfor %}", "{# row #}"] {
            assert!(!may_read_row(source), "{source}");
        }
    }

    #[test]
    fn members_are_those_of_the_variable_itself() {
        for (source, expected) in [
            ("{{ row.a[:2] ~ (row . b|upper)[1:] ~ x.row.c ~ row['d'] }}", vec!["a", "b"]),
            ("{% for row in row.rows %}{{ row.a }}{% endfor %}", vec![]),
            ("{% raw %}{{ row.a }}{% endraw %}", vec![]),
        ] {
            assert_eq!(members(source, "row"), expected, "{source}");
        }
    }
}
