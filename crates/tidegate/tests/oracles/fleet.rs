//! Several processes that share a quota through a pool, and everything that happens to them: they join, leave,
//! die, freeze and come back; what they say to the pool is late, lost, or heard twice.

mod calls;
mod clock;
mod harm;
mod messages;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use fastrand::Rng;
use tidegate_core::{Allotment, Contract, Costs, Grant, MemberId, Pool, Quota, Report, Time};
use tidegate_sim::model::Judge;

use self::clock::Clock;
use crate::client::{Cost, Run};
use crate::network::{MS, Network, SECOND, Trip, drifted};
use crate::trace::Trace;

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
    /// Of one machine's processes, and of their pool, all have one clock. Else each has its own, which shows anything and
    /// is off by so much at most.
    pub(crate) apart_ppm: Option<i64>,
    pub(crate) trouble: Option<Trouble>,
    /// Each life of a process has another priority.
    pub(crate) ranked: bool,
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
    /// About as often the pool loses its memory; never, if 0.
    pub(crate) loses: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) run: Run,
    /// Of each call, who sent it.
    pub(crate) senders: Vec<u16>,
    pub(crate) exchanges: u64,
    pub(crate) buried: u64,
    /// Processes that came back when they had been buried.
    pub(crate) forfeits: u64,
    pub(crate) losses: u64,
    /// How long the first of them was able to send: alive, awake, and with a lease.
    pub(crate) first_was_able: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Count,
    Finish,
    Store,
    Loss,
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
    /// By the process's clock.
    written: Time,
    answer: Option<Allotment>,
}

struct Process {
    id: MemberId,
    clock: Clock,
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
    pool_clock: Clock,
    /// Those who have joined since it lost its memory.
    known: HashSet<MemberId>,
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

    fn clock(&self, rng: &mut Rng) -> Clock {
        self.apart_ppm.map_or(Clock::OURS, |ppm| Clock::any(ppm, rng))
    }
}

impl<'a> World<'a> {
    fn new(fleet: &'a Fleet<'a>) -> Self {
        let limits = fleet.contracts[0].limits().enumerate();
        let varying = limits.filter(|(_, (limit, _))| limit.cost().is_none()).map(|(i, _)| i).collect();
        let mut rng = Rng::with_seed(fleet.seed);
        let pool_clock = fleet.clock(&mut rng);
        let mut world = Self {
            fleet,
            pool: Pool::new(&fleet.contracts[0]),
            pool_clock,
            known: HashSet::new(),
            providers: fleet.providers.to_vec(),
            varying,
            processes: Vec::new(),
            calls: Vec::new(),
            vacant: Vec::new(),
            messages: Vec::new(),
            no_message: Vec::new(),
            events: BinaryHeap::new(),
            rng,
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
        world.loss_at(0);
        world
    }

    fn run(mut self) -> Outcomes {
        let mut last = 0;
        while (self.out.run.sent.len() as u64) < self.fleet.calls {
            let Some(Reverse((now, kind, id))) = self.events.pop() else {
                panic!("nothing happens any more")
            };
            let first = &self.processes[0];
            if first.alive && !first.frozen && first.quota.leased_until() > first.clock.at(now) {
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

    pub(super) fn process(&mut self, place: usize, life: u32) -> Process {
        let contract = self.contract(place);
        let clock = self.fleet.clock(&mut self.rng);
        let id = self.new_id();
        Process {
            id,
            clock,
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

    /// Somebody joins.
    pub(super) fn new_id(&mut self) -> MemberId {
        self.next_id += 1;
        self.known.insert(MemberId(self.next_id));
        MemberId(self.next_id)
    }

    pub(super) fn next_cost(&mut self, place: usize) {
        let process = &mut self.processes[place];
        process.cost = (self.fleet.cost)(&mut self.rng, place);
        self.varying.iter().for_each(|&limit| process.costs.set(limit, process.cost.reserved));
    }

    pub(super) fn expect(&mut self, at: u64, kind: Kind, id: u32) {
        self.events.push(Reverse((at, kind, id)));
        if let (Kind::Count | Kind::Finish | Kind::Head | Kind::End, Some(call)) =
            (kind, self.calls.get_mut(id as usize).and_then(Option::as_mut))
        {
            call.due += 1;
        }
    }

    pub(super) fn happen(&mut self, now: u64, kind: Kind, id: u32) {
        let place = id as usize;
        match kind {
            Kind::Count | Kind::Finish | Kind::Head | Kind::End => self.call_goes_on(now, kind, id),
            Kind::Store => self.reach_the_pool(now, id),
            Kind::Answer => self.answer(now, id),
            Kind::Loss => self.lose(now),
            Kind::Trouble => self.trouble(now, place),
            Kind::Thaw => self.thaw(now, place),
            Kind::Exchange if self.processes[place].exchanges_at == now => self.exchange(now, place),
            Kind::Look if self.processes[place].looks_at == now => self.pump(now, place),
            Kind::Exchange | Kind::Look => {}
        }
    }
}
