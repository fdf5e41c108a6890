//! What a job has spent, and what its calls under way may cost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Money;
use crate::log::Control;

/// The money of a job, over all its runs.
#[derive(Debug)]
pub(crate) struct Purse {
    most: Option<Money>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spent: Spent,
    /// At most, by calls under way.
    staked: Money,
    calls: u64,
    /// What the log knows.
    noted: Spent,
}

/// What was spent, as far as answers said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spent {
    pub(crate) money: Money,
    /// Of that, the most that calls can have cost whose answers did not say, or never came.
    pub(crate) at_most: Money,
    /// Calls of which nothing is known at all: no price, or no bound.
    pub(crate) unpriced: u64,
}

/// Why a call is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It depends on what the calls under way will cost.
    Wait,
    /// There is not enough left: so much was spent.
    Spent(Money),
}

/// Money set aside for a call. Dropped, it goes back; once the call is sent, it is spent.
#[derive(Debug)]
pub(crate) struct Stake {
    purse: Arc<Purse>,
    amount: Money,
    sent: bool,
}

impl Purse {
    /// Earlier runs have spent `before`; all together may spend `most`.
    pub(crate) fn new(before: Spent, most: Option<Money>) -> Self {
        let state = State { spent: before, noted: before, ..State::default() };
        Self { most, state: Mutex::new(state) }
    }

    /// Sets aside what a call costs at most.
    pub(crate) fn stake(self: &Arc<Self>, amount: Money) -> Result<Stake, Refused> {
        let mut state = self.lock();
        let after = state.spent.money.plus(state.staked).plus(amount);
        if self.most.is_some_and(|most| after > most) {
            return Err(if state.calls > 0 { Refused::Wait } else { Refused::Spent(state.spent.money) });
        }
        state.staked = state.staked.plus(amount);
        state.calls += 1;
        drop(state);
        Ok(Stake { purse: Arc::clone(self), amount, sent: false })
    }

    /// A call has cost that.
    pub(crate) fn spend(&self, cost: Money) {
        let mut state = self.lock();
        state.spent.money = state.spent.money.plus(cost);
    }

    /// A call may have cost so much, and nobody says what.
    pub(crate) fn spend_at_most(&self, cost: Option<Money>) {
        let spent = &mut self.lock().spent;
        match cost {
            Some(cost) => {
                spent.money = spent.money.plus(cost);
                spent.at_most = spent.at_most.plus(cost);
            }
            None => spent.unpriced += 1,
        }
    }

    pub(crate) fn spent(&self) -> Spent {
        self.lock().spent
    }

    pub(crate) fn most(&self) -> Option<Money> {
        self.most
    }

    /// What the log is to say, if that is news.
    pub(crate) fn news(&self) -> Option<Control> {
        let mut state = self.lock();
        let spent = state.spent;
        let Spent { money, at_most, unpriced } = spent;
        (std::mem::replace(&mut state.noted, spent) != spent).then_some(Control::Spent {
            units: money.0,
            at_most: at_most.0,
            unpriced,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stake {
    /// The call is being sent.
    pub(crate) fn sent(&mut self) {
        self.sent = true;
    }

    /// The call is over, and has cost nothing but what was spent otherwise.
    pub(crate) fn over(mut self) {
        self.sent = false;
    }
}

impl Drop for Stake {
    fn drop(&mut self) {
        let mut state = self.purse.lock();
        state.staked = state.staked.minus(self.amount);
        state.calls -= 1;
        drop(state);
        if self.sent {
            self.purse.spend_at_most(Some(self.amount));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purse(most: u64) -> Arc<Purse> {
        Arc::new(Purse::new(Spent::default(), Some(Money(most))))
    }

    #[test]
    fn no_call_is_made_that_could_cost_too_much() {
        let purse = purse(100);
        let mut first = purse.stake(Money(60)).unwrap();
        assert_eq!(purse.stake(Money(50)).unwrap_err(), Refused::Wait);
        first.sent();
        purse.spend(Money(20));
        first.over();
        let mut second = purse.stake(Money(80)).unwrap();
        second.sent();
        drop(second); // its answer never came
        assert_eq!(purse.spent().at_most, Money(80));
        assert_eq!(purse.stake(Money(1)).unwrap_err(), Refused::Spent(Money(100)));
    }

    #[test]
    fn what_is_not_sent_costs_nothing_and_news_are_told_once() {
        let purse = purse(100);
        drop(purse.stake(Money(100)).unwrap());
        assert_eq!((purse.spent(), purse.news()), (Spent::default(), None));
        purse.spend(Money(7));
        assert_eq!(purse.news(), Some(Control::Spent { units: 7, at_most: 0, unpriced: 0 }));
        assert_eq!(purse.news(), None);
    }
}
