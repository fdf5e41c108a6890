//! minijinja's filters that can make much of little, within limits: a number in a row could ask
//! for more memory than there is, and the process would be gone.

use minijinja::value::{Kwargs, Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, filters};

use super::MAX_LEAF;

/// How long a filter's result would be, in bytes or at most a few times that; from its arguments.
type Size = fn(&[Value]) -> usize;

/// Names of the filters, names under which minijinja's own stand (no template can write them), sizes.
const GUARDED: [(&str, &str, Size); 11] = [
    ("batch", "batch ", items),
    ("slice", "slice ", items),
    ("format", "format ", formatted),
    ("indent", "indent ", indented),
    ("join", "join ", joined),
    ("list", "list ", items),
    ("map", "map ", items),
    ("replace", "replace ", replaced),
    ("sort", "sort ", items),
    ("tojson", "tojson ", pretty),
    ("unique", "unique ", items),
];
/// Bytes of one item of a list.
const ITEM: usize = size_of::<Value>();
/// Spaces before a line of JSON.
const MAX_JSON_INDENT: usize = 16;

/// Puts each of them behind a look at how long its result would be.
pub(super) fn guard(env: &mut Environment<'static>) {
    env.add_filter("batch ", filters::batch);
    env.add_filter("slice ", filters::slice);
    env.add_filter("format ", filters::format);
    env.add_filter("indent ", filters::indent);
    env.add_filter("join ", filters::join);
    env.add_filter("list ", filters::list);
    env.add_filter("map ", filters::map);
    env.add_filter("replace ", filters::replace);
    env.add_filter("sort ", filters::sort);
    env.add_filter("tojson ", filters::tojson);
    env.add_filter("unique ", filters::unique);
    for (name, original, size) in GUARDED {
        env.add_filter(name, move |state: &mut State<'_, '_>, args: Rest<ValueOrKwargs>| {
            let args = args.into_values();
            if size(&args) > MAX_LEAF {
                let message = format!("the result of `{name}` would have more than {MAX_LEAF} bytes");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
            state.apply_filter(original, &args)
        });
    }
}

/// As many as asked for, or as there are: a text has one for each of its characters.
fn items(args: &[Value]) -> usize {
    let there = args.first().and_then(Value::len).unwrap_or(0);
    greatest_number(args).max(there).saturating_mul(ITEM)
}

/// The widths in a `printf` format; one that is given as an argument may be any of the numbers.
fn formatted(args: &[Value]) -> usize {
    let format = args.first().and_then(Value::as_str).unwrap_or_default();
    let digits = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let widths = digits.map(|digits| digits.parse().unwrap_or(usize::MAX)).fold(0, usize::saturating_add);
    let stars = format.matches('*').count();
    widths.saturating_add(stars.saturating_mul(greatest_number(args)))
}

fn indented(args: &[Value]) -> usize {
    let text = args.first().and_then(Value::as_str).unwrap_or_default();
    text.split('\n').count().saturating_mul(greatest_number(args)).saturating_add(text.len())
}

fn joined(args: &[Value]) -> usize {
    let Some(list) = args.first() else { return 0 };
    let joiner = args.get(1).and_then(Value::as_str).map_or(0, str::len);
    let joiners = list.len().unwrap_or(0).saturating_mul(joiner.max(1));
    if joiners > MAX_LEAF || list.as_str().is_some() {
        return joiners;
    }
    let items = list.try_iter().into_iter().flatten();
    items.map(|item| item.as_str().map_or(0, str::len)).fold(joiners, usize::saturating_add)
}

fn replaced(args: &[Value]) -> usize {
    // What is no text is taken as it prints; nobody means to search a list, whose print may be any length.
    let text = |at: usize| match args.get(at) {
        Some(value) if matches!(value.kind(), ValueKind::Bool | ValueKind::Number) => Some(value.to_string()),
        Some(value) if !value.is_undefined() && !value.is_none() => value.as_str().map(str::to_owned),
        _ => Some(String::new()),
    };
    let (Some(text), Some(from), Some(to)) = (text(0), text(1), text(2)) else { return usize::MAX };
    if to.len() <= from.len() {
        return 0; // no longer than what is there already
    }
    text.matches(&from).count().saturating_mul(to.len())
}

fn pretty(args: &[Value]) -> usize {
    if greatest_number(args) > MAX_JSON_INDENT { usize::MAX } else { 0 }
}

/// Of all arguments but the filtered value itself, those by name as well.
fn greatest_number(args: &[Value]) -> usize {
    let named = |value: &Value| -> Vec<Value> {
        if value.kind() != ValueKind::Map {
            return Vec::new();
        }
        let Ok(named) = Kwargs::try_from(value.clone()) else { return Vec::new() };
        named.args().filter_map(|name| named.peek(name).ok()).collect()
    };
    let rest = args.get(1..).unwrap_or_default();
    let numbers = rest.iter().flat_map(|value| named(value).into_iter().chain([value.clone()]));
    numbers.filter_map(|value| value.as_usize()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str, n: u64) -> Result<String, String> {
        let mut env = Environment::new();
        guard(&mut env);
        let long = "ab".repeat(100_000);
        let context = minijinja::context! { n => n, long => long };
        env.render_str(source, context).map_err(|error| error.detail().unwrap_or_default().to_owned())
    }

    #[test]
    fn what_a_row_asks_for_is_bounded() {
        for source in [
            "{{ 'x'|indent(n) }}",
            "{{ 'x'|indent(width=n, first=true) }}",
            "{{ ('x\n' * 5000)|indent(1000) }}",
            "{{ ['x']|batch(n, 'y') }}",
            "{{ ['x']|slice(n) }}",
            "{{ (long * 2)|list }}",
            "{{ ('x' * 99999999)|batch(3) }}",
            "{{ ([1] * 99999999)|sort }}",
            "{{ '%*d'|format(n, 1) }}",
            "{{ '%999999999999d'|format(1) }}",
            "{{ '%.99999999999999999999f'|format(1) }}",
            "{{ [[1]]|tojson(indent=n) }}",
            "{{ long|replace('a', long) }}",
            "{{ long|replace('', long) }}",
            "{{ long|replace('', [long]) }}",
            "{{ [long]|replace('', long) }}",
            "{{ long|replace('', range(1000)) }}",
            "{{ range(1000)|join(long) }}",
            "{{ ([long] * 1000)|join }}",
        ] {
            let error = render(source, 9_999_999_999).expect_err(source);
            assert!(error.ends_with("would have more than 4194304 bytes"), "{source}: {error}");
        }
    }

    #[test]
    fn what_is_usual_is_as_before() {
        for (source, expected) in [
            ("{{ 'a\nb'|indent(2, true) }}", "  a\n  b"),
            ("{{ 'a\nb'|indent(width=1) }}", "a\n b"),
            ("{{ [1, 2, 3]|batch(2, 0)|tojson }}", "[[1, 2], [3, 0]]"),
            ("{{ [1, 2, 3]|slice(2)|join('/') }}", "[1, 2]/[3]"),
            ("{{ '%05d %s'|format(n, 'x') }}", "00007 x"),
            ("{{ (long|replace('a', ''))[:3] }}", "bbb"),
            ("{{ 1234|replace(3, 55) }}", "12554"),
            ("{{ 'abc'|join('-') }}", "a-b-c"),
        ] {
            assert_eq!(render(source, 7).as_deref(), Ok(expected), "{source}");
        }
        assert!(render("{{ 1|nope }}", 7).is_err());
    }
}
