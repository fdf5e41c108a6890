use serde_json::json as j;

use super::*;

fn many(spec: RequestSpec) -> RequestSpec {
    RequestSpec { many_rows: true, ..spec }
}

fn whole(spec: RequestSpec, rows: &[Row]) -> Result<Call, RenderError> {
    let template = compile(&many(spec), &rows[0]).expect("a good template");
    template.render_all(&rows.iter().collect::<Vec<_>>())
}

fn body(spec: serde_json::Value, rows: &[Row]) -> String {
    let call = whole(post(BodySpec::Json(spec)), rows).expect("a call");
    String::from_utf8(call.body.to_vec()).expect("UTF-8")
}

#[test]
fn a_list_of_one_element_gets_one_for_each_row() {
    let rows = [json(r#"{"id": 1.50, "n": "a\"b"}"#), json(r#"{"id": 2, "n": "c"}"#)];
    for (spec, expected) in [
        (j!(["{{ row.id }}"]), "[1.50,2]"),
        (j!(["{{ row }}"]), r#"[{"id": 1.50, "n": "a\"b"},{"id": 2, "n": "c"}]"#),
        (
            j!({ "k": "v", "q": [{ "name": "{{ row.n }}!", "at": "{{ index }}", "l": ["x", "{{ row.id }}"] }] }),
            r#"{"k":"v","q":[{"name":"a\"b!","at":7,"l":["x",1.50]},{"name":"c!","at":7,"l":["x",2]}]}"#,
        ),
        // One list in another belongs to its row.
        (j!([["{{ row.id }}"]]), "[[1.50],[2]]"),
        (
            j!({ "ids": ["{{ row.id }}"], "names": ["{{ row.n }}"], "one": ["x"] }),
            r#"{"ids":[1.50,2],"names":["a\"b","c"],"one":["x"]}"#,
        ),
        (j!({ "ids": "{{ rows | map(attribute='n') | list }}" }), r#"{"ids":["a\"b","c"]}"#),
        (j!("{{ rows | length }} of them"), r#""2 of them""#),
    ] {
        assert_eq!(body(spec.clone(), &rows), expected, "{spec}");
    }
}

#[test]
fn all_rows_can_stand_in_a_url_and_in_text() {
    let rows = [csv(&[("id", "a b"), ("n", "x")]), csv(&[("id", "c"), ("n", "y")])];
    let ids = "{{ rows | map(attribute='id') | join(',') }}";
    let call = whole(get(&format!("https://api.example.com/users?ids={ids}&k=1")), &rows).unwrap();
    assert_eq!(call.uri, "https://api.example.com/users?ids=a%20b%2Cc&k=1");
    let lines = [line("u1"), line("u2")];
    let call = whole(get("https://api.example.com/users?ids={{ lines|join(',') }}"), &lines).unwrap();
    assert_eq!(call.uri, "https://api.example.com/users?ids=u1%2Cu2");
    let bulk = "{% for row in rows %}{\"index\":{}}\n{{ row|tojson }}\n{% endfor %}";
    let call = whole(post(BodySpec::Text(bulk.to_owned())), &rows).unwrap();
    let line = |row: &str| format!("{{\"index\":{{}}}}\n{row}\n");
    let expected = [r#"{"id": "a b", "n": "x"}"#, r#"{"id": "c", "n": "y"}"#].map(line).concat();
    assert_eq!(call.body, expected);
}

#[test]
fn one_row_has_no_place_among_many() {
    let row = csv(&[("id", "1")]);
    let refused = |spec: RequestSpec| compile(&many(spec), &row).map(drop).unwrap_err();
    for spec in [
        get("https://api.example.com/{id}"),
        get("https://api.example.com/?i={{ row.id | upper }}"),
        post(BodySpec::Json(j!({ "ids": ["{{ row.id }}"], "first": "{{ index }}" }))),
        post(BodySpec::Json(j!({ "ids": ["{{ row.id }}", 2] }))),
        post(BodySpec::Text("{{ row.id }}".to_owned())),
        header("X-Id", "{{ row.id }}"),
    ] {
        let error = refused(spec);
        assert_eq!(error.problem, Problem::ManyRows, "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("rows | map(")), "{error}");
    }
    for spec in [get("https://api.example.com/"), post(BodySpec::Json(j!({ "ids": ["1"] })))] {
        let error = refused(spec);
        assert_eq!(error.problem, Problem::RowsUnused);
        assert!(error.hint().is_some());
    }
    let one = compile(&post(BodySpec::Json(j!("{{ rows | length }}"))), &row).map(drop).unwrap_err();
    assert_eq!(one.problem, Problem::UnknownVariable { name: "rows".to_owned() });
    let lines = compile(&many(post(BodySpec::Json(j!("{{ lines | length }}")))), &row).map(drop).unwrap_err();
    assert_eq!(lines.problem, Problem::NoLine);
}

#[test]
fn a_row_that_has_none_spoils_the_call_and_says_so() {
    let rows = [json(r#"{"id": 1}"#), json(r#"{"name": 2}"#)];
    let spec = || post(BodySpec::Json(j!(["{{ row.id }}"])));
    assert_eq!(whole(spec(), &rows).unwrap_err(), RenderError::Missing { name: "id".into() });
    assert_eq!(whole(spec(), &rows[..1]).unwrap().body, "[1]");
    let broken = Row { record: Err(crate::RowFault::TooLong { limit: 1 }), ..line("x") };
    let lines = [line("u1"), broken];
    let spec = post(BodySpec::Json(j!(["{{ line }}"])));
    assert!(matches!(whole(spec, &lines), Err(RenderError::Unreadable(_))));
}

#[test]
fn how_many_rows_a_call_carries_is_no_part_of_what_it_is() {
    let spec = post(BodySpec::Json(j!(["{{ line }}"])));
    let (one, many) = (compile(&spec, &line("x")).unwrap(), compile(&many(spec), &line("x")).unwrap());
    assert_ne!(one.identity(), many.identity(), "but that its answers are divided is");
}
