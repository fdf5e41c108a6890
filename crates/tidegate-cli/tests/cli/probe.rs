//! One call, and what its answer says of limits.

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{Ended, Folder, Sim, closed_port};

const FORM: &str = "--ratelimit-headers";

fn user(sim: &Sim) -> String {
    format!("{}/v1/users/42", sim.url)
}

fn probe(sim: &Sim, more: &[&str]) -> Ended {
    let ended = Folder::new().tidegate([&["probe", &user(sim)], more].concat());
    ended.assert_code(0);
    ended
}

/// What is found of each limit.
fn limits(sim: &Sim) -> Vec<Value> {
    let found: Value = serde_json::from_str(&probe(sim, &["--json"]).stdout).unwrap();
    assert_eq!(found["ignored"], serde_json::json!([]), "{found}");
    found["limits"].as_array().unwrap().clone()
}

#[track_caller]
fn assert_within(value: &Value, least: f64, most: f64) {
    assert!(value.as_f64().is_some_and(|n| (least..=most).contains(&n)), "{value}");
}

#[test]
fn every_form_is_read_as_it_is_meant() {
    let limit = "fixed 100/min phase 59s";
    for (form, dialect, resource, window) in [
        ("x", "x-ratelimit", "requests", None),
        ("ietf", "ietf", "default", Some(60.0)),
        ("ietf-old", "ietf", "requests", None),
        ("github", "github", "core", Some(3_600.0)),
        ("openai", "openai", "requests", None),
        ("anthropic", "anthropic", "requests", Some(60.0)),
    ] {
        let sim = Sim::start(&["--limit", limit, &format!("{FORM}={form}")]);
        let found = limits(&sim);
        assert_eq!(found.len(), 1, "{form}: {found:?}");
        let found = &found[0];
        assert_eq!((&found["dialect"], &found["resource"]), (&dialect.into(), &resource.into()), "{form}");
        assert_eq!((&found["limit"], &found["remaining"]), (&100.into(), &99.into()), "{form}: {found}");
        assert_eq!(found["window_s"].as_f64(), window, "{form}");
        assert!(found["source"].as_str().unwrap().len() > 10, "{form}: {found}");
        // Stamps of whole seconds are never taken too early.
        assert_within(&found["resets_in_s"], 0.0, 62.0);
    }
}

#[test]
fn tokens_are_limits_of_their_own() {
    for form in ["openai", "anthropic"] {
        let arguments =
            ["--limit", "rolling 50/min", "--limit", "rolling 2000 tokens/min", &format!("{FORM}={form}")];
        let sim = Sim::start(&arguments);
        let found = limits(&sim);
        let units: Vec<_> = found.iter().map(|limit| limit["unit"].as_str().unwrap()).collect();
        assert_eq!(units, ["requests", "tokens"], "{form}");
        assert_eq!(found[1]["limit"], 2_000, "{form}");
        assert_within(&found[1]["remaining"], 1_000.0, 1_999.0);
    }
}

#[test]
fn people_get_lines_to_paste() {
    let sim = Sim::start(&["--limit", "bucket 1000/h capacity 1000", &format!("{FORM}=ietf")]);
    assert_snapshot!(probe(&sim, &[]).stdout, @r#"
    200 OK

    limit    remaining     of  in  reset       dialect
    default        999  1,000  1h  some in 4s  ietf

    --rate '1000/h'

    [quota]
    limits = ["1000/h"]

    source: ietf: draft-ietf-httpapi-ratelimit-headers, -00 (2021) to -11
    "#);
    let sim = Sim::start(&["--limit", "bucket 100/h capacity 100", FORM]);
    assert_snapshot!(probe(&sim, &[]).stdout, @"
    200 OK

    limit     remaining   of  in  reset        dialect
    requests         99  100   ?  some in 36s  x-ratelimit

    requests: 100 are allowed, in which time is not said
    hint: ask again right after a reset; the time to the next is the window. Or see their documentation

    source: x-ratelimit: no page: the names that most others use, each in its own way
    ");
    let sim = Sim::start(&["--limit", "bucket 2000 tokens/h capacity 2000", &format!("{FORM}=anthropic")]);
    let said = probe(&sim, &[]).stdout;
    assert!(said.contains("\nrate = \"2000 tokens/min unknown\"\ncost = "), "{said}");
}

#[test]
fn silence_is_read_in_every_form() {
    for form in ["seconds", "decimal", "date", "iso", "ms"] {
        let sim = Sim::start(&["--limit", "rolling 1/h", "--retry-after", form]);
        probe(&sim, &[]);
        let found: Value = serde_json::from_str(&probe(&sim, &["--json"]).stdout).unwrap();
        assert_eq!(found["status"], 429, "{form}");
        assert_within(&found["retry_after_s"], 3_500.0, 3_602.0);
        let said = probe(&sim, &[]).stdout;
        assert!(said.starts_with("429 Too Many Requests\n"), "{said}");
        assert!(
            said.contains("silence is asked for: ") && said.contains("Nothing is said of limits"),
            "{said}"
        );
    }
}

#[test]
fn a_job_file_may_know_more() {
    let sim = Sim::start(&["--limit", "rolling 100/min", FORM]);
    let folder = Folder::new();
    folder.write(
        "job.toml",
        "[[quota.headers]]\nresource = \"mine\"\nlimit = \"X-RateLimit-Limit\"\n\
         remaining = \"X-RateLimit-Remaining\"\nwindow = \"60s\"\n",
    );
    let ended = folder.tidegate(["probe", &user(&sim), "--job", "job.toml"]);
    ended.assert_code(0);
    assert!(ended.stdout.contains("--rate '100/min'") && ended.stdout.contains("declared"), "{ended}");
    folder.write("job.toml", "[[quota.headers]]\nlimit = \"not a name\"\n");
    let ended = folder.tidegate(["probe", &user(&sim), "--job", "job.toml"]);
    ended.assert_code(2).assert_says("`not a name` is not the name of a header").assert_says("hint: ");
    assert_eq!(sim.arrived(), 1);
}

#[test]
fn the_request_is_as_it_is_told() {
    let sim = Sim::start(&[]);
    let folder = Folder::new();
    let mut command =
        folder.command(["probe", &format!("{}/echo", sim.url), "-d", "a=1", "--bearer-env", "TOKEN"]);
    command.env("TOKEN", "very-secret");
    let ended = folder.end(command);
    ended.assert_code(0);
    assert!(!ended.stdout.contains("very-secret"), "{ended}");
    assert_eq!(sim.arrived(), 1);
}

#[test]
fn without_an_answer_there_is_nothing_to_say() {
    let folder = Folder::new();
    let ended = folder.tidegate(["probe", &closed_port()]);
    ended.assert_code(1).assert_says("error: no answer: ");
    assert_eq!(ended.stdout, "");
    folder.tidegate(["probe", "example.com"]).assert_code(2);
    folder.tidegate(["probe", &closed_port(), "--bearer-env", "NOT_SET"]).assert_code(2);
}
