//! What is sent: methods, bodies, headers, redirects, and whole jobs from a file.

use serde_json::{Value, json};

use crate::support::{Folder, Sim};

/// What the provider saw of the row with this index: `/echo` answers with the request.
fn seen(lines: &[Value], index: u64) -> &Value {
    &lines.iter().find(|line| line["index"] == index).unwrap()["body"]
}

#[test]
fn json_bodies_keep_their_types() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("rows.jsonl", "{\"id\": 7, \"tags\": [\"a\"], \"name\": \"B \\\"x\\\"\"}\n{\"id\": 8, \"tags\": null, \"name\": \"\"}\n");
    let ended = folder.tidegate([
        "run",
        "rows.jsonl",
        "--url",
        &format!("{}/echo", sim.url),
        "--json",
        r#"{"id": "{{ row.id }}", "tags": "{{ row.tags }}", "text": "id {{ row.id }}: {{ row.name }}", "n": 1}"#,
    ]);
    let lines = ended.assert_code(0).lines();
    let first = seen(&lines, 0);
    assert_eq!(first["method"], "POST");
    assert_eq!(first["headers"]["content-type"], "application/json");
    let body = |index| -> Value { parsed(&seen(&lines, index)["body"]) };
    assert_eq!(body(0), json!({ "id": 7, "tags": ["a"], "text": "id 7: B \"x\"", "n": 1 }));
    assert_eq!(body(1), json!({ "id": 8, "tags": null, "text": "id 8: ", "n": 1 }));
}

/// A body that `/echo` gives back as JSON or as the text of it.
fn parsed(body: &Value) -> Value {
    match body {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    }
}

#[test]
fn methods_headers_and_form_bodies() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("rows.csv", "id,q\n1,a b&c\n").write("body.txt", "id={{ row.id }}");
    let url = format!("{}/echo/{{q}}?x={{q}}", sim.url);
    let mut command = folder.command([
        "run",
        "rows.csv",
        "--url",
        &url,
        "-X",
        "PUT",
        "-H",
        "X-Row: {{ index }}",
        "-H",
        "Authorization: Bearer {{ env.TOKEN }}",
        "-d",
        "@body.txt",
    ]);
    command.env("TOKEN", "hunter2");
    let ended = folder.end(command);
    let lines = ended.assert_code(0).lines();
    let saw = seen(&lines, 0);
    assert_eq!(saw["method"], "PUT");
    assert_eq!(saw["path"], "/echo/a%20b%26c");
    assert_eq!(saw["query"], "x=a%20b%26c");
    assert_eq!(saw["headers"]["x-row"], "0");
    assert_eq!(saw["headers"]["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(saw["body"], "id=1");
    // It was sent, and what the provider echoes of it does not reach the disk.
    assert_ne!(saw["headers"]["authorization"], Value::Null);
    assert!(!ended.to_string().contains("hunter2"), "{ended}");
}

#[test]
fn redirects_are_followed_when_asked_for_and_cost_a_permit_each() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("ids.txt", "u0\nu1\n");
    let url = format!("{}/redirect?to=/v1/users/{{line}}", sim.url);
    let failed = folder.tidegate(["run", "ids.txt", "--url", &url, "-o", "failed.jsonl"]);
    failed.assert_code(1);
    let message = folder.lines("failed.failed.jsonl")[0]["error"]["message"].to_string();
    assert!(message.contains("--location"), "{message}");
    assert_eq!(sim.arrived(), 2);

    let ended = folder.tidegate(["run", "ids.txt", "--url", &url, "-L", "-o", "out.jsonl"]);
    ended.assert_code(0);
    assert_eq!(folder.lines("out.jsonl").len(), 2);
    assert_eq!(sim.arrived(), 6);
    assert_eq!(folder.summary()["attempts"], 4);
}

#[test]
fn a_job_file_says_it_all_and_flags_come_first() {
    let (sim, folder) = (Sim::start(&["--limit", "rolling 50/200ms", "--service", "1ms"]), Folder::new());
    folder.users(120).write(
        "job.toml",
        format!(
            r#"[input]
path = "users.csv"
key = "user_id"

[request]
method = "POST"
url = "{}/echo"
json = {{ user = "{{{{ row.user_id }}}}" }}
headers = {{ X-Plan = "{{{{ row.plan }}}}" }}
timeout = "5s"

[[quota.limit]]
amount = 50
per = "200ms"

[retry]
attempts = 1
on = [503, "network"]

[output]
path = "elsewhere.jsonl"
accept = ["2xx", 404]
"#,
            sim.url
        ),
    );
    folder.tidegate(["run", "job.toml", "-o", "out.jsonl"]).assert_code(0).assert_says("50/200ms → ");
    folder.assert_each_once(120);
    assert!(!folder.exists("elsewhere.jsonl"));
    let lines = folder.lines("out.jsonl");
    let body = seen(&lines, 7);
    assert_eq!(
        (parsed(&body["body"]), &body["headers"]["x-plan"]),
        (json!({ "user": "u7" }), &json!("free"))
    );
    assert_eq!(lines.iter().find(|line| line["index"] == 7).unwrap()["key"], "u7");
    assert_eq!((sim.stats()["rejected"].clone(), sim.arrived()), (json!(0), 120));
}

#[test]
fn counts_agree_with_what_the_provider_saw() {
    let faults =
        ["--fault", "status 503 10%", "--fault", "reset 5%", "--fault", "truncate 5%", "--seed", "4"];
    let (sim, folder) = (Sim::start(&faults), Folder::new());
    folder.users(300);
    let ended = folder.tidegate([
        "run",
        "users.csv",
        "--url",
        &sim.users(),
        "-o",
        "out.jsonl",
        "--rate",
        "1000/s",
        "--attempts",
        "9",
        "--backoff",
        "1ms..5ms",
    ]);
    ended.assert_code(0);
    folder.assert_each_once(300);
    let (stats, summary) = (sim.stats(), folder.summary());
    assert_eq!(stats["served_200"], 300);
    assert_eq!(summary["attempts"], stats["arrived"], "{ended}");
    assert_eq!(summary["retried"].as_u64().unwrap(), stats["arrived"].as_u64().unwrap() - 300);
    assert_eq!((&summary["throttled"], &stats["rejected"]), (&json!(0), &json!(0)));
}
