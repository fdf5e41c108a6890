//! What a permit costs: `acquire` + `settle` beside governor's `check`, in the same run.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::num::NonZeroU32;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use governor::{Quota as GovernorQuota, RateLimiter};
use tidegate_core::{Contract, Decision, Limit, Outcome, Pacing, Quota, Terms, Time};
use tidegate_quota::{Clock, Gate, Partitions};

fn gate(limits: &[&str], pacing: Pacing) -> Gate {
    let limits: Vec<Limit> = limits.iter().map(|l| l.parse().expect("a limit")).collect();
    Gate::new(&Contract::new(&limits, pacing, Terms::default()).expect("a contract"), Clock::start())
}

fn permits(c: &mut Criterion) {
    let mut group = c.benchmark_group("permit");
    // Limits high enough that the bench itself never waits.
    for (name, limits, pacing) in [
        ("hold", &["1000000000/s"][..], Pacing::Burst),
        ("hold, even pacing", &["1000000000/s"], Pacing::Even),
        (
            "four limits",
            &["1000000000/s", "60G/min", "1000000000/s bucket 1000000", "concurrency 1000000"],
            Pacing::Burst,
        ),
    ] {
        // The arithmetic alone; the rest is two looks at the clock, a lock and a count of references.
        let limits_alone: Vec<Limit> = limits.iter().map(|l| l.parse().expect("a limit")).collect();
        let contract = Contract::new(&limits_alone, pacing, Terms::default()).expect("a contract");
        let (mut quota, mut now) = (Quota::new(&contract), Time::ZERO);
        group.bench_function(BenchmarkId::new("take+settle", name), |b| {
            b.iter(|| {
                now = now + std::time::Duration::from_nanos(100);
                if let Decision::Grant(grant) = quota.take(contract.costs(), black_box(now)) {
                    quota.settle(grant, Outcome::Answered, black_box(now));
                }
            });
        });
        let gate = gate(limits, pacing);
        group.bench_function(BenchmarkId::new("acquire+settle", name), |b| {
            b.iter(|| {
                if let Ok(permit) = gate.try_acquire() {
                    permit.settle(Outcome::Answered);
                }
            });
        });
        group.bench_function(BenchmarkId::new("acquire+head+settle", name), |b| {
            b.iter(|| {
                if let Ok(mut permit) = gate.try_acquire() {
                    permit.answered();
                    permit.settle(Outcome::Answered);
                }
            });
        });
    }
    let governor = RateLimiter::direct(GovernorQuota::per_second(NonZeroU32::MAX));
    group.bench_function("governor check", |b| b.iter(|| black_box(governor.check()).is_ok()));
    group.finish();
}

/// A quota for each of many names, in random order, beside a single one; and what they weigh.
fn partitions(c: &mut Criterion) {
    let mut group = c.benchmark_group("partitions");
    let limits = ["60G/min".parse::<Limit>().expect("a limit")];
    let contract = Contract::new(&limits, Pacing::Burst, Terms::default()).expect("a contract");
    for count in [1, 10_000u64] {
        let before = resident();
        let partitions = Partitions::new(contract.clone(), Clock::start());
        // The name comes with the row, which has just been read.
        let mut name = String::from("shop-0000.example.com");
        let mut dice = 1u64;
        group.bench_function(BenchmarkId::new("acquire+settle", count), |b| {
            b.iter(|| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                name.replace_range(5..9, std::str::from_utf8(&digits((dice >> 33) % count)).expect("ASCII"));
                let gate = partitions.gate(&name);
                if let Ok(permit) = gate.try_acquire() {
                    permit.settle(Outcome::Answered);
                }
            });
        });
        let grown = resident().saturating_sub(before) >> 20;
        #[expect(clippy::print_stdout, reason = "what a benchmark is for")]
        {
            println!("{count} partitions ({} remembered) weigh {grown} MiB", partitions.len());
        }
    }
    group.finish();
}

/// A number below 10,000 in four digits.
fn digits(n: u64) -> [u8; 4] {
    [n / 1_000, n / 100 % 10, n / 10 % 10, n % 10].map(|digit| b'0' + digit as u8)
}

/// Bytes of memory in use.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4_096
}

/// The cost of a permit while others wait: flat, whether ten or five thousand do.
fn waiting(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut group = c.benchmark_group("waiting");
    for waiters in [10, 100, 1_000, 5_000] {
        group.bench_function(BenchmarkId::new("per permit", waiters), |b| {
            b.iter_custom(|iterations| {
                runtime.block_on(async {
                    // One call at a time, no linger to speak of: each permit passes through the line.
                    let limit: Limit = "concurrency 1".parse().expect("a limit");
                    let limit = limit.with_linger(std::time::Duration::ZERO);
                    let contract =
                        Contract::new(&[limit], Pacing::Burst, Terms::default()).expect("a contract");
                    let gate = Gate::new(&contract, Clock::start());
                    let mut tasks = tokio::task::JoinSet::new();
                    let left = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(iterations));
                    let start = tokio::time::Instant::now();
                    for _ in 0..waiters {
                        let (gate, left) = (gate.clone(), left.clone());
                        tasks.spawn(async move {
                            use std::sync::atomic::Ordering::Relaxed;
                            while left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
                                gate.acquire().await.settle(Outcome::Answered);
                            }
                        });
                    }
                    tasks.join_all().await;
                    start.elapsed()
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, permits, partitions, waiting);
criterion_main!(benches);
