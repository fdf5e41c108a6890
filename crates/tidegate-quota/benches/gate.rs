//! What a permit costs: `acquire` + `settle` beside governor's `check`, in the same run.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;
use std::num::NonZeroU32;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use governor::{Quota as GovernorQuota, RateLimiter};
use tidegate_core::{Limit, Outcome, Pacing, Quota};
use tidegate_quota::Gate;

fn gate(limits: &[&str], pacing: Pacing) -> Gate {
    let limits: Vec<Limit> = limits.iter().map(|l| l.parse().expect("a limit")).collect();
    Gate::new(Quota::new(&limits, pacing).expect("a quota"))
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
        let gate = gate(limits, pacing);
        group.bench_function(BenchmarkId::new("acquire+settle", name), |b| {
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
                    let gate = Gate::new(Quota::new(&[limit], Pacing::Burst).expect("a quota"));
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

criterion_group!(benches, permits, waiting);
criterion_main!(benches);
