//! Limits that each key, account or shop has for itself.

use std::collections::HashMap;

use crate::model::Judge;

/// Tenants that have limits of their own, at most; those that come later share those of nobody.
const MOST: usize = 100_000;

/// A judge for each tenant.
#[derive(Debug)]
pub(super) struct Tenants {
    /// What a new one begins with.
    fresh: Judge,
    names: HashMap<Box<str>, Tenant>,
    /// The first is that of requests that name no tenant.
    judges: Vec<Judge>,
}

/// Whose limits a request counts against; nobody's in particular by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tenant(usize);

impl Tenants {
    /// All of them begin with `fresh`.
    pub(super) fn new(fresh: Judge) -> Self {
        Self { judges: vec![fresh.clone()], names: HashMap::new(), fresh }
    }

    /// The same ones, whose calendars start over at this Unix time in nanoseconds.
    pub(super) fn starting_at(&self, unix_ns: i64) -> Self {
        let restarted = |judge: &Judge| judge.clone().starting_at(unix_ns);
        let judges = self.judges.iter().map(restarted).collect();
        Self { fresh: restarted(&self.fresh), names: self.names.clone(), judges }
    }

    pub(super) fn named(&mut self, name: &str) -> Tenant {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        if self.names.len() >= MOST {
            return Tenant::default();
        }
        let tenant = Tenant(self.judges.len());
        self.judges.push(self.fresh.clone());
        self.names.insert(name.into(), tenant);
        tenant
    }

    pub(super) fn judge(&mut self, tenant: Tenant) -> &mut Judge {
        &mut self.judges[tenant.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Verdict;

    #[test]
    fn each_has_limits_of_its_own() {
        let mut tenants = Tenants::new(Judge::new(&["rolling 1/s".parse().unwrap()], false));
        let mut accepts = |name: &str| {
            let tenant = tenants.named(name);
            tenants.judge(tenant).arrive(0) == Verdict::Accept
        };
        assert_eq!(["a", "b", "a", "b", "c"].map(&mut accepts), [true, true, false, false, true]);
        let nobody = Tenant::default();
        assert_eq!(tenants.judge(nobody).arrive(0), Verdict::Accept);
        assert_ne!(tenants.judge(nobody).arrive(0), Verdict::Accept);
    }

    #[test]
    fn beyond_the_most_all_share_one() {
        let mut tenants = Tenants::new(Judge::new(&[], false));
        for i in 0..MOST {
            assert_ne!(tenants.named(&i.to_string()), Tenant::default());
        }
        assert_eq!(tenants.named("one more"), Tenant::default());
        assert_eq!(tenants.named("7"), Tenant(8));
    }
}
