//! What an exchange with the file costs, and the ledger's share of a core under load.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::fs;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tidegate_core::{Contract, Decision, Limit, Outcome, Pacing, Priority, Quota, Report, Terms};
use tidegate_quota::store::{Answer, Definition, Exchange, Join, Machine, Reply, Sqlite, Store, Visit, Who};
use tidegate_quota::{Membership, Partitions};

const TIMEOUT: Duration = Duration::from_secs(30);

fn contract(limits: &[&str], machine: &Machine) -> Contract {
    let limits: Vec<Limit> = limits.iter().map(|l| l.parse().expect("a limit")).collect();
    let terms = Terms { wall: Some(machine.wall()), ..Terms::default() };
    Contract::new(&limits, Pacing::Burst, terms).expect("a contract")
}

/// One exchange of a member that holds all of a busy quota, in one and in many partitions.
fn exchange(c: &mut Criterion) {
    let mut group = c.benchmark_group("exchange");
    for (name, limits, partitions) in [
        ("a window", &["10000/s"][..], 1),
        ("a window, 100 partitions", &["10000/s"], 100),
        ("four limits", &["10000/s", "500000/min", "10000/s bucket 1000", "concurrency 500"], 1),
        ("a calendar, synced", &["1000000/day UTC"], 1),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Sqlite::open(folder.path(), Machine::this()).expect("a store");
        let (clock, machine) = (store.machine().clock(), store.machine().clone());
        let contract = contract(limits, &machine);
        let (definition, who) = (Definition::of(&contract), Who::this("bench"));
        let join = Join {
            quota: "crm",
            definition: Some(&definition),
            who: &who,
            timeout: TIMEOUT,
            assume_idle: false,
        };
        let joined = store.join(&join).expect("joined");
        let mut quotas: Vec<(Quota, Vec<u64>)> =
            (0..partitions).map(|_| (Quota::shared(&contract), Vec::new())).collect();
        let mut seq = 0;
        group.bench_function(BenchmarkId::new("sqlite", name), |b| {
            b.iter(|| {
                seq += 1;
                let now = clock.now();
                let visits: Vec<Visit> = quotas
                    .iter_mut()
                    .enumerate()
                    .map(|(i, (quota, targets))| {
                        for _ in 0..50 {
                            if let Decision::Grant(grant) = quota.take(contract.costs(), now) {
                                quota.settle(grant, Outcome::Answered, now);
                            }
                        }
                        let ceded = if seq > 1 { quota.cede(targets, now) } else { Vec::new() };
                        let (demand, granted) = (quota.demand(now), quota.granted());
                        let report =
                            Report { seq, ceded, demand, granted, timeout: TIMEOUT, ..Report::default() };
                        Visit { partition: i.to_string().into(), report, leaves: false }
                    })
                    .collect();
                let (member, version) = (joined.member, joined.version);
                let exchange = Exchange { quota: "crm", member, version, visits: &visits, leaves: false };
                let Ok(Reply::Settled { answers, .. }) = store.exchange(&exchange) else { return };
                for ((quota, targets), answer) in quotas.iter_mut().zip(answers) {
                    if let Answer::Allotted(allotment) = answer {
                        quota.receive(&allotment.parts, now);
                        quota.lease_until(allotment.until);
                        *targets = allotment.targets;
                    }
                }
            });
        });
    }
    group.finish();
}

/// The ledger's thread, while its process makes 10,000 calls a second beside another one.
fn ledger(_: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || {
        let store = Sqlite::open(folder.path(), Machine::this()).expect("a store");
        let contract = contract(&["20000/s", "1200000/min"], store.machine());
        let membership = Membership {
            quota: "crm".to_owned(),
            who: Who::this("bench"),
            timeout: TIMEOUT,
            assume_idle: false,
            priority: Priority::Normal,
        };
        Partitions::shared(&contract, Box::new(store), membership).expect("joined")
    };
    let (one, other) = (open(), open());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let seconds = 10.0;
    let made = runtime.block_on(async {
        let (gate, theirs) = (one.gate(""), other.gate(""));
        let end = tokio::time::Instant::now() + Duration::from_secs_f64(seconds);
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        let mut made = 0;
        while tokio::time::Instant::now() < end {
            tick.tick().await;
            for gate in [&gate, &theirs] {
                for _ in 0..100 {
                    if let Ok(permit) = gate.try_acquire() {
                        permit.settle(Outcome::Answered);
                        made += 1;
                    }
                }
            }
        }
        made
    });
    let ticks: Vec<f64> = cpu_of_threads("quota");
    let shares: Vec<String> =
        ticks.iter().map(|ticks| format!("{:.2}%", ticks / 100.0 / seconds * 100.0)).collect();
    #[expect(clippy::print_stdout, reason = "what a benchmark is for")]
    {
        println!(
            "{made} permits in {seconds} s by two members; of a core, each ledger: {}",
            shares.join(", ")
        );
    }
}

/// Hundredths of a second that the threads of this name have computed.
fn cpu_of_threads(name: &str) -> Vec<f64> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let stat = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("stat")).ok()?;
        let (front, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let cpu: f64 = fields.get(11..13)?.iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        front.ends_with(name).then_some(cpu)
    };
    threads.flatten().filter_map(stat).collect()
}

criterion_group!(benches, exchange, ledger);
criterion_main!(benches);
