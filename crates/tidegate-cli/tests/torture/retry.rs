//! `tidegate retry`: what has failed is sent again, and moves over; and idempotency keys, the same for
//! a row whatever happens to its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::recorder::{CLOSED, Recorder};
use crate::support::{Background, Folder};
use crate::world::{Endings, Out, wait_until};

const LIMIT: (usize, u64) = (50, 500);

/// A provider with three states: rows that fail in all ways, in fewer, and in none.
struct Moody {
    provider: Recorder,
    mood: Arc<AtomicU8>,
}

impl Moody {
    fn start() -> Self {
        let mood = Arc::new(AtomicU8::new(0));
        let shared = Arc::clone(&mood);
        let provider = Recorder::start(LIMIT, 2, move |row, _| match (row, shared.load(Ordering::Relaxed)) {
            ("u2" | "u3", 0) => 503,
            ("u4", 0..=1) => 500,
            ("u5", 0..=1) => 404,
            ("u6" | "u7", 0) => CLOSED,
            _ => 200,
        });
        Self { provider, mood }
    }

    fn better(&self) {
        self.mood.fetch_add(1, Ordering::Relaxed);
    }

    fn command(&self, more: &[&str]) -> Vec<String> {
        let url = format!("{}/v1/{{user_id}}", self.provider.url);
        let args = ["run", "users.csv", "-q", "-o", "out.jsonl", "--url", &url, "--rate", "50/500ms"];
        let some = ["--attempts", "2", "--backoff", "5ms..20ms", "--connections", "4"];
        args.iter().chain(&some).chain(more).map(|word| (*word).to_owned()).collect()
    }

    /// Rows that were sent since there were so many calls.
    fn rows_since(&self, before: usize) -> BTreeSet<String> {
        self.provider.calls().into_iter().skip(before).map(|call| call.row).collect()
    }
}

#[test]
fn failures_are_sent_again_and_counts_add_up() {
    let (moody, folder) = (Moody::start(), Folder::new());
    folder.users(12);
    let run = moody.command(&["-X", "POST"]);
    let out = Out::jsonl(&folder);
    let ten = [&run[..], &["--head", "10"].map(str::to_owned)].concat();
    folder.tidegate(ten).assert_code(1);
    // Two rows remain.
    let expect = |results, failed, unknown, remaining: u64| {
        let endings = out.endings();
        assert_eq!(endings, Endings { results, failed, unknown });
        assert_eq!(endings.all() + remaining, 12);
        assert!(out.counts().values().all(|count| *count == 1), "{:?}", out.counts());
    };
    expect(4, 4, 2, 2);

    moody.better(); // 503s and broken connections are over
    let before = moody.provider.calls().len();
    folder.tidegate(["retry", "out.jsonl", "-q", "--only", "5xx"]).assert_code(1);
    let sent = moody.rows_since(before);
    assert!(["u2", "u3", "u4"].iter().all(|row| sent.contains(*row)), "{sent:?}");
    assert!(!["u5", "u6", "u7"].iter().any(|row| sent.contains(*row)), "{sent:?}");
    // What had not been sent at all goes with it: there is one way to carry on.
    expect(8, 2, 2, 0);

    let before = moody.provider.calls().len();
    folder.tidegate(["retry", "out.unknown.jsonl", "-q", "--only", "unknown"]).assert_code(1);
    assert_eq!(moody.rows_since(before), ["u6", "u7"].map(str::to_owned).into());
    expect(10, 2, 0, 0);
    assert!(!folder.exists("out.unknown.jsonl"), "a file without lines is none");

    moody.better();
    let before = moody.provider.calls().len();
    folder.tidegate(["retry", "out.tidegate", "-q"]).assert_code(0);
    assert_eq!(moody.rows_since(before), ["u4", "u5"].map(str::to_owned).into());
    expect(12, 0, 0, 0);
    out.check_whole(12);
    assert!(!folder.exists("out.failed.jsonl"));
    // Nothing is left, for either.
    let before = moody.provider.calls().len();
    folder.tidegate(["retry", "out.jsonl"]).assert_code(0).assert_says("Nothing was left to do");
    folder.tidegate(&run).assert_code(0);
    assert_eq!(moody.provider.calls().len(), before);
    assert_eq!((moody.provider.served_again(), moody.provider.rejected()), (0, 0));
}

#[test]
fn what_is_unknown_is_sent_again_only_if_somebody_asks() {
    let (moody, folder) = (Moody::start(), Folder::new());
    folder.users(12);
    folder.tidegate(moody.command(&["-X", "POST"])).assert_code(1);
    moody.better();
    moody.better();
    let before = moody.provider.calls().len();
    folder.tidegate(["retry", "out.jsonl", "-q"]).assert_code(1);
    assert_eq!(moody.rows_since(before), ["u2", "u3", "u4", "u5"].map(str::to_owned).into());
    let endings = Out::jsonl(&folder).check_whole(12);
    assert_eq!(endings, Endings { results: 10, failed: 0, unknown: 2 });
}

#[test]
fn a_word_that_is_no_sort_of_failure_is_refused() {
    let (moody, folder) = (Moody::start(), Folder::new());
    folder.users(12);
    folder.tidegate(moody.command(&[])).assert_code(1);
    let ended = folder.tidegate(["retry", "out.jsonl", "--only", "bad"]);
    ended.assert_code(2).assert_says("`bad` is no sort of failure").assert_says("timeout");
    let ended = folder.tidegate(["retry", "users.csv"]);
    ended.assert_code(2).assert_says("users.csv is not the output of a job").assert_says("hint: ");
}

#[test]
fn a_header_that_was_not_kept_is_asked_for() {
    let (moody, folder) = (Moody::start(), Folder::new());
    folder.users(12);
    folder.tidegate(moody.command(&["-H", "X-Api-Key: tide-7461"])).assert_code(1);
    for file in ["job.json", "job-file.json", "summary.json"] {
        assert!(!folder.read(&format!("out.tidegate/{file}")).contains("tide-7461"), "{file}");
    }
    moody.better();
    moody.better();
    let before = moody.provider.calls().len();
    let ended = folder.tidegate(["retry", "out.jsonl", "-q"]);
    ended.assert_code(2).assert_says("X-Api-Key").assert_says("hint: give it again");
    assert_eq!(moody.provider.calls().len(), before);
    folder.tidegate(["retry", "out.jsonl", "-q", "-H", "X-Api-Key: tide-7461"]).assert_code(0);
    Out::jsonl(&folder).check_whole(12);
}

/// Attempts, a kill, a run again and a retry: a row's key is the same in all of its calls, and no other
/// row's.
#[test]
fn a_row_has_one_idempotency_key_for_all_its_calls() {
    let (moody, folder) = (Moody::start(), Folder::new());
    folder.users(60);
    let run = moody.command(&["-X", "POST", "--idempotency-key", "--pace", "burst"]);
    let words: Vec<&str> = run.iter().map(String::as_str).collect();
    let first = Background::start(&folder, &words);
    wait_until("calls were made", || moody.provider.calls().len() >= 30);
    first.signal("KILL");
    first.wait();
    folder.tidegate(&run).assert_code(1);
    moody.better();
    moody.better();
    folder.tidegate(["retry", "out.jsonl", "-q"]).assert_code(0);
    let out = Out::jsonl(&folder);
    let endings = out.check_whole(60);
    assert_eq!(endings, Endings { results: 60, failed: 0, unknown: 0 }, "calls with a key are sent again");

    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in moody.provider.calls() {
        let key = call.key.unwrap_or_else(|| panic!("{} without a key", call.row));
        keys.entry(call.row).or_default().insert(key);
    }
    assert!(keys.values().all(|keys| keys.len() == 1), "{keys:?}");
    let different: BTreeSet<&String> = keys.values().flatten().collect();
    assert_eq!((keys.len(), different.len()), (60, 60));
    // A call in flight at the kill may come twice: by its key the provider knows it.
    assert!(moody.provider.served_again() <= out.log().lost);
    assert!(["u2", "u4", "u5", "u6"].iter().all(|row| moody.provider.calls_of(row).len() >= 2));
}
