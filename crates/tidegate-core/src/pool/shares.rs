//! What each member should hold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fair::{Claims, divide_by_priority};
use super::{Member, MemberId, Pool, Priority};
use crate::contract::Contract;
use crate::time::Time;

/// Among so many members, what is fair for each is not worked out anew at each exchange.
const MANY: usize = 32;
/// But so often.
const STEADY: Duration = Duration::from_millis(100);
/// A turn lasts so long at least, so that units do not move all the time.
const TURN: Duration = Duration::from_secs(1);
/// Who comes before others and wants all there is gets one in so many at first, and then twice what it has: a single call
/// does not stop everybody below it.
const AT_FIRST: u64 = 32;

/// The member that gets what its next call needs, however little its fair share is, and what is left when shares do
/// not come out even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Turn {
    member: MemberId,
    since: Time,
    /// What it had granted by then.
    granted: u64,
}

/// What each of those that were alive should hold, by limit. It only guides: whether units move is a matter of what is
/// spare.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shares {
    at: Time,
    /// In the order of ids.
    targets: Vec<(MemberId, Vec<u64>)>,
    /// What each priority leaves spare, by limit.
    asides: Vec<Vec<u64>>,
}

impl Shares {
    /// What `member` should hold, and leave. One that comes anew has its share when it is worked out next; if it comes before
    /// others it has what its call needs.
    fn of(&self, member: &Member) -> (Vec<u64>, Vec<u64>) {
        let place = self.targets.binary_search_by_key(&member.id, |(id, _)| *id);
        let needs = |need: u64| if member.priority == Priority::High { need } else { 0 };
        let targets = place.map_or_else(
            |_| member.demand.iter().map(|demand| needs(demand.need)).collect(),
            |place| self.targets[place].1.clone(),
        );
        (targets, self.asides[member.priority.rank()].clone())
    }
}

impl Pool {
    /// What the member at `place` should hold, and how much it leaves spare for those of higher priority.
    pub(super) fn targets(&mut self, contract: &Contract, place: usize, now: Time) -> (Vec<u64>, Vec<u64>) {
        if let Some(shares) = self.shares.as_ref().filter(|shares| now < shares.at + STEADY) {
            return shares.of(&self.members[place]);
        }
        // Nothing can be had of those who are not heard of; nor do they need anything.
        let alive: Vec<usize> = (0..self.members.len()).filter(|&i| self.members[i].until > now).collect();
        let ranks = Priority::ALL.map(|priority| {
            let of_rank = |place: &usize| self.members[alive[*place]].priority == priority;
            (0..alive.len()).filter(of_rank).collect::<Vec<usize>>()
        });
        let firsts = [0, 1, 2].map(|rank| self.whose_turn(rank, &ranks[rank], &alive, now));
        let divided = (0..self.whole.len()).map(|limit| {
            let claims = Priority::ALL.map(|priority| {
                let rank = priority.rank();
                let kept = contract.terms().reserve.kept_from(priority, self.whole[limit]);
                let is_lowest = ranks[rank + 1..].iter().all(Vec::is_empty);
                self.claims(limit, &ranks[rank], &alive, firsts[rank], kept, is_lowest)
            });
            let stuck = self.members.iter().filter(|member| member.until <= now).map(|m| m.held[limit]);
            let total = self.whole[limit].saturating_sub(stuck.sum());
            divide_by_priority(total, &claims, alive.len())
        });
        let (given, asides): (Vec<Vec<u64>>, Vec<Vec<u64>>) = divided.unzip();
        let by_limit = |of: &[Vec<u64>], at: usize| of.iter().map(|of| of[at]).collect::<Vec<u64>>();
        let targets = alive.iter().enumerate();
        let shares = Shares {
            at: now,
            targets: targets.map(|(at, &i)| (self.members[i].id, by_limit(&given, at))).collect(),
            asides: [0, 1, 2].map(|rank| by_limit(&asides, rank)).to_vec(),
        };
        let own = shares.of(&self.members[place]);
        self.shares = (alive.len() > MANY).then_some(shares);
        own
    }

    /// What the members of one priority claim of a limit.
    fn claims(
        &self,
        limit: usize,
        of_rank: &[usize],
        alive: &[usize],
        first: usize,
        kept: u64,
        is_lowest: bool,
    ) -> Claims {
        let member = |place: usize| &self.members[alive[place]];
        let at_first = self.whole[limit].div_ceil(AT_FIRST);
        let wants = of_rank.iter().map(|&place| {
            let (demand, held) = (member(place).demand[limit], member(place).held[limit]);
            let wants = demand.units.max(demand.need);
            if is_lowest { wants } else { wants.min(held.saturating_mul(2).max(demand.need).max(at_first)) }
        });
        Claims {
            places: of_rank.to_vec(),
            wants: wants.collect(),
            first,
            need: of_rank.get(first).map_or(0, |&place| member(place).demand[limit].need),
            held: of_rank.iter().map(|&place| member(place).held[limit]).sum(),
            kept,
        }
    }

    /// The place among the members of a priority of the one whose turn it is.
    fn whose_turn(&mut self, rank: usize, of_rank: &[usize], alive: &[usize], now: Time) -> usize {
        let member = |place: usize| &self.members[alive[of_rank[place]]];
        let wants = |place: usize| member(place).demand.iter().any(|d| d.units > 0 || d.need > 0);
        let count = of_rank.len();
        if let Some(turn) = self.turns[rank]
            && let Some(first) = (0..count).find(|&place| member(place).id == turn.member)
            && wants(first)
        {
            let served = member(first).granted > turn.granted;
            if !served || now < turn.since + TURN {
                return first;
            }
        }
        if count == 0 {
            return 0;
        }
        // Whoever comes after, in the order of ids.
        let last = self.turns[rank].map_or(MemberId(0), |turn| turn.member);
        let after = (0..count).find(|&place| member(place).id > last).unwrap_or(0);
        let next = (0..count).map(|i| (after + i) % count).find(|&place| wants(place)).unwrap_or(after);
        let (id, granted) = (member(next).id, member(next).granted);
        self.turns[rank] = Some(Turn { member: id, since: now, granted });
        next
    }
}
