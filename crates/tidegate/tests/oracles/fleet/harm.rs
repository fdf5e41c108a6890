//! What happens to processes: they die, freeze, leave, and others take their places.

use std::cmp::Reverse;

use tidegate_core::{LEASE, Pool};

use super::{Kind, World};
use crate::network::SECOND;

impl World<'_> {
    pub(super) fn trouble_at(&mut self, place: usize, now: u64) {
        if let Some(trouble) = self.fleet.trouble {
            let at = now + self.rng.u64(..2 * trouble.every) + 1;
            self.expect(at, Kind::Trouble, place as u32);
        }
    }

    pub(super) fn trouble(&mut self, now: u64, place: usize) {
        if self.one_in_lost() {
            // Somebody sets the limits that are in force: nothing changes.
            self.pool.resize(&self.fleet.contracts[0], self.pool_clock.at(now));
        }
        match self.rng.u64(..8) {
            _ if !self.processes[place].alive => {
                // Somebody else takes its place.
                let life = self.processes[place].life + 1;
                self.processes[place] = self.process(place, life);
                self.next_cost(place);
                self.exchange_at(place, now);
            }
            0 | 1 => self.die(now, place, true),
            2 => self.die(now, place, false),
            3 => {
                let process = &mut self.processes[place];
                process.targets.fill(0);
                process.seq += 1;
                let (id, written) = (process.id, process.clock.at(now));
                let report = Self::report(process, self.fleet, written);
                // What it had not been told of yet it has never had.
                self.close_connections(now, place);
                let (time, report) = (self.pool_clock.at(now), self.said(report, written));
                let report = if self.fleet.apart_ppm.is_some() { report.in_dates(time) } else { report };
                self.pool.leave(&self.fleet.contracts[0], id, &report, time);
            }
            // Most of them end within the lease, some after it, and some when it is too late.
            fate => {
                let timeout = self.fleet.network.timeout;
                let most = [2 * SECOND, 6 * SECOND, timeout + 4 * SECOND, 2 * timeout + 8 * SECOND]
                    [fate as usize % 4];
                self.processes[place].frozen = true;
                let until = now + self.rng.u64(..most) + 1;
                self.expect(until, Kind::Thaw, place as u32);
                return;
            }
        }
        self.trouble_at(place, now);
    }

    pub(super) fn loss_at(&mut self, now: u64) {
        if let Some(trouble) = self.fleet.trouble.filter(|trouble| trouble.loses > 0) {
            let at = now + self.rng.u64(..2 * trouble.loses) + 1;
            self.expect(at, Kind::Loss, 0);
        }
    }

    /// The pool forgets everything. Leases are live, and calls under way: nothing is given out until all of that is over.
    pub(super) fn lose(&mut self, now: u64) {
        let (contract, time) = (&self.fleet.contracts[0], self.pool_clock.at(now));
        let timeout = Self::timeout(self.fleet);
        self.pool = Pool::new(contract);
        self.pool.unknown_until(contract, time + LEASE + timeout);
        self.known.clear();
        self.out.losses += 1;
        self.loss_at(now);
    }

    fn die(&mut self, now: u64, place: usize, known: bool) {
        self.close_connections(now, place);
        // Whether it has died nobody sees from another machine.
        if known && self.fleet.apart_ppm.is_none() {
            let (contract, id) = (&self.fleet.contracts[0], self.processes[place].id);
            self.pool.bury(contract, id, self.pool_clock.at(now));
        }
    }

    /// The process is no more, and what had left of its calls is counted by now.
    fn close_connections(&mut self, now: u64, place: usize) {
        self.processes[place].alive = false;
        let life = self.processes[place].life;
        for id in 0..self.calls.len() {
            let Some(mut call) = self.calls[id].take() else { continue };
            if (call.place, call.life) == (place, life) && call.trip.counted.is_some() {
                self.count(now, &mut call);
                self.trace.closed(call.number, self.fleet.provider_time(now));
            }
            self.calls[id] = Some(call);
        }
    }

    /// It goes on where it was, before it reads what has come meanwhile.
    pub(super) fn thaw(&mut self, now: u64, place: usize) {
        self.processes[place].frozen = false;
        self.pump(now, place);
        // It may hear from the pool before it learns what became of its calls.
        let busy = if self.rng.bool() { 0 } else { self.rng.u64(..3 * SECOND) };
        for (kind, id) in std::mem::take(&mut self.processes[place].deferred) {
            match kind {
                Kind::Head | Kind::End if busy > 0 => self.events.push(Reverse((now + busy, kind, id))),
                _ => self.happen(now, kind, id),
            }
        }
        self.exchange_at(place, now);
        self.trouble_at(place, now);
    }
}
