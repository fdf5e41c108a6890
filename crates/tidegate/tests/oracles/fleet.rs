//! Several processes that share a quota through a pool, and everything that happens to them: they join, leave,
//! die, freeze and come back; what they say to the pool is late, lost, or heard twice.

mod harm;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fastrand::Rng;
use tidegate_core::{
    Allotment, Contract, Costs, Decision, Grant, MemberId, Outcome, Pool, Quota, Report, Time, Why,
};
use tidegate_sim::model::{Judge, Settlement, Verdict};

use crate::client::{Cost, Run};
use crate::network::{Fate, MS, Network, SECOND, Trip, drifted};
use crate::trace::Trace;

/// Between exchanges: as a rule, and while a member lacks something or has had no answer.
const EXCHANGES: (u64, u64) = (500 * MS, 200 * MS);

/// Processes, their pool, and the world around them.
#[derive(Clone, Copy)]
pub(crate) struct Fleet<'a> {
    /// Of each process, in turn; the pool has the first. They differ in what they know of the clock.
    pub(crate) contracts: &'a [Contract],
    pub(crate) providers: &'a [Judge],
    pub(crate) network: Network,
    pub(crate) members: usize,
    /// What a process's calls cost, by its place.
    pub(crate) cost: &'a dyn Fn(&mut Rng, usize) -> Cost,
    pub(crate) drift_ppm: i64,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) calls: u64,
    pub(crate) seed: u64,
    /// The provider's clock at our time 0, in nanoseconds since 1970, where that matters.
    pub(crate) unix_ns: i64,
}

/// What happens to processes and messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trouble {
    /// Something happens to each process about as often.
    pub(crate) every: u64,
    /// One message in so many is lost, and one in as many comes twice.
    pub(crate) lost: u64,
    /// Messages take so long at most.
    pub(crate) delay: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) run: Run,
    /// Of each call, who sent it.
    pub(crate) senders: Vec<u8>,
    pub(crate) exchanges: u64,
    pub(crate) buried: u64,
    /// Processes that came back when they had been buried.
    pub(crate) forfeits: u64,
    /// How long the first of them was able to send: alive, awake, and with a lease.
    pub(crate) first_was_able: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Count,
    Finish,
    Store,
    Trouble,
    Thaw,
    Answer,
    Head,
    End,
    Exchange,
    Look,
}

struct Call {
    grant: Option<Grant>,
    trip: Trip,
    cost: Cost,
    sent: u64,
    arrived: Option<u64>,
    number: usize,
    place: usize,
    life: u32,
    due: u32,
}

/// On its way to the pool, or back.
struct Message {
    place: usize,
    life: u32,
    from: MemberId,
    report: Report,
    answer: Option<Allotment>,
}

struct Process {
    id: MemberId,
    life: u32,
    alive: bool,
    frozen: bool,
    quota: Quota,
    costs: Costs,
    cost: Cost,
    seq: u64,
    pending: Option<Report>,
    targets: Vec<u64>,
    deferred: Vec<(Kind, u32)>,
    looks_at: u64,
    exchanges_at: u64,
}

struct World<'a> {
    fleet: &'a Fleet<'a>,
    pool: Pool,
    providers: Vec<Judge>,
    varying: Vec<usize>,
    processes: Vec<Process>,
    calls: Vec<Option<Call>>,
    vacant: Vec<u32>,
    messages: Vec<Option<Message>>,
    no_message: Vec<u32>,
    events: BinaryHeap<Reverse<(u64, Kind, u32)>>,
    rng: Rng,
    next_id: u64,
    trace: Trace,
    out: Outcomes,
}

impl Fleet<'_> {
    pub(crate) fn run(&self) -> Outcomes {
        World::new(self).run()
    }

    fn provider_time(&self, now: u64) -> u64 {
        drifted(now, self.drift_ppm)
    }
}

impl<'a> World<'a> {
    fn new(fleet: &'a Fleet<'a>) -> Self {
        let limits = fleet.contracts[0].limits().enumerate();
        let varying = limits.filter(|(_, (limit, _))| limit.cost().is_none()).map(|(i, _)| i).collect();
        let mut world = Self {
            fleet,
            pool: Pool::new(&fleet.contracts[0]),
            providers: fleet.providers.to_vec(),
            varying,
            processes: Vec::new(),
            calls: Vec::new(),
            vacant: Vec::new(),
            messages: Vec::new(),
            no_message: Vec::new(),
            events: BinaryHeap::new(),
            rng: Rng::with_seed(fleet.seed),
            next_id: 0,
            trace: Trace::default(),
            out: Outcomes::default(),
        };
        for place in 0..fleet.members {
            let process = world.process(place, 0);
            world.processes.push(process);
            world.next_cost(place);
            let joins = if fleet.trouble.is_some() { world.rng.u64(..5 * SECOND) } else { place as u64 * MS };
            world.exchange_at(place, joins);
            world.trouble_at(place, joins);
        }
        world
    }

    fn run(mut self) -> Outcomes {
        let mut last = 0;
        while (self.out.run.sent.len() as u64) < self.fleet.calls {
            let Some(Reverse((now, kind, id))) = self.events.pop() else {
                panic!("nothing happens any more")
            };
            let first = &self.processes[0];
            if first.alive && !first.frozen && first.quota.leased_until().as_nanos() > now {
                self.out.first_was_able += now - last;
            }
            last = now;
            self.happen(now, kind, id);
            assert!(
                now < 400_000 * SECOND,
                "seed {}: {} calls in {now} ns",
                self.fleet.seed,
                self.out.run.sent.len()
            );
        }
        while let Some(Reverse((now, kind, id))) = self.events.pop() {
            if matches!(kind, Kind::Count | Kind::Finish) {
                self.happen(now, kind, id);
            }
        }
        self.trace.write(&self.fleet.contracts[0], self.fleet.unix_ns, &self.out.run);
        self.out
    }

    fn contract(&self, place: usize) -> &'a Contract {
        &self.fleet.contracts[place % self.fleet.contracts.len()]
    }

    fn process(&mut self, place: usize, life: u32) -> Process {
        let contract = self.contract(place);
        self.next_id += 1;
        Process {
            id: MemberId(self.next_id),
            life,
            alive: true,
            frozen: false,
            quota: Quota::shared(contract),
            costs: *contract.costs(),
            cost: Cost { reserved: 0, actual: 0 },
            seq: 0,
            pending: None,
            targets: vec![0; contract.limits().len()],
            deferred: Vec::new(),
            looks_at: 0,
            exchanges_at: 0,
        }
    }

    fn next_cost(&mut self, place: usize) {
        let process = &mut self.processes[place];
        process.cost = (self.fleet.cost)(&mut self.rng, place);
        self.varying.iter().for_each(|&limit| process.costs.set(limit, process.cost.reserved));
    }

    fn expect(&mut self, at: u64, kind: Kind, id: u32) {
        self.events.push(Reverse((at, kind, id)));
        if let (Kind::Count | Kind::Finish | Kind::Head | Kind::End, Some(call)) =
            (kind, self.calls.get_mut(id as usize).and_then(Option::as_mut))
        {
            call.due += 1;
        }
    }

    fn happen(&mut self, now: u64, kind: Kind, id: u32) {
        let place = id as usize;
        match kind {
            Kind::Count | Kind::Finish | Kind::Head | Kind::End => self.call_goes_on(now, kind, id),
            Kind::Store => self.reach_the_pool(now, id),
            Kind::Answer => self.answer(now, id),
            Kind::Trouble => self.trouble(now, place),
            Kind::Thaw => self.thaw(now, place),
            Kind::Exchange if self.processes[place].exchanges_at == now => self.exchange(now, place),
            Kind::Look if self.processes[place].looks_at == now => self.pump(now, place),
            Kind::Exchange | Kind::Look => {}
        }
    }

    // Calls.

    /// Sends whatever is granted.
    fn pump(&mut self, now: u64, place: usize) {
        let time = Time::from_nanos(now);
        while self.processes[place].alive && !self.processes[place].frozen {
            let process = &mut self.processes[place];
            let costs = process.costs;
            match process.quota.take(&costs, time) {
                Decision::Grant(grant) => self.send(now, place, grant),
                Decision::Wait(wait) => {
                    self.out.run.met_the_limit |= matches!(wait.why, Why::Limit(_) | Why::Share(_));
                    let Some(until) = wait.until else { return };
                    assert!(until > time, "seed {}: told to wait for the past", self.fleet.seed);
                    if process.looks_at <= now || process.looks_at > until.as_nanos() {
                        process.looks_at = until.as_nanos();
                        self.expect(until.as_nanos(), Kind::Look, place as u32);
                    }
                    return;
                }
            }
        }
    }

    fn send(&mut self, now: u64, place: usize, grant: Grant) {
        let trip = self.fleet.network.trip(now, &mut self.rng);
        let (life, cost) = (self.processes[place].life, self.processes[place].cost);
        let number = self.out.run.sent.len();
        self.out.run.sent.push(now);
        self.trace.call(|time| self.fleet.provider_time(time), now, &trip, cost);
        self.out.senders.push(place as u8);
        self.out.run.reserved += cost.reserved;
        self.out.run.actual += cost.actual;
        let call =
            Call { grant: Some(grant), trip, cost, sent: now, arrived: None, number, place, life, due: 0 };
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() as u32 - 1
        });
        self.calls[id as usize] = Some(call);
        if let Some(counted) = trip.counted {
            self.expect(counted, Kind::Count, id);
            self.expect(trip.end.max(counted), Kind::Finish, id);
        }
        if trip.head < trip.end {
            self.expect(trip.head, Kind::Head, id);
        }
        self.expect(trip.end, Kind::End, id);
        self.next_cost(place);
    }

    fn call_goes_on(&mut self, now: u64, kind: Kind, id: u32) {
        let Some(mut call) = self.calls[id as usize].take() else { return };
        let process = &mut self.processes[call.place];
        let lives = process.life == call.life && process.alive;
        match kind {
            Kind::Count => self.count(now, &mut call),
            Kind::Finish => self.finish(now, &call),
            _ if lives && process.frozen => {
                process.deferred.push((kind, id));
                self.calls[id as usize] = Some(call);
                return;
            }
            Kind::Head if lives => {
                // Read late, after the last byte, by one that was frozen.
                if let Some(grant) = &mut call.grant {
                    process.quota.answered(grant, Time::from_nanos(now));
                }
            }
            Kind::End if lives => self.end(now, &mut call),
            _ => {}
        }
        let place = call.place;
        call.due -= 1;
        if call.due == 0 {
            self.vacant.push(id);
        } else {
            self.calls[id as usize] = Some(call);
        }
        if lives && matches!(kind, Kind::Head | Kind::End) {
            self.pump(now, place);
        }
    }

    fn count(&mut self, now: u64, call: &mut Call) {
        if call.arrived.is_some() {
            return;
        }
        let at = self.fleet.provider_time(now);
        call.arrived = Some(at);
        for (i, provider) in self.providers.iter_mut().enumerate() {
            if let Verdict::Reject(rejection) = provider.arrive_costing(at, call.cost.reserved) {
                self.out.run.rejected += 1;
                let first = (i, rejection.limit, Duration::from_nanos(at));
                self.out.run.first_rejection.get_or_insert(first);
            }
        }
    }

    fn finish(&mut self, now: u64, call: &Call) {
        let at = self.fleet.provider_time(now);
        let Cost { reserved, actual } = call.cost;
        let arrived = call.arrived.expect("counted before it is over");
        for provider in &mut self.providers {
            provider.finish_costing(at, Settlement { arrived, reserved, actual });
        }
    }

    fn end(&mut self, now: u64, call: &mut Call) {
        let grant = call.grant.take().expect("not settled");
        let mut actual = *grant.costs();
        let outcome = match call.trip.fate {
            Fate::Answered => {
                self.varying.iter().for_each(|&limit| actual.set(limit, call.cost.actual));
                Outcome::Answered
            }
            Fate::NotSent => Outcome::NotSent,
            Fate::Unknown => Outcome::Unknown,
            Fate::TimedOut => Outcome::TimedOut,
        };
        self.out.run.timed_out += u64::from(call.trip.fate == Fate::TimedOut);
        if call.trip.counted.is_some() {
            self.out.run.to_head.add(call.trip.head - call.sent);
            self.out.run.to_end.add(call.trip.end - call.sent);
        }
        self.processes[call.place].quota.settle_costing(grant, outcome, &actual, Time::from_nanos(now));
    }

    // Messages.

    fn exchange_at(&mut self, place: usize, at: u64) {
        self.processes[place].exchanges_at = at;
        self.expect(at, Kind::Exchange, place as u32);
    }

    fn exchange(&mut self, now: u64, place: usize) {
        let process = &mut self.processes[place];
        if !process.alive || process.frozen {
            return;
        }
        let time = Time::from_nanos(now);
        if process.pending.is_none() {
            // Nobody asks for a share that wants nothing.
            let costs = process.costs;
            let _ = process.quota.wait(&costs, time);
            process.seq += 1;
            process.pending = Some(Self::report(process, self.fleet, time));
        }
        let report = process.pending.clone().expect("just made");
        let (life, from) = (process.life, process.id);
        let copies = if self.one_in_lost() { 0 } else { 1 + u32::from(self.one_in_lost()) };
        for _ in 0..copies {
            let message = Message { place, life, from, report: report.clone(), answer: None };
            self.post(now, Kind::Store, message);
        }
        self.exchange_at(place, now + EXCHANGES.1);
    }

    fn report(process: &mut Process, fleet: &Fleet<'_>, time: Time) -> Report {
        let body = if fleet.network.body.is_zero() { 0 } else { SECOND };
        Report {
            seq: process.seq,
            ceded: process.quota.cede(&process.targets, time),
            demand: process.quota.demand(time),
            granted: process.quota.granted(),
            timeout: Duration::from_nanos(fleet.network.timeout + body),
            paused_until: Time::ZERO,
        }
    }

    fn post(&mut self, now: u64, kind: Kind, message: Message) {
        let delay = self.fleet.trouble.map_or(MS, |trouble| trouble.delay);
        let delay = self.rng.u64(..=delay);
        let id = self.no_message.pop().unwrap_or_else(|| {
            self.messages.push(None);
            self.messages.len() as u32 - 1
        });
        self.messages[id as usize] = Some(message);
        self.expect(now + delay, kind, id);
    }

    fn one_in_lost(&mut self) -> bool {
        self.fleet.trouble.is_some_and(|trouble| self.rng.u64(..trouble.lost) == 0)
    }

    fn reach_the_pool(&mut self, now: u64, id: u32) {
        let Some(mut message) = self.messages[id as usize].take() else { return };
        self.no_message.push(id);
        let (contract, time) = (&self.fleet.contracts[0], Time::from_nanos(now));
        self.out.exchanges += 1;
        self.out.buried += self.pool.expire(contract, time).len() as u64;
        message.answer = self.pool.exchange(contract, message.from, &message.report, time);
        for (i, (_, meter)) in contract.limits().enumerate() {
            let held: u64 = self.pool.members().iter().map(|member| member.held()[i]).sum();
            assert_eq!(held + self.pool.spare()[i].units, meter.greatest_cost(), "seed {}", self.fleet.seed);
        }
        if !self.one_in_lost() {
            self.post(now, Kind::Answer, message);
        }
    }

    fn answer(&mut self, now: u64, id: u32) {
        let Some(message) = self.messages[id as usize].take() else { return };
        let process = &mut self.processes[message.place];
        let expected = process.life == message.life && process.alive && process.id == message.from;
        if expected && process.frozen {
            process.deferred.push((Kind::Answer, id));
            self.messages[id as usize] = Some(message);
            return;
        }
        self.no_message.push(id);
        if !expected || process.pending.as_ref().is_none_or(|pending| pending.seq != message.report.seq) {
            return;
        }
        process.pending = None;
        let (place, time) = (message.place, Time::from_nanos(now));
        let Some(allotment) = message.answer else {
            process.quota.forfeit();
            self.next_id += 1;
            (process.id, process.seq) = (MemberId(self.next_id), 0);
            process.targets.fill(0);
            self.out.forfeits += 1;
            return self.exchange_at(place, now);
        };
        process.quota.receive(&allotment.parts, time);
        process.quota.lease_until(allotment.until);
        process.targets = allotment.targets;
        let lacks = process.quota.shares().iter().zip(&process.targets).any(|(has, should)| has < should);
        let late = allotment.until <= time;
        let next = if late {
            0
        } else if lacks {
            EXCHANGES.1
        } else {
            EXCHANGES.0
        };
        self.exchange_at(place, now + next);
        self.pump(now, place);
    }
}
