use super::*;

fn value(spec: &RequestSpec, row: &Row, name: &str) -> String {
    let call = call(spec, row).expect("a call");
    let values: Vec<_> =
        call.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect();
    values.join(" | ")
}

#[test]
fn lines_of_the_command_line_are_split() {
    let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
    assert_eq!(parse_header("Accept: a/b; q=1"), pair("Accept", "a/b; q=1"));
    assert_eq!(parse_header("X-A:b:c"), pair("X-A", "b:c"));
    assert_eq!(parse_header("X-A:"), pair("X-A", ""));
    for bad in ["hunter22", ": x", "X A: x", "", "Ünï: x"] {
        let error = parse_header(bad).expect_err(bad);
        assert_eq!(error.to_string(), "header: expected `Name: value`");
    }
}

#[test]
fn values_are_templates_and_braces_are_not() {
    let row = csv(&[("id", "42")]);
    for (template, expected) in [
        ("{{ row.id }}", "42"),
        ("a-{{ row.id }}-{{ index }}", "a-42-7"),
        ("{{ row.id|int * 2 }}", "84"),
        ("{id}", "{id}"),
        ("{% if row.id == '42' %}yes{% endif %}", "yes"),
        ("{{ 1 + 1 }}", "2"),
        ("<&'>", "<&'>"),
    ] {
        assert_eq!(value(&header("X-A", template), &row, "x-a"), expected);
    }
}

#[test]
fn a_name_may_occur_twice() {
    let headers =
        [("X-A", "1"), ("x-a", "{{ index }}")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let spec = RequestSpec { headers: headers.to_vec(), ..get("https://a.example/") };
    assert_eq!(value(&spec, &line("x"), "x-a"), "1 | 7");
}

#[test]
fn defaults_give_way() {
    let row = line("x");
    let agent = concat!("tidegate/", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&get("https://a.example/"), &row, "user-agent"), agent);
    let spec = RequestSpec { user_agent: Some("me/1".to_owned()), ..get("https://a.example/") };
    assert_eq!(value(&spec, &row, "user-agent"), "me/1");
    assert_eq!(value(&header("User-Agent", "{{ line }}"), &row, "user-agent"), "x");

    let content = |body: BodySpec| value(&post(body), &row, "content-type");
    assert_eq!(content(BodySpec::None), "");
    assert_eq!(content(BodySpec::Json(1.into())), "application/json");
    assert_eq!(content(BodySpec::Text("a=b".to_owned())), "application/x-www-form-urlencoded");
    assert_eq!(content(BodySpec::Form(Vec::new())), "application/x-www-form-urlencoded");
    let spec =
        RequestSpec { body: BodySpec::Json(1.into()), ..header("Content-Type", "application/ld+json") };
    assert_eq!(value(&spec, &row, "content-type"), "application/ld+json");
}

#[test]
fn bearer_tokens_come_from_the_environment() {
    let bearer = |name: &str| RequestSpec { bearer_env: Some(name.to_owned()), ..get("https://a.example/") };
    let row = line("x");
    assert_eq!(value(&bearer("TOKEN"), &row, "authorization"), "Bearer tok/en-123456");
    assert_eq!(
        report(&bearer("NOPE"), &row),
        "bearer token: environment variable NOPE is not set, or empty\nhint: export NOPE=…"
    );
    assert_eq!(
        report(&bearer("NEWLINE"), &row),
        "bearer token: environment variable NEWLINE ends with a newline\nhint: set it with export NEWLINE=\"$(cat FILE)\""
    );
    assert_eq!(problem(&bearer("INNER"), &row), Problem::HeaderValue);
    let both = RequestSpec { bearer_env: Some("TOKEN".to_owned()), ..header("authorization", "x") };
    assert_eq!(problem(&both, &row), Problem::TwoCredentials);
}

#[test]
fn secrets_are_marked_sensitive() {
    let row = line("x");
    for (name, template, sensitive) in [
        ("X-A", "{{ env.TOKEN }}", true),
        ("X-A", "{{ env.TOKEN }}-{{ line }}", true),
        ("X-A", "{{ env.TOKEN|upper }}-{{ line }}", true),
        ("X-A", "{{ env.TOKEN[:3] }}-{{ line[1:] }}", true),
        ("X-A", "{{ line }}", false),
        ("X-Api-Key", "{{ line }}", true),
        ("Cookie", "a=b", true),
        ("Accept", "a/b", false),
    ] {
        let call = call(&header(name, template), &row).expect("a call");
        assert_eq!(call.headers[name].is_sensitive(), sensitive, "{name}: {template}");
    }
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let row = line("x");
    for name in ["Host", "content-length", "Transfer-Encoding", "Connection"] {
        assert_eq!(problem(&header(name, "x"), &row), Problem::ManagedHeader, "{name}");
    }
    assert_eq!(problem(&header("a b", "x"), &row), Problem::HeaderName);
    assert_eq!(problem(&header("X-A", "a\nb"), &row), Problem::HeaderValue);
    assert_eq!(problem(&header("X-A", "{{ env.INNER }}"), &row), Problem::HeaderValue);
    assert!(matches!(problem(&header("X-A", "{{ line"), &row), Problem::Expression { .. }));
    assert_eq!(report(&header("X-A", "{{ line|uper }}"), &row), "header `X-A`: unknown filter `uper`");
}

#[test]
fn control_characters_fail_their_row() {
    for bad in ["a\nb", "a\r\nX-Evil: 1", "\0", "\u{7f}"] {
        let error = call(&header("X-A", "v-{{ line }}"), &line(bad)).expect_err(bad);
        assert_eq!(error.to_string(), "the value of header `x-a` holds a control character or a line break");
    }
    let call = call(&header("X-A", "{{ line }}"), &line("Zoë\t€")).expect("UTF-8 and tabs are fine");
    assert_eq!(call.headers["x-a"].as_bytes(), "Zoë\t€".as_bytes());
}
