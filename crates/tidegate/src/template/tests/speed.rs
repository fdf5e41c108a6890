//! Not a test of correctness: `cargo test --release -p tidegate --lib speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use super::*;

const RENDERS: u32 = 1_000_000;

#[test]
#[ignore = "measures"]
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement by hand reads the clock and prints"
)]
fn speed() {
    let fields =
        csv(&[("user_id", "1234567"), ("email", "jo@example.com"), ("city", "Zürich"), ("note", "a\nb")]);
    let member =
        json(r#"{"id": 1234567, "price": 1.50, "meta": {"x": "y"}, "note": "some longer text than that"}"#);
    let leaves = serde_json::json!({"model": "m", "user": "{{ row.user_id }}", "text": "Dear {{ row.email }}!", "note": "{{ row.note }}"});
    let jinja = serde_json::json!({"a": "{{ row.user_id|int }}", "b": "{{ row.email|upper }}", "c": "{{ row.note|trim }}"});
    let members =
        serde_json::json!({"a": "{{ row.id }}", "b": "{{ row.meta.x }}", "c": "{{ row.price }} EUR"});
    let bearer = |spec: RequestSpec| RequestSpec { bearer_env: Some("TOKEN".to_owned()), ..spec };
    for (name, spec, row) in [
        ("line URL", get("https://api.example.com/v1/users/{line}"), &line("1234567")),
        ("line URL, bearer", bearer(get("https://api.example.com/v1/users/{line}")), &line("1234567")),
        (
            "line URL, one minijinja expression",
            get("https://api.example.com/v1/users/{{ line|upper }}"),
            &line("abc"),
        ),
        ("CSV URL, 2 columns", get("https://api.example.com/v1/users/{user_id}?email={email}"), &fields),
        ("JSON body, 3 leaves, CSV", post(BodySpec::Json(leaves)), &fields),
        ("JSON body, 3 leaves, JSONL", post(BodySpec::Json(members)), &member),
        ("JSON body, 3 minijinja leaves", post(BodySpec::Json(jinja)), &fields),
    ] {
        let template = compile(&spec, row).expect("a good template");
        let start = Instant::now();
        for _ in 0..RENDERS {
            black_box(template.render(black_box(row)).expect("a call"));
        }
        println!("{name}: {} ns", start.elapsed().as_nanos() / u128::from(RENDERS));
    }
}
