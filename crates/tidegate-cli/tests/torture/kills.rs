//! The torture test: runs that are killed at random points, and started again until they are done.

use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use crate::support::{Folder, Sim};
use crate::world::{Out, Told, pause, seed};

/// At the same time: they mostly wait.
const SIDE_BY_SIDE: usize = 4;

#[test]
fn a_dozen_runs_killed_at_random() {
    torture(12);
}

#[test]
#[ignore = "takes minutes; ./test --long"]
fn three_hundred_runs_killed_at_random() {
    torture(300);
}

/// A job, what its provider is like, and how often it is killed: all by the seed.
struct Trial {
    seed: u64,
    rng: Rng,
    rows: u64,
    /// Amount and milliseconds.
    limits: Vec<(u64, u64)>,
    is_fixed: bool,
    is_post: bool,
    is_csv: bool,
    in_order: bool,
    with_faults: bool,
    in_bursts: bool,
    /// Rows that a call carries.
    batch: u64,
    kills: u32,
}

/// What came of it.
#[derive(Debug, Default, Clone, Copy)]
struct Toll {
    runs: u64,
    kills: u64,
    in_flight: u64,
    served_twice: u64,
    windows_filled: u64,
}

fn torture(runs: u64) {
    let first = seed();
    println!("TIDEGATE_TEST_SEED={first}");
    let (next, tolls) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= runs {
                        return;
                    }
                    let toll = Trial::new(first.wrapping_add(number)).run();
                    tolls.lock().unwrap().push(toll);
                }
            });
        }
    });
    let tolls = tolls.into_inner().unwrap();
    let sum = |of: fn(&Toll) -> u64| tolls.iter().map(of).sum::<u64>();
    println!(
        "{runs} jobs in {} runs, {} of them killed: {} calls in flight at the kills, {} rows served twice",
        sum(|toll| toll.runs),
        sum(|toll| toll.kills),
        sum(|toll| toll.in_flight),
        sum(|toll| toll.served_twice)
    );
    assert_eq!(tolls.len() as u64, runs);
    // A limit that is never met is kept by anybody.
    assert!(sum(|toll| toll.windows_filled) > runs / 4, "windows were hardly ever used to the full");
}

impl Trial {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let limits = match seed % 8 {
            // Longer than it may take until a killed process is known to be dead.
            0 | 5 => vec![(80, 4_000)],
            3 | 7 => vec![(50, 500), (120, 2_000)],
            2 | 6 => vec![(20, 200)],
            _ => vec![(50, 500)],
        };
        let batch = if seed % 5 == 1 { rng.u64(2..8) } else { 1 };
        Self {
            seed,
            rows: batch * rng.u64(150..if limits[0].1 > 1_000 { 200 } else { 300 }),
            batch,
            limits,
            is_fixed: seed % 2 == 1,
            is_post: seed / 2 % 2 == 1,
            is_csv: seed % 3 == 2,
            in_order: seed % 5 < 2,
            with_faults: seed / 3 % 2 == 1,
            in_bursts: rng.u8(..4) > 0,
            kills: rng.u32(2..6),
            rng,
        }
    }

    fn describe(&self) -> String {
        let words = [
            (true, if self.is_post { "POST" } else { "GET" }),
            (true, if self.is_csv { "CSV" } else { "JSONL" }),
            (true, if self.is_fixed { "fixed" } else { "rolling" }),
            (self.limits.len() > 1, "two limits"),
            (self.in_order, "in order"),
            (self.with_faults, "with faults"),
            (self.in_bursts, "in bursts"),
            (self.batch > 1, "many in a call"),
        ];
        let words: Vec<&str> = words.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
        format!("seed {} ({} rows, {})", self.seed, self.rows, words.join(", "))
    }

    fn provider(&mut self) -> Sim {
        let mut args = Vec::new();
        for (amount, ms) in &self.limits {
            let phase = self.rng.u64(..*ms);
            let kind = if self.is_fixed { "fixed" } else { "rolling" };
            let phase = if self.is_fixed { format!(" phase {phase}ms") } else { String::new() };
            args.extend(["--limit".to_owned(), format!("{kind} {amount}/{ms}ms{phase}")]);
        }
        let service = ["5ms", "20ms", "uniform 2ms..60ms", "lognormal 15ms 0.5"][self.rng.usize(..4)];
        args.extend(["--service", service, "--jitter", "uniform 0..5ms"].map(str::to_owned));
        if self.with_faults {
            args.extend(["--fault", "status 503 5%", "--fault", "reset 5%"].map(str::to_owned));
        }
        args.extend(["--seed".to_owned(), self.seed.to_string()]);
        Sim::start(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn command(&self, sim: &Sim) -> Vec<String> {
        let output = if self.is_csv { "out.csv" } else { "out.jsonl" };
        let mut args: Vec<String> = ["run", "users.csv", "-q", "-o", output].map(str::to_owned).into();
        let url = match (self.batch > 1, self.is_post) {
            (true, true) => format!("{}/v1/batch", sim.url),
            (true, false) => {
                format!("{}/v1/batch?ids={{{{ rows | map(attribute='user_id') | join(',') }}}}", sim.url)
            }
            (false, true) => format!("{}/v1/chat/completions", sim.url),
            (false, false) => sim.users(),
        };
        args.extend(["--url".to_owned(), url]);
        if self.batch > 1 {
            args.extend(["--batch".to_owned(), self.batch.to_string()]);
            args.extend(["--split", "/results"].map(str::to_owned));
            if self.is_post {
                args.extend(["--json", r#"{"items": ["{{ row.user_id }}"]}"#].map(str::to_owned));
            }
        } else if self.is_post {
            let body = r#"{"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "{{ row.user_id }}"}]}"#;
            args.extend(["--json", body].map(str::to_owned));
        }
        if self.is_csv {
            let select = match (self.batch > 1, self.is_post) {
                (true, _) => "answer=/id",
                (false, true) => "answer=/model",
                (false, false) => "answer=/name",
            };
            args.extend(["--select", select].map(str::to_owned));
        }
        for (amount, ms) in &self.limits {
            args.extend(["--rate".to_owned(), format!("{amount}/{ms}ms")]);
        }
        if self.in_order {
            args.extend(["--order", "input"].map(str::to_owned));
        }
        if self.in_bursts {
            args.extend(["--pace", "burst"].map(str::to_owned));
        }
        args.extend(["--backoff", "10ms..80ms", "--max-failed", "100%"].map(str::to_owned));
        args
    }

    fn run(mut self) -> Toll {
        let what = self.describe();
        let (folder, sim) = (Folder::new(), self.provider());
        folder.users(usize::try_from(self.rows).unwrap());
        let args = self.command(&sim);
        let out = Out { folder: &folder, is_csv: self.is_csv };
        let mut toll = Toll::default();
        for kill in 0.. {
            let Told { lost, .. } = out.log();
            if kill >= self.kills && lost > 0 {
                break;
            }
            let in_flight = kill == 0 || lost == 0 || self.rng.bool();
            let mut run = folder.command(&args).stderr(Stdio::null()).spawn().unwrap();
            let ended = self.wait_for_its_moment(&sim, &mut run, in_flight);
            run.kill().unwrap();
            run.wait().unwrap();
            if ended {
                break;
            }
            toll.kills += 1;
        }
        let ended = folder.tidegate(&args);
        assert_eq!(ended.code, Some(0), "{what}: {ended}");
        let (stats, logged) = (sim.stats(), out.log());
        toll.runs = logged.runs;
        toll.in_flight = logged.lost;
        toll.served_twice = count(&stats["served_twice"]);
        toll.windows_filled = u64::from(count(&stats["worst_window"]["accepted"]) == self.limits[0].0);
        let (in_flight, twice, kills) = (toll.in_flight, toll.served_twice, toll.kills);
        println!("{what}: {kills} kills, {in_flight} calls in flight at them, {twice} rows served twice");

        let endings = out.check_whole_after(self.rows, &what);
        assert_eq!(stats["rejected"], 0, "{what}: {stats}");
        assert!(logged.lost > 0, "{what}: no call was in flight at any kill");
        assert!(twice <= logged.lost * self.batch, "{what}: {twice} rows served twice, {logged:?}");
        // What it saw is what the log says; of what was in flight nobody knows whether it arrived.
        let arrived = count(&stats["arrived"]);
        assert!(
            (logged.sends - logged.lost..=logged.sends).contains(&arrived),
            "{what}: {arrived}, {logged:?}"
        );
        if self.is_post {
            assert_eq!(twice, 0, "{what}: what must not be done twice was");
            let most = (logged.lost + count(&stats["faults"]["reset"])) * self.batch;
            assert!(endings.unknown <= most, "{what}: {endings:?}");
        } else {
            assert_eq!(endings.unknown, 0, "{what}");
        }
        if self.in_order {
            assert!(out.rows(out.name()).is_sorted(), "{what}: not in the order of the input");
        }
        // Once more, there is nothing to do.
        folder.tidegate(&args).assert_code(0);
        assert_eq!(count(&sim.stats()["arrived"]), arrived, "{what}: a finished job sent something");
        out.check_whole_after(self.rows, &what);
        toll
    }

    /// Waits until the run is to be killed; whether it has ended before.
    fn wait_for_its_moment(&mut self, sim: &Sim, run: &mut Child, in_flight: bool) -> bool {
        let has_ended = |run: &mut Child| run.try_wait().unwrap().is_some();
        if !in_flight {
            // From before it has read its log to somewhere in its middle.
            pause(Duration::from_micros(self.rng.u64(..700_000)));
            return has_ended(run);
        }
        let accepted = |stats: &Value| count(&stats["accepted"]);
        let from = accepted(&sim.stats());
        let some = self.rng.u64(1..40);
        loop {
            let stats = sim.stats();
            if accepted(&stats) >= from + some && count(&stats["in_service"]) > 0 {
                return has_ended(run);
            }
            if has_ended(run) {
                return true;
            }
            pause(Duration::from_millis(1));
        }
    }
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}
