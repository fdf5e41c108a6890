//! A contract, the providers that enforce it, and what is asked of a run.

use std::num::NonZeroU64;
use std::time::Duration;

use fastrand::Rng;
use tidegate_core::{Contract, Limit, Meter, Mode, Pacing, Terms};
use tidegate_sim::Latency;
use tidegate_sim::model::{Judge, LimitSpec};

use crate::client::{Cost, Restarts, Run, World};
use crate::network::{MS, Network};

/// Of what the formula says, a run may miss so much unless a case says why not.
const LOSS: f64 = 0.015;
/// How far the provider's clock is taken to drift, a hair less than the margin's 200 ppm.
pub(crate) const DRIFT_PPM: [i64; 3] = [-199, 0, 199];
/// Runs of a case over networks that mean ill, at most; each has to exhaust its quota.
const ADVERSE_RUNS: u64 = 8;

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) limits: Vec<Limit>,
    pub(crate) terms: Terms,
    pub(crate) providers: Vec<Judge>,
    /// Half of them over a real network, half over those that mean ill.
    pub(crate) calls: u64,
    /// What the networks' ill will is tuned to.
    pub(crate) window: u64,
    pub(crate) cost: fn(&mut Rng) -> Cost,
    pub(crate) copies: u32,
    pub(crate) body: Latency,
    pub(crate) used_up: bool,
    pub(crate) restarts: Option<Restarts>,
    pub(crate) unix_ns: i64,
    pub(crate) tells_dates: bool,
    /// Of what the formula says, a run may miss so much.
    pub(crate) loss: f64,
}

impl Case {
    /// These limits, enforced by no one yet.
    pub(crate) fn new(limits: &[&str], calls: u64) -> Self {
        Self::of(limits.iter().map(|text| text.parse().unwrap()).collect(), calls)
    }

    pub(crate) fn of(limits: Vec<Limit>, calls: u64) -> Self {
        let windows = limits.iter().filter_map(|limit| limit.rule().per());
        let window = windows.min().map_or(100 * MS, |per| per.as_nanos() as u64);
        Self {
            limits,
            terms: Terms::default(),
            providers: Vec::new(),
            calls,
            window,
            cost: |_| Cost { reserved: 1, actual: 1 },
            copies: 1,
            body: Latency::ZERO,
            used_up: false,
            restarts: None,
            unix_ns: 0,
            tells_dates: false,
            loss: LOSS,
        }
    }

    /// A provider for each of these limits.
    pub(crate) fn judged(mut self, providers: &[&str]) -> Self {
        self.providers.extend(providers.iter().map(|limit| judge(&[limit])));
        self
    }

    /// One provider that enforces all of these.
    pub(crate) fn judged_together(mut self, limits: &[&str]) -> Self {
        self.providers.push(judge(limits));
        self
    }

    /// Fixed windows that begin at so many phases.
    pub(crate) fn at_phases(self, kind: &str, rate: &str, phases: u64) -> Self {
        let period = format!("rolling {rate}").parse::<LimitSpec>().unwrap().window().unwrap();
        let phase = |i| period.as_nanos() as u64 * i / phases;
        let texts: Vec<String> = (0..phases).map(|i| format!("{kind} {rate} phase {}ns", phase(i))).collect();
        self.judged(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub(crate) fn costing(mut self, cost: fn(&mut Rng) -> Cost) -> Self {
        self.cost = cost;
        self
    }

    pub(crate) fn with_body(mut self, latency: &str) -> Self {
        self.body = latency.parse().unwrap();
        self
    }

    pub(crate) fn with_latency(mut self, latency: Duration) -> Self {
        self.terms.latency = latency;
        self
    }

    pub(crate) fn counted_within(mut self, counted_within: Duration) -> Self {
        self.terms.mode = Mode::Estimated { counted_within };
        self
    }

    pub(crate) fn arriving(mut self, copies: u32) -> Self {
        self.copies = copies;
        self
    }

    pub(crate) fn used_up(mut self) -> Self {
        self.used_up = true;
        self
    }

    pub(crate) fn restarting(mut self, every: Duration) -> Self {
        let contract: fn(&Contract, u64) -> Contract = |contract, _| contract.clone();
        self.restarts = Some(Restarts { every: every.as_nanos() as u64, contract });
        self
    }

    pub(crate) fn losing(mut self, loss: f64) -> Self {
        self.loss = loss;
        self
    }

    /// Runs all of it, so many times as long; panics if a call is rejected or the quota is not used.
    pub(crate) fn run(&self, seed: u64, factor: u64) -> u64 {
        let calls = (self.calls * factor / 4).max(20);
        for pacing in [Pacing::Even, Pacing::Burst] {
            let run = self.play(Network { body: self.body, ..Network::real() }, pacing, 0, calls, seed);
            self.assert_used(&run, pacing, seed);
        }
        let mut rng = Rng::with_seed(seed);
        let greatest = self.limits.iter().map(Limit::amount).max().unwrap_or(1);
        let runs = (self.calls / 2 / (3 * greatest)).clamp(1, ADVERSE_RUNS) * factor;
        let calls = (self.calls * factor / 2 / runs).max(20);
        for i in 0..runs {
            let network = Network { body: self.body, ..Network::adverse(self.window, &mut rng) };
            let pacing = if i % 2 == 0 { Pacing::Burst } else { Pacing::Even };
            let drift_ppm = DRIFT_PPM[rng.usize(..DRIFT_PPM.len())];
            let run = self.play(network, pacing, drift_ppm, calls, seed + i);
            assert!(
                run.met_the_limit || pacing == Pacing::Even || run.timed_out > 0,
                "{self}: seed {seed}: the limit was never met: {network:?}"
            );
        }
        self.calls * factor
    }

    /// One run, in which nothing may be rejected.
    pub(crate) fn play(
        &self,
        network: Network,
        pacing: Pacing,
        drift_ppm: i64,
        calls: u64,
        seed: u64,
    ) -> Run {
        let contract = self.contract(pacing);
        let world = World {
            contract: &contract,
            providers: &self.providers,
            network: self.network(network),
            cost: self.cost,
            copies: self.copies,
            drift_ppm,
            restarts: self.restarts,
            unix_ns: self.unix_ns,
            tells_dates: self.tells_dates,
            used_up: self.used_up,
            calls,
            seed,
        };
        let run = world.run();
        assert_eq!(
            run.rejected, 0,
            "{self}: seed {seed}: the first by (provider, limit, time) {:?}, with {pacing:?}, {drift_ppm} ppm, {network:?}",
            run.first_rejection
        );
        run
    }

    pub(crate) fn contract(&self, pacing: Pacing) -> Contract {
        Contract::new(&self.limits, pacing, self.terms).unwrap()
    }

    fn assert_used(&self, run: &Run, pacing: Pacing, seed: u64) {
        let share = self.share(run, pacing);
        assert!(share > 1.0 - self.loss, "{self}: seed {seed}: {share:.4} of the formula, with {pacing:?}");
    }

    /// The network, as far as the case says what it is like.
    pub(crate) fn network(&self, network: Network) -> Network {
        let counts_within = match self.terms.mode {
            Mode::Estimated { counted_within } => Some(counted_within.as_nanos() as u64),
            Mode::Guaranteed => None,
        };
        Network { counts_within, body: self.body, ..network }
    }

    /// What was used, as a share of what can be proved of the limit that binds.
    pub(crate) fn share(&self, run: &Run, pacing: Pacing) -> f64 {
        let contract = self.contract(pacing);
        let shares = contract.limits().map(|(limit, meter)| {
            let charged = if limit.refunds() { run.actual } else { run.reserved };
            let charged = charged as f64 / run.sent.len() as f64;
            let response = if limit.ends_with_head() { run.to_head } else { run.to_end }.value();
            // Until it is answered a call weighs what was reserved for it.
            let response = response.mul_f64(run.reserved as f64 / run.sent.len() as f64 / charged);
            // In the formula a call costs 1 where costs differ.
            let each = if limit.cost().is_none() { charged } else { 1.0 };
            let whole = match meter {
                Meter::Hold(hold) => hold.units() as f64 / limit.cost().map_or(charged, |cost| cost as f64),
                _ => 1.0,
            };
            run.steady_rate(whole as usize) * each / limit.provable_rate(meter, response)
        });
        shares.max_by(f64::total_cmp).expect("a contract has limits")
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limits: Vec<String> = self.limits.iter().map(ToString::to_string).collect();
        write!(f, "{}", limits.join(" + "))
    }
}

impl Run {
    /// Calls per second, without the first fifth; of bursts of `whole` calls, whole ones.
    fn steady_rate(&self, whole: usize) -> f64 {
        let last = self.sent.len() - 1;
        let calls = last * 4 / 5;
        let calls = if whole > calls { calls } else { calls / whole * whole };
        calls as f64 / ((self.sent[last] - self.sent[last - calls]) as f64 / 1e9)
    }
}

pub(crate) fn judge(limits: &[&str]) -> Judge {
    let limits: Vec<LimitSpec> = limits.iter().map(|limit| limit.parse().unwrap()).collect();
    Judge::new(&limits, true)
}

pub(crate) fn units(units: u64) -> NonZeroU64 {
    NonZeroU64::new(units).expect("a limit allows something")
}
