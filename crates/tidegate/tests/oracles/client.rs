//! The loop of events: a greedy client, its network, and judges that see each count.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;
use tidegate_core::{Contract, Costs, Decision, Grant, Outcome, Quota, Time, WallClock, Why};
use tidegate_sim::model::{Judge, Settlement, Verdict};

use crate::network::{Fate, Network, SECOND, Trip, drifted};
use crate::trace::Trace;

/// What one call costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) reserved: u64,
    pub(crate) actual: u64,
}

/// A client under a contract, and the world around it.
#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) contract: &'a Contract,
    /// Each of them sees each call, and has a history of its own.
    pub(crate) providers: &'a [Judge],
    pub(crate) network: Network,
    pub(crate) cost: fn(&mut Rng) -> Cost,
    /// How often each call arrives.
    pub(crate) copies: u32,
    /// How much faster the provider's clock runs, in millionths.
    pub(crate) drift_ppm: i64,
    /// The client dies and carries on as another process, so often.
    pub(crate) restarts: Option<Restarts>,
    /// The provider's clock at our time 0, in nanoseconds since 1970.
    pub(crate) unix_ns: i64,
    /// Whether its answers tell of it.
    pub(crate) tells_dates: bool,
    /// The quota was used up to the last unit before time 0.
    pub(crate) used_up: bool,
    pub(crate) calls: u64,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Restarts {
    pub(crate) every: u64,
    /// The contract as the next process makes it, at this time.
    pub(crate) contract: fn(&Contract, u64) -> Contract,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// When each call was granted.
    pub(crate) sent: Vec<u64>,
    pub(crate) rejected: u64,
    /// Provider, limit, and time of the first rejection.
    pub(crate) first_rejection: Option<(usize, usize, Duration)>,
    /// Whether a limit, and not the pacing, ever made the client wait.
    pub(crate) met_the_limit: bool,
    pub(crate) to_head: Mean,
    pub(crate) to_end: Mean,
    /// Units of limits whose cost differs.
    pub(crate) reserved: u64,
    pub(crate) actual: u64,
    pub(crate) timed_out: u64,
    /// Times at which the quota took a rejection for a breach of contract.
    pub(crate) incidents: u64,
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mean {
    sum: u64,
    number: u64,
}

impl Run {
    /// A call that was sent then is over; what the client knows of it.
    pub(crate) fn note_end(&mut self, trip: &Trip, sent: u64) -> Outcome {
        self.timed_out += u64::from(trip.fate == Fate::TimedOut);
        if trip.counted.is_some() {
            self.to_head.add(trip.head - sent);
            self.to_end.add(trip.end - sent);
        }
        match trip.fate {
            Fate::Answered => Outcome::Answered,
            Fate::NotSent => Outcome::NotSent,
            Fate::Unknown => Outcome::Unknown,
            Fate::TimedOut => Outcome::TimedOut,
        }
    }
}

impl World<'_> {
    pub(crate) fn run(&self) -> Run {
        Client::new(self).run()
    }

    fn provider_time(&self, now: u64) -> u64 {
        drifted(now, self.drift_ppm)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// What the provider does comes first at any moment.
    Count,
    Finish,
    Head,
    End,
}

struct Call {
    /// Until it is settled.
    grant: Option<Grant>,
    trip: Trip,
    cost: Cost,
    sent: u64,
    arrived: u64,
    rejected: bool,
    /// Of which process.
    process: u32,
    /// Events that are still to come.
    due: u32,
}

struct Client<'a> {
    world: &'a World<'a>,
    quota: Quota,
    providers: Vec<Judge>,
    costs: Costs,
    varying: Vec<usize>,
    events: BinaryHeap<Reverse<(u64, Kind, u32)>>,
    calls: Vec<Option<Call>>,
    vacant: Vec<u32>,
    rng: Rng,
    run: Run,
    trace: Trace,
    process: u32,
    /// The time at which the present process began; its clock starts there.
    origin: u64,
    next_restart: u64,
    quiet_until: u64,
}

impl<'a> Client<'a> {
    fn new(world: &'a World<'a>) -> Self {
        let mut quota = Quota::new(world.contract);
        if world.used_up {
            let until = Time::ZERO + quota.silence(Duration::ZERO, Time::ZERO);
            (0..world.contract.limits().len())
                .for_each(|limit| quota.charge(limit, u64::MAX, until, Time::ZERO));
        }
        let limits = world.contract.limits().enumerate();
        let varying = limits.filter(|(_, (limit, _))| limit.cost().is_none()).map(|(i, _)| i).collect();
        Self {
            world,
            quota,
            providers: world.providers.to_vec(),
            costs: *world.contract.costs(),
            varying,
            events: BinaryHeap::new(),
            calls: Vec::new(),
            vacant: Vec::new(),
            rng: Rng::with_seed(world.seed),
            run: Run { sent: Vec::with_capacity(world.calls as usize), ..Run::default() },
            trace: Trace::default(),
            process: 0,
            origin: 0,
            next_restart: world.restarts.map_or(u64::MAX, |restarts| restarts.every),
            quiet_until: 0,
        }
    }

    fn run(mut self) -> Run {
        let mut now = 0;
        let mut cost = self.next_cost();
        while (self.run.sent.len() as u64) < self.world.calls {
            let until = match self.quota.take(&self.costs, self.client_time(now)) {
                Decision::Grant(grant) => {
                    self.send(grant, cost, now);
                    cost = self.next_cost();
                    continue;
                }
                Decision::Wait(wait) => {
                    self.run.met_the_limit |= matches!(wait.why, Why::Limit(_));
                    wait.until.map(|until| until.as_nanos().saturating_add(self.origin))
                }
            };
            assert!(
                until.is_none_or(|until| until > now),
                "seed {}: told to wait for the past",
                self.world.seed
            );
            now = self.wait(until.unwrap_or(u64::MAX).min(self.next_restart));
            if now == self.next_restart {
                self.restart(now);
            }
        }
        self.wait_for_all();
        self.trace.write(self.world.contract, self.world.unix_ns, &self.run);
        self.run
    }

    /// Lives through events until one concerns the quota, or until that time; returns what time it is.
    fn wait(&mut self, until: u64) -> u64 {
        while let Some(&Reverse((at, kind, id))) = self.events.peek() {
            if at > until {
                break;
            }
            self.events.pop();
            if self.happen(at, kind, id) {
                // All that happens at this moment has happened before the client asks again.
                while let Some(&Reverse((same, kind, id))) = self.events.peek().filter(|e| e.0.0 == at) {
                    self.events.pop();
                    self.happen(same, kind, id);
                }
                return at;
            }
        }
        assert!(until < u64::MAX, "seed {}: the quota waits for nothing", self.world.seed);
        until
    }

    fn wait_for_all(&mut self) {
        while let Some(Reverse((at, kind, id))) = self.events.pop() {
            self.happen(at, kind, id);
        }
    }

    fn send(&mut self, grant: Grant, cost: Cost, now: u64) {
        let mut trip = self.world.network.trip(now, &mut self.rng);
        // Who dies closes its connections: what had left is counted by then.
        trip.counted = trip.counted.map(|at| at.min(self.next_restart.max(now)));
        assert!(now >= self.quiet_until, "seed {}: sent in spite of an incident", self.world.seed);
        self.run.sent.push(now);
        let over = |time: u64| self.world.provider_time(time.min(self.next_restart.max(now)));
        self.trace.call(over, now, &trip, cost);
        self.run.reserved += cost.reserved;
        self.run.actual += cost.actual;
        let process = self.process;
        let call =
            Call { grant: Some(grant), trip, cost, sent: now, arrived: 0, rejected: false, process, due: 0 };
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() as u32 - 1
        });
        self.calls[id as usize] = Some(call);
        if let Some(counted) = trip.counted {
            for copy in 0..self.world.copies {
                let at = if copy == 0 { counted } else { self.rng.u64(now..=trip.head) };
                self.expect(at, Kind::Count, id);
            }
            self.expect(trip.end.max(counted).min(self.next_restart.max(counted)), Kind::Finish, id);
        }
        if trip.head < trip.end {
            self.expect(trip.head, Kind::Head, id);
        }
        self.expect(trip.end, Kind::End, id);
    }

    fn expect(&mut self, at: u64, kind: Kind, id: u32) {
        self.events.push(Reverse((at, kind, id)));
        if let Some(call) = &mut self.calls[id as usize] {
            call.due += 1;
        }
    }

    /// Whether it is news to the quota.
    fn happen(&mut self, now: u64, kind: Kind, id: u32) -> bool {
        let Some(mut call) = self.calls[id as usize].take() else { return false };
        let alive = call.process == self.process;
        match kind {
            Kind::Count => self.count(now, &mut call),
            Kind::Finish => self.finish(now, &call),
            Kind::Head if alive => {
                let time = self.client_time(now);
                self.quota.answered(call.grant.as_mut().expect("not settled"), time);
            }
            Kind::End if alive => self.end(now, &mut call),
            Kind::Head | Kind::End => {}
        }
        call.due -= 1;
        if call.due == 0 {
            self.vacant.push(id);
        } else {
            self.calls[id as usize] = Some(call);
        }
        alive && matches!(kind, Kind::Head | Kind::End)
    }

    fn count(&mut self, now: u64, call: &mut Call) {
        let at = self.world.provider_time(now);
        call.arrived = at;
        for (i, provider) in self.providers.iter_mut().enumerate() {
            if let Verdict::Reject(rejection) = provider.arrive_costing(at, call.cost.reserved) {
                self.run.rejected += 1;
                call.rejected = true;
                let first = (i, rejection.limit, Duration::from_nanos(at));
                self.run.first_rejection.get_or_insert(first);
            }
        }
    }

    fn finish(&mut self, now: u64, call: &Call) {
        let at = self.world.provider_time(now);
        let Cost { reserved, actual } = call.cost;
        for provider in &mut self.providers {
            for _ in 0..self.world.copies {
                provider.finish_costing(at, Settlement { arrived: call.arrived, reserved, actual });
            }
        }
    }

    fn end(&mut self, now: u64, call: &mut Call) {
        let time = self.client_time(now);
        let mut actual = *call.grant.as_ref().expect("not settled").costs();
        let outcome = self.run.note_end(&call.trip, call.sent);
        if outcome == Outcome::Answered {
            self.varying.iter().for_each(|&limit| actual.set(limit, call.cost.actual));
        }
        let grant = call.grant.take().expect("not settled");
        if call.rejected
            && let Some(incident) = self.quota.rejected(&grant, None, time)
        {
            self.run.incidents += 1;
            self.quiet_until = self.origin + incident.paused_until.as_nanos();
        }
        self.quota.settle_costing(grant, outcome, &actual, time);
        if outcome == Outcome::Answered {
            self.read_date(now, call);
        }
    }

    /// The head says what time it is: in whole seconds, at the moment of the count.
    fn read_date(&mut self, now: u64, call: &Call) {
        if !self.world.tells_dates {
            return;
        }
        let date = (self.world.unix_ns + call.arrived.cast_signed()).div_euclid(SECOND.cast_signed());
        let (sent, received) = (self.client_time(call.sent), self.client_time(now));
        self.quota.observe(WallClock::from_date(date, sent, received, Duration::ZERO), received);
    }

    /// The process dies with its calls in flight; the next one knows what was in use.
    fn restart(&mut self, now: u64) {
        let Some(restarts) = self.world.restarts else { return };
        let died = self.client_time(now);
        let used = self.quota.used(died);
        let contract = (restarts.contract)(self.world.contract, now);
        self.quota = Quota::new(&contract);
        for (limit, units, until) in used {
            self.quota.charge(limit, units, Time::ZERO + until.since(died), Time::ZERO);
        }
        self.process += 1;
        self.origin = now;
        self.next_restart = now + restarts.every;
    }

    fn next_cost(&mut self) -> Cost {
        let cost = (self.world.cost)(&mut self.rng);
        self.varying.iter().for_each(|&limit| self.costs.set(limit, cost.reserved));
        cost
    }

    fn client_time(&self, now: u64) -> Time {
        Time::from_nanos(now - self.origin)
    }
}

impl Mean {
    pub(crate) fn value(self) -> Duration {
        Duration::from_nanos(self.sum / self.number.max(1))
    }

    pub(crate) fn add(&mut self, nanos: u64) {
        self.sum += nanos;
        self.number += 1;
    }
}
