//! What happens within the provider.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use tidegate_sim::{Judge, Rejection, Settlement, Verdict};

use crate::provider::{Config, Faults, Foreigner, Span};

/// A server counts a request as running for up to so long after its answer: less than the linger
/// that the limiter assumes.
const LINGER: Duration = Duration::from_millis(4);

/// What the provider saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) arrived: u64,
    pub(crate) connections: u64,
    pub(crate) rejected: u64,
    /// The first rejection: which call, when, and why.
    pub(crate) first_rejection: Option<(u64, Duration, Rejection)>,
    /// When the calls arrived that were accepted, and what they had cost in the end.
    pub(crate) accepted: Times,
    /// Calls whose outcome the client knows, and the times from send to head and to the end. Without
    /// those that were frozen.
    pub(crate) ended: u64,
    pub(crate) to_head: Duration,
    pub(crate) to_end: Duration,
    /// Over all arrivals and their times.
    pub(crate) digest: u64,
}

/// Arrivals with their costs.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Times(pub(crate) Vec<(Duration, u64)>);

/// What a call asks for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) shop: String,
    pub(crate) cost: u64,
    /// What it costs in the end.
    pub(crate) actual: u64,
    pub(crate) id: String,
}

/// What will happen to a call, on the provider's clock.
#[derive(Debug)]
pub(crate) struct Fate {
    pub(crate) fault: Option<Fault>,
    /// It is held up until the provider thaws.
    pub(crate) frozen: bool,
    pub(crate) arrival: Duration,
    /// The head is written.
    pub(crate) answered: Duration,
    /// The head is read.
    pub(crate) head: Duration,
    /// The last byte is read.
    pub(crate) end: Duration,
    finish: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Silent,
    Reset,
    Unavailable,
    /// A 503 that asks for silence.
    Closed(Duration),
}

pub(crate) struct State {
    pub(crate) rng: Rng,
    pub(crate) seen: Seen,
    pub(crate) verdicts: BTreeMap<u64, Verdict>,
    judge: Judge,
    judges: HashMap<String, Judge>,
    foreigner: Option<Foreigner>,
    /// Costs come back with the last byte, no later.
    refunds: bool,
    next_call: u64,
    calls: HashMap<u64, Running>,
    /// What has not happened yet; the earliest on top.
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A call is counted.
    Arrival,
    Finish,
    Foreign,
}

struct Running {
    shop: String,
    settlement: Settlement,
    /// If it is accepted.
    runs_for: Duration,
}

impl Asked {
    /// From `/v1/SHOP/COST/ID`.
    pub(crate) fn of(path: &str) -> Self {
        let [_, _, shop, cost, id] = path.split('/').collect::<Vec<_>>()[..] else { panic!("{path}") };
        let cost: u64 = cost.parse().unwrap();
        let dice = id.parse::<u64>().unwrap().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        Self { shop: shop.to_owned(), cost, actual: cost - dice % cost.max(1), id: id.to_owned() }
    }
}

impl State {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        let judge = Judge::new(&config.limits, config.reject_counts).seeded(seed);
        let mut events = BinaryHeap::new();
        if let Some(foreigner) = &config.foreigner {
            events.push(Reverse((foreigner.during.0, u64::MAX, Event::Foreign)));
        }
        Self {
            rng: Rng::with_seed(seed),
            judge: judge.starting_at(config.wall.unwrap_or(0)),
            judges: HashMap::new(),
            foreigner: config.foreigner,
            refunds: config.limits.iter().any(|limit| limit.refund),
            seen: Seen::default(),
            next_call: 0,
            calls: HashMap::new(),
            events,
            verdicts: BTreeMap::new(),
        }
    }

    /// What was seen at the end of time.
    pub(crate) fn all(&mut self) -> Seen {
        self.foreigner = None;
        self.pass(Duration::MAX);
        self.seen.clone()
    }

    /// The number of a call and what will happen to it; `None` if the connection is stale.
    pub(crate) fn send(&mut self, config: &Config, sent: Duration, asked: &Asked) -> Option<(u64, Fate)> {
        if self.rng.f64() < config.faults.stale {
            return None;
        }
        let fate = self.fate(config, sent);
        let call = self.next_call;
        self.next_call += 1;
        let actual = if fate.fault.is_none() { asked.actual } else { asked.cost };
        let settlement = Settlement { arrived: nanos(fate.arrival), reserved: asked.cost, actual };
        let runs_for = fate.finish.saturating_sub(fate.arrival);
        self.calls.insert(call, Running { shop: asked.shop.clone(), settlement, runs_for });
        self.events.push(Reverse((fate.arrival, call, Event::Arrival)));
        Some((call, fate))
    }

    /// Lets everything happen that is due.
    pub(crate) fn pass(&mut self, now: Duration) {
        while let Some(&Reverse((at, call, event))) = self.events.peek()
            && at <= now
        {
            self.events.pop();
            match event {
                Event::Finish => self.finish(at, call),
                Event::Arrival => self.arrive(at, call),
                Event::Foreign => self.foreign(at),
            }
        }
    }

    pub(crate) fn ended(&mut self, to_head: Duration, to_end: Duration) {
        self.seen.ended += 1;
        self.seen.to_head += to_head;
        self.seen.to_end += to_end;
    }

    fn fate(&mut self, config: &Config, sent: Duration) -> Fate {
        let rng = &mut self.rng;
        let deadline = sent + config.timeout;
        let mut fault = config.faults.draw(rng);
        let mut arrival = match fault {
            Some(Fault::Silent) => sent + config.timeout.mul_f64(rng.f64()),
            _ => (sent + config.network.sample(rng)).min(deadline),
        };
        let frozen = config.freeze.filter(|freeze| freeze.during.has(arrival) && rng.f64() < freeze.share);
        if let Some(freeze) = frozen {
            arrival = freeze.during.1;
        }
        if let Some(closed) = config.closed.filter(|closed| closed.has(arrival)) {
            fault = Some(Fault::Closed(Span(arrival, closed.1).length()));
        }
        let answered = arrival + config.service.sample(rng);
        let done = answered + config.rest.sample(rng);
        let head = answered + config.network.sample(rng);
        let end = head.max(done + config.network.sample(rng));
        let lingers = if self.refunds { Duration::ZERO } else { LINGER.mul_f64(rng.f64()) };
        // When the client gives up or is cut off, the server is done as well.
        let finish = match fault {
            Some(Fault::Silent) => deadline + lingers,
            Some(Fault::Reset) => (answered + lingers).min(deadline),
            _ => (done + lingers).min(deadline),
        };
        // No call is so slow by itself that it would end in a time-out of which nobody knows here.
        let (head, end) = (head.min(deadline), end.min(deadline));
        Fate { fault, frozen: frozen.is_some(), arrival, answered, head, end, finish }
    }

    fn arrive(&mut self, at: Duration, call: u64) {
        let Running { shop, settlement, runs_for } = &self.calls[&call];
        let seen = &mut self.seen;
        seen.arrived += 1;
        seen.digest = (seen.digest ^ nanos(at) ^ call).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
        let judge = judge_of(&mut self.judges, &self.judge, shop);
        let verdict = judge.arrive_costing(nanos(at), settlement.reserved);
        match verdict {
            Verdict::Accept => {
                seen.accepted.0.push((at, settlement.actual));
                self.events.push(Reverse((at + *runs_for, call, Event::Finish)));
            }
            Verdict::Reject(why) => {
                seen.rejected += 1;
                seen.first_rejection.get_or_insert((call, at, why));
                self.calls.remove(&call);
            }
        }
        self.verdicts.insert(call, verdict);
    }

    fn finish(&mut self, at: Duration, call: u64) {
        let Running { shop, settlement, .. } = self.calls.remove(&call).unwrap();
        judge_of(&mut self.judges, &self.judge, &shop).finish_costing(nanos(at), settlement);
    }

    /// A call that is not ours.
    fn foreign(&mut self, at: Duration) {
        let Some(foreigner) = self.foreigner else { return };
        let judge = judge_of(&mut self.judges, &self.judge, "0");
        if judge.arrive(nanos(at)) == Verdict::Accept {
            judge.finish(nanos(at));
        }
        if foreigner.during.has(at + foreigner.every) {
            self.events.push(Reverse((at + foreigner.every, u64::MAX, Event::Foreign)));
        }
    }
}

/// The judge of a shop; each begins as a copy of the first.
fn judge_of<'a>(judges: &'a mut HashMap<String, Judge>, first: &Judge, shop: &str) -> &'a mut Judge {
    if !judges.contains_key(shop) {
        judges.insert(shop.to_owned(), first.clone());
    }
    judges.get_mut(shop).unwrap()
}

impl Seen {
    /// Calls per second that were accepted meanwhile.
    pub(crate) fn rate(&self, during: Span) -> f64 {
        let calls = self.accepted.0.iter().filter(|(at, _)| during.has(*at)).count();
        calls as f64 / during.length().as_secs_f64()
    }
}

impl Span {
    pub(crate) fn length(self) -> Duration {
        self.1.saturating_sub(self.0)
    }

    pub(crate) fn has(self, at: Duration) -> bool {
        (self.0..self.1).contains(&at)
    }
}

impl Faults {
    fn draw(&self, rng: &mut Rng) -> Option<Fault> {
        let mut dice = rng.f64();
        for (share, fault) in
            [(self.silent, Fault::Silent), (self.reset, Fault::Reset), (self.unavailable, Fault::Unavailable)]
        {
            if dice < share {
                return Some(fault);
            }
            dice -= share;
        }
        None
    }
}

impl fmt::Debug for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {:?} to {:?}", self.0.len(), self.0.first(), self.0.last())
    }
}

fn nanos(at: Duration) -> u64 {
    at.as_nanos() as u64
}
