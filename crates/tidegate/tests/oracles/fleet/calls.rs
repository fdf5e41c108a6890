//! Calls, from the permit to the last byte.

use std::time::Duration;

use tidegate_core::{Decision, Grant, Outcome, Why};
use tidegate_sim::model::{Settlement, Verdict};

use super::{Call, Kind, World};
use crate::client::Cost;

impl World<'_> {
    /// Sends whatever is granted.
    pub(super) fn pump(&mut self, now: u64, place: usize) {
        let clock = self.processes[place].clock;
        let time = clock.at(now);
        while self.processes[place].alive && !self.processes[place].frozen {
            let process = &mut self.processes[place];
            let costs = process.costs;
            match process.quota.take(&costs, time) {
                Decision::Grant(grant) => self.send(now, place, grant),
                Decision::Wait(wait) => {
                    self.out.run.met_the_limit |= matches!(wait.why, Why::Limit(_) | Why::Share(_));
                    let Some(until) = wait.until else { return };
                    assert!(until > time, "seed {}: told to wait for the past", self.fleet.seed);
                    let until = clock.when(until);
                    if process.looks_at <= now || process.looks_at > until {
                        process.looks_at = until;
                        self.expect(until, Kind::Look, place as u32);
                    }
                    return;
                }
            }
        }
    }

    pub(super) fn send(&mut self, now: u64, place: usize, grant: Grant) {
        let trip = self.fleet.network.trip(now, &mut self.rng);
        let (life, cost) = (self.processes[place].life, self.processes[place].cost);
        let number = self.out.run.sent.len();
        self.out.run.sent.push(now);
        self.trace.call(|time| self.fleet.provider_time(time), now, &trip, cost);
        self.out.senders.push(place as u16);
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

    pub(super) fn call_goes_on(&mut self, now: u64, kind: Kind, id: u32) {
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
                    process.quota.answered(grant, process.clock.at(now));
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

    pub(super) fn count(&mut self, now: u64, call: &mut Call) {
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

    pub(super) fn finish(&mut self, now: u64, call: &Call) {
        let at = self.fleet.provider_time(now);
        let Cost { reserved, actual } = call.cost;
        let arrived = call.arrived.expect("counted before it is over");
        for provider in &mut self.providers {
            provider.finish_costing(at, Settlement { arrived, reserved, actual });
        }
    }

    pub(super) fn end(&mut self, now: u64, call: &mut Call) {
        let grant = call.grant.take().expect("not settled");
        let mut actual = *grant.costs();
        let outcome = self.out.run.note_end(&call.trip, call.sent);
        if outcome == Outcome::Answered {
            self.varying.iter().for_each(|&limit| actual.set(limit, call.cost.actual));
        }
        let process = &mut self.processes[call.place];
        process.quota.settle_costing(grant, outcome, &actual, process.clock.at(now));
    }
}
