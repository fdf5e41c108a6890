//! Tests of the whole module: a spec and a row in, a call or an explained failure out.

mod bodies;
mod headers;
mod many;
mod properties;
mod secrets;
mod speed;
mod urls;

use std::sync::Arc;

use super::*;
use crate::Record;

/// Row 7, on line 8.
fn row(record: Record) -> Row {
    Row { index: 7, line: 8, record: Ok(record) }
}

fn line(text: &str) -> Row {
    row(Record::Line(text.to_owned()))
}

fn csv(fields: &[(&str, &str)]) -> Row {
    let columns: Arc<[String]> = fields.iter().map(|(name, _)| (*name).to_owned()).collect();
    row(Record::Fields { columns, values: fields.iter().map(|(_, value)| *value).collect() })
}

fn json(text: &str) -> Row {
    row(Record::Json(serde_json::from_str(text).expect("a JSON row")))
}

fn env(name: &str) -> Option<String> {
    let value = match name {
        "TOKEN" => "tok/en-123456",
        "NEWLINE" => "value\n",
        "INNER" => "two\nlines",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn get(url: &str) -> RequestSpec {
    RequestSpec { url: url.to_owned(), ..RequestSpec::default() }
}

fn post(body: BodySpec) -> RequestSpec {
    RequestSpec { body, ..get("https://api.example.com/") }
}

fn header(name: &str, value: &str) -> RequestSpec {
    RequestSpec { headers: vec![(name.to_owned(), value.to_owned())], ..get("https://api.example.com/") }
}

/// Compiles for rows like this one.
fn compile(spec: &RequestSpec, row: &Row) -> Result<Template, TemplateError> {
    match row.record.as_ref().expect("a readable row") {
        Record::Line(_) => Template::compile(spec, Input { kind: InputKind::Lines, columns: None }, env),
        Record::Fields { columns, .. } => {
            Template::compile(spec, Input { kind: InputKind::Fields, columns: Some(columns) }, env)
        }
        Record::Json(_) => Template::compile(spec, Input { kind: InputKind::Json, columns: None }, env),
    }
}

fn call(spec: &RequestSpec, row: &Row) -> Result<Call, RenderError> {
    compile(spec, row).expect("a good template").render(row)
}

fn problem(spec: &RequestSpec, row: &Row) -> Problem {
    compile(spec, row).expect_err("a bad template").problem
}

/// What a person would read: the message, then the hint.
fn report(spec: &RequestSpec, row: &Row) -> String {
    let error = compile(spec, row).expect_err("a bad template");
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}\nhint: {hint}"))
}

#[test]
fn templates_are_shared_between_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Template>();
    check::<Secrets>();
    check::<KeyTemplate>();
    check::<RenderError>();
    check::<TemplateError>();
}

#[test]
fn methods() {
    let row = line("x");
    let method = |name: Option<&str>, body: BodySpec| {
        let spec = RequestSpec { method: name.map(str::to_owned), ..post(body) };
        compile(&spec, &row).map(|template| template.method().clone()).map_err(|error| error.to_string())
    };
    let text = || BodySpec::Text("a".to_owned());
    assert_eq!(method(None, BodySpec::None), Ok(Method::GET));
    assert_eq!(method(None, text()), Ok(Method::POST));
    assert_eq!(method(Some("put"), text()), Ok(Method::PUT));
    assert_eq!(method(Some("GET"), text()), Ok(Method::GET));
    for bad in ["", "GE T", "connect"] {
        assert_eq!(method(Some(bad), text()), Err("method: not a usable HTTP method".to_owned()));
    }
}

#[test]
fn unreadable_rows_keep_their_reason() {
    let fault = crate::RowFault::Ragged { expected: 2, found: 3 };
    let bad = Row { index: 0, line: 2, record: Err(fault.clone()) };
    let template = compile(&get("https://a.example/{line}"), &line("x")).expect("a good template");
    assert_eq!(template.render(&bad).expect_err("unreadable"), RenderError::Unreadable(fault));
}

#[test]
fn rows_of_another_kind_are_refused() {
    let template = compile(&get("https://a.example/{line}"), &line("x")).expect("a good template");
    let error = template.render(&csv(&[("line", "x")])).expect_err("not a line");
    assert_eq!(error.to_string(), "the row has no `line`");
}

#[test]
fn columns_that_moved_are_found_by_name() {
    let template =
        compile(&get("https://a.example/{a}"), &csv(&[("a", "1"), ("b", "2")])).expect("a good template");
    let call = template.render(&csv(&[("b", "2"), ("a", "1")])).expect("a call");
    assert_eq!(call.uri.path(), "/1");
}

#[test]
fn identity_is_method_url_and_body_as_written() {
    let row = line("x");
    let id = |spec: &RequestSpec| compile(spec, &row).expect("a good template").identity().to_owned();
    let base = || RequestSpec {
        body: BodySpec::Text("{{ line }}".to_owned()),
        ..get("https://a.example/?k={{ env.TOKEN }}")
    };

    let same =
        RequestSpec { method: Some("post".to_owned()), bearer_env: Some("TOKEN".to_owned()), ..base() };
    assert_eq!(id(&base()), id(&same));
    assert!(!id(&base()).contains("123456"));
    for other in [
        RequestSpec { method: Some("PUT".to_owned()), ..base() },
        RequestSpec { url: "https://a.example/".to_owned(), ..base() },
        RequestSpec { query: vec![("a".to_owned(), "b".to_owned())], ..base() },
        RequestSpec { body: BodySpec::Json("{{ line }}".into()), ..base() },
    ] {
        assert_ne!(id(&base()), id(&other));
    }
}

#[test]
fn keys() {
    let columns = ["id".to_owned(), "zip".to_owned()];
    let fields = Input { kind: InputKind::Fields, columns: Some(&columns) };
    let key = KeyTemplate::compile("zip", fields).expect("a column");
    assert_eq!(key.key(&csv(&[("id", "1"), ("zip", "01234")])).expect("a key"), "01234");
    let error = KeyTemplate::compile("zipp", fields).expect_err("no column");
    assert_eq!(error.to_string(), "key: unknown column `zipp`; the input has `id`, `zip`");
    assert_eq!(error.hint().as_deref(), Some("did you mean `zip`?"));

    let key = KeyTemplate::compile("id", Input { kind: InputKind::Json, columns: None }).expect("a member");
    assert_eq!(
        key.key(&json(r#"{"id": 12345678901234567890123}"#)).expect("a key"),
        "12345678901234567890123"
    );
    assert_eq!(key.key(&json(r#"{"id": "a\nb"}"#)).expect("a key"), "a\nb");
    for (row, expected) in [
        ("{}", "the row has no `id`"),
        ("[1]", "the row has no `id`"),
        (r#"{"id": null}"#, "`id` is null, expected a string, number or boolean"),
        (r#"{"id": {}}"#, "`id` is an object or array, expected a string, number or boolean"),
        (r#"{"id": "\ud800"}"#, "`id` is not valid Unicode"),
    ] {
        assert_eq!(key.key(&json(row)).expect_err(row).to_string(), expected);
    }

    let key =
        KeyTemplate::compile("line", Input { kind: InputKind::Lines, columns: None }).expect("the line");
    assert_eq!(key.key(&line("x y")).expect("a key"), "x y");
}
