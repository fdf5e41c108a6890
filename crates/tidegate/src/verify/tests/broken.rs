//! Logs that cannot be judged.

use std::path::PathBuf;

use tempfile::TempDir;

use super::script::{MS, S, Script, any, call, judged, run};
use crate::log::LogError;
use crate::verify::{VerifyError, verify};

#[test]
fn there_is_none() {
    let folder = TempDir::new().unwrap();
    let error = verify(&[folder.path().join("out.jsonl")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("there is no log at {}", folder.path().join("out.tidegate").join("log").display())
    );
    assert!(error.hint().unwrap().contains("-o OUT"));
}

#[test]
fn an_output_its_folder_or_the_log_itself() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("out.tidegate");
    std::fs::create_dir(&state).unwrap();
    let log = Script::of(run(0, &[any(1, S)]), &[call(0, 0, MS)]);
    std::fs::write(state.join("log"), log.bytes()).unwrap();
    for path in [folder.path().join("out.jsonl"), state.clone(), state.join("log")] {
        assert!(verify(std::slice::from_ref(&path)).unwrap().ok, "{}", path.display());
    }
}

#[test]
fn something_else() {
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("x");
    std::fs::write(&path, "this is not what a run writes").unwrap();
    assert!(matches!(verify(&[path]), Err(VerifyError::Log(LogError::NotALog { .. }))));
}

#[test]
fn sends_far_out_of_order() {
    let log = |ahead: u64| {
        let sent = [ahead, ahead + S, ahead + 4 * S, ahead + 8 * S, 7 * S, ahead + 9 * S];
        let calls: Vec<_> = (0..).zip(sent).map(|(row, sent)| call(row, sent, MS)).collect();
        Script::default().put_on_list().run(run(0, &[any(9, S)]), &[], &calls)
    };
    assert!(judged(&[&log(0)]).is_ok());
    assert!(matches!(log(10 * S).error(), VerifyError::OutOfOrder { row: 4, number: 1, .. }));
}

#[test]
fn a_partition_without_a_name() {
    let log = Script::of(run(0, &[any(9, S)]), &[call(0, 0, MS).of(1)]);
    assert!(matches!(log.error(), VerifyError::Broken { .. }));
}

#[test]
fn numbers_beyond_all_measure() {
    // Whatever a log says, nothing overflows.
    let most = u64::MAX;
    let mut begin = run(most, &[any(most, most)]);
    begin.wall_ms = most;
    begin.counted_within_us = Some(most);
    for window in [
        crate::log::Window::Counter { per_us: most },
        crate::log::Window::Unknown { per_us: 0 },
        crate::log::Window::Bucket { per_us: most, capacity: most, step_us: most },
        crate::log::Window::Bucket { per_us: 0, capacity: 0, step_us: 0 },
        crate::log::Window::Concurrency { linger_us: most },
        crate::log::Window::Calendar { period: "month".into(), zone: "UTC".into() },
    ] {
        begin.limits.push(super::script::limit(most, window.clone()));
        begin.limits.push(super::script::limit(1, window));
        begin.costs.extend([most, most]);
    }
    let calls = [call(0, 0, 0), call(1, most / 2, 0), call(2, most - 1, 1).lost(), call(3, most - 9, 3)];
    let log = Script::default().put_on_list();
    let _ = judged(&[&log.run(begin.clone(), &[], &calls[1..]).run(begin, &[], &calls[2..])]);
}
