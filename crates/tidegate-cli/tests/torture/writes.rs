//! Runs that are killed between every two writes, and runs of which every write fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use fastrand::Rng;

use crate::recorder::{CLOSED, Call, Recorder};
use crate::strace::{Calls, Then};
use crate::support::Folder;
use crate::world::{Endings, Out, seed};

const ROWS: u64 = 12;
const LIMIT: (usize, u64) = (5, 100);
/// Of `./test`: every so many writes.
const SAMPLE: usize = 5;
const SIDE_BY_SIDE: usize = 4;

#[test]
fn some_writes_are_the_last() {
    all_writes(SAMPLE);
}

#[test]
#[ignore = "kills between all writes; ./test --long"]
fn each_write_is_the_last() {
    all_writes(1);
}

#[test]
fn each_step_of_sorting_and_of_retrying_is_the_last() {
    all_steps();
}

/// A dozen rows, of which one fails, one is answered well at the second time, and of one nobody knows.
#[derive(Clone, Copy)]
struct Tiny {
    is_post: bool,
    is_csv: bool,
}

const TINY: [Tiny; 3] = [
    Tiny { is_post: false, is_csv: false },
    Tiny { is_post: true, is_csv: false },
    Tiny { is_post: false, is_csv: true },
];

/// The writes of a run, each time counted by thread: those before calls are made, those after lines are
/// made, and those of the quota's store.
#[derive(Clone, Copy, Debug)]
enum Writes {
    Sends,
    Ends,
    Store,
}

impl Tiny {
    fn provider() -> Recorder {
        Recorder::start(LIMIT, 10, |row, before| match (row, before) {
            ("u3", _) => 404,
            ("u5", 0) => 503,
            ("u7", 0) => CLOSED,
            _ => 200,
        })
    }

    fn command(self, provider: &Recorder) -> Vec<String> {
        let url = format!("{}/v1/{{user_id}}", provider.url);
        let mut args = vec!["run", "users.csv", "-q", "--url", &url, "--rate", "5/100ms", "--pace", "burst"];
        args.extend(["--connections", "4", "--backoff", "5ms..20ms", "--max-failed", "100%"]);
        args.extend(if self.is_post { &["-X", "POST"][..] } else { &[] });
        args.extend(if self.is_csv {
            &["-o", "out.csv", "--select", "good=/good"][..]
        } else {
            &["-o", "out.jsonl"]
        });
        args.into_iter().map(str::to_owned).collect()
    }

    fn out(self, folder: &Folder) -> Out<'_> {
        Out { folder, is_csv: self.is_csv }
    }

    fn writes(self, folder: &Folder, writes: Writes) -> Calls<'static> {
        let log = folder.path("out.tidegate/log");
        let outputs = self.out(folder).files().map(|file| folder.path(file));
        match writes {
            Writes::Sends => Calls { names: "write", files: vec![log] },
            Writes::Ends => Calls { names: "write", files: outputs.into_iter().chain([log]).collect() },
            Writes::Store => {
                let files = ["quotas.db", "quotas.db-wal"].map(|file| folder.path(".state").join(file));
                Calls { names: "pwrite64", files: files.into() }
            }
        }
    }

    /// Ends one run at its n-th write, and goes on. Whether there were so many.
    fn run(self, writes: Writes, n: usize, then: Then) -> bool {
        let (folder, provider) = (Folder::new(), Self::provider());
        folder.users(usize::try_from(ROWS).unwrap());
        let (args, out) = (self.command(&provider), self.out(&folder));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let what = format!(
            "{} {} {writes:?} {then:?} {n}",
            if self.is_post { "POST" } else { "GET" },
            if self.is_csv { "CSV" } else { "JSONL" }
        );
        let (ended, came) = self.writes(&folder, writes).run(&folder, &args, n, then);
        if !came {
            assert_eq!(ended.code, Some(0), "{what}: {ended}");
        } else if let Then::Full | Then::FullOnce = then {
            // 2 before anything was sent.
            let stopped = ended.code == Some(3) || ended.code == Some(2) && provider.calls().is_empty();
            let finished = matches!(writes, Writes::Store) && ended.code == Some(0);
            assert!(stopped || finished, "{what}: {ended}");
            let files =
                ["out.tidegate/log", "out.jsonl", "out.failed", "out.unknown", "out.csv", "quotas.db"];
            let names = files.iter().any(|file| ended.stderr.contains(file));
            assert!(finished || names, "{what}: it does not name the file: {ended}");
        }
        let again = folder.tidegate(&args);
        assert_eq!(again.code, Some(0), "{what}: {again}");
        let (endings, told) = (out.check_whole_after(ROWS, &what), out.log());
        let twice = provider.served_again();
        assert_eq!(provider.rejected(), 0, "{what}: a window held too much");
        assert!(twice <= told.lost, "{what}: {twice} rows served twice, {told:?}");
        if self.is_post {
            assert_eq!(twice, 0, "{what}: what must not be done twice was");
            assert!(endings.unknown <= told.lost + 1, "{what}: {endings:?}, {told:?}");
        } else {
            assert_eq!(endings, Endings { results: 11, failed: 1, unknown: 0 }, "{what}");
        }
        came
    }
}

fn all_writes(step: usize) {
    let first = seed();
    println!("TIDEGATE_TEST_SEED={first}");
    let mut jobs: Vec<Box<dyn FnOnce() -> usize + Send>> = Vec::new();
    let mut rng = Rng::with_seed(first);
    for tiny in TINY {
        for writes in [Writes::Sends, Writes::Ends, Writes::Store] {
            for then in [Then::Kill, Then::FullOnce, Then::Full] {
                let from = rng.usize(1..=step);
                jobs.push(Box::new(move || {
                    let ended = (from..).step_by(step).take_while(|n| tiny.run(writes, *n, then));
                    ended.count()
                }));
            }
        }
    }
    println!("{} runs were ended", side_by_side(jobs));
}

/// Results put in order, and failures sent again: each of these steps changes what is there.
fn all_steps() {
    let mut jobs: Vec<Box<dyn FnOnce() -> usize + Send>> = Vec::new();
    for is_csv in [false, true] {
        jobs.push(Box::new(move || sorting(is_csv)));
        for goes_on_by in ["retry", "run"] {
            jobs.push(Box::new(move || retrying(is_csv, goes_on_by)));
        }
    }
    println!("{} runs were ended", side_by_side(jobs));
}

fn steps(out: &Out<'_>) -> Calls<'static> {
    // Relative ones as well: strace compares names as they are given.
    let mut files = vec!["out.tidegate/log"];
    files.extend(["results.new", "failed.new", "unknown.new"].map(|file| match file {
        "results.new" => "out.tidegate/results.new",
        "failed.new" => "out.tidegate/failed.new",
        _ => "out.tidegate/unknown.new",
    }));
    files.extend(out.files());
    let absolute = files.iter().map(|file| out.folder.path(file));
    let files = absolute.chain(files.iter().map(std::path::PathBuf::from)).collect();
    Calls { names: "write,ftruncate,fsync,fdatasync,rename,unlink", files }
}

/// A finished job whose results are put in order, again and again.
fn sorting(is_csv: bool) -> usize {
    let (folder, provider) = (Folder::new(), Tiny::provider());
    folder.users(usize::try_from(ROWS).unwrap());
    let tiny = Tiny { is_post: false, is_csv };
    let (args, out) = (tiny.command(&provider), tiny.out(&folder));
    folder.tidegate(&args).assert_code(0);
    let calls = provider.calls();
    let kept = Kept::of(&out);
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.extend(["--order", "input"]);
    let mut ended = 0;
    for n in 1.. {
        kept.put_back();
        let (_, came) = steps(&out).run(&folder, &args, n, Then::Kill);
        let again = folder.tidegate(&args);
        assert_eq!(again.code, Some(0), "sorting, step {n}: {again}");
        assert_eq!(out.check_whole(ROWS), Endings { results: 11, failed: 1, unknown: 0 });
        assert!(out.rows(out.name()).is_sorted(), "sorting, step {n}");
        if !came {
            break;
        }
        ended += 1;
    }
    assert_eq!(provider.calls(), calls, "sorting sends nothing");
    ended
}

/// A job with three failures that are sent again and again; two of them would have results then.
fn retrying(is_csv: bool, goes_on_by: &str) -> usize {
    let is_well = Arc::new(AtomicBool::new(false));
    let knows = Arc::clone(&is_well);
    let provider = Recorder::start(LIMIT, 10, move |row, _| match row {
        "u9" => 404,
        "u3" | "u6" if !knows.load(Ordering::Relaxed) => 500,
        _ => 200,
    });
    let folder = Folder::new();
    folder.users(usize::try_from(ROWS).unwrap());
    let tiny = Tiny { is_post: false, is_csv };
    let (mut run, out) = (tiny.command(&provider), tiny.out(&folder));
    run.extend(["--attempts", "1"].map(str::to_owned));
    folder.tidegate(&run).assert_code(0);
    assert_eq!(out.check_whole(ROWS), Endings { results: 9, failed: 3, unknown: 0 });
    is_well.store(true, Ordering::Relaxed);
    let kept = Kept::of(&out);
    let retry = ["retry", out.name(), "-q"];
    let run: Vec<&str> = run.iter().map(String::as_str).collect();
    let mut ended = 0;
    for n in 1.. {
        let what = format!("retry, step {n}, goes on by {goes_on_by}, CSV {is_csv}");
        kept.put_back();
        let before = provider.calls().len();
        let (said, came) = steps(&out).run(&folder, &retry, n, Then::Kill);
        let again = if goes_on_by == "run" { folder.tidegate(&run) } else { folder.tidegate(retry) };
        assert_eq!(again.code, Some(0), "{what}: {again}\nbefore: {said}");
        let (endings, told) = (out.check_whole_after(ROWS, &what), out.log());
        let calls: Vec<Call> = provider.calls().split_off(before);
        let served = |row: &str| calls.iter().filter(|call| call.row == row && call.status == 200).count();
        if goes_on_by == "run" && endings.results == 9 {
            assert_eq!(calls, [], "{what}: killed before it was noted what is to be sent again");
        } else {
            assert_eq!(endings, Endings { results: 11, failed: 1, unknown: 0 }, "{what}");
            for row in ["u3", "u6"] {
                assert!((1..=1 + told.lost).contains(&(served(row) as u64)), "{what}: {row} {calls:?}");
            }
        }
        assert!(
            calls.iter().all(|call| ["u3", "u6", "u9"].contains(&call.row.as_str())),
            "{what}: {calls:?}"
        );
        assert_eq!(provider.rejected(), 0, "{what}");
        if !came {
            break;
        }
        ended += 1;
    }
    ended
}

/// An output as it was, to be put back.
struct Kept<'f> {
    folder: &'f Folder,
    files: [&'static str; 3],
}

impl<'f> Kept<'f> {
    fn of(out: &Out<'f>) -> Self {
        let folder = out.folder;
        std::fs::create_dir(folder.path("kept")).unwrap();
        for name in out.files().into_iter().chain(["out.tidegate"]).filter(|name| folder.exists(name)) {
            copy(folder, name, "kept/");
        }
        Self { folder, files: out.files() }
    }

    fn put_back(&self) {
        for name in self.files {
            let _ = std::fs::remove_file(self.folder.path(name));
        }
        std::fs::remove_dir_all(self.folder.path("out.tidegate")).unwrap();
        copy(self.folder, "kept/.", ".");
    }
}

fn copy(folder: &Folder, from: &str, to: &str) {
    let mut copy = std::process::Command::new("cp");
    copy.arg("-a").arg(folder.path(from)).arg(folder.path(to));
    assert!(copy.status().unwrap().success(), "{from}");
}

/// Does all of it with a few threads; the sum.
fn side_by_side(jobs: Vec<Box<dyn FnOnce() -> usize + Send>>) -> usize {
    let (jobs, sum) = (Mutex::new(jobs), Mutex::new(0));
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(job) = job else { return };
                    let count = job();
                    *sum.lock().unwrap_or_else(PoisonError::into_inner) += count;
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}
