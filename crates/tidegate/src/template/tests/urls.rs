use super::*;

fn uri(url: &str, row: &Row) -> String {
    call(&get(url), row).expect(url).uri.to_string()
}

#[test]
fn columns_and_expressions_are_percent_encoded() {
    let row = csv(&[("id", "a b/ü?&#%"), ("user id", "1"), ("n", "5")]);
    let encoded = "a%20b%2F%C3%BC%3F%26%23%25";
    for (url, expected) in [
        ("https://a.example/u/{id}", format!("https://a.example/u/{encoded}")),
        ("https://a.example/u?q={id}&r={n}", format!("https://a.example/u?q={encoded}&r=5")),
        ("https://a.example/{{ row.id }}", format!("https://a.example/{encoded}")),
        ("https://a.example/{{ row.id | upper }}", "https://a.example/A%20B%2F%C3%9C%3F%26%23%25".to_owned()),
        ("https://a.example/{user id}", "https://a.example/1".to_owned()),
        ("https://a.example/{{row['user id']}}", "https://a.example/1".to_owned()),
        ("https://a.example/{{ '}}' ~ row.n }}", "https://a.example/%7D%7D5".to_owned()),
        ("https://a.example/{n}-{n}.json", "https://a.example/5-5.json".to_owned()),
        ("https://a.example/{{ row.n|int + 1 }}/{{ index }}", "https://a.example/6/7".to_owned()),
        ("https://a.example?q={n}", "https://a.example/?q=5".to_owned()),
        ("https://a.example/?k={{ env.TOKEN }}", "https://a.example/?k=tok%2Fen-123456".to_owned()),
    ] {
        assert_eq!(uri(url, &row), expected, "{url}");
    }
}

#[test]
fn every_kind_of_input_has_its_names() {
    assert_eq!(uri("https://a.example/{line}", &line("a/b")), "https://a.example/a%2Fb");
    assert_eq!(uri("https://a.example/{{ line }}/{{ row.line }}", &line("a")), "https://a.example/a/a");
    assert_eq!(
        uri("https://a.example/{{ line|upper }}{{ row.line|upper }}", &line("a")),
        "https://a.example/AA"
    );
    assert_eq!(uri("https://a.example/{{ row.line }}", &csv(&[("line", "c")])), "https://a.example/c");
    let row = json(r#"{"id": 1.50, "s": "\u00fc", "t": true, "m": {"x": {"y": 9007199254740993}}}"#);
    assert_eq!(uri("https://a.example/{id}/{s}/{t}", &row), "https://a.example/1.50/%C3%BC/true");
    assert_eq!(uri("https://a.example/{{ row.m.x.y }}", &row), "https://a.example/9007199254740993");
    assert_eq!(uri("https://a.example/{{ row.m.x.y + 1 }}", &row), "https://a.example/9007199254740994");
}

#[test]
fn literal_parts_stay_as_they_were_typed() {
    let row = line("x");
    for (url, expected) in [
        ("HTTPS://API.Example.com", "https://api.example.com/"),
        ("http://a.example:8080/A%2fb/;c=1?x[]=1&y=%7B", "http://a.example:8080/A%2fb/;c=1?x[]=1&y=%7B"),
        ("http://[::1]:8080/ü|", "http://[::1]:8080/%C3%BC%7C"),
        ("http://a.example/a#top", "http://a.example/a"),
        ("http://a.example/{line}?a#top", "http://a.example/x?a"),
        ("http://a.example/{{ '#' }}{line}", "http://a.example/%23x"),
    ] {
        assert_eq!(uri(url, &row), expected);
    }
}

#[test]
fn query_parameters_are_appended_and_are_data() {
    let row = csv(&[("id", "1 2")]);
    let with = |url: &str, query: &[(&str, &str)]| {
        let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        call(&RequestSpec { query, ..get(url) }, &row).expect(url).uri.to_string()
    };
    let base = "https://a.example/x";
    assert_eq!(with(base, &[("a b", "c&d"), ("id", "{id}")]), format!("{base}?a%20b=c%26d&id=1%202"));
    assert_eq!(with("https://a.example/{id}", &[("a", "")]), "https://a.example/1%202?a=");
    assert_eq!(with("https://a.example/x?", &[("a", "1")]), format!("{base}?a=1"));
    assert_eq!(with("https://a.example/x?b=1&", &[("a", "1")]), format!("{base}?b=1&a=1"));
    assert_eq!(with("https://a.example/x?b={id}", &[("a", "{{ index }}")]), format!("{base}?b=1%202&a=7"));
    let spec = RequestSpec { query: vec![("f".to_owned(), r#"{"a":1}"#.to_owned())], ..get(base) };
    assert_eq!(
        report(&spec, &row),
        "query parameter `f`: expected `{column}` or `{{ expression }}`, found a single brace at byte 0\n\
         hint: a brace that is meant to be sent is written %7B or %7D"
    );
}

#[test]
fn the_origin_is_literal() {
    let row = csv(&[("host", "evil.example"), ("port", "1"), ("path", "/x")]);
    for url in [
        "{host}/x",
        "{{ env.TOKEN }}://a.example/",
        "https://{host}/x",
        "https://a.example:{port}/x",
        "https://{{ row.host }}/x",
        "https://a.example{path}",
        "https://a.example{{ '/' }}x",
    ] {
        assert_eq!(problem(&get(url), &row), Problem::OriginPlaceholder, "{url}");
    }
    let template = compile(&get("https://API.example.com/{path}"), &row).expect("a good template");
    let origin = template.origin();
    assert_eq!(
        (origin.scheme.as_str(), origin.host.as_str(), origin.port),
        ("https", "api.example.com", 443)
    );
    assert_eq!(origin.to_string(), "https://api.example.com:443");
    let template = compile(&get("http://[::1]:81"), &row).expect("a good template");
    assert_eq!((template.origin().host.as_str(), template.origin().port), ("[::1]", 81));
}

#[test]
fn urls_that_cannot_be_are_explained() {
    let row = csv(&[("id", "1")]);
    for (url, expected) in [
        ("api.example.com/x", Problem::NoScheme),
        ("", Problem::NoScheme),
        ("/x?u=http://a.example", Problem::NoScheme),
        ("ftp://a.example/", Problem::Scheme { found: "ftp".to_owned() }),
        ("https://", Problem::NoHost),
        ("https:///path", Problem::NoHost),
        ("https://:80/path", Problem::NoHost),
        ("https://a.example:/", Problem::Host),
        ("https://a.example:0/", Problem::Host),
        ("https://a.example:99999/", Problem::Host),
        ("https://a.example:http/", Problem::Host),
        ("https://ü.example/", Problem::Host),
        ("https://a b.example/", Problem::Host),
        ("https://a.example\\@b.example/", Problem::Userinfo),
        ("https://a.example\\x/", Problem::Host),
        ("https://user:pass@a.example/", Problem::Userinfo),
        ("https://a.example/#/users/{id}", Problem::FragmentPlaceholder),
        ("https://a.example/a b", Problem::UrlCharacter { found: ' ' }),
        ("https://a.example/a\n", Problem::UrlCharacter { found: '\n' }),
        ("https://a.example/}", Problem::Brace { at: 18 }),
        ("https://a.example/{id", Problem::Brace { at: 18 }),
        ("https://a.example/{}", Problem::Brace { at: 18 }),
        ("https://a.example/{id}}", Problem::Brace { at: 22 }),
        ("https://a.example/{{ row.id }", Problem::Brace { at: 18 }),
        ("https://a.example/{% if row %}{% endif %}", Problem::Brace { at: 18 }),
        ("https://a.example/?q={\"a\": 1}", Problem::Brace { at: 21 }),
        ("https://a.example/{{ row }}{{ env }}", Problem::EnvWhole),
        ("https://a.example/{{ env[row.id] }}", Problem::EnvWhole),
        ("https://a.example/{{ id }}", Problem::UnknownVariable { name: "id".to_owned() }),
        ("https://a.example/{{ debug() }}", Problem::UnknownVariable { name: "debug".to_owned() }),
        ("https://a.example/{{ line }}", Problem::NoLine),
        ("https://a.example/{{ row.id.x }}", Problem::NestedColumn { name: "id".to_owned() }),
        ("https://a.example/{{ env.NOPE }}", Problem::EnvUnset { name: "NOPE".to_owned() }),
        ("https://a.example/{{ env['EMPTY'] }}", Problem::EnvUnset { name: "EMPTY".to_owned() }),
        ("https://a.example/{{ env.NEWLINE|trim }}", Problem::EnvNewline { name: "NEWLINE".to_owned() }),
    ] {
        assert_eq!(problem(&get(url), &row), expected, "{url}");
    }
    assert!(!report(&get("https://user:hunter22@a.example/"), &row).contains("hunter22"));
}

#[test]
fn unknown_columns_are_listed() {
    let row = csv(&[("user_id", "1"), ("name", "x")]);
    let expected =
        "url: unknown column `usr_id`; the input has `user_id`, `name`\nhint: did you mean `user_id`?";
    for url in [
        "https://a.example/{usr_id}",
        "https://a.example/{{ row.usr_id }}",
        "https://a.example/{{ row.usr_id|upper }}",
        "https://a.example/{{ row.usr_id[:2] }}",
    ] {
        assert_eq!(report(&get(url), &row), expected);
    }
    let many: Vec<(String, String)> = (0..100).map(|i| (format!("c{i}"), String::new())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(report(&get("https://a.example/{nothing}"), &csv(&many)).ends_with("`c19` and 80 more"));
    let twice = csv(&[("a", "1"), ("a", "2")]);
    assert_eq!(
        problem(&get("https://a.example/{a}"), &twice),
        Problem::AmbiguousColumn { name: "a".to_owned() }
    );
}

#[test]
fn values_that_change_the_path_are_refused() {
    let url = "https://a.example/v1/{a}/x";
    for bad in [
        "",
        ".",
        "..",
        "%2e%2e",
        "%2E.",
        "%252e%252e",
        "../admin",
        "a/../../b",
        "..\\b",
        "%2e%2e%2fadmin",
        "./b",
    ] {
        for url in [url, "https://a.example/v1/{{ row.a }}", "https://a.example/{{ row.a|string }}?q=1"] {
            assert_eq!(
                call(&get(url), &csv(&[("a", bad)])).expect_err(bad),
                RenderError::PathSegment,
                "{bad:?} {url}"
            );
        }
    }
    for good in ["...", "a.b", ".env", "a@b.example", "https://b.example/c", "100%", "%", "/", " "] {
        call(&get(url), &csv(&[("a", good)])).expect(good);
    }
    // What counts is the whole segment.
    let composed = |url: &str, a: &str, b: &str| {
        call(&get(url), &csv(&[("a", a), ("b", b)])).map(|call| call.uri.to_string())
    };
    assert_eq!(composed("https://a.example/{a}{b}", ".", "."), Err(RenderError::PathSegment));
    assert_eq!(composed("https://a.example/.{a}", ".", ""), Err(RenderError::PathSegment));
    assert_eq!(composed("https://a.example/%2e{a}/{b}", ".", "x"), Err(RenderError::PathSegment));
    assert_eq!(composed("https://a.example/{a}{b}", "", "x"), Ok("https://a.example/x".to_owned()));
    assert_eq!(composed("https://a.example/{a}.json", ".", ""), Ok("https://a.example/..json".to_owned()));
    // Queries have no path to change.
    assert_eq!(
        composed("https://a.example/?a={a}&b={b}", "..", ""),
        Ok("https://a.example/?a=..&b=".to_owned())
    );
    assert_eq!(composed("https://a.example/?a=/{a}", "..", ""), Ok("https://a.example/?a=/..".to_owned()));
    // A constant is checked before anything is sent.
    let dots =
        RequestSpec { url: "https://a.example/{{ '.' ~ '.' }}/x".to_owned(), ..RequestSpec::default() };
    assert_eq!(problem(&dots, &line("x")), Problem::Constant(RenderError::PathSegment));
}

#[test]
fn values_that_are_not_there_fail_their_row() {
    for (url, expected) in [
        ("https://a.example/{a}", "the row has no `a`"),
        ("https://a.example/{{ row.m.b }}", "the row has no `m.b`"),
        ("https://a.example/{{ row.s.b }}", "the row has no `s.b`"),
        ("https://a.example/{n}", "`n` is null, expected a string, number or boolean"),
        ("https://a.example/{m}", "`m` is an object or array, expected a string, number or boolean"),
        ("https://a.example/{{ row }}", "`row` is an object or array, expected a string, number or boolean"),
    ] {
        let error = call(&get(url), &json(r#"{"n": null, "m": {"a": 1}, "s": "x"}"#)).expect_err(url);
        assert_eq!(error.to_string(), expected, "{url}");
    }
    for url in [
        "https://a.example/{{ row.a|upper }}",
        "https://a.example/{{ row.n or none }}",
        "https://a.example/{{ [row.s] }}",
        "https://a.example/{{ row.m|items }}",
    ] {
        let error = call(&get(url), &json(r#"{"n": null, "m": {"a": 1}, "s": "x"}"#)).expect_err(url);
        assert!(matches!(error, RenderError::Expression { .. }), "{url}: {error}");
    }
    let fallback =
        call(&get("https://a.example/{{ row.a|default('none') }}"), &json("{}")).expect("a default");
    assert_eq!(fallback.uri.path(), "/none");
}

#[test]
fn long_urls_are_refused() {
    let long = "x".repeat(70_000);
    let error = call(&get("https://a.example/{a}"), &csv(&[("a", &long)])).expect_err("too long");
    assert_eq!(error.to_string(), "the URL has 70001 bytes, more than the limit of 65534");
}
