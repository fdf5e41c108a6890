//! Lines as the batch endpoints of LLM providers write them.

use super::*;
use crate::log::OutputFile;
use crate::sink::batch::BatchLines;

fn batch_spec(path: &Path) -> OutputSpec {
    OutputSpec { format: Some(OutputFormat::Batch), ..lines_spec(path) }
}

fn request(id: &str) -> Record {
    let json = format!(r#"{{"custom_id":{id},"method":"POST","url":"/v1/x","body":{{}}}}"#);
    Record::Json(RawValue::from_string(json).unwrap())
}

fn written(row: &Finished<'_>) -> Value {
    let mut out = Vec::new();
    BatchLines::new("7").write(row, &mut out);
    assert_eq!(out.pop(), Some(b'\n'));
    assert!(!out.contains(&b'\n'));
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn an_answer_stands_as_it_came() {
    let record = request(r#""r\"1""#);
    let body = b"{\n \"n\": 1.50 }";
    let row = Finished { body: Some(body), request_id: Some("req_1"), ..success(17, &record) };
    let line = written(&row);
    assert_eq!(line["custom_id"], "r\"1");
    assert!(line["id"].as_str().unwrap().ends_with("_17"), "{line}");
    assert_eq!(line["response"]["status_code"], 200);
    assert_eq!(line["response"]["request_id"], "req_1");
    assert_eq!(line["response"]["body"].to_string(), r#"{"n":1.50}"#.replace("1.50", "1.5"));
    assert_eq!(line["error"], Value::Null);
    assert_eq!(written(&row)["id"], line["id"], "the same each time");
}

#[test]
fn a_failure_says_why_and_a_row_without_an_id_is_known_by_its_index() {
    let (record, error) = (line(3), failure(FailureKind::Timeout));
    let row = Finished { status: None, body: None, error: Some(&error), ..success(3, &record) };
    let said = written(&row);
    assert_eq!((&said["custom_id"], &said["response"]), (&"3".into(), &Value::Null));
    assert_eq!(said["error"], serde_json::json!({ "code": "timeout", "message": "said \"no\"" }));
    let text = Finished { body: Some(b"<html>"), key: Some("k"), ..success(3, &record) };
    assert_eq!(written(&text)["response"]["body"], "<html>");
    assert_eq!(written(&text)["custom_id"], "k");
}

#[test]
fn what_a_log_does_not_know_of_is_found_with_its_failures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let mut outputs = open(&batch_spec(&path)).unwrap();
    let (record, error) = (request(r#""a""#), failure(FailureKind::Quota));
    let mut lines = Batch::default();
    outputs.formatter.append(&success(5, &record), None, &mut lines);
    let failed = Finished { status: Some(500), error: Some(&error), ..success(6, &record) };
    outputs.formatter.append(&failed, None, &mut lines);
    outputs.files.write(&lines).unwrap();
    drop(outputs);
    fs::remove_file(folder.path().join("out.tidegate/log")).unwrap();
    let outputs = open(&batch_spec(&path)).unwrap();
    assert!(outputs.done().succeeded.contains(5) && outputs.done().failed.contains(6));
    assert!(outputs.before.ends[OutputFile::Failed.index()] > 0);
    drop(outputs);
    // Lines of another shape are not mixed in.
    let refused = open(&lines_spec(&path)).map(|_| ()).unwrap_err();
    assert!(matches!(refused, SinkError::NotOurs { line: 1, .. }), "{refused}");
}
