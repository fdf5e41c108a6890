//! A process that is killed at any byte of what it writes.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::PathBuf;

use super::*;
use crate::log::LogError;

/// Every third row fails.
fn is_failure(index: u64) -> bool {
    index % 3 == 2
}

fn append(formatter: &mut Formatter, index: u64, batch: &mut Batch) {
    let (record, error) = (line(index), failure(FailureKind::Status));
    let body =
        format!("{{\"address\":{{\"city\":\"{}\\nx\"}},\"n\":{index}}}", "c".repeat(index as usize % 7));
    let row = Finished { body: Some(body.as_bytes()), ..success(index, &record) };
    let error = is_failure(index).then_some(&error);
    formatter.append(&Finished { error, ..row }, None, batch);
}

fn write(outputs: &mut Outputs, rows: impl IntoIterator<Item = u64>) {
    let mut batch = Batch::default();
    for index in rows {
        append(&mut outputs.formatter, index, &mut batch);
    }
    outputs.files.write(&batch).unwrap();
}

/// Writes rows 0..12 in batches of 4, and returns the folder's files.
fn finished_files(spec: &OutputSpec, paths: &OutputPaths) -> Files3 {
    let mut outputs = open(spec).unwrap();
    let begun = Files3::read(paths).log.len();
    for start in [0, 4, 8] {
        write(&mut outputs, start..start + 4);
    }
    Files3 { begun, ..Files3::read(paths) }
}

#[derive(Clone)]
struct Files3 {
    log: Vec<u8>,
    results: Vec<u8>,
    failures: Vec<u8>,
    /// How long the log was when the run had begun.
    begun: usize,
}

impl Files3 {
    fn read(paths: &OutputPaths) -> Self {
        let read = |path: PathBuf| fs::read(path).unwrap_or_default();
        Self {
            log: read(paths.state.join("log")),
            results: read(paths.results.clone()),
            failures: read(paths.failures.clone()),
            begun: 0,
        }
    }

    fn restore(&self, paths: &OutputPaths) {
        fs::write(paths.state.join("log"), &self.log).unwrap();
        fs::write(&paths.results, &self.results).unwrap();
        fs::write(&paths.failures, &self.failures).unwrap();
    }

    fn cut(&self, log: usize, results: usize, failures: usize) -> Self {
        Self {
            log: self.log[..log].to_vec(),
            results: self.results[..results].to_vec(),
            failures: self.failures[..failures].to_vec(),
            begun: self.begun,
        }
    }
}

/// How often each row stands in the tables, by what the tables say.
fn rows_in_tables(paths: &OutputPaths) -> BTreeMap<u64, u32> {
    let mut rows = BTreeMap::new();
    for (path, fails) in [(&paths.results, false), (&paths.failures, true)] {
        if !path.exists() {
            continue;
        }
        let mut reader = ::csv::Reader::from_path(path).unwrap();
        for record in reader.records() {
            let index = record.unwrap()[0].strip_prefix("row ").unwrap().parse().unwrap();
            assert_eq!(is_failure(index), fails);
            *rows.entry(index).or_insert(0) += 1;
        }
    }
    rows
}

/// Opens what is left, compares what it says with what is there, and finishes the job.
fn resume(spec: &OutputSpec, paths: &OutputPaths) -> u64 {
    let mut outputs = open(spec).unwrap();
    let survivors = rows_in_tables(paths);
    assert!(survivors.values().all(|times| *times == 1), "{survivors:?}");
    let said: Vec<u64> = (0..12).filter(|index| outputs.done().contains(*index)).collect();
    assert_eq!(said, survivors.keys().copied().collect::<Vec<_>>());
    let missing: Vec<u64> = (0..12).filter(|index| !outputs.done().contains(*index)).collect();
    write(&mut outputs, missing);
    drop(outputs);
    assert_eq!(rows_in_tables(paths), (0..12).map(|index| (index, 1)).collect());
    assert_eq!(open(spec).unwrap().done().len(), 12, "and it is found finished");
    said.len() as u64
}

#[test]
fn a_table_survives_a_kill_at_any_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let (spec, paths) = (csv_spec(&path), OutputPaths::for_output(&path));
    let all = finished_files(&spec, &paths);
    // Where the files stood after each batch, as lengths in the order of writing.
    let mut steps = Vec::new();
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let (spec, paths) = (csv_spec(&path), OutputPaths::for_output(&path));
        let mut outputs = open(&spec).unwrap();
        for start in [0, 4, 8] {
            let now = Files3::read(&paths);
            steps.push([now.results.len(), now.failures.len(), now.log.len()]);
            write(&mut outputs, start..start + 4);
        }
        let now = Files3::read(&paths);
        steps.push([now.results.len(), now.failures.len(), now.log.len()]);
    }
    let mut kept = 0;
    for step in steps.windows(2) {
        let [before, after] = [step[0], step[1]];
        for killed_in in 0..3 {
            for at in before[killed_in]..=after[killed_in] {
                // Files before this one in the order of writing are complete, those after untouched.
                let mut lengths = before;
                lengths[..killed_in].copy_from_slice(&after[..killed_in]);
                lengths[killed_in] = at;
                all.cut(lengths[2], lengths[0], lengths[1]).restore(&paths);
                let survivors = resume(&spec, &paths);
                assert!(survivors >= kept, "a row was lost that was there");
                kept = survivors;
            }
        }
    }
    assert_eq!(kept, 12);
}

#[test]
fn a_table_survives_any_combination_of_cut_files() {
    // What a power cut may leave: each file as long as it likes.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let (spec, paths) = (csv_spec(&path), OutputPaths::for_output(&path));
    let all = finished_files(&spec, &paths);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..400 {
        // Without the first bytes of the log the tables are nobody's, and refused.
        let log = random.usize(all.begun..=all.log.len());
        let results = random.usize(0..=all.results.len());
        let failures = random.usize(0..=all.failures.len());
        all.cut(log, results, failures).restore(&paths);
        resume(&spec, &paths);
    }
}

#[test]
fn dropped_entries_do_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let (spec, paths) = (csv_spec(&path), OutputPaths::for_output(&path));
    let all = finished_files(&spec, &paths);
    all.cut(all.log.len(), all.results.len() - 1, 0).restore(&paths);
    let done = open(&spec).unwrap().done().clone();
    assert_eq!((done.succeeded.len(), done.failed.len()), (7, 0));
    // Longer than before: stale entries would now lie within the file.
    let mut outputs = open(&spec).unwrap();
    write(&mut outputs, [20, 23, 26, 29, 32, 35]);
    drop(outputs);
    assert!([2, 5, 8, 11].iter().all(|index| !open(&spec).unwrap().done().contains(*index)));
}

#[test]
fn a_changed_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    let (spec, paths) = (csv_spec(&path), OutputPaths::for_output(&path));
    let all = finished_files(&spec, &paths);
    let damage = |change: fn(&mut Files3)| {
        let mut files = all.clone();
        change(&mut files);
        files.restore(&paths);
        let error = open(&spec).map(|_| ()).unwrap_err();
        assert_eq!(Files3::read(&paths).results, files.results, "nothing was touched");
        error
    };
    let changed = damage(|files| drop(files.results.splice(20..21, *b"more")));
    assert!(matches!(changed, SinkError::Changed { .. }), "{changed}");
    let header = damage(|files| files.results[0] = b'L');
    assert!(matches!(header, SinkError::OtherColumns { .. }), "{header}");
    let other = damage(|files| files.log[0] = 0);
    assert!(matches!(other, SinkError::Log(LogError::NotALog { .. })), "{other}");
    let broken = damage(|files| {
        let at = files.begun + 12;
        files.log[at] ^= 1;
    });
    assert!(matches!(broken, SinkError::Log(LogError::Damaged { .. })), "{broken}");
    let gone = damage(|files| files.log.clear());
    assert!(matches!(gone, SinkError::NoLog { .. }), "{gone}");
    files_gone(&spec, &paths, &all);
}

/// A file that is not there any more was deleted, and its rows are not silently bought again.
fn files_gone(spec: &OutputSpec, paths: &OutputPaths, all: &Files3) {
    all.restore(paths);
    fs::remove_file(&paths.results).unwrap();
    let deleted = open(spec).map(|_| ()).unwrap_err();
    assert!(matches!(deleted, SinkError::Missing { .. }), "{deleted}");
    // What the run before this one has written was synced when it ended.
    all.restore(paths);
    drop(open(spec).unwrap());
    fs::write(&paths.results, &all.results[..all.results.len() - 1]).unwrap();
    let shorter = open(spec).map(|_| ()).unwrap_err();
    assert!(matches!(shorter, SinkError::Shorter { .. }), "{shorter}");
}

#[test]
fn lines_survive_a_kill_at_any_byte() {
    for format in [OutputFormat::Jsonl, OutputFormat::Batch] {
        survive_a_kill_at_any_byte(format);
    }
}

fn survive_a_kill_at_any_byte(format: OutputFormat) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let spec = OutputSpec { format: Some(format), ..lines_spec(&path) };
    let paths = OutputPaths::for_output(&path);
    let all = finished_files(&spec, &paths);
    let ends: Vec<usize> = memchr::memchr_iter(b'\n', &all.results).map(|at| at + 1).collect();
    for cut in 0..=all.results.len() {
        // The log is gone as well: the lines tell whose they are.
        all.cut(0, cut, all.failures.len()).restore(&paths);
        let mut outputs = open(&spec).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(outputs.done().succeeded.len(), whole as u64, "{cut}");
        assert_eq!(outputs.done().failed.len(), 4);
        let missing: Vec<u64> = (0..12).filter(|index| !outputs.done().contains(*index)).collect();
        write(&mut outputs, missing);
        drop(outputs);
        assert_eq!(fs::read(&paths.results).unwrap(), all.results, "{cut}");
    }
}

#[test]
fn zeros_at_the_end_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let (spec, paths) = (lines_spec(&path), OutputPaths::for_output(&path));
    let all = finished_files(&spec, &paths);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(all.results.len() as u64 + 5000).unwrap();
    assert_eq!(open(&spec).unwrap().done().succeeded.len(), 8);
    assert_eq!(fs::read(&path).unwrap(), all.results);
}

#[test]
fn lines_across_chunks_are_found() {
    // Longer than the scan's buffer, and boundaries at every place of the head.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    for shift in 0..40 {
        let first = format!("{{\"index\":0,\"x\":\"{}\"}}\n", "x".repeat((256 << 10) - 20 - shift));
        let text = format!("{first}{{\"index\":123456,\"x\":0}}\n{{\"index\":7,\"x\":0}}\n{{\"ind");
        let _ = fs::remove_dir_all(folder.path().join("out.tidegate"));
        fs::write(&path, &text).unwrap();
        let done = open(&lines_spec(&path)).unwrap().done().clone();
        assert_eq!(done.succeeded.iter().collect::<Vec<_>>(), [0, 7, 123_456], "{shift}");
        assert_eq!(fs::metadata(&path).unwrap().len(), text.len() as u64 - 5);
    }
}
