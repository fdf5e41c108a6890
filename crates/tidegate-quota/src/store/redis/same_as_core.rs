//! The script beside core's `Pool`: the same reports, lost, late and twice, at the same times.

use std::time::Duration;

use serde_json::Value;
use tidegate_core::{
    Allotment, Contract, Demand, LEASE, Limit, Margins, MemberId, Part, Pool, Priority, Report, Reserve,
    Returns, Terms, Time,
};

use super::frame::{self, Frame, NEVER};
use super::image;
use super::support::{Kind, Server as RealServer};
use super::talk::{self, Spelled};
use super::{Definition, Join, Machine, Redis, RedisAddress, Store};
use crate::Clock;
use crate::store::Who;

const TIMEOUTS: [u64; 3] = [200, 1_500, 9_000];
/// By many.
const CROWDED: &str = "1000/s";
const QUOTA: &str = "crm {1}%";

/// All that is compared.
struct Pair {
    store: Redis,
    frame: Frame,
    definitions: [Definition; 2],
    contracts: [Contract; 2],
    /// Which of the two it is.
    amounts: usize,
    spelled: Spelled,
    pools: [Option<Pool>; 2],
    members: Vec<Member>,
    /// When those are over that have never said anything.
    silent: Vec<u64>,
    dice: fastrand::Rng,
    answers: u32,
}

struct Member {
    id: MemberId,
    timeout: Duration,
    until: u64,
    seqs: [u64; 2],
    /// The last reports, by partition.
    said: [Vec<String>; 2],
}

impl Pair {
    fn new(address: RedisAddress, limits: [&str; 2], seed: u64) -> Self {
        let machine = Machine::simulated(Clock::simulated(), "a machine", 1_700_006_000_000);
        let mut store = Redis::simulated(address, machine).unwrap();
        let limits =
            limits.map(|text| text.split(", ").map(|l| l.parse::<Limit>().unwrap()).collect::<Vec<_>>());
        // Without parts of a microsecond: what is due just now would be so here and not there.
        let margins = Margins { clock_ppm: 0, ..Margins::default() };
        let reserve = [Reserve::NONE, "high=5%".parse().unwrap(), "high=10%,normal=20%".parse().unwrap()];
        let reserve = reserve[usize::try_from(seed % 3).unwrap()];
        let terms = Terms { margins, reserve, ..Terms::default() };
        let definitions = limits.map(|limits| Definition::new(&limits, &terms));
        let now = micros(&store);
        let frame = Frame::around(now);
        let contracts =
            definitions.each_ref().map(|definition| talk::contract(QUOTA, definition, frame).unwrap());
        assert!(contracts[0].same_shape(&contracts[1]));
        let who = Who::this("nobody in particular");
        let join = Join {
            quota: QUOTA,
            definition: Some(&definitions[0]),
            who: &who,
            timeout: Duration::ZERO,
            assume_idle: true,
        };
        let joined = store.join(&join).unwrap();
        let spelled = Spelled::within(frame, QUOTA, &definitions[0], joined.version, now).unwrap();
        Self {
            store,
            frame,
            definitions,
            contracts,
            amounts: 0,
            spelled,
            pools: [None, None],
            members: Vec::new(),
            silent: vec![now + LEASE.as_micros() as u64],
            dice: fastrand::Rng::with_seed(seed),
            answers: 0,
        }
    }

    fn join(&mut self) {
        let timeout = Duration::from_millis(TIMEOUTS[self.dice.usize(0..TIMEOUTS.len())]);
        let who = Who::this("some words, with spaces");
        let join = Join { quota: QUOTA, definition: None, who: &who, timeout, assume_idle: false };
        let swept = self.swept();
        let id = self.store.join(&join).unwrap().member;
        self.tend(&swept);
        assert!(self.members.iter().all(|member| member.id != id));
        let until = micros(&self.store) + LEASE.as_micros() as u64;
        self.members.push(Member { id, timeout, until, seqs: [0; 2], said: [Vec::new(), Vec::new()] });
    }

    fn swept(&mut self) -> String {
        self.store.server.load(QUOTA, false, false).unwrap().quota["swept"].clone()
    }

    /// What every rare operation does besides: who is over is buried everywhere; and now and then all is swept.
    fn tend(&mut self, swept: &str) {
        let now = micros(&self.store);
        let is_swept = self.swept() != swept;
        let is_over = |member: &Member| member.until + member.timeout.as_micros() as u64 <= now;
        let some_are_over = self.members.iter().any(is_over) || self.silent.iter().any(|over| *over <= now);
        self.silent.retain(|over| *over > now);
        self.members.retain(|member| !is_over(member));
        let (now, contract) = (self.frame.time(now), &self.contracts[self.amounts]);
        for there in &mut self.pools {
            let Some(mut pool) = there.clone() else { continue };
            if (some_are_over || is_swept) && !pool.expire(contract, now).is_empty() {
                *there = Some(pool.clone());
            }
            if is_swept && pool.is_idle(now) {
                *there = None;
            }
        }
    }

    /// As core sees a pool: before a visit.
    fn pool(&mut self, partition: usize, now: Time) -> Pool {
        let contract = &self.contracts[self.amounts];
        let mut pool = self.pools[partition].take().unwrap_or_else(|| Pool::new(contract));
        pool.expire(contract, now);
        pool
    }

    fn visit(&mut self, place: usize, leaves_all: bool) {
        let now = micros(&self.store);
        let time = self.frame.time(now);
        let keys = self.store.server.keys(QUOTA);
        let mut all = keys.all().to_vec();
        let id = self.members[place].id;
        let mut args = vec![
            id.0.to_string(),
            self.spelled.version.to_string(),
            self.spelled.version.to_string(),
            u8::from(leaves_all).to_string(),
            "0".to_owned(),
            "0".to_owned(),
            self.spelled.limits.clone(),
        ];
        let both: &[usize] =
            if leaves_all { &[0, 1] } else { [&[0][..], &[1], &[0, 1]][self.dice.usize(0..3)] };
        let mut visits = Vec::new();
        for &partition in both {
            let text = self.report(place, partition, time);
            let leaves = self.dice.usize(0..20) == 0;
            args.extend([format!("p {partition}"), u8::from(leaves).to_string(), text.clone()]);
            let name = format!("p {partition}");
            all.extend([keys.pool(&name), keys.holders(&name)]);
            visits.push((partition, leaves, text));
        }
        let words = self.store.server.exchange(&all, args.clone()).unwrap();
        if self.members[place].until + self.members[place].timeout.as_micros() as u64 <= now {
            assert_eq!(words[0], "unknown", "{words:?}");
            self.members.remove(place);
            return;
        }
        assert_eq!(words[0], "settled", "{words:?} {args:?}");
        self.members[place].until = now + LEASE.as_micros() as u64;
        for ((partition, leaves, text), answer) in visits.into_iter().zip(&words[5..]) {
            let contract = self.contracts[self.amounts].clone();
            let report = parse(&text, self.frame, now, &contract);
            let mut pool = self.pool(partition, time);
            let expected = if leaves || leaves_all {
                pool.leave(&contract, id, &report, time);
                None
            } else {
                pool.exchange(&contract, id, &report, time).map_or(Some(None), |answer| Some(Some(answer)))
            };
            match expected {
                None => assert_eq!(answer, "L"),
                Some(None) => assert_eq!(answer, "B"),
                Some(Some(expected)) => {
                    self.answers += 1;
                    same_allotment(answer, &expected, self.frame, now);
                }
            }
            if leaves {
                self.members[place].seqs[partition] = 0;
            }
            self.pools[partition] = (!pool.is_idle(time)).then_some(pool);
        }
        if leaves_all {
            self.members.remove(place);
        }
        self.compare();
    }

    /// A report in the words of the store: a new one, or one of before again.
    fn report(&mut self, place: usize, partition: usize, now: Time) -> String {
        let dice = &mut self.dice;
        let member = &mut self.members[place];
        if dice.usize(0..6) == 0 && !member.said[partition].is_empty() {
            let said = &member.said[partition];
            return said[dice.usize(0..said.len())].clone();
        }
        member.seqs[partition] += 1;
        let date = |dice: &mut fastrand::Rng| {
            let most = [700_000, 30_000_000][dice.usize(0..2)];
            now + Duration::from_micros(dice.u64(0..most))
        };
        let limits = self.contracts[0].limits().len();
        let units = |dice: &mut fastrand::Rng| dice.u64(0..60);
        let ceded = (0..limits).map(|_| {
            let mut dates: Vec<(Time, u64)> =
                (0..dice.usize(0..12)).map(|_| (date(dice), dice.u64(1..8))).collect();
            dates.sort_unstable();
            dates.dedup_by_key(|dated| dated.0);
            let resting = dates.iter().map(|(_, units)| units).sum::<u64>();
            Part { units: resting + units(dice), dated: dates }
        });
        let ceded: Vec<Part> = ceded.collect();
        let demand = (0..limits).map(|_| Demand {
            units: [0, units(dice), u64::MAX][dice.usize(0..3)],
            need: [0, units(dice)][dice.usize(0..2)],
        });
        let demand = demand.collect();
        let report = Report {
            seq: member.seqs[partition],
            ceded: if member.seqs[partition] == 1 { Vec::new() } else { ceded },
            demand,
            priority: Priority::ALL[dice.usize(0..3)],
            granted: dice.u64(0..1_000),
            timeout: member.timeout,
            paused_until: if dice.usize(0..40) == 0 { date(dice) } else { Time::ZERO },
        };
        let text = talk::report(&report, now);
        member.said[partition].push(text.clone());
        text
    }

    /// Somebody changes the amounts.
    fn resize(&mut self) {
        self.amounts = 1 - self.amounts;
        let definition = self.definitions[self.amounts].clone();
        let swept = self.swept();
        let who = crate::store::SetBy { who: Who::this("somebody"), at_ms: 0 };
        self.store
            .transact(QUOTA, |books, rows| {
                let mut row = rows.quota(QUOTA)?.unwrap();
                let now = books.now();
                books.bury_the_dead(rows, QUOTA, &row, None, now)?;
                books.redefine(rows, QUOTA, &mut row, definition.clone(), who.clone(), now)?;
                books.put(rows, QUOTA, &mut row, now)
            })
            .unwrap();
        self.amounts = 1 - self.amounts;
        self.tend(&swept);
        self.amounts = 1 - self.amounts;
        let now = micros(&self.store);
        for pool in self.pools.iter_mut().flatten() {
            pool.resize(&self.contracts[self.amounts], self.frame.time(now));
        }
        let loaded = self.store.server.load(QUOTA, false, false).unwrap();
        let version = loaded.quota["version"].parse().unwrap();
        self.spelled = Spelled::within(self.frame, QUOTA, &definition, version, now).unwrap();
        self.compare();
    }

    fn compare(&mut self) {
        let loaded = self.store.server.load(QUOTA, true, false).unwrap();
        for (partition, pool) in self.pools.iter().enumerate() {
            let name = format!("p {partition}");
            let there = loaded.pools.iter().find(|(there, ..)| *there == name);
            let there = there.map(|(_, pool, holders)| image::read(pool, holders, self.frame).unwrap());
            assert_eq!(there.is_some(), pool.is_some(), "{name}");
            let (Some(there), Some(pool)) = (there, pool) else { continue };
            let (theirs, ours) = (serde_json::to_value(&there).unwrap(), serde_json::to_value(pool).unwrap());
            assert!(is_same(&theirs, &ours), "{name}\nscript {theirs}\ncore   {ours}");
        }
    }
}

/// Whether what is fair was worked out for many.
fn is_of_many(pool: &Pool) -> bool {
    serde_json::to_value(pool).unwrap()["shares"].is_object()
}

/// Dates may be later by what is cut off below a microsecond, a few times.
fn is_same_date(theirs: u64, ours: u64) -> bool {
    (ours..ours + 5_000).contains(&theirs)
}

fn is_same(theirs: &Value, ours: &Value) -> bool {
    match (theirs, ours) {
        (Value::Number(theirs), Value::Number(ours)) => {
            let (theirs, ours) = (theirs.as_u64().unwrap(), ours.as_u64().unwrap());
            theirs == ours || (ours > 1_000_000_000 && is_same_date(theirs, ours))
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.len() == ours.len() && theirs.iter().zip(ours).all(|(theirs, ours)| is_same(theirs, ours))
        }
        (Value::Object(theirs), Value::Object(ours)) => {
            theirs.len() == ours.len() && theirs.iter().all(|(name, theirs)| is_same(theirs, &ours[name]))
        }
        _ => theirs == ours,
    }
}

fn same_allotment(text: &str, expected: &Allotment, frame: Frame, now: u64) {
    let mut words = text.split(' ').map(|word| word.parse::<u64>().unwrap());
    let mut number = || words.next().unwrap();
    let at = |left: u64| frame.time(now + left);
    let date = |ours: Time, left: u64| {
        let ours = ours.max(frame.time(now)).as_nanos();
        assert!(is_same_date(at(left).as_nanos(), ours), "{text} {expected:?}");
    };
    date(expected.until, number());
    date(expected.paused_until, number());
    assert_eq!((number(), number()), (expected.resumes, expected.parts.len() as u64));
    for (part, target) in expected.parts.iter().zip(&expected.targets) {
        assert_eq!(
            (number(), number(), number()),
            (*target, part.units, part.dated.len() as u64),
            "{text} {expected:?}"
        );
        for (ours, units) in &part.dated {
            date(*ours, number());
            assert_eq!(number(), *units, "{text} {expected:?}");
        }
    }
    assert_eq!(words.next(), None);
}

/// What the script makes of a report that comes at `now`.
fn parse(text: &str, frame: Frame, now: u64, contract: &Contract) -> Report {
    let mut words = text.split(' ').map(|word| word.parse::<u64>().unwrap());
    let mut number = || words.next().unwrap();
    let (seq, rank) = (number(), number());
    let (granted, timeout, pause) = (number(), number(), number());
    let priority = Priority::ALL[usize::try_from(rank).unwrap()];
    let grids = contract.limits().map(|(_, meter)| match meter.returns(Time::ZERO, Time::ZERO) {
        Returns::After(hold) => frame::micros(hold) / 256,
        Returns::Bucket { .. } => 1,
        Returns::Steps(_) => 10_000_000,
    });
    let count = number();
    let ceded = grids.take(usize::try_from(count).unwrap()).map(|grid| {
        let units = number();
        let dated = (0..number()).map(|_| {
            let left = number();
            let at = if left == 0 { now } else { (now + left).div_ceil(grid.max(1)) * grid.max(1) };
            (frame.time(at), number())
        });
        Part { units, dated: dated.collect() }
    });
    let ceded = ceded.collect();
    let demand = (0..number()).map(|_| Demand { units: number(), need: number() }).map(|demand| Demand {
        units: if demand.units >= NEVER { u64::MAX } else { demand.units },
        ..demand
    });
    let demand = demand.collect();
    let paused_until = if pause > 0 { frame.time(now + pause) } else { Time::ZERO };
    let timeout = Duration::from_micros(timeout);
    Report { seq, ceded, demand, priority, granted, timeout, paused_until }
}

fn micros(store: &Redis) -> u64 {
    store.machine.wall_ms_at_zero() * 1_000 + store.machine.now().as_nanos() / 1_000
}

#[expect(clippy::print_stdout, reason = "what a test that fails was doing")]
fn say(text: &str) {
    println!("{text}");
}

async fn same(kind: Kind, steps: u32) {
    let server = RealServer::start(kind, &[]);
    let seed = std::env::var("TIDEGATE_POOL_SEED").map_or(1, |seed| seed.parse().unwrap());
    for (i, limits) in [
        ["100/s", "70/s"],
        ["20/s bucket 100", "40/s bucket 200"],
        ["20/10s, concurrency 7", "31/10s, concurrency 5"],
        ["500/day UTC, 60 tokens/s bucket 60 step 250ms", "400/day UTC, 80 tokens/s bucket 60 step 250ms"],
        ["1/s", "2/s"],
        [CROWDED, "700/s"],
    ]
    .into_iter()
    .enumerate()
    {
        say(&format!("{kind:?}, {}, TIDEGATE_POOL_SEED={seed}", limits[0]));
        let seed = seed * 100 + i as u64;
        let address = RedisAddress::parse(&server.url()).unwrap().with_prefix(&format!("p{i}"));
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut pair = Pair::new(address, limits, seed);
        let is_crowded = limits[0] == CROWDED;
        let (most, joining, kinds) = if is_crowded { (60, 40, 4) } else { (9, 10, 7) };
        let mut were_many = false;
        for _ in 0..steps {
            were_many |= pair.pools.iter().flatten().any(is_of_many);
            let wait = [0, 1, 10, 100, 250, 1_000, 4_000][pair.dice.usize(0..kinds)];
            tokio::time::advance(Duration::from_millis(pair.dice.u64(0..=wait))).await;
            match pair.dice.u32(0..100) {
                n if n < joining && pair.members.len() < most => pair.join(),
                40..42 => pair.resize(),
                _ if pair.members.is_empty() => pair.join(),
                n => {
                    let place = pair.dice.usize(0..pair.members.len());
                    pair.visit(place, n >= 97);
                }
            }
        }
        assert!(!is_crowded || were_many, "there were never many");
        assert!(pair.answers > steps / 3, "{} of {steps} say nothing", pair.answers);
    }
}

#[tokio::test(start_paused = true)]
async fn a_script_on_redis_does_what_core_does() {
    same(Kind::Redis, 600).await;
}

#[tokio::test(start_paused = true)]
async fn a_script_on_valkey_does_what_core_does() {
    same(Kind::Valkey, 600).await;
}
