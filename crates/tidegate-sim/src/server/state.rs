//! What the provider decides and counts. Time is an argument here too.

use std::time::Duration;

use fastrand::Rng;

use super::config::SimConfig;
use super::headers::Standings;
use super::served::Served;
use super::stats::{FaultCounts, LimitRejections, Stats, WorstWindowStats};
use super::tenants::{Tenant, Tenants};
use crate::fault::Fault;
use crate::model::{Judge, LimitSpec, Settlement, Unit, Verdict, WorstWindow};

/// What becomes of a request that has reached the limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Accepted(Accepted),
    /// By a limit, with the time to wait if it is known.
    Rejected(usize, Option<Duration>),
    /// By a pause that lasts so much longer.
    Paused(Duration),
    Unauthorized,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Until the answer's head.
    pub(super) service: Duration,
    /// From there until its last byte.
    pub(super) body: Duration,
    pub(super) fault: Option<Fault>,
    pub(super) ticket: Ticket,
}

/// What has to be known of an accepted request when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) settlement: Settlement,
    tenant: Tenant,
    /// Number of resets before: times of arrival mean nothing after the next one.
    epoch: u64,
}

/// What a request counts as, and against whose limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) tenant: Tenant,
    pub(super) cost: u64,
}

#[derive(Debug)]
pub(super) struct State {
    tenants: Tenants,
    epoch: u64,
    /// By number of requests.
    worst: Option<Watched>,
    /// By cost.
    worst_cost: Option<Watched>,
    dice: Dice,
    arrived: u64,
    accepted: u64,
    cost_accepted: u64,
    cost_settled: u64,
    rejected_by: Vec<u64>,
    pause_ends: Option<u64>,
    /// Requests that came before a stall, and its end.
    unstalled: u64,
    stall_ends: Option<u64>,
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
    body: Rng,
}

/// The windows of one limit.
#[derive(Debug)]
struct Watched {
    limit: usize,
    accepted: WorstWindow,
    arrived: WorstWindow,
}

impl State {
    /// Calendars begin at this Unix time.
    pub(super) fn new(config: &SimConfig, unix_ns: i64) -> Self {
        let judge = Judge::new(&config.limits, config.reject_counts);
        // Windows of several tenants together mean nothing.
        let watch = |_: &LimitSpec| config.per.is_none();
        let mut seeds = Rng::with_seed(config.seed);
        Self {
            tenants: Tenants::new(judge.seeded(config.seed).starting_at(unix_ns)),
            epoch: 0,
            worst: Watched::first(&config.limits, watch),
            worst_cost: Watched::first(&config.limits, |limit| limit.unit == Unit::Tokens && watch(limit)),
            dice: Dice {
                jitter: seeds.fork(),
                service: seeds.fork(),
                fault: seeds.fork(),
                body: seeds.fork(),
            },
            arrived: 0,
            accepted: 0,
            cost_accepted: 0,
            cost_settled: 0,
            rejected_by: vec![0; config.limits.len()],
            pause_ends: None,
            unstalled: 0,
            stall_ends: None,
            served_200: 0,
            served: Served::new(),
            in_service: 0,
            greatest_concurrency: 0,
            faults: FaultCounts::default(),
        }
    }

    /// Starts over, except for what is in service.
    pub(super) fn reset(&mut self, config: &SimConfig, unix_ns: i64) {
        let mut fresh = Self::new(config, unix_ns);
        fresh.tenants = self.tenants.starting_at(unix_ns);
        fresh.epoch = self.epoch + 1;
        fresh.in_service = self.in_service;
        fresh.greatest_concurrency = self.in_service;
        *self = fresh;
    }

    pub(super) fn jitter(&mut self, config: &SimConfig) -> Duration {
        config.jitter.sample(&mut self.dice.jitter)
    }

    /// The one with this name.
    pub(super) fn tenant(&mut self, name: &str) -> Tenant {
        self.tenants.named(name)
    }

    /// How long a request that comes at `now` has to wait until the provider goes on. A stall begins with the
    /// first request that comes too late.
    pub(super) fn stall_left(&mut self, config: &SimConfig, now: u64) -> Option<Duration> {
        let (after, stall) = config.faults.stall_after?;
        if self.unstalled < after {
            self.unstalled += 1;
            return None;
        }
        let ends = *self.stall_ends.get_or_insert_with(|| now.saturating_add(stall.as_nanos() as u64));
        let left = (now < ends).then(|| Duration::from_nanos(ends - now))?;
        self.faults.stall += 1;
        Some(left)
    }

    /// A request reaches the limiter at `now`, in nanoseconds since the start.
    pub(super) fn admit(&mut self, config: &SimConfig, now: u64, charge: Charge) -> Admission {
        self.arrived += 1;
        if let Some(worst) = &mut self.worst {
            worst.arrived.record(now);
        }
        if let Some(worst) = &mut self.worst_cost {
            worst.arrived.record_costing(now, charge.cost);
        }
        if config.faults.unauthorized_after.is_some_and(|after| self.accepted >= after) {
            self.faults.unauthorized += 1;
            return Admission::Unauthorized;
        }
        if let Some(left) = self.pause_left(config, now) {
            self.faults.pause += 1;
            return Admission::Paused(left);
        }
        match self.tenants.judge(charge.tenant).arrive_costing(now, charge.cost) {
            Verdict::Reject(rejection) => {
                self.rejected_by[rejection.limit] += 1;
                let wait = rejection.retry_at.map(|at| Duration::from_nanos(at.saturating_sub(now)));
                Admission::Rejected(rejection.limit, wait)
            }
            Verdict::Accept => self.accept(config, now, charge),
        }
    }

    /// The answer to an accepted request was written, or never will be.
    pub(super) fn finish(&mut self, ticket: Ticket, now: u64) {
        let judge = self.tenants.judge(ticket.tenant);
        if ticket.epoch == self.epoch {
            self.cost_settled = self.cost_settled.saturating_add(ticket.settlement.actual);
            judge.finish_costing(now, ticket.settlement);
        } else {
            judge.finish(now);
        }
        self.in_service = self.in_service.saturating_sub(1);
    }

    /// One good answer, for each of so many different calls that it stands for.
    pub(super) fn served(&mut self, calls: Vec<u64>) {
        self.served_200 += 1;
        for call in calls {
            self.served.record(call);
        }
    }

    pub(super) fn standings(&mut self, config: &SimConfig, now: u64, tenant: Tenant) -> Standings {
        let judge = self.tenants.judge(tenant);
        let mut of = |unit| {
            let (limit, standing) = judge.standing_of(unit, now)?;
            Some((standing, config.limits[limit].window()))
        };
        Standings { requests: of(Unit::Requests), tokens: of(Unit::Tokens) }
    }

    pub(super) fn stats(&self, config: &SimConfig, now: u64) -> Stats {
        let name = |limit: usize| config.limits[limit].to_string();
        let rejected_by = self.rejected_by.iter().enumerate();
        Stats {
            arrived: self.arrived,
            accepted: self.accepted,
            cost_accepted: self.cost_accepted,
            cost_settled: self.cost_settled,
            rejected: self.rejected_by.iter().sum(),
            rejected_by: rejected_by
                .map(|(limit, rejected)| LimitRejections { limit: name(limit), rejected: *rejected })
                .collect(),
            worst_window: self.worst.as_ref().map(|worst| worst.stats(name(worst.limit))),
            worst_cost_window: self.worst_cost.as_ref().map(|worst| worst.stats(name(worst.limit))),
            served_200: self.served_200,
            served_twice: self.served.repeated(),
            served_twice_exact: self.served.is_complete(),
            in_service: self.in_service,
            greatest_concurrency: self.greatest_concurrency,
            faults: self.faults.clone(),
            uptime_ms: now / 1_000_000,
        }
    }

    fn accept(&mut self, config: &SimConfig, now: u64, charge: Charge) -> Admission {
        self.accepted += 1;
        self.cost_accepted = self.cost_accepted.saturating_add(charge.cost);
        if let Some(worst) = &mut self.worst {
            worst.accepted.record(now);
        }
        if let Some(worst) = &mut self.worst_cost {
            worst.accepted.record_costing(now, charge.cost);
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
        let settlement = Settlement { arrived: now, reserved: charge.cost, actual: charge.cost };
        Admission::Accepted(Accepted {
            service: config.service.sample(&mut self.dice.service),
            body: config.body.sample(&mut self.dice.body),
            fault,
            ticket: Ticket { settlement, tenant: charge.tenant, epoch: self.epoch },
        })
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

impl Watched {
    /// The first of these limits that has a window.
    fn first(limits: &[LimitSpec], suits: impl Fn(&LimitSpec) -> bool) -> Option<Self> {
        let mut suitable = limits.iter().enumerate().filter(|(_, limit)| suits(limit));
        let (limit, length) = suitable.find_map(|(limit, spec)| Some((limit, spec.window()?)))?;
        Some(Self { limit, accepted: WorstWindow::new(length), arrived: WorstWindow::new(length) })
    }

    fn stats(&self, limit: String) -> WorstWindowStats {
        WorstWindowStats {
            limit,
            window_ms: self.arrived.length().as_millis() as u64,
            accepted: self.accepted.greatest(),
            arrived: self.arrived.greatest(),
            exact: self.accepted.is_exact() && self.arrived.is_exact(),
        }
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
        let mut state = State::new(&config, 0);
        for now in [0, 1] {
            accepted(state.admit(&config, now, of(1)));
        }
        assert_eq!(state.admit(&config, 5 * SECOND, of(1)), Admission::Paused(Duration::from_secs(90)));
        assert_eq!(state.admit(&config, 65 * SECOND, of(1)), Admission::Paused(Duration::from_secs(30)));
        accepted(state.admit(&config, 95 * SECOND, of(1)));
        let seen = state.stats(&config, 95 * SECOND);
        assert_eq!((seen.arrived, seen.accepted, seen.rejected, seen.faults.pause), (5, 3, 0, 2));
    }

    #[test]
    fn a_revoked_key_stays_revoked() {
        let config = config(&["rolling 2/s"], &["unauthorized after 2"]);
        let mut state = State::new(&config, 0);
        state.admit(&config, 0, of(1));
        state.admit(&config, 1, of(1));
        assert_eq!(state.admit(&config, 2, of(1)), Admission::Unauthorized);
        assert_eq!(state.admit(&config, 9 * SECOND, of(1)), Admission::Unauthorized);
    }

    #[test]
    fn counts_by_limit_and_window() {
        let config = config(&["concurrency 3", "rolling 2/s", "rolling 3/min"], &[]);
        let mut state = State::new(&config, 0);
        assert!(
            (0..4).all(|now| matches!(state.admit(&config, now, of(1)), Admission::Accepted(_)) == (now < 2))
        );
        let third = state.admit(&config, SECOND, of(1));
        assert!(matches!(third, Admission::Accepted(_)));
        assert_eq!(
            state.admit(&config, SECOND, of(1)),
            Admission::Rejected(2, Some(Duration::from_secs(59)))
        );
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
        let mut state = State::new(&config, 0);
        let first = accepted(state.admit(&config, 0, of(1)));
        for now in 1..3 {
            state.admit(&config, now, of(1));
        }
        state.served(vec![7]);
        state.reset(&config, 0);
        let seen = state.stats(&config, 0);
        assert_eq!((seen.arrived, seen.rejected, seen.faults.hang, seen.served_200), (0, 0, 0, 0));
        assert_eq!((seen.in_service, seen.greatest_concurrency), (2, 2));
        assert_eq!(state.admit(&config, 0, of(1)), Admission::Rejected(0, None));
        // It had arrived by a clock that is no more, and still leaves its place.
        state.finish(first, 0);
        accepted(state.admit(&config, 0, of(1)));
    }

    #[test]
    fn refunds_go_to_the_epoch_that_they_are_from() {
        let config = config(&["fixed 100 tokens/h refund"], &[]);
        let mut state = State::new(&config, 0);
        let refunded = |state: &mut State, reset: bool| {
            let mut ticket = accepted(state.admit(&config, 1, of(100)));
            ticket.settlement.actual = 0;
            if reset {
                state.reset(&config, 0);
                accepted(state.admit(&config, 1, of(100)));
            }
            state.finish(ticket, 2);
            matches!(state.admit(&config, 2, of(100)), Admission::Accepted(_))
        };
        assert!(refunded(&mut state, false));
        state.reset(&config, 0);
        assert!(!refunded(&mut state, true));
    }

    #[test]
    fn a_stall_begins_when_it_is_met_and_happens_once() {
        let config = config(&[], &["stall after 2 for 40s"]);
        let mut state = State::new(&config, 0);
        let left = [0, 1, 5, 15, 45, 46].map(|now| state.stall_left(&config, now * SECOND));
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(left, [None, None, seconds(40), seconds(30), None, None]);
        assert_eq!(state.stats(&config, 0).faults.stall, 2);
    }

    #[test]
    fn windows_of_tokens_are_measured_by_cost() {
        let config = config(&["rolling 9/s", "rolling 100 tokens/min"], &[]);
        let mut state = State::new(&config, 0);
        for (now, cost) in [(0, 40), (1, 50), (2, 20), (61, 30)] {
            state.admit(&config, now * SECOND, of(cost));
        }
        let seen = state.stats(&config, 0);
        let (worst, costliest) = (seen.worst_window.unwrap(), seen.worst_cost_window.unwrap());
        assert_eq!((&*worst.limit, worst.accepted, worst.arrived), ("rolling 9/s", 1, 1));
        assert_eq!((&*costliest.limit, costliest.window_ms), ("rolling 100 tokens/min", 60_000));
        assert_eq!((costliest.accepted, costliest.arrived, seen.cost_accepted), (90, 110, 120));
    }

    fn accepted(admission: Admission) -> Ticket {
        let Admission::Accepted(accepted) = admission else { panic!("{admission:?}") };
        accepted.ticket
    }

    fn of(cost: u64) -> Charge {
        Charge { tenant: Tenant::default(), cost }
    }
}
