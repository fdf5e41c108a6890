//! What the provider decides and counts. Time is an argument here too.

use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use super::config::SimConfig;
use super::served::Served;
use crate::fault::Fault;
use crate::model::{Judge, LimitSpec, Standing, Verdict, WorstWindow};

/// What a provider saw since its start or last reset.
///
/// `arrived` = `accepted` + `rejected` + `faults.unauthorized` + `faults.pause`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests that reached the limiter.
    pub arrived: u64,
    /// Requests that all limits accepted.
    pub accepted: u64,
    /// Requests answered 429 because of a limit.
    pub rejected: u64,
    /// The same by limit, in the order of configuration.
    pub rejected_by: Vec<LimitRejections>,
    /// The fullest window of the first limit that has one.
    pub worst_window: Option<WorstWindowStats>,
    /// Good answers with status 200 under `/v1/`; injected faults are none.
    pub served_200: u64,
    /// How many different calls (method, target, body) are among those more than once.
    pub served_twice: u64,
    /// Whether all calls could be remembered to tell; false after 20 million different ones.
    pub served_twice_exact: bool,
    /// Accepted requests whose answer is not written yet.
    pub in_service: u64,
    /// Greatest number of those at any time.
    pub greatest_concurrency: u64,
    /// What went wrong on purpose.
    pub faults: FaultCounts,
    /// Milliseconds since the start or the last reset.
    pub uptime_ms: u64,
}

/// Requests that one limit rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LimitRejections {
    /// The limit, as it would be configured.
    pub limit: String,
    /// How many requests it rejected.
    pub rejected: u64,
}

/// The fullest rolling window (t − W, t], by the time of the limiter's check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorstWindowStats {
    /// The limit whose window it is.
    pub limit: String,
    /// Length of the window in milliseconds, rounded down.
    pub window_ms: u64,
    /// Greatest number of accepted requests in one window.
    pub accepted: u64,
    /// Greatest number of requests in one window, accepted or not.
    pub arrived: u64,
    /// Whether both are exact; otherwise (beyond eight million in a window) they are lower bounds.
    pub exact: bool,
}

/// Injected faults by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FaultCounts {
    /// Accepted requests answered with an error status.
    pub status: u64,
    /// Accepted requests whose connection was reset.
    pub reset: u64,
    /// Accepted requests that were never answered.
    pub hang: u64,
    /// Accepted requests whose answer was cut.
    pub truncate: u64,
    /// Accepted requests answered with an HTML page.
    pub html: u64,
    /// Requests answered 401.
    pub unauthorized: u64,
    /// Requests answered 429 during a pause.
    pub pause: u64,
}

/// What becomes of a request that has reached the limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Accepted {
        service: Duration,
        fault: Option<Fault>,
    },
    /// By a limit, with the time to wait if it is known.
    Rejected(usize, Option<Duration>),
    /// By a pause that lasts so much longer.
    Paused(Duration),
    Unauthorized,
}

#[derive(Debug)]
pub(super) struct State {
    judge: Judge,
    /// Position of the limit watched, accepted and arrived requests.
    worst: Option<(usize, WorstWindow, WorstWindow)>,
    dice: Dice,
    arrived: u64,
    accepted: u64,
    rejected_by: Vec<u64>,
    pause_ends: Option<u64>,
    served_200: u64,
    served: Served,
    in_service: u64,
    greatest_concurrency: u64,
    faults: FaultCounts,
}

/// One stream of random numbers per purpose, so that a change of one does not shift the others.
#[derive(Debug)]
struct Dice {
    jitter: Rng,
    service: Rng,
    fault: Rng,
}

impl State {
    pub(super) fn new(config: &SimConfig) -> Self {
        let windows = config.limits.iter().map(LimitSpec::window);
        let watched = windows.enumerate().find_map(|(limit, window)| Some((limit, window?)));
        let mut seeds = Rng::with_seed(config.seed);
        Self {
            judge: Judge::new(&config.limits, config.reject_counts),
            worst: watched.map(|(limit, length)| (limit, WorstWindow::new(length), WorstWindow::new(length))),
            dice: Dice { jitter: seeds.fork(), service: seeds.fork(), fault: seeds.fork() },
            arrived: 0,
            accepted: 0,
            rejected_by: vec![0; config.limits.len()],
            pause_ends: None,
            served_200: 0,
            served: Served::new(),
            in_service: 0,
            greatest_concurrency: 0,
            faults: FaultCounts::default(),
        }
    }

    /// Starts over, except for what is in service.
    pub(super) fn reset(&mut self, config: &SimConfig) {
        let mut fresh = Self::new(config);
        std::mem::swap(&mut fresh.judge, &mut self.judge);
        fresh.judge.reset();
        fresh.in_service = self.in_service;
        fresh.greatest_concurrency = self.in_service;
        *self = fresh;
    }

    pub(super) fn jitter(&mut self, config: &SimConfig) -> Duration {
        config.jitter.sample(&mut self.dice.jitter)
    }

    /// A request reaches the limiter at `now`, in nanoseconds since the start.
    pub(super) fn admit(&mut self, config: &SimConfig, now: u64) -> Admission {
        self.arrived += 1;
        if let Some((_, _, arrived)) = &mut self.worst {
            arrived.record(now);
        }
        if config.faults.unauthorized_after.is_some_and(|after| self.accepted >= after) {
            self.faults.unauthorized += 1;
            return Admission::Unauthorized;
        }
        if let Some(left) = self.pause_left(config, now) {
            self.faults.pause += 1;
            return Admission::Paused(left);
        }
        match self.judge.arrive(now) {
            Verdict::Reject(rejection) => {
                self.rejected_by[rejection.limit] += 1;
                let wait = rejection.retry_at.map(|at| Duration::from_nanos(at.saturating_sub(now)));
                Admission::Rejected(rejection.limit, wait)
            }
            Verdict::Accept => self.accept(config, now),
        }
    }

    /// The answers to so many accepted requests were written, or never will be.
    pub(super) fn finish(&mut self, requests: u64, now: u64) {
        for _ in 0..requests {
            self.judge.finish(now);
        }
        self.in_service = self.in_service.saturating_sub(requests);
    }

    pub(super) fn served(&mut self, call: u64) {
        self.served_200 += 1;
        self.served.record(call);
    }

    pub(super) fn standing(&mut self, now: u64) -> Option<Standing> {
        self.judge.standing(now)
    }

    pub(super) fn stats(&self, config: &SimConfig, now: u64) -> Stats {
        let name = |limit: usize| config.limits[limit].to_string();
        let rejected_by = self.rejected_by.iter().enumerate();
        Stats {
            arrived: self.arrived,
            accepted: self.accepted,
            rejected: self.rejected_by.iter().sum(),
            rejected_by: rejected_by
                .map(|(limit, rejected)| LimitRejections { limit: name(limit), rejected: *rejected })
                .collect(),
            worst_window: self.worst.as_ref().map(|(limit, accepted, arrived)| WorstWindowStats {
                limit: name(*limit),
                window_ms: arrived.length().as_millis() as u64,
                accepted: accepted.greatest(),
                arrived: arrived.greatest(),
                exact: accepted.is_exact() && arrived.is_exact(),
            }),
            served_200: self.served_200,
            served_twice: self.served.repeated(),
            served_twice_exact: self.served.is_complete(),
            in_service: self.in_service,
            greatest_concurrency: self.greatest_concurrency,
            faults: self.faults.clone(),
            uptime_ms: now / 1_000_000,
        }
    }

    fn accept(&mut self, config: &SimConfig, now: u64) -> Admission {
        self.accepted += 1;
        if let Some((_, accepted, _)) = &mut self.worst {
            accepted.record(now);
        }
        self.in_service += 1;
        self.greatest_concurrency = self.greatest_concurrency.max(self.in_service);
        let fault = config.faults.draw(&mut self.dice.fault);
        match fault {
            None => {}
            Some(Fault::Status(_)) => self.faults.status += 1,
            Some(Fault::Reset) => self.faults.reset += 1,
            Some(Fault::Hang) => self.faults.hang += 1,
            Some(Fault::Truncate) => self.faults.truncate += 1,
            Some(Fault::Html) => self.faults.html += 1,
        }
        Admission::Accepted { service: config.service.sample(&mut self.dice.service), fault }
    }

    /// The pause begins with the first request that comes too late, so that no client can miss it.
    fn pause_left(&mut self, config: &SimConfig, now: u64) -> Option<Duration> {
        let (after, pause) = config.faults.pause_after?;
        if self.accepted < after {
            return None;
        }
        let ends = *self.pause_ends.get_or_insert_with(|| now.saturating_add(pause.as_nanos() as u64));
        (now < ends).then(|| Duration::from_nanos(ends - now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Faults;

    const SECOND: u64 = 1_000_000_000;

    fn config(limits: &[&str], faults: &[&str]) -> SimConfig {
        SimConfig {
            limits: limits.iter().map(|limit| limit.parse().unwrap()).collect(),
            faults: Faults::new(faults.iter().map(|fault| fault.parse().unwrap())).unwrap(),
            ..SimConfig::default()
        }
    }

    #[test]
    fn a_pause_begins_when_it_is_met_and_ends_on_time() {
        let config = config(&[], &["pause after 2 for 90s"]);
        let mut state = State::new(&config);
        let accepted = Admission::Accepted { service: Duration::ZERO, fault: None };
        assert_eq!([0, 1].map(|now| state.admit(&config, now)), [accepted; 2]);
        assert_eq!(state.admit(&config, 5 * SECOND), Admission::Paused(Duration::from_secs(90)));
        assert_eq!(state.admit(&config, 65 * SECOND), Admission::Paused(Duration::from_secs(30)));
        assert_eq!(state.admit(&config, 95 * SECOND), accepted);
        let seen = state.stats(&config, 95 * SECOND);
        assert_eq!((seen.arrived, seen.accepted, seen.rejected, seen.faults.pause), (5, 3, 0, 2));
    }

    #[test]
    fn a_revoked_key_stays_revoked() {
        let config = config(&["rolling 2/s"], &["unauthorized after 2"]);
        let mut state = State::new(&config);
        state.admit(&config, 0);
        state.admit(&config, 1);
        assert_eq!(state.admit(&config, 2), Admission::Unauthorized);
        assert_eq!(state.admit(&config, 9 * SECOND), Admission::Unauthorized);
    }

    #[test]
    fn counts_by_limit_and_window() {
        let config = config(&["concurrency 3", "rolling 2/s", "rolling 3/min"], &[]);
        let mut state = State::new(&config);
        assert!(
            (0..4).all(|now| matches!(state.admit(&config, now), Admission::Accepted { .. }) == (now < 2))
        );
        let third = state.admit(&config, SECOND);
        assert!(matches!(third, Admission::Accepted { .. }));
        assert_eq!(state.admit(&config, SECOND), Admission::Rejected(2, Some(Duration::from_secs(59))));
        let seen = state.stats(&config, 2 * SECOND);
        assert_eq!(seen.rejected_by.iter().map(|by| by.rejected).collect::<Vec<_>>(), [0, 2, 1]);
        let worst = seen.worst_window.unwrap();
        assert_eq!((&*worst.limit, worst.window_ms), ("rolling 2/s", 1_000));
        // (0, 1 s] holds the second and the third accepted one, and two rejected ones; the last was rejected.
        assert_eq!((worst.accepted, worst.arrived, worst.exact), (2, 5, true));
        assert_eq!((seen.in_service, seen.greatest_concurrency), (3, 3));
    }

    #[test]
    fn reset_keeps_what_is_in_service() {
        let config = config(&["concurrency 2", "rolling 9/min"], &["hang 100%"]);
        let mut state = State::new(&config);
        for now in 0..3 {
            state.admit(&config, now);
        }
        state.served(7);
        state.reset(&config);
        let seen = state.stats(&config, 0);
        assert_eq!((seen.arrived, seen.rejected, seen.faults.hang, seen.served_200), (0, 0, 0, 0));
        assert_eq!((seen.in_service, seen.greatest_concurrency), (2, 2));
        assert_eq!(state.admit(&config, 0), Admission::Rejected(0, None));
        state.finish(1, 0);
        assert!(matches!(state.admit(&config, 0), Admission::Accepted { .. }));
    }
}
