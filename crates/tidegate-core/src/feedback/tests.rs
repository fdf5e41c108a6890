use std::time::Duration;

use super::*;

fn read(fields: &[(&str, &str)]) -> Feedback {
    Dialects::builtin().read(fields, None)
}

/// What is left out, by name.
fn ignored(fields: &[(&str, &str)]) -> Vec<String> {
    read(fields).ignored.iter().map(|ignored| ignored.field.to_string()).collect()
}

const DATE: (&str, &str) = ("date", "Sun, 01 Mar 2026 00:00:00 GMT");

#[test]
fn silence_is_read_in_its_finest_form() {
    let asked = |fields: &[(&str, &str)]| read(fields).retry_after;
    let ms = |ms| Some(Duration::from_millis(ms));
    assert_eq!(asked(&[("retry-after", "90")]), ms(90_000));
    assert_eq!(asked(&[("retry-after", "0.5")]), ms(500));
    assert_eq!(asked(&[("retry-after", "1"), ("retry-after-ms", "250")]), ms(250));
    assert_eq!(asked(&[("retry-after", "1"), ("x-ms-retry-after-ms", "00:00:00.033")]), ms(33));
    assert_eq!(asked(&[("retry-after", "7"), ("retry-after-ms", "soon")]), ms(7_000));
    assert_eq!(asked(&[DATE, ("retry-after", "Sun, 01 Mar 2026 00:00:30 GMT")]), ms(31_000));
    assert_eq!(asked(&[DATE, ("retry-after", "2026-03-01T00:00:30Z")]), ms(31_000));
    assert_eq!(asked(&[DATE, ("retry-after", "Sat, 28 Feb 2026 00:00:30 GMT")]), ms(0));
    for nonsense in
        ["soon", "-5", "NaN", "1e9", "99999999999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"]
    {
        assert_eq!(asked(&[DATE, ("retry-after", nonsense)]), None, "{nonsense}");
        assert_eq!(ignored(&[DATE, ("retry-after", nonsense)]), ["retry-after"], "{nonsense}");
    }
    assert_eq!(asked(&[]), None);
}

#[test]
fn of_two_silences_the_longer_counts() {
    let asked = [("retry-after", "30"), ("retry-after", "3600")];
    assert_eq!(read(&asked).retry_after, Some(Duration::from_secs(3_600)));
    let asked = [("retry-after", "30"), ("retry-after", "never")];
    assert_eq!(read(&asked).retry_after, Some(Duration::from_secs(30)));
}

#[test]
fn dates_are_those_of_the_answer_and_else_ours() {
    let until = [("retry-after", "Sun, 01 Mar 2026 00:00:30 GMT")];
    let asked = |now| Dialects::builtin().read(&until[..], now).retry_after;
    assert_eq!(asked(Some(1_772_323_200_000)), Some(Duration::from_secs(31)));
    assert_eq!(asked(None), None);
    assert_eq!(ignored(&until), ["retry-after"]);
}

#[test]
fn contradictions_are_not_obeyed() {
    let feedback = read(&[
        ("x-ratelimit-limit", "100"),
        ("x-ratelimit-remaining", "5"),
        ("x-ratelimit-remaining", "50"),
        ("x-ratelimit-limit", "100"),
    ]);
    let reading = &feedback.readings[0];
    assert_eq!((reading.limit, reading.remaining), (Some(100), None));
    assert_eq!(feedback.ignored.len(), 1);
}

#[test]
fn hostile_values_are_reported_and_never_obeyed() {
    let long = "9".repeat(10_000);
    for value in ["", "NaN", "-1", "inf", "1e300", "0x7f", "9\u{0}9", "99999999999999999999", &long] {
        let feedback = read(&[("x-ratelimit-limit", value), ("x-ratelimit-remaining", value)]);
        assert_eq!((feedback.readings.len(), feedback.ignored.len()), (0, 2), "{value:.40}");
        let feedback = read(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-reset", value),
        ]);
        assert_eq!(feedback.readings[0].resets_in, None, "{value:.40}");
    }
    for list in
        ["\"a\";q=1;w=-1", "\"a\";q=99999999999999999", "\"a\"", "(\"a\");q=1", "\"a\";q=1,\"a\";q=2", "{}"]
    {
        let feedback = read(&[("ratelimit-policy", list)]);
        assert_eq!((feedback.readings.len(), feedback.ignored.len()), (0, 1), "{list}");
    }
}

#[test]
fn a_limit_of_nothing_is_no_limit() {
    let feedback =
        read(&[("x-okta-request-id", "x"), ("x-rate-limit-limit", "0"), ("x-rate-limit-remaining", "0")]);
    assert_eq!((feedback.readings.len(), feedback.ignored.len()), (0, 1));
}

#[test]
fn an_answer_may_be_full_of_fields() {
    let many: Vec<(String, String)> =
        (0..10_000).map(|i| ("retry-after".to_owned(), i.to_string())).collect();
    let feedback = Dialects::builtin().read(&many[..], None);
    assert_eq!(feedback.retry_after, Some(Duration::from_secs(63)));
    assert!(feedback.ignored.len() <= 64, "{}", feedback.ignored.len());
}

#[test]
fn what_is_declared_comes_first() {
    let declared = Dialect::declared(
        "calls",
        Unit::Requests,
        Some(Duration::from_secs(60)),
        [
            ("x-quota".to_owned(), Role::Limit),
            ("x-ratelimit-remaining".to_owned(), Role::Remaining),
            ("x-quota-reset".to_owned(), Role::Reset(Form::DeltaMs)),
        ],
    );
    let dialects = Dialects::builtin().with(declared.with_retry_after("x-wait".to_owned(), Form::DeltaMs));
    let fields = [
        ("x-quota", "10"),
        ("x-ratelimit-remaining", "3"),
        ("x-quota-reset", "1500"),
        ("x-wait", "2500"),
        ("retry-after", "1"),
    ];
    let (feedback, names) = dialects.read_named(&fields[..], None);
    assert_eq!(names, ["declared"]);
    let reading = &feedback.readings[0];
    assert_eq!((&*reading.resource, reading.limit, reading.remaining), ("calls", Some(10), Some(3)));
    assert_eq!(reading.resets_in, Some(Duration::from_millis(1_500)));
    assert_eq!(feedback.retry_after, Some(Duration::from_millis(2_500)));
}

#[test]
fn one_dialect_reads_its_own_fields_only() {
    let github = Dialects::of("github").unwrap();
    let fields = [("anthropic-ratelimit-requests-limit", "50"), ("retry-after", "3")];
    let feedback = github.read(&fields[..], None);
    assert_eq!((feedback.readings.len(), feedback.retry_after), (0, Some(Duration::from_secs(3))));
    assert!(Dialects::of("nobody").is_none());
}

#[test]
fn every_dialect_tells_its_source() {
    for dialect in Dialects::builtin().iter() {
        let lower = dialect.headers().chain(dialect.marks()).all(|name| name == name.to_ascii_lowercase());
        assert!(lower && !dialect.name().is_empty() && dialect.source().len() > 10, "{}", dialect.name());
    }
}
