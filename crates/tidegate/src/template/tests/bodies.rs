use serde_json::json as j;

use super::*;

fn body(spec: BodySpec, row: &Row) -> String {
    let call = call(&post(spec), row).expect("a call");
    String::from_utf8(call.body.to_vec()).expect("UTF-8")
}

fn text(source: &str) -> BodySpec {
    BodySpec::Text(source.to_owned())
}

#[test]
fn leaves_that_are_one_expression_keep_their_type() {
    let row = json(
        r#"{"price": 1.50, "big": 123456789012345678901234567890, "e": 1E2, "s": "a\"b", "t": true, "n": null,
            "o": {"z": 1.0,  "a": [1.10]}, "meta": {"x": 0.10}}"#,
    );
    for (leaf, expected) in [
        ("{{ row.price }}", "1.50"),
        ("{{ row.big }}", "123456789012345678901234567890"),
        ("{{row.e}}", "1E2"),
        ("{{ row.s }}", r#""a\"b""#),
        ("{{ row.t }}", "true"),
        ("{{ row.n }}", "null"),
        ("{{ row.o }}", r#"{"z": 1.0,  "a": [1.10]}"#),
        ("{{ row.meta.x }}", "0.10"),
        ("{{ row['meta'].x }}", "0.10"),
        ("{{ index }}", "7"),
        ("{{ index + 1 }}", "8"),
        ("{{ row.price * 2 }}", "3.0"),
        ("{{ row.s|upper }}", r#""A\"B""#),
        ("{{ row.o.a|length }}", "1"),
        ("{{ row.o|items|list }}", r#"[["z",1.0],["a",[1.1]]]"#),
        ("{{ row.s|tojson }}", r#""\"a\\\"b\"""#),
        ("{{ row.s|safe }}", r#""a\"b""#),
        ("{{ row.s[:1] }}", r#""a""#),
        ("{{ row.o.a[-1:] }}", "[1.1]"),
        ("{{ (row.s|upper)[1:] ~ 'abc'[:index] }}", r#""\"Babc""#),
        ("{{ env.TOKEN[:3] }}", r#""tok""#),
        ("{% set row = row.t %}{{ row }}", r#""true""#),
        ("{{ {'a': row.t} }}", r#"{"a":true}"#),
        ("{{ row.price }} EUR", r#""1.50 EUR""#),
        (" {{ row.price }}", r#"" 1.50""#),
        ("{{ row.t }}{{ row.t }}", r#""truetrue""#),
        ("{{ row.t or 1 }}!", r#""true!""#),
        ("o: {{ row.o.a }}", r#""o: [1.10]""#),
        ("o: {{ row.o.a|list }}", r#""o: [1.1]""#),
        ("{{ env.TOKEN }}", r#""tok/en-123456""#),
        ("{{ 1 + 1 }}", "2"),
        ("{price} {", r#""{price} {""#),
        ("line\n", r#""line\n""#),
        ("{{ index }}\n", r#""7\n""#),
        ("{% if index %}yes{% endif %}\n", r#""yes\n""#),
    ] {
        assert_eq!(body(BodySpec::Json(leaf.into()), &row), expected, "{leaf}");
    }
}

#[test]
fn csv_values_are_strings() {
    let row = csv(&[("zip", "01234"), ("n", "5")]);
    let spec = j!({"zip": "{{ row.zip }}", "n": "{{ row.n|int }}", "all": "{{ row }}", "k": ["{{ row.zip }}!", 1.5, null]});
    assert_eq!(
        body(BodySpec::Json(spec), &row),
        r#"{"zip":"01234","n":5,"all":{"zip":"01234","n":"5"},"k":["01234!",1.5,null]}"#
    );
    assert_eq!(body(BodySpec::Json("{{ row|items|list }}".into()), &row), r#"[["zip","01234"],["n","5"]]"#);
    assert_eq!(body(BodySpec::Json("{{ row }}".into()), &line("a\"b")), r#"{"line":"a\"b"}"#);
}

#[test]
fn names_of_members_are_no_templates() {
    let spec = j!({"{{ index }}": "{{ index }}", "a/b~c": "{{ nope }}"});
    let error = compile(&post(BodySpec::Json(spec)), &line("x")).expect_err("an unknown variable");
    assert_eq!(error.place, Place::Body("/a~1b~0c".to_owned()));
    assert_eq!(body(BodySpec::Json(j!({"{{ index }}": "{{ index }}"})), &line("x")), r#"{"{{ index }}":7}"#);
}

#[test]
fn texts_and_forms() {
    let row = csv(&[("a", "x&y z"), ("b", "é")]);
    assert_eq!(body(text("{\"a\": \"{{ row.b }}\"} {a}\n"), &row), "{\"a\": \"é\"} {a}\n");
    assert_eq!(body(text("{{ row.a|upper }}\n"), &row), "X&Y Z\n");
    let fields = [("k 1", "{{ row.a }}"), ("k2", "{{ row.b|upper }}"), ("k3", "c d"), ("a", "{a}")];
    let form = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    assert_eq!(body(BodySpec::Form(form), &row), "k+1=x%26y+z&k2=%C3%89&k3=c+d&a=%7Ba%7D");
    assert_eq!(body(BodySpec::None, &row), "");
}

#[test]
fn duplicate_members_are_read_like_everywhere() {
    let row = json(r#"{"a": 1, "\u0061": 2}"#);
    assert_eq!(body(BodySpec::Json("{{ row.a }}".into()), &row), "2");
    assert_eq!(body(BodySpec::Json("{{ row.a + 0 }}".into()), &row), "2");
}

#[test]
fn rows_that_are_no_objects() {
    assert_eq!(body(BodySpec::Json("{{ row }}".into()), &json("[1.0]")), "[1.0]");
    assert_eq!(body(BodySpec::Json("{{ row[0] }}".into()), &json("[1.5]")), "1.5");
    assert_eq!(body(text("{{ row }}"), &json("\"a\"")), "a");
    let error = call(&post(text("{{ row.a }}")), &json("[1]")).expect_err("no member");
    assert_eq!(error.to_string(), "the row has no `a`");
}

#[test]
fn what_is_missing_fails_its_row_with_its_name() {
    let row = json(r#"{"n": null}"#);
    for (leaf, expected) in [
        ("{{ row.a }}", "the row has no `a`"),
        ("x {{ row.a.b }}", "the row has no `a.b`"),
        ("x {{ row.n }}", "`n` is null, expected a string, number or boolean"),
        ("x {{ row.n or row.n }}", "body: the value is none, expected a string, number or boolean"),
    ] {
        assert_eq!(call(&post(BodySpec::Json(leaf.into())), &row).expect_err(leaf).to_string(), expected);
    }
    for leaf in ["{{ row.a|upper }}", "{{ row['a'] or row.b }}", "{{ row.a if true }}", "{{ 1 if row.n }}"] {
        let error = call(&post(BodySpec::Json(leaf.into())), &row).expect_err(leaf);
        assert!(error.to_string().starts_with("body: "), "{leaf}: {error}");
    }
}

#[test]
fn expressions_cannot_run_or_grow_without_end() {
    let row = csv(&[("a", &"x".repeat(1000))]);
    let endless =
        "{% for i in range(100000) %}{% for j in range(100000) %}{{ row.a[0] }}{% endfor %}{% endfor %}";
    assert!(matches!(call(&post(text(endless)), &row), Err(RenderError::Expression { .. })));
    for large in ["{{ row.a * 5000 }}", "{% for i in range(5000) %}{{ row.a }}{% endfor %}"] {
        let error = call(&post(text(large)), &row).expect_err(large);
        assert_eq!(error.to_string(), "body has more than 4194304 bytes");
    }
    let bare = "{{ row.a }}".repeat(5000);
    assert_eq!(
        call(&post(text(&bare)), &row).expect_err("too large").to_string(),
        "body has more than 4194304 bytes"
    );
}

#[test]
fn bodies_have_a_limit_as_a_whole() {
    let row = csv(&[("a", &"x".repeat(1 << 20))]);
    let leaves = |count| BodySpec::Json(vec!["{{ row.a }}"; count].into());
    assert!(call(&post(leaves(15)), &row).is_ok());
    let error = call(&post(leaves(16)), &row).expect_err("too large");
    assert_eq!(error.to_string(), "body has more than 16777216 bytes");
}

#[test]
fn templates_cannot_include_others() {
    let row = line("x");
    let include = call(&post(text("{% include 'template' %}{{ line }}")), &row);
    assert!(matches!(include, Err(RenderError::Expression { .. })));
    assert!(matches!(problem(&post(text("{% include 'other' %}")), &row), Problem::Expression { .. }));
}
