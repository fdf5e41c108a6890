//! What a run has learnt of limits that nobody has declared.

use tidegate_core::{Belief, Heard};

use super::summary::{LearntLimit, LearntUse};

/// After so many answers that tell nothing, it is said that they do.
const MANY_UNTOLD: u64 = 20;

#[derive(Debug)]
pub(super) struct Learning {
    /// There is one of each for each partition; the first of them are told of.
    partitioned: bool,
    beliefs: Vec<Belief>,
    /// Answers before the first that told of a limit.
    untold: u64,
    is_told: bool,
}

impl Learning {
    pub(super) fn new(partitioned: bool) -> Self {
        Self { partitioned, beliefs: Vec::new(), untold: 0, is_told: false }
    }

    pub(super) fn heard(&mut self, heard: Heard) {
        self.is_told |= heard.is_useful;
        self.untold += u64::from(!self.is_told);
        for belief in heard.beliefs {
            match self.beliefs.iter_mut().find(|known| known.resource == belief.resource) {
                Some(known) if !self.partitioned => *known = belief,
                Some(_) => {}
                None => self.beliefs.push(belief),
            }
        }
    }

    pub(super) fn name(&self, index: usize) -> String {
        let belief = self.beliefs.iter().find(|belief| belief.index == index);
        belief.map_or_else(|| "a limit that was learnt".to_owned(), |belief| belief.limit.to_string())
    }

    pub(super) fn report(&self) -> LearntUse {
        let limit = |belief: &Belief| LearntLimit {
            resource: belief.resource.to_string(),
            limit: belief.limit.to_string(),
            window_told: belief.window_told,
        };
        LearntUse {
            limits: self.beliefs.iter().map(limit).collect(),
            is_told: self.is_told,
            is_untold: self.untold >= MANY_UNTOLD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belief(limit: &str) -> Belief {
        Belief { index: 0, resource: "core".into(), limit: limit.parse().unwrap(), window_told: true }
    }

    fn told(limit: &str) -> Heard {
        Heard { beliefs: vec![belief(limit)], is_useful: true, ..Heard::default() }
    }

    #[test]
    fn silence_is_noticed_after_twenty_answers() {
        let mut learning = Learning::new(false);
        (0..19).for_each(|_| learning.heard(Heard::default()));
        assert!(!learning.report().is_untold);
        learning.heard(Heard::default());
        assert!(learning.report().is_untold && !learning.report().is_told);
    }

    #[test]
    fn of_a_limit_that_changes_the_latest_is_told_and_of_many_quotas_the_first() {
        for (partitioned, last) in [(false, "200/min"), (true, "100/min")] {
            let mut learning = Learning::new(partitioned);
            learning.heard(told("100/min"));
            learning.heard(told("200/min"));
            let report = learning.report();
            assert_eq!((report.limits.len(), &*report.limits[0].limit), (1, last));
            assert_eq!((learning.name(0), learning.name(1)), (last.into(), "a limit that was learnt".into()));
        }
    }
}
