//! Outputs that were put together from the parts of many workers.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::script::{Call, MS, S, Script, any, call, run, twins};
use crate::sink::{PartLog, PartLogs};
use crate::verify::{Findings, VerifyError, verify};

/// A part that another worker took over when two calls were over: that one has their log, and makes one more. The first goes
/// on with some calls that nobody else knows of.
fn taken_over(late: u64, is_there: bool) -> Result<Findings, VerifyError> {
    let limits = [any(4, S)];
    let begin = |more: Vec<Call>| {
        let calls = [vec![call(0, 0, MS), call(1, 10 * MS, MS)], more].concat();
        Script::of(run(0, &limits), &calls)
    };
    let lost = begin((0..late).map(|i| call(2 + i, (100 + i) * MS, MS)).collect());
    let part = begin(Vec::new()).run(run(90 * MS, &limits), &[], &[call(2, 120 * MS, MS)]);
    let own = Script::of(run(0, &limits), &[]);
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("out.tidegate");
    fs::create_dir(&state).unwrap();
    let write = |name: &str, script: &Script| -> PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, script.bytes()).unwrap();
        path
    };
    write("out.tidegate/log", &own);
    let parts = PartLogs(vec![PartLog { log: write("e2", &part), earlier: vec![write("e1", &lost)] }]);
    fs::write(state.join("parts.json"), serde_json::to_vec(&parts).unwrap()).unwrap();
    if !is_there {
        fs::remove_file(folder.path().join("e2")).unwrap();
    }
    verify(&[state])
}

#[test]
fn what_was_copied_counts_once_and_what_came_after_counts_too() {
    twins(&taken_over(1, true).unwrap(), &taken_over(2, true).unwrap());
    let attempts = |late| taken_over(late, true).unwrap().logs.iter().map(|log| log.attempts).sum::<u64>();
    assert_eq!((attempts(0), attempts(1), attempts(2)), (3, 4, 5));
}

#[test]
fn parts_that_are_gone_are_no_proof() {
    let error = taken_over(0, false).unwrap_err();
    assert!(matches!(error, VerifyError::PartsGone { gone: 1, parts: 1, .. }), "{error}");
    assert!(error.hint().unwrap().contains(".parts folder"));
}
