//! What calls cost, and the end of the money.

use bytes::Bytes;
use tidegate_core::{Costs, Outcome};

use super::job::Job;
use super::{Ended, Engine, lock};
use crate::job::ChargeError;
use crate::llm::{Price, Refused, Spent, Usage};
use crate::report::Cost;
use crate::template::Call;

impl Engine {
    /// The price of the model that a call asks for. It may be unknown as long as nothing depends on it.
    pub(super) fn price(&self, call: &Call) -> Result<Option<Price>, ChargeError> {
        let Some(purse) = &self.purse else { return Ok(None) };
        match self.prices.of(&call.body) {
            Ok(price) => Ok(Some(price)),
            Err(model) if purse.most().is_some() => Err(ChargeError::NoPrice { model }),
            Err(_) => Ok(None),
        }
    }

    /// Sets aside what a call costs at most. If there is not enough, it waits for what calls under way will
    /// have cost; without any, the job ends.
    pub(super) fn may_spend(&self, job: &mut Job) -> bool {
        let Some(purse) = &self.purse else { return true };
        let Some((most, price)) = purse.most().zip(job.price) else { return true };
        let amount = price.most(job.most);
        match purse.stake(amount) {
            Ok(stake) => job.stake = Some(stake),
            Err(Refused::Wait) => return false,
            Err(Refused::Spent(spent)) => {
                self.stop(Ended::Stopped(format!(
                    "{spent} of --max-cost {most} are spent, and the next call may cost {amount}"
                )));
                return false;
            }
        }
        true
    }

    /// A call is over: what has it taken of each limit, if that is not what was reserved, and what has it
    /// cost?
    pub(super) fn settle_up(
        &self,
        job: &mut Job,
        outcome: Outcome,
        is_result: bool,
        body: Option<&Bytes>,
    ) -> Option<Costs> {
        let usage = body.filter(|_| self.speaks_tokens).and_then(|body| Usage::read(body));
        let actual = body.and_then(|body| self.charges.actual(job.costs, job.most, body, usage.as_ref()));
        self.spend(job, outcome, is_result, usage.as_ref());
        if let Some(usage) = &usage {
            let of = |costs: Costs| self.charges.token_limit().map_or(0, |limit| costs.of(limit));
            lock(&self.stats).took(usage, of(job.costs), of(actual.unwrap_or(job.costs)));
        }
        actual
    }

    fn spend(&self, job: &mut Job, outcome: Outcome, is_result: bool, usage: Option<&Usage>) {
        let stake = job.stake.take();
        let Some(purse) = &self.purse else { return };
        let cost = usage.map(|usage| job.price.map(|price| price.of(usage)));
        match cost {
            Some(Some(cost)) => purse.spend(cost),
            Some(None) => purse.spend_at_most(None),
            // Nothing was done, or the provider said that it would not do it.
            None if outcome == Outcome::NotSent || (outcome == Outcome::Answered && !is_result) => {}
            None => {
                // With a stake, its end says so.
                if stake.is_none() {
                    purse.spend_at_most(None);
                }
                return;
            }
        }
        if let Some(stake) = stake {
            stake.over();
        }
    }

    /// What the job has cost so far.
    pub(super) fn cost(&self) -> Option<Cost> {
        let Spent { money, at_most, unpriced } = self.purse.as_ref()?.spent();
        Some(Cost { spent: money, at_most, unpriced })
    }
}
