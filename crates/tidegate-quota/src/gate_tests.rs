//! The gate under tokio's paused clock: deterministic, and faster than the time it spends.

use std::time::Duration;

use tidegate_core::{Limit, Pacing, Terms, Why};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};

use super::*;

fn gate(limits: &[&str]) -> Gate {
    let limits: Vec<Limit> = limits.iter().map(|l| l.parse().unwrap()).collect();
    Gate::new(&Contract::new(&limits, Pacing::Burst, Terms::default()).unwrap(), Clock::simulated())
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tasks_are_served_in_order_within_the_limit() {
    let gate = gate(&["100/s"]);
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for i in 0..1_000u64 {
        let gate = gate.clone();
        tasks.spawn(async move {
            let mut permit = gate.acquire().await;
            let granted = permit.granted_at();
            sleep(Duration::from_millis(20)).await;
            permit.answered();
            permit.settle(Outcome::Answered);
            (granted, i)
        });
        tokio::task::yield_now().await;
    }
    let mut order = tasks.join_all().await;
    order.sort_by_key(|&(_, i)| i);
    assert!(order.is_sorted(), "someone overtook");
    for window in order.windows(101) {
        assert!(window[100].0.since(window[0].0) > Duration::from_secs(1));
    }
    // Nine waits of a window and an answer each, plus margins: the quota is used, too.
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(9 * 1_020) && took < Duration::from_millis(9 * 1_030 + 40),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_blocks_nobody_and_takes_nothing() {
    let gate = gate(&["1/s"]);
    let first = gate.acquire().await;
    let impatient = timeout(Duration::from_millis(10), gate.acquire());
    assert!(impatient.await.is_err());
    let patient = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire().await.granted_at() }
    });
    tokio::task::yield_now().await;
    first.settle(Outcome::NotSent);
    assert_eq!(patient.await.unwrap().since(Time::ZERO).as_millis(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_picks_up_goes_to_the_next() {
    let gate = gate(&["1/s"]);
    let first = gate.acquire().await;
    let mut served = Box::pin(gate.acquire());
    assert!(futures_poll(&mut served).is_pending());
    first.settle(Outcome::NotSent); // serves it
    assert_eq!(gate.in_flight(), 1);
    drop(served);
    assert_eq!(gate.in_flight(), 0);
    gate.try_acquire().unwrap().settle(Outcome::NotSent);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_permit_is_as_if_answered_then() {
    let gate = gate(&["1/s"]);
    let permit = gate.acquire().await;
    advance(Duration::from_secs(5)).await;
    drop(permit);
    let wait = gate.try_acquire().unwrap_err();
    assert_eq!(wait.why, Why::Limit(0));
    assert!(wait.until.unwrap() > Time::from_millis(6_000));
}

#[tokio::test(start_paused = true)]
async fn pause_and_resume_reach_those_in_line() {
    let gate = gate(&[]);
    gate.pause(Time::from_millis(90_000));
    let waiter = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire().await.granted_at() }
    });
    sleep(Duration::from_secs(10)).await;
    gate.resume();
    assert_eq!(waiter.await.unwrap(), Time::from_millis(10_000));

    let now = gate.clock().now();
    gate.pause(now + Duration::from_secs(90));
    assert_eq!(gate.acquire().await.granted_at(), now + Duration::from_secs(90));
}

/// The head of the line was promised a time, which passed without a unit: an answer wakes it.
#[tokio::test(start_paused = true)]
async fn the_head_of_the_line_is_woken_after_a_time_that_brought_nothing() {
    let gate = gate(&["2/s"]);
    gate.acquire().await.settle(Outcome::Answered);
    let slow = gate.acquire().await;
    let waiter = tokio::spawn({
        let gate = gate.clone();
        async move { gate.acquire().await.granted_at() }
    });
    // At a second the first unit comes back, and is kept for a probe while the slow call is out.
    sleep(Duration::from_secs(5)).await;
    slow.settle(Outcome::TimedOut);
    let granted = timeout(Duration::from_secs(30), waiter).await.expect("never woken").unwrap();
    assert!(granted >= Time::from_millis(1_000));
}

fn futures_poll(acquire: &mut Pin<Box<Acquire>>) -> Poll<Permit> {
    acquire.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}
