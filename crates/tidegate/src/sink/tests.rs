use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

mod batch;
mod crash;

/// Opens an output and begins a run.
fn open(spec: &OutputSpec) -> Result<Outputs, SinkError> {
    let mut outputs = super::open(spec, Clock::start())?;
    outputs.files.begin(crate::log::RunRecord::default())?;
    Ok(outputs)
}

fn lines_spec(path: &Path) -> OutputSpec {
    OutputSpec {
        target: Target::File(path.to_owned()),
        format: None,
        job: "7".to_owned(),
        select: Vec::new(),
        columns: Arc::new(["line".to_owned()]),
    }
}

fn csv_spec(path: &Path) -> OutputSpec {
    let select = vec!["city=/address/city".parse().unwrap(), "n=/n".parse().unwrap()];
    OutputSpec { select, ..lines_spec(path) }
}

/// A row with a result; the line says its index.
fn success(index: u64, record: &Record) -> Finished<'_> {
    Finished {
        index,
        key: None,
        record: Ok(record),
        status: Some(200),
        attempts: 1,
        sent_at: Some(UNIX_EPOCH + Duration::from_millis(1_795_323_600_123)),
        latency: Some(Duration::from_micros(61_999)),
        request_id: None,
        body: Some(br#"{"ok":true}"#),
        error: None,
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, message: "said \"no\"".to_owned() }
}

fn line(index: u64) -> Record {
    Record::Line(format!("row {index}"))
}

fn text_of(row: &Finished<'_>) -> String {
    let mut batch = Batch::default();
    Formatter::new(Shape::Jsonl, true).append(row, None, &mut batch);
    let text = String::from_utf8(batch.lines[0].clone()).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str::<&RawValue>(&text).unwrap();
    text.trim_end().to_owned()
}

fn body_of(body: &[u8]) -> String {
    let record = line(0);
    let text = text_of(&Finished { body: Some(body), ..success(0, &record) });
    text.split_once("\"latency_ms\":61,").unwrap().1.trim_end_matches('}').to_owned()
}

#[test]
fn result_lines() {
    let columns = ["id", "n\"e"].map(String::from).into();
    let record = Record::Fields { columns, values: vec!["01234", "é\n"].into() };
    let body = br#"{"a": 1.50}"#;
    let row = Finished { key: Some("42"), body: Some(body), ..success(17, &record) };
    assert_eq!(
        text_of(&row),
        r#"{"index":17,"key":"42","input":{"id":"01234","n\"e":"é\n"},"status":200,"attempts":1,"sent_at":"2026-11-22T05:00:00.123Z","latency_ms":61,"body":{"a": 1.50}}"#
    );
    let record = Record::Json(RawValue::from_string("{\"a\":\r1.0}".into()).unwrap());
    let row = Finished { body: None, ..success(u64::MAX, &record) };
    assert_eq!(
        text_of(&row),
        r#"{"index":18446744073709551615,"input":{"a":1.0},"status":200,"attempts":1,"sent_at":"2026-11-22T05:00:00.123Z","latency_ms":61,"body":null}"#
    );
}

#[test]
fn failure_lines() {
    let record = line(3);
    let error = failure(FailureKind::Status);
    let answered =
        Finished { status: Some(500), body: Some(b"oops"), error: Some(&error), ..success(3, &record) };
    assert_eq!(
        text_of(&answered),
        r#"{"index":3,"input":{"line":"row 3"},"status":500,"attempts":1,"sent_at":"2026-11-22T05:00:00.123Z","latency_ms":61,"text":"oops","error":{"kind":"status","message":"said \"no\""}}"#
    );
    let fault = RowFault::NotUtf8 { at: 3 };
    let error = failure(FailureKind::Input);
    let never_sent = Finished {
        index: 4,
        key: None,
        record: Err(&fault),
        status: None,
        attempts: 0,
        sent_at: None,
        latency: None,
        request_id: None,
        body: None,
        error: Some(&error),
    };
    assert_eq!(
        text_of(&never_sent),
        r#"{"index":4,"input":null,"attempts":0,"error":{"kind":"input","message":"said \"no\""}}"#
    );
}

#[test]
fn bodies_of_all_kinds() {
    for (body, expected) in [
        (&b""[..], r#""body":null"#),
        (b" \r\n", r#""body":null"#),
        (b"null", r#""body":null"#),
        (b"\xef\xbb\xbf[1]", r#""body":[1]"#),
        (b" {\"a\" : 1e400}\t", r#""body":{"a" : 1e400"#),
        (b"{\r\n  \"a b\": [1,\n 2]\n}\n", r#""body":{"a b":[1,2]"#),
        (b"[1] [2]", r#""text":"[1] [2]""#),
        (b"<p>\n\"\x01", r#""text":"<p>\n\"\u0001""#),
        (b"\"caf\xe9\"", "\"text\":\"\\\"caf\u{fffd}\\\"\",\"lossy\":true"),
        (b"{\"a\":\"\n\"}", r#""text":"{\"a\":\"\n\""#),
    ] {
        assert!(body_of(body).starts_with(expected), "{body:?}: {}", body_of(body));
    }
}

#[test]
fn failed_bodies_are_cut_between_characters() {
    let record = line(0);
    let error = failure(FailureKind::Status);
    let row = |body: &[u8]| {
        let row = Finished { body: Some(body), error: Some(&error), ..success(0, &record) };
        serde_json::from_str::<Value>(&text_of(&row)).unwrap()
    };
    let cut = row("€".repeat(30_000).as_bytes());
    assert_eq!(cut["text"].as_str().unwrap().chars().count(), (64 << 10) / 3);
    assert_eq!((&cut["truncated"], &cut["lossy"]), (&Value::Bool(true), &Value::Null));
    let whole = row(&vec![b'x'; 64 << 10]);
    assert_eq!((whole["text"].as_str().unwrap().len(), &whole["truncated"]), (64 << 10, &Value::Null));
    let success = Finished { body: Some(&vec![b'x'; 70_000]), ..success(0, &record) };
    assert!(text_of(&success).len() > 70_000, "results are never cut");
}

#[test]
fn tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let columns: Arc<[String]> = ["id", "status", "note, x"].map(String::from).into();
    let spec = OutputSpec { columns: Arc::clone(&columns), ..csv_spec(&path) };
    let Outputs { mut formatter, mut files, .. } = open(&spec).unwrap();
    let record = Record::Fields { columns, values: vec!["01", "a\"b", "x\r"].into() };
    let mut batch = Batch::default();
    for body in [r#"{"address":{"city":"Zürich, CH"},"n":1.50}"#, "{\"n\":[1,\n2]}", "no JSON", ""] {
        formatter.append(&Finished { body: Some(body.as_bytes()), ..success(0, &record) }, None, &mut batch);
    }
    assert!(!folder.path().join("out.failed.csv").exists(), "no failures, no file");
    let error = failure(FailureKind::Timeout);
    formatter.append(
        &Finished { status: None, error: Some(&error), ..success(4, &record) },
        None,
        &mut batch,
    );
    assert_eq!(batch.rows(), 5);
    files.write(&batch).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "id,status,\"note, x\",city,n\n\
         01,\"a\"\"b\",\"x\r\",\"Zürich, CH\",1.50\n\
         01,\"a\"\"b\",\"x\r\",,\"[1,2]\"\n\
         01,\"a\"\"b\",\"x\r\",,\n\
         01,\"a\"\"b\",\"x\r\",,\n"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("out.failed.csv")).unwrap(),
        "id,status,\"note, x\",error_kind,error_message,tidegate_status\n\
         01,\"a\"\"b\",\"x\r\",timeout,\"said \"\"no\"\"\",\n"
    );
}

#[test]
fn a_single_empty_value_is_not_a_blank_line() {
    let columns: Arc<[String]> = ["line".to_owned()].into();
    let table = csv::Table::new(&columns, &[]).unwrap();
    let mut out = Vec::new();
    table.write(&success(0, &Record::Line(String::new())), &mut out);
    assert_eq!(out, b"\"\"\n");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let csv = csv_spec(&folder.path().join("out.csv"));
    let refused = |spec: OutputSpec| open(&spec).map(|_| ()).unwrap_err();
    assert!(matches!(refused(OutputSpec { select: vec![], ..csv.clone() }), SinkError::CsvWithoutSelect));
    let jsonl = Some(OutputFormat::Jsonl);
    assert!(matches!(refused(OutputSpec { format: jsonl, ..csv.clone() }), SinkError::SelectWithoutCsv));
    let stdout = OutputSpec { format: Some(OutputFormat::Csv), target: Target::Stdout, ..csv.clone() };
    assert!(matches!(refused(stdout), SinkError::CsvOnStdout));
    let columns: Arc<[String]> = ["city".to_owned()].into();
    let twice = refused(OutputSpec { columns, ..csv.clone() });
    assert!(matches!(twice, SinkError::DuplicateColumn { name } if name == "city"));
    for name in ["out.jsonl.gz", "out.parquet", "out.tsv"] {
        assert!(matches!(refused(lines_spec(&folder.path().join(name))), SinkError::Format { .. }));
    }
    let nowhere = refused(lines_spec(&folder.path().join("none/out.jsonl")));
    assert!(matches!(nowhere, SinkError::Create { .. }) && nowhere.hint().is_some());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was created");

    let sub = folder.path().join("sub.jsonl");
    fs::create_dir(&sub).unwrap();
    let is_folder = refused(lines_spec(&sub));
    assert!(is_folder.to_string().contains("sub.jsonl"), "{is_folder}");
}

#[test]
fn foreign_files_are_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    for (text, at) in [
        ("hello", 1),
        ("hello\n", 1),
        ("{\"index\":1}\n", 1),
        ("{\"index\":}", 1),
        ("{\"index\":12", 0),
        ("{\"index\":,\"", 1),
        ("{\"index\":1,\"a\":2}\n{\"index\":2,\"a\":2\n", 2),
        ("{\"index\":1,\"a\":2}\n\n", 2),
        ("{\"index\":1,\"a\":2}\nnotes", 2),
        ("{\"index\":99999999999999999999,\"a\":2}\n", 1),
    ] {
        fs::write(&path, text).unwrap();
        match open(&lines_spec(&path)) {
            Err(SinkError::NotOurs { line, .. }) => assert_eq!(line, at, "{text}"),
            Ok(_) => assert_eq!(at, 0, "{text}"),
            Err(other) => panic!("{text}: {other}"),
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), if at > 0 { text } else { "" });
    }
    fs::write(&path, "").unwrap();
    fs::write(folder.path().join("out.failed.jsonl"), "mine\n").unwrap();
    assert!(matches!(open(&lines_spec(&path)), Err(SinkError::NotOurs { line: 1, .. })));

    let table = folder.path().join("table.csv");
    for text in ["other,columns\n", "line,city,n\nmine,,\n"] {
        fs::write(&table, text).unwrap();
        assert!(
            matches!(open(&csv_spec(&table)), Err(SinkError::NoLog { .. } | SinkError::OtherColumns { .. })),
            "{text}"
        );
        assert_eq!(fs::read_to_string(&table).unwrap(), text);
    }
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let spec = lines_spec(&folder.path().join("out.jsonl"));
    let first = open(&spec).unwrap();
    assert!(matches!(open(&spec), Err(SinkError::Busy { .. })));
    drop(first);
    assert!(open(&spec).is_ok());
}

#[test]
#[cfg(unix)]
fn state_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let _outputs = open(&csv_spec(&folder.path().join("out.csv"))).unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("out.tidegate"), 0o700);
    assert_eq!(mode("out.tidegate/lock"), 0o600);
    assert_eq!(mode("out.tidegate/log"), 0o600);
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named_and_closes_the_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    // Reading /dev/full never ends, so it takes its place only after `open` has looked.
    let Outputs { mut formatter, mut files, .. } = open(&lines_spec(&path)).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("out.failed.jsonl")).unwrap();
    let (record, error) = (line(0), failure(FailureKind::Network));
    let mut batch = Batch::default();
    formatter.append(&Finished { error: Some(&error), ..success(0, &record) }, None, &mut batch);
    let full = files.write(&batch).unwrap_err();
    assert!(matches!(&full, SinkError::Write { path, .. } if path.ends_with("out.failed.jsonl")), "{full}");
    assert!(matches!(files.write(&batch), Err(SinkError::Closed)));
}

#[test]
fn batches_are_reused() {
    let (mut formatter, mut batch) = (Formatter::new(Shape::Jsonl, false), Batch::default());
    assert!(batch.is_empty());
    let record = line(0);
    formatter.append(&Finished { body: Some(&vec![b' '; 4 << 20]), ..success(0, &record) }, None, &mut batch);
    formatter.append(&Finished { body: Some(&vec![b'x'; 4 << 20]), ..success(0, &record) }, None, &mut batch);
    assert!(!batch.is_empty() && batch.bytes() > 4 << 20);
    batch.clear();
    assert!(batch.is_empty() && batch.bytes() == 0 && batch.lines[0].capacity() <= 1 << 20);
}
