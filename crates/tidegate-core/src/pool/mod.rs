//! `Pool`: one quota that several processes share, as its store keeps it.

pub mod apart;
mod fair;
mod member;
mod message;
mod part;
mod priority;
mod shares;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::member::Member;
pub use self::message::{Allotment, Demand, MemberId, Report};
pub use self::part::Part;
use self::part::given_until;
pub use self::priority::{Priority, Reserve};
use self::shares::{Shares, Turn};
use crate::contract::Contract;
use crate::limit::Rule;
use crate::meter::Meter;
use crate::time::Time;

/// How long a member may go on granting after an exchange.
pub const LEASE: Duration = Duration::from_secs(3);
/// No message is later than this.
const REMEMBERED: Duration = Duration::from_secs(600);

/// One quota, or one partition of it, that several processes share: its *members*.
///
/// Each unit of each limit is either spare or held by one member, which uses it by itself with a
/// [`Quota`](crate::Quota) of its own, at full speed. Exchanges only move units.
///
/// *Proof.* Units are never made: what is held and what is spare add up to the contract's. What a
/// member cedes it has stopped using before it says so, and what it is given is counted as held before it
/// is told, once for each number of a report: so whatever messages are lost or come twice, no unit is used by
/// two. Dates go along with units; how these keep the contract is in the meters' proofs. Units of a member that
/// is not heard of any more are used by nobody until all that it may have sent is over: it
/// grants nothing after its lease, and gives up each call within its time-out, so all its calls are
/// counted by the end of both. From then on they rest as after an answer: a hold, the time in
/// which a bucket fills, the rest of the period; and not less than any date that they had before. Those that it could not
/// have used yet keep their dates, so that a process that dies again and again does not hold up everything.
///
/// The contract is not kept in here, so each method that needs it is given it; it has to be the one
/// that the pool was made or last resized with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    now: Time,
    /// Units of each limit; more than that may be about for a while after a limit was lowered.
    whole: Vec<u64>,
    spare: Vec<Part>,
    /// In the order of their ids.
    members: Vec<Member>,
    /// Among the members of each priority.
    #[serde(default)]
    turns: [Option<Turn>; 3],
    /// What was found to be fair among many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shares: Option<Shares>,
    /// Ids that are over, and since when.
    buried: Vec<(Time, MemberId)>,
    paused_until: Time,
    resumes: u64,
}

impl Pool {
    /// A pool with all units of `contract`, none of them used so far.
    pub fn new(contract: &Contract) -> Self {
        let whole: Vec<u64> = wholes(contract);
        let spare = whole.iter().map(|units| Part::free(*units)).collect();
        Self {
            now: Time::ZERO,
            whole,
            spare,
            members: Vec::new(),
            turns: [None; 3],
            shares: None,
            buried: Vec::new(),
            paused_until: Time::ZERO,
            resumes: 0,
        }
    }

    /// One exchange: takes in what is ceded, and answers with a lease and what the member lacks, as
    /// far as it is spare.
    ///
    /// A report with the number 1 joins. A report that repeats the last number gets the last answer
    /// again, and nothing else happens. `None` if the member is unknown, because it was buried: its
    /// quota must [`forfeit`](crate::Quota::forfeit), and may join under a new id.
    pub fn exchange(
        &mut self,
        contract: &Contract,
        member: MemberId,
        report: &Report,
        now: Time,
    ) -> Option<Allotment> {
        let now = self.advance(contract, now);
        let place = match self.place(member) {
            Ok(place) if report.seq <= self.members[place].seq => {
                return Some(self.members[place].answer.clone());
            }
            Ok(place) => place,
            Err(place) if report.seq == 1 && !self.was_buried(member) => {
                self.members.insert(place, Member::new(member, self.whole.len()));
                place
            }
            Err(_) => return None,
        };
        self.hear(contract, place, report, now);
        let (targets, asides) = self.targets(contract, place, now);
        let parts = contract.limits().enumerate().map(|(i, (_, meter))| {
            let member = &mut self.members[place];
            let lacking = targets[i].saturating_sub(member.held[i]);
            // Those that are free first are for members of a higher priority.
            let aside = self.spare[i].take(asides[i], Time::MAX);
            let part = self.spare[i].take(lacking, given_until(meter, now));
            self.spare[i].merge(aside);
            // The end of a period is the same whoever dies when, and a part of a bucket is soon full.
            member.gets(i, &part, matches!(meter, Meter::Hold(_)));
            part
        });
        let answer = Allotment {
            until: now + LEASE,
            parts: parts.collect(),
            targets,
            paused_until: self.paused_until,
            resumes: self.resumes,
        };
        let member = &mut self.members[place];
        (member.until, member.answer) = (answer.until, answer.clone());
        Some(answer)
    }

    /// The last exchange of a member that ends: takes in what is ceded, removes it, and buries what
    /// it still has in flight. Returns the time by which all its calls were counted; `None` if it is
    /// unknown (or has left already).
    pub fn leave(
        &mut self,
        contract: &Contract,
        member: MemberId,
        report: &Report,
        now: Time,
    ) -> Option<Time> {
        let now = self.advance(contract, now);
        let place = self.place(member).ok()?;
        if report.seq > self.members[place].seq {
            self.hear(contract, place, report, now);
        }
        self.bury(contract, member, now)
    }

    /// Buries members whose lease has ended and who have not come back for as long as their calls may
    /// last. Returns them, each with the time by which all its calls were counted. To be called before
    /// each exchange.
    ///
    /// Between the end of the lease and this a member may come back as if nothing had happened: its
    /// units could not have been used by anybody else earlier.
    pub fn expire(&mut self, contract: &Contract, now: Time) -> Vec<(MemberId, Time)> {
        let now = self.advance(contract, now);
        let over = |member: &Member| member.over_by() <= now;
        let expired: Vec<MemberId> = self.members.iter().filter(|m| over(m)).map(|m| m.id).collect();
        let bury = |id| {
            let member = self.members.remove(self.place(id).ok()?);
            self.inherit(contract, &member, member.over_by(), Duration::ZERO);
            Some((id, member.over_by()))
        };
        expired.into_iter().filter_map(bury).collect()
    }

    /// Buries a member of which the store *knows* that it is dead at `now`: it sends nothing more, and
    /// its connections are closed. Returns the time by which all its calls were counted; `None` if it
    /// is unknown.
    pub fn bury(&mut self, contract: &Contract, member: MemberId, now: Time) -> Option<Time> {
        let now = self.advance(contract, now);
        let member = self.members.remove(self.place(member).ok()?);
        // It may have died with the last calls of its lease in flight, any time until now.
        let counted_by = now.min(member.over_by());
        // The server may go on working on them.
        self.inherit(contract, &member, counted_by, member.timeout);
        Some(counted_by)
    }

    /// The past is not known: lets no spare unit be used before `until`. For a new pool, before its
    /// first exchange; `until` is usually `now +` [`Pool::silence`].
    pub fn hold(&mut self, until: Time) {
        self.spare.iter_mut().for_each(|part| part.hold(until));
    }

    /// The past is not known, but for that all its calls were counted by then: as [`hold`](Self::hold),
    /// for each limit as long as it must be.
    pub fn unknown_until(&mut self, contract: &Contract, counted_by: Time) {
        for ((_, meter), part) in contract.limits().zip(&mut self.spare) {
            part.hold(meter.free_after(counted_by));
        }
    }

    /// The time after which nothing is in use of a quota that somebody has used until `now`.
    pub fn silence(contract: &Contract, now: Time) -> Duration {
        let silence = |meter: &Meter| meter.free_after(now).since(now);
        contract.limits().map(|(_, meter)| silence(meter)).max().unwrap_or(Duration::ZERO)
    }

    /// The machine has started anew, or its clock has jumped: the dates mean nothing any more, and no
    /// member of before exists. Whatever was in use or leased is taken as used until just now.
    ///
    /// `credit` is how long ago that surely was: holds are that much shorter. Calendars' dates are
    /// moved by `shift` nanoseconds, from the clock of before to the present one, by way of the wall
    /// clock. Returns the members that were buried so.
    pub fn rebooted(
        &mut self,
        contract: &Contract,
        now: Time,
        shift: i64,
        credit: Duration,
    ) -> Vec<MemberId> {
        let moved = |at: Time| Time::from_nanos(at.as_nanos().saturating_add_signed(shift));
        let before = std::mem::replace(&mut self.now, now);
        let members = std::mem::take(&mut self.members);
        let timeouts = members.iter().map(|member| member.timeout).max().unwrap_or(Duration::ZERO);
        for (i, (limit, meter)) in contract.limits().enumerate() {
            let part = std::mem::take(&mut self.spare[i]);
            let in_use = part.in_use(before);
            let held: u64 = members.iter().map(|member| member.held[i]).sum();
            let mut spare = Part::free(part.units - in_use.min(part.units));
            let working = if is_concurrency(limit.rule()) { timeouts } else { Duration::ZERO };
            let free_at = meter.free_after(now + working);
            if matches!(meter, Meter::Epoch(_)) {
                part.dated
                    .iter()
                    .filter(|(at, _)| *at > before)
                    .for_each(|(at, n)| spare.add(*n, moved(*at)));
                spare.add(held, free_at);
            } else {
                spare.add(in_use.saturating_add(held), now + free_at.since(now).saturating_sub(credit));
            }
            self.spare[i] = spare;
            self.shrink(i);
        }
        (self.turns, self.shares) = ([None; 3], None);
        self.buried = members.iter().map(|member| (now, member.id)).collect();
        // A pause is no longer than it was.
        self.paused_until = moved(self.paused_until).min(now + self.paused_until.since(before));
        members.into_iter().map(|member| member.id).collect()
    }

    /// Goes on under `contract`, which has the [same shape](Contract::same_shape) and other amounts.
    /// What is added is spare at once; what is taken away vanishes as it is ceded. Doing it twice
    /// changes nothing more. Members call [`Quota::resize`](crate::Quota::resize) before they take in
    /// the next answer.
    pub fn resize(&mut self, contract: &Contract, now: Time) {
        let now = self.advance(contract, now);
        for (i, (_, meter)) in contract.limits().enumerate() {
            self.whole[i] = meter.greatest_cost();
            refill(meter, &mut self.spare[i], now);
            // What is about already is not added again; nor what is about too much since it was lowered.
            let more = self.whole[i].saturating_sub(self.about(i));
            match meter {
                // A larger bucket holds no more at first than it did.
                Meter::Pace(_) => self.spare[i].add(more, meter.free_after(now)),
                _ => self.spare[i].units += more,
            }
            self.shrink(i);
        }
        self.shares = None;
        self.members.iter_mut().for_each(|member| member.resized = true);
    }

    /// Everybody pauses until then, from its next exchange on. Never shortens a pause.
    pub fn pause(&mut self, until: Time) {
        self.paused_until = self.paused_until.max(until);
    }

    /// Ends a pause for everybody.
    pub fn resume(&mut self) {
        self.paused_until = Time::ZERO;
        self.resumes += 1;
    }

    /// The end of the last pause; in the past if there is none.
    pub fn paused_until(&self) -> Time {
        self.paused_until
    }

    /// Whether a new pool in its place would be the same; but for the ids that are over, which a store
    /// whose messages may come late has to remember for ten minutes.
    pub fn is_idle(&self, now: Time) -> bool {
        let whole = (0..self.whole.len()).all(|i| self.about(i) == self.whole[i]);
        let unused = self.spare.iter().all(|part| part.in_use(now) == 0);
        self.members.is_empty() && self.paused_until <= now && whole && unused
    }

    /// Its members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member with this id.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.place(id).ok().map(|place| &self.members[place])
    }

    /// Units that no member holds, by limit; some of them dated.
    pub fn spare(&self) -> &[Part] {
        &self.spare
    }

    fn place(&self, id: MemberId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&id, |member| member.id)
    }

    fn advance(&mut self, contract: &Contract, now: Time) -> Time {
        self.now = self.now.max(now);
        for ((_, meter), part) in contract.limits().zip(&mut self.spare) {
            part.tidy(meter, self.now);
        }
        self.now
    }

    /// Takes note of what a member says, and of what it gives back.
    fn hear(&mut self, contract: &Contract, place: usize, report: &Report, now: Time) {
        self.pause(report.paused_until);
        let resized = std::mem::take(&mut self.members[place].resized);
        for ((i, (_, meter)), ceded) in contract.limits().enumerate().zip(&report.ceded) {
            let member = &mut self.members[place];
            // What it does not have it cannot give.
            let mut ceded = ceded.clone().take(member.held[i], Time::MAX);
            member.gives(i, &ceded);
            member.resting[i].retain(|(until, _)| *until > now);
            if resized {
                refill(meter, &mut ceded, now);
            }
            self.spare[i].merge(ceded);
            self.spare[i].tidy(meter, now);
            self.shrink(i);
        }
        let limits = self.whole.len();
        let member = &mut self.members[place];
        member.seq = report.seq;
        // Calls of before may still be under way with the time-out of before.
        member.timeout = member.timeout.max(report.timeout);
        member.granted = report.granted;
        member.priority = report.priority;
        member.demand.clone_from(&report.demand);
        member.demand.resize(limits, Demand::default());
        // So that it counts as alive below.
        member.until = member.until.max(now + LEASE);
    }

    /// A copy of its first report that comes late must not raise it: the process that lives on with what it had
    /// would be taken for one that holds what the copy was given.
    fn was_buried(&self, id: MemberId) -> bool {
        self.buried.iter().any(|(_, buried)| *buried == id)
    }

    /// All units of a limit that are about.
    fn about(&self, limit: usize) -> u64 {
        self.members.iter().map(|member| member.held[limit]).sum::<u64>() + self.spare[limit].units
    }

    /// After a limit was lowered, what comes back is not given out again.
    fn shrink(&mut self, limit: usize) {
        let too_many = self.about(limit).saturating_sub(self.whole[limit]);
        // Those that the provider has forgotten first.
        self.spare[limit].take(too_many, Time::MAX);
    }

    /// Takes over the units of a member of which nothing is counted after `counted_by`.
    fn inherit(&mut self, contract: &Contract, member: &Member, counted_by: Time, working: Duration) {
        let now = self.now;
        self.buried.retain(|(since, _)| *since + REMEMBERED > now);
        self.buried.push((now, member.id));
        for (i, (limit, meter)) in contract.limits().enumerate() {
            let working = if is_concurrency(limit.rule()) { working } else { Duration::ZERO };
            let at = meter.free_after(counted_by + working);
            self.spare[i].merge(member.estate(i, counted_by, at));
            self.spare[i].tidy(meter, self.now);
            self.shrink(i);
        }
    }
}

fn wholes(contract: &Contract) -> Vec<u64> {
    contract.limits().map(|(_, meter)| meter.greatest_cost()).collect()
}

fn is_concurrency(rule: &Rule) -> bool {
    matches!(rule, Rule::Concurrency { .. })
}

/// What a bucket of another size holds is not known from its date: whatever is not full is taken as
/// empty.
fn refill(meter: &Meter, part: &mut Part, now: Time) {
    if let Meter::Pace(_) = meter {
        let (in_use, empty) = (part.in_use(now), meter.free_after(now));
        let later: Vec<(Time, u64)> = part.dated.drain(..).filter(|(at, _)| *at > empty).collect();
        let latest: u64 = later.iter().map(|(_, units)| units).sum();
        part.units -= in_use.min(part.units);
        part.add(in_use - latest, empty);
        for (at, units) in later {
            part.add(units, at);
        }
    }
}

#[cfg(test)]
mod tests;
