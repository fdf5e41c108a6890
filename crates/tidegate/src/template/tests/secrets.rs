use super::*;

/// Every place that can hold a secret does; the row echoes one more.
fn spec() -> RequestSpec {
    let headers = [
        ("Authorization", "Basic dXNlcjpodW50ZXIyMg=="),
        ("Cookie", "session=c00kie-value; theme=dark-mode"),
        ("X-Api-Key", "{{ row.key }}"),
        ("X-Upper", "{{ env.TOKEN|upper }}"),
        ("X-Plain", "visible"),
    ];
    RequestSpec {
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        query: vec![("token".to_owned(), "{{ env.TOKEN }}".to_owned())],
        body: BodySpec::Json(
            serde_json::json!({"t": "{{ env.TOKEN }}", "e": "{{ row.echo }}", "u": "{{ row.echo|upper }}"}),
        ),
        ..get("https://a.example/{{ env.TOKEN }}/x")
    }
}

const LEAKS: [&str; 8] =
    ["123456", "tok/", "tok%2F", "TOK/", "dXNlcjpodW50ZXIyMg", "c00kie-value", "dark-mode", "row-key-value"];

#[test]
fn previews_mask_secrets() {
    let row = csv(&[("key", "row-key-value"), ("echo", "tok/en-123456 \u{1b}[31m")]);
    let template = compile(&spec(), &row).expect("a good template");
    let call = template.render(&row).expect("a call");
    let preview = template.preview(&call);
    assert_eq!(
        preview,
        "POST https://a.example/***/x?token=***\n\
         authorization: Basic ***\n\
         cookie: session=***; theme=***\n\
         x-upper: ***\n\
         x-plain: visible\n\
         user-agent: tidegate/0.1.0\n\
         content-type: application/json\n\
         x-api-key: ***\n\
         \n\
         {\"t\":\"***\",\"e\":\"*** \\u001b[31m\",\"u\":\"*** \\u001B[31M\"}\n"
            .replace("tidegate/0.1.0", concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .replace("\\u001B[31M", "\\u001b[31M")
    );
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let row = csv(&[("key", "row-key-value"), ("echo", "tok/en-123456")]);
    let template = compile(&spec(), &row).expect("a good template");
    let call = template.render(&row).expect("a call");
    let printed = [
        template.preview(&call),
        template.identity().to_owned(),
        format!("{template:?} {template:#?}"),
        format!("{call:?}"),
        format!("{:?}", template.secrets()),
        format!("{:?}", spec()),
        format!("{:?}", template.headers),
        format!("{:?}", call.headers),
    ];
    for text in printed {
        for leak in LEAKS {
            assert!(!text.contains(leak), "{leak} in {text}");
        }
    }
}

#[test]
fn errors_hold_no_secrets() {
    let row = csv(&[("a", "tok/en-123456")]);
    // minijinja's own message names the template that is not there.
    let constant = compile(&header("X-A", "{{ env.TOKEN }}{% include env.TOKEN %}"), &row)
        .expect_err("a constant fails at once");
    assert_eq!(constant.to_string(), "header `X-A`: tried to include non-existing template '***'");
    let per_row = call(&header("X-A", "{{ env.TOKEN }}{% include env.TOKEN %}{{ row.a }}"), &row)
        .expect_err("no such template");
    assert!(per_row.to_string().contains("***"), "{per_row}");
    for printed in
        [format!("{constant} {constant:?} {:?}", constant.hint()), format!("{per_row} {per_row:?}")]
    {
        assert!(!printed.contains("123456"), "{printed}");
    }
    let error = compile(&header("Authorization", "Bearer hunter22\n"), &row).expect_err("a line break");
    assert!(!format!("{error} {error:?}").contains("hunter22"));
}

#[test]
fn control_characters_are_shown_not_sent_to_the_terminal() {
    let row = line("\u{1b}]0;x\u{7}");
    let template = compile(&post(BodySpec::Text("a\n{{ line }}".to_owned())), &row).expect("a good template");
    let preview = template.preview(&template.render(&row).expect("a call"));
    assert!(preview.ends_with("\na\n\\u{1b}]0;x\\u{7}\n"), "{preview}");
}

#[test]
fn long_bodies_are_cut_after_they_are_masked() {
    let row = line(&format!("{}tok/en-123456", "é".repeat(MAX_PREVIEW / 2 - 4)));
    let body = BodySpec::Text("{{ line }}{{ env.TOKEN }}{{ line }}".to_owned());
    let template = compile(&post(body), &row).expect("a good template");
    let preview = template.preview(&template.render(&row).expect("a call"));
    assert!(preview.trim_end().ends_with("bytes in all)"), "{preview}");
    assert!(!preview.contains("tok"));
}
