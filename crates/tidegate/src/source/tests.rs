use std::io::{self, Cursor, Read, Write};
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Hands out at most `step` bytes at a time, as pipes do.
struct Dribble {
    bytes: Cursor<Vec<u8>>,
    step: usize,
}

impl Read for Dribble {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.step.min(buffer.len());
        self.bytes.read(&mut buffer[..room])
    }
}

fn source(bytes: &[u8], format: Format, max_record: usize, step: usize) -> Result<Source, SourceError> {
    let reader = Dribble { bytes: Cursor::new(bytes.to_vec()), step };
    Source::from_reader(reader, "<test>", format, max_record)
}

/// `line:text` of every row; a fault stands as `line!fault`.
fn rows_of(mut source: Source) -> Vec<String> {
    let mut rows = Vec::new();
    while let Some(row) = source.next_row().unwrap() {
        assert_eq!(row.index, rows.len() as u64, "indices are consecutive");
        let mut text = Vec::new();
        rows.push(match row.record {
            Ok(Record::Line(line)) => format!("{}:{line}", row.line),
            Ok(record) => {
                record.write_json(&mut text);
                format!("{}:{}", row.line, String::from_utf8(text).unwrap())
            }
            Err(fault) => format!("{}!{fault}", row.line),
        });
    }
    rows
}

/// The rows must not depend on how the bytes arrive.
fn rows(bytes: &[u8], format: Format, max_record: usize) -> Vec<String> {
    let all = rows_of(source(bytes, format, max_record, usize::MAX).unwrap());
    for step in [1, 2, 3, 7] {
        assert_eq!(rows_of(source(bytes, format, max_record, step).unwrap()), all, "{step} bytes at a time");
    }
    all
}

fn lines(bytes: &[u8]) -> Vec<String> {
    rows(bytes, Format::Lines, 100)
}

fn csv(text: &str) -> Vec<String> {
    rows(text.as_bytes(), Format::Csv, 100)
}

fn open_error(bytes: &[u8], format: Format) -> SourceError {
    source(bytes, format, 100, usize::MAX).unwrap_err()
}

#[test]
fn lines_end_in_any_way() {
    assert_eq!(lines(b"a\nb\r\n c \nd"), ["1:a", "2:b", "3: c ", "4:d"]);
    assert_eq!(lines(b"a\rb\n"), ["1:a\rb"], "a lone carriage return ends nothing");
}

#[test]
fn blank_lines_count_as_lines_not_as_rows() {
    assert_eq!(lines(b"\n\r\na\n \t\nb\n\n"), ["3:a", "5:b"]);
}

#[test]
fn a_byte_order_mark_is_no_content() {
    assert_eq!(lines(b"\xef\xbb\xbfa\n"), ["1:a"]);
    assert_eq!(csv("\u{feff}\"id\",x\n1,2\n"), [r#"2:{"id":"1","x":"2"}"#]);
    assert_eq!(rows(b"\xef\xbb\xbf{}", Format::Jsonl, 100), ["1:{}"]);
}

#[test]
fn broken_utf8_is_one_row() {
    assert_eq!(lines(b"a\nbc\xff\nd"), ["1:a", "2!not valid UTF-8 at byte 2 of the record", "3:d"]);
    let table = rows(b"a,b\n1,2\nxx,y\xff\n3,4\n", Format::Csv, 100);
    assert_eq!(table[1], "3!not valid UTF-8 at byte 3 of the record");
    assert_eq!(table.len(), 3);
}

#[test]
fn the_length_limit_is_exact() {
    let long = |count: usize| [vec![b'x'; count], b"\r\nb".to_vec()].concat();
    assert_eq!(lines(&long(100))[0].len(), 102);
    let fault = "1!longer than the limit of 100 bytes for one record";
    for count in [101, 102, 103, 1000] {
        assert_eq!(lines(&long(count)), [fault, "2:b"], "{count}");
    }
}

#[test]
fn a_huge_line_is_skipped_in_bounded_memory() {
    // 50 MB on one line, out of a reader that never holds them.
    let text = io::repeat(b'x').take(50 << 20).chain(&b"\nnext\n"[..]);
    let mut source = Source::from_reader(text, "<test>", Format::Lines, 1 << 20).unwrap();
    let first = source.next_row().unwrap().unwrap();
    assert_eq!(first.record.unwrap_err(), RowFault::TooLong { limit: 1 << 20 });
    assert!(matches!(source.next_row().unwrap().unwrap().record, Ok(Record::Line(line)) if line == "next"));
    let Reader::Lines(lines) = &source.reader else { unreachable!() };
    assert!(lines.spill_capacity() <= 4 << 20);
}

#[test]
fn a_huge_csv_record_is_skipped_in_bounded_memory() {
    let cells = io::repeat(b'"').take(50 << 20).chain(&b",\n1,2\n"[..]);
    let many = io::repeat(b',').take(50 << 20).chain(&b"\n3,4\n"[..]);
    let text = (&b"a,b\n"[..]).chain(cells).chain(many);
    let mut source = Source::from_reader(text, "<test>", Format::Csv, 1 << 20).unwrap();
    let mut good = 0;
    while let Some(row) = source.next_row().unwrap() {
        match row.record {
            Ok(_) => good += 1,
            Err(fault) => assert_eq!(fault, RowFault::TooLong { limit: 1 << 20 }),
        }
    }
    assert_eq!((good, source.next_index), (2, 4));
    let Reader::Delimited(table) = &source.reader else { unreachable!() };
    assert!(table.capacity() <= 4 << 20);
}

#[test]
fn csv_lines_are_where_records_start() {
    let text = "\r\nid,note\r\n1,\"two\r\nlines\"\r\n\r\n\r\n2,\"a\"\"b\"\r\n3,\r\n";
    let expected = [
        r#"3:{"id":"1","note":"two\r\nlines"}"#,
        r#"7:{"id":"2","note":"a\"b"}"#,
        r#"8:{"id":"3","note":""}"#,
    ];
    assert_eq!(csv(text), expected);
    assert_eq!(csv("id\n\n1\n2"), [r#"3:{"id":"1"}"#, r#"4:{"id":"2"}"#]);
}

#[test]
fn ragged_records_are_rows() {
    let many = ",".repeat(90);
    let text = format!("a,b\n1\n2,3\n4,5,6\n{many}\n7,8\n");
    let fault = |line: u64, found: &str| format!("{line}!{found} where the header has 2");
    let expected = [
        fault(2, "1 field"),
        r#"3:{"a":"2","b":"3"}"#.into(),
        fault(4, "3 fields"),
        fault(5, "91 fields"),
        r#"6:{"a":"7","b":"8"}"#.into(),
    ];
    assert_eq!(csv(&text), expected);
}

#[test]
fn a_quote_never_closed_is_said() {
    let rows = csv("a,b\n1,2\n3,\"4\n5,6\n");
    assert_eq!(rows[0], r#"2:{"a":"1","b":"2"}"#);
    assert!(rows[1].starts_with("3!a quote is opened and never closed"), "{}", rows[1]);
    assert_eq!(rows.len(), 2);
    assert_eq!(csv("a,b\n1,\"2\""), [r#"2:{"a":"1","b":"2"}"#], "closed at the end of the input");
    assert!(csv(&format!("a\n\"{}", "x\n".repeat(500)))[0].starts_with("2!a quote is opened"));
}

#[test]
fn a_long_csv_record_is_skipped_and_the_next_one_read() {
    let text = format!("a,b\n\"{}\",1\n2,3\n", "x\n".repeat(300_000));
    assert_eq!(
        rows_of(source(text.as_bytes(), Format::Csv, 100, usize::MAX).unwrap()),
        ["2!longer than the limit of 100 bytes for one record", r#"300003:{"a":"2","b":"3"}"#]
    );
    for end in ["\n", "\r\n", ""] {
        let at_limit = format!("a\n{}\n{}{end}", "x".repeat(100), "x".repeat(101));
        assert!(csv(&at_limit)[0].starts_with("2:") && csv(&at_limit)[1].starts_with("3!longer"));
    }
}

/// In whatever pieces the bytes come: `rows` sees to that.
#[test]
fn one_byte_order_mark_is_taken_off_at_the_very_start() {
    assert_eq!(csv("\u{feff}a\n1\n"), [r#"2:{"a":"1"}"#]);
    assert_eq!(csv("\u{feff}\u{feff}a\n1\n"), ["2:{\"\u{feff}a\":\"1\"}"]);
    assert_eq!(csv("\n\u{feff}a\n1\n"), ["3:{\"\u{feff}a\":\"1\"}"]);
}

#[test]
fn tabs_separate_and_quotes_quote() {
    let rows = rows(b"a\tb\n1,2\t\"x\ty\"\n", Format::Tsv, 100);
    assert_eq!(rows, [r#"2:{"a":"1,2","b":"x\ty"}"#]);
}

#[test]
fn json_is_kept_byte_for_byte() {
    let rows = rows(b" {\"a\": 1.50} \r\n\n[1]\n{\"a\":\n3 4\n\"\xff\"\n", Format::Jsonl, 100);
    assert_eq!(rows[..2], ["1:{\"a\": 1.50}", "3:[1]"]);
    assert!(rows[2].starts_with("4!not valid JSON: EOF"), "{}", rows[2]);
    assert!(rows[3].starts_with("5!not valid JSON: trailing"), "{}", rows[3]);
    assert_eq!(rows[4], "6!not valid UTF-8 at byte 1 of the record");
}

#[test]
fn bad_headers_are_errors_of_the_job() {
    let csv = |text: &[u8]| open_error(text, Format::Csv);
    assert!(matches!(csv(b"a,b,a\n"), SourceError::DuplicateColumn { column, .. } if column == "a"));
    assert!(matches!(csv(b"a,,c\n"), SourceError::UnnamedColumn { column: 2, .. }));
    assert!(matches!(csv(b"a, \n"), SourceError::UnnamedColumn { column: 2, .. }));
    assert!(matches!(csv(b"a,b\xe9\n"), SourceError::HeaderNotUtf8 { at: 2, .. }));
    assert!(matches!(csv(b"a,\"b\n1,2\n"), SourceError::HeaderTooLong { .. }));
    assert!(matches!(csv(&[b'x'; 200]), SourceError::HeaderTooLong { .. }));
    let wide = vec![b','; 70_000];
    let wide = Source::from_reader(Cursor::new(wide), "<test>", Format::Csv, DEFAULT_MAX_RECORD);
    assert!(matches!(wide.unwrap_err(), SourceError::HeaderTooLong { .. }));
}

#[test]
fn nothing_is_empty_but_a_header_is_a_table() {
    for format in [Format::Lines, Format::Csv, Format::Tsv, Format::Jsonl] {
        for text in [&b""[..], b"\n\r\n", b"\xef\xbb\xbf"] {
            assert!(matches!(open_error(text, format), SourceError::Empty { .. }), "{format} {text:?}");
        }
    }
    assert!(csv("id,name\n").is_empty());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn packed_streams_are_seen_by_their_content() {
    for pack in [gzip, zstd] {
        let members = [pack(b"a\nb"), pack(b""), pack(b"c\nd\n")].concat();
        assert_eq!(lines(&members), ["1:a", "2:bc", "3:d"]);
        assert!(matches!(open_error(&pack(b""), Format::Lines), SourceError::Empty { .. }));
        assert_eq!(lines(&pack(b"\xef\xbb\xbfa")), ["1:a"]);
    }
}

#[test]
fn corrupt_compression_is_an_error_with_its_line() {
    let text = (0..200_000).map(|i| i.to_string() + "\n").collect::<String>();
    for pack in [gzip, zstd] {
        let packed = pack(text.as_bytes());
        let mut cut = source(&packed[..packed.len() - 9], Format::Lines, 100, usize::MAX).unwrap();
        let error = loop {
            match cut.next_row() {
                Ok(row) => assert!(row.is_some(), "a cut stream must not look complete"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, SourceError::Read { line, .. } if line > 1000), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Source::open(&InputSpec::new(path));
    assert!(matches!(open(folder.path()).unwrap_err(), SourceError::Folder { .. }));
    let missing = open(&folder.path().join("none.csv")).unwrap_err();
    assert!(matches!(&missing, SourceError::Open { .. }) && missing.to_string().contains("none.csv"));
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let plain = open(&write("plain.csv.gz", b"a\n1\n")).unwrap_err();
    assert!(matches!(plain, SourceError::NotCompressed { expected: "gzip", .. }));
    let other = open(&write("other.csv.gz", &zstd(b"a\n1\n"))).unwrap_err();
    assert!(matches!(other, SourceError::NotCompressed { expected: "gzip", .. }));
    assert!(matches!(open(&write("empty.csv.gz", b"")).unwrap_err(), SourceError::Empty { .. }));

    let table = open(&write("users.CSV.gz", &gzip(b"id\n7\n"))).unwrap();
    assert_eq!(table.format(), Format::Csv);
    assert_eq!(table.columns().unwrap()[..], ["id".to_owned()]);
    assert_eq!(rows_of(table), [r#"2:{"id":"7"}"#]);
}

#[test]
fn formats_by_name() {
    for (name, format) in [
        ("a.csv", Format::Csv),
        ("a.tsv.zst", Format::Tsv),
        ("a.jsonl", Format::Jsonl),
        ("a.NDJSON.GZ", Format::Jsonl),
        ("a.txt", Format::Lines),
        ("a.gz", Format::Lines),
        ("a", Format::Lines),
    ] {
        assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
    }
    assert_eq!("CSV".parse(), Ok(Format::Csv));
    assert!("xls".parse::<Format>().is_err());
    assert_eq!(Input::new("-"), Input::Stdin);
}

#[test]
fn the_fingerprint_is_of_the_start() {
    let of = |text: &[u8], format| source(text, format, 100, usize::MAX).unwrap().first_record_fingerprint();
    let start = of(b"id\n1\n", Format::Csv);
    assert_eq!(start, of(b"id\r\n1\r\n2\r\n", Format::Csv), "an input that grew is the same input");
    for (text, format) in [
        (&b"id\n2\n"[..], Format::Csv),
        (b"ID\n1\n", Format::Csv),
        (b"id\n", Format::Csv),
        (b"id\n1\n", Format::Tsv),
    ] {
        assert_ne!(start, of(text, format), "{text:?}");
    }
}

/// Bytes out of which trouble is made.
fn trouble() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(b"\n\r,\"\t{}[]:a1 \xef\xbb\xbf\xff\x1f\x8b\x28\xb5\x2f\xfd".to_vec()),
        1 => any::<u8>(),
    ];
    prop::collection::vec(byte, 0..300)
}

proptest! {
    #[test]
    fn any_bytes_give_consecutive_rows(
        bytes in trouble(),
        step in 1_usize..20,
        max in 1_usize..50,
        format in prop::sample::select(vec![Format::Lines, Format::Csv, Format::Tsv, Format::Jsonl]),
    ) {
        let read = |step| -> Result<Vec<_>, String> {
            let mut source = source(&bytes, format, max, step).map_err(|e| e.to_string())?;
            let mut rows = Vec::new();
            let mut line = 0;
            while let Some(row) = source.next_row().map_err(|e| e.to_string())? {
                assert_eq!(row.index, rows.len() as u64);
                assert!(row.line >= line);
                line = row.line;
                rows.push(format!("{row:?}"));
            }
            Ok(rows)
        };
        prop_assert_eq!(read(step), read(usize::MAX));
    }

    /// The `csv` crate reads what we read, wherever nothing is wrong.
    #[test]
    fn tables_are_read_as_by_the_csv_crate(
        table in prop::collection::vec(prop::collection::vec("[a,\"\n\r é]{0,6}", 3), 0..20),
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["x", "y", "z"]).unwrap();
        for record in &table {
            writer.write_record(record).unwrap();
        }
        let mut source = source(&writer.into_inner().unwrap(), Format::Csv, 1000, 5).unwrap();
        for expected in &table {
            let Ok(Record::Fields { values, .. }) = source.next_row().unwrap().unwrap().record else {
                panic!("not a record")
            };
            prop_assert_eq!(&values, expected);
        }
        prop_assert!(source.next_row().unwrap().is_none());
    }
}
