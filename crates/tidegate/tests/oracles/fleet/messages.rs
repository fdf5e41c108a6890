//! What processes and their pool say to each other.

use std::time::Duration;

use tidegate_core::{Priority, Report, Time};

use super::{Fleet, Kind, Message, Process, World};
use crate::network::{MS, SECOND};

/// Between exchanges: as a rule, and while a member lacks something or has had no answer.
const EXCHANGES: (u64, u64) = (500 * MS, 200 * MS);
/// Among more members, what they hold is not added up at each exchange.
const FEW: usize = 32;

impl World<'_> {
    pub(super) fn exchange_at(&mut self, place: usize, at: u64) {
        self.processes[place].exchanges_at = at;
        self.expect(at, Kind::Exchange, place as u32);
    }

    pub(super) fn exchange(&mut self, now: u64, place: usize) {
        let process = &mut self.processes[place];
        if !process.alive || process.frozen {
            return;
        }
        let time = process.clock.at(now);
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
            let message = Message {
                place,
                life,
                from,
                report: self.said(report.clone(), time),
                written: time,
                answer: None,
            };
            self.post(now, Kind::Store, message);
        }
        self.exchange_at(place, now + EXCHANGES.1);
    }

    pub(super) fn report(process: &mut Process, fleet: &Fleet<'_>, time: Time) -> Report {
        Report {
            seq: process.seq,
            ceded: process.quota.cede(&process.targets, time),
            demand: process.quota.demand(time),
            priority: if fleet.ranked { Priority::ALL[process.id.0 as usize % 3] } else { Priority::Normal },
            granted: process.quota.granted(),
            timeout: Self::timeout(fleet),
            paused_until: Time::ZERO,
        }
    }

    /// Calls are given up by then.
    pub(super) fn timeout(fleet: &Fleet<'_>) -> Duration {
        let body = if fleet.network.body.is_zero() { 0 } else { SECOND };
        Duration::from_nanos(fleet.network.timeout + body)
    }

    /// As it is told, at `written` by its clock.
    pub(super) fn said(&self, report: Report, written: Time) -> Report {
        if self.fleet.apart_ppm.is_some() { report.in_lengths(written) } else { report }
    }

    pub(super) fn post(&mut self, now: u64, kind: Kind, message: Message) {
        let delay = self.fleet.trouble.map_or(MS, |trouble| trouble.delay);
        let delay = self.rng.u64(..=delay);
        let id = self.no_message.pop().unwrap_or_else(|| {
            self.messages.push(None);
            self.messages.len() as u32 - 1
        });
        self.messages[id as usize] = Some(message);
        self.expect(now + delay, kind, id);
    }

    pub(super) fn one_in_lost(&mut self) -> bool {
        self.fleet.trouble.is_some_and(|trouble| self.rng.u64(..trouble.lost) == 0)
    }

    pub(super) fn reach_the_pool(&mut self, now: u64, id: u32) {
        let Some(mut message) = self.messages[id as usize].take() else { return };
        self.no_message.push(id);
        let (contract, time) = (&self.fleet.contracts[0], self.pool_clock.at(now));
        let is_apart = self.fleet.apart_ppm.is_some();
        if is_apart {
            message.report = message.report.in_dates(time);
        }
        self.out.exchanges += 1;
        self.out.buried += self.pool.expire(contract, time).len() as u64;
        // Of former members nothing is known, and nothing they say means anything.
        if self.known.contains(&message.from) {
            message.answer = self.pool.exchange(contract, message.from, &message.report, time);
        }
        if is_apart {
            message.answer = message.answer.map(|answer| answer.in_lengths(time));
        }
        let adds_up = self.pool.members().len() <= FEW || self.out.exchanges.is_multiple_of(64);
        for (i, (_, meter)) in contract.limits().enumerate().filter(|_| adds_up) {
            let held: u64 = self.pool.members().iter().map(|member| member.held()[i]).sum();
            assert_eq!(held + self.pool.spare()[i].units, meter.greatest_cost(), "seed {}", self.fleet.seed);
        }
        if !self.one_in_lost() {
            self.post(now, Kind::Answer, message);
        }
    }

    pub(super) fn answer(&mut self, now: u64, id: u32) {
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
        let (place, time) = (message.place, process.clock.at(now));
        let Some(mut allotment) = message.answer else {
            let id = self.new_id();
            let process = &mut self.processes[place];
            process.quota.forfeit();
            (process.id, process.seq) = (id, 0);
            process.targets.fill(0);
            self.out.forfeits += 1;
            return self.exchange_at(place, now);
        };
        if self.fleet.apart_ppm.is_some() {
            allotment = allotment.in_dates(message.written, time);
        }
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
