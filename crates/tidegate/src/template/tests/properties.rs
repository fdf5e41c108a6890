use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;

/// Any text, often one that means something in a URL or in JSON.
fn texts() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("/".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("%2e".to_owned()),
        Just("\\".to_owned()),
        Just("\"".to_owned()),
        Just("{{ row.a }}".to_owned()),
        Just("\r\n".to_owned()),
        any::<char>().prop_map(String::from),
        ".*",
    ];
    proptest::collection::vec(pieces, 0..5).prop_map(|pieces| pieces.concat())
}

fn decode(encoded: &str) -> String {
    percent_decode_str(encoded).decode_utf8().expect("UTF-8").into_owned()
}

proptest! {
    #[test]
    fn values_come_back_from_the_url(a in texts(), b in texts()) {
        let row = csv(&[("a", &a), ("b", &b)]);
        let template = compile(&get("https://a.example/v1/{a}/x/{b}.json?q={a}&r={{ row.b ~ '' }}#top"), &row).expect("a good template");
        match template.render(&row) {
            Ok(call) => {
                prop_assert_eq!(call.uri.host(), Some("a.example"));
                let segments: Vec<&str> = call.uri.path().split('/').collect();
                prop_assert_eq!(segments.len(), 5);
                prop_assert_eq!((segments[1], segments[3]), ("v1", "x"));
                prop_assert_eq!(decode(segments[2]), a.clone());
                prop_assert_eq!(decode(segments[4]), format!("{b}.json"));
                prop_assert!(!a.is_empty() && !a.split('/').any(|part| part == ".."));
                let query: Vec<_> = call.uri.query().expect("a query").split('&').map(decode).collect();
                prop_assert_eq!(query, [format!("q={a}"), format!("r={b}")]);
            }
            Err(error) => {
                prop_assert_eq!(error, RenderError::PathSegment);
                let suspicious = |text: &str| text.is_empty() || text.contains('.') || text.contains("%2e");
                prop_assert!(suspicious(&a) || suspicious(&b));
            }
        }
    }

    #[test]
    fn csv_values_come_back_from_json(a in texts(), b in texts()) {
        let row = csv(&[("a", &a), ("b", &b)]);
        let spec = serde_json::json!({
            "one": "{{ row.a }}", "two": ["{{ row.a }}-{{ row.b }}"], "three": "{{ row.b ~ '' }}",
            "four": "{% if true %}{{ row.a }}{% endif %}", "row": "{{ row }}",
        });
        let call = call(&post(BodySpec::Json(spec)), &row).expect("a call");
        let body: serde_json::Value = serde_json::from_slice(&call.body).expect("valid JSON");
        prop_assert_eq!(body, serde_json::json!({
            "one": a, "two": [format!("{a}-{b}")], "three": b, "four": a, "row": {"a": a, "b": b},
        }));
    }

    #[test]
    fn json_members_are_passed_through(text in texts(), number in any::<f64>().prop_filter("JSON", |x| x.is_finite())) {
        let raw = serde_json::json!({"t": text, "n": number, "o": {"t": [text, number]}}).to_string();
        let spec = serde_json::json!({"t": "{{ row.t }}", "n": "{{ row.n }}", "o": "{{ row.o }}"});
        let call = call(&post(BodySpec::Json(spec)), &json(&raw)).expect("a call");
        prop_assert_eq!(&call.body[..], raw.as_bytes());
    }

    #[test]
    fn form_values_come_back(a in texts()) {
        let form = BodySpec::Form(vec![("k&=".to_owned(), "{{ row.a }}".to_owned())]);
        let call = call(&post(form), &csv(&[("a", &a)])).expect("a call");
        let body = std::str::from_utf8(&call.body).expect("ASCII");
        let (name, value) = body.split_once('=').expect("a pair");
        prop_assert_eq!(decode(name), "k&=");
        prop_assert_eq!(decode(&value.replace('+', " ")), a);
    }

    #[test]
    fn header_values_cannot_add_headers(a in texts()) {
        match call(&header("X-A", "v{{ line }}"), &line(&a)) {
            Ok(call) => prop_assert_eq!(call.headers["x-a"].as_bytes(), [b"v", a.as_bytes()].concat()),
            Err(RenderError::HeaderValue { .. }) => prop_assert!(a.chars().any(|c| c.is_ascii_control())),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn secrets_never_survive(secret in "[!-~]{4,40}", before in texts(), after in texts()) {
        let secrets = Secrets::new([secret.clone()]);
        let mut percent = String::new();
        encode::push_data(&secret, &mut percent);
        for form in [secret.clone(), percent, serde_json::Value::from(secret.as_str()).to_string()] {
            let text = format!("{before}{form}{after}");
            let redacted = secrets.redact(&text);
            prop_assert!(redacted.contains("***"));
            prop_assume!(!secret.contains('*'));
            prop_assert!(!redacted.contains(&secret));
        }
    }

    #[test]
    fn no_template_panics(url in texts(), body in texts(), brace in "[{}%#a-z. '\"|]{0,12}") {
        let row = json(r#"{"a": {"b": [1, "x"]}}"#);
        let spec = RequestSpec {
            body: BodySpec::Json(vec![body.clone(), brace.clone(), format!("{{{{{brace}}}}}")].into()),
            headers: vec![("X-A".to_owned(), brace.clone())],
            query: vec![("q".to_owned(), brace.clone())],
            ..get(&format!("https://a.example/{url}{brace}"))
        };
        if let Ok(template) = compile(&spec, &row) {
            let _ = template.render(&row);
        }
    }
}
