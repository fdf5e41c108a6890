//! What answers tell of the quota: silence, what is left of which limit, and that it is over for the day.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{AGE, DATE, HeaderMap};
use tidegate_core::feedback::{Dialects, Feedback, Reading, Reset};
use tidegate_core::{Contract, Limit, Rule, Told, Unit, WallClock};
use tidegate_quota::Permit;

use super::{Ended, Engine, lock};
use crate::feedback;
use crate::http::Head;
use crate::retry::Human;
use crate::signs::{Class, Signs};

/// The shortest pause after a 429, unless the shortest window is shorter still.
const LEAST_SILENCE: Duration = Duration::from_secs(1);
/// How far the clock that counts may be from the one that a provider's `Date` is read from.
const DATE_SKEW: Duration = Duration::from_secs(1);
/// After "you are too fast" in an answer that names no time, with a status that has other meanings, too:
/// what GitHub asks of those who meet its secondary limits.
const UNNAMED: Duration = Duration::from_secs(60);
/// A quota that is used up, and nobody says until when, is asked for again after this.
const USED_UP: Duration = Duration::from_secs(3_600);

/// What limits of points may be called in a job.
const POINTS: [&str; 2] = ["points", "cost"];

/// What is looked for in answers.
#[derive(Debug)]
pub(super) struct Ears {
    dialects: Dialects,
    signs: Signs,
    limits: Vec<Known>,
    /// Further limits are learnt.
    learns: bool,
    /// The unit of a limit of which bodies may tell; `None` if none is declared.
    points: Option<Unit>,
}

/// A limit that a provider may tell of.
#[derive(Debug)]
struct Known {
    index: usize,
    unit: Unit,
    amount: u64,
    per: Duration,
    /// What a bucket holds, and how long it takes to fill: so providers tell of one.
    bucket: Option<(u64, Duration)>,
}

/// What the head of an answer has told.
#[derive(Debug, Default)]
pub(super) struct News {
    /// How long nothing should be sent.
    silence: Option<Duration>,
    /// The call was one too many, by its head alone.
    is_rejected: bool,
}

impl Ears {
    pub(super) fn new((dialects, signs): (Dialects, Signs), contract: &Contract) -> Self {
        let limits = contract.limits().enumerate().filter_map(|(index, (limit, _))| {
            let (unit, amount, per) = (limit.unit().clone(), limit.amount(), limit.rule().per()?);
            let bucket = match limit.rule() {
                Rule::Bucket { capacity, .. } => Some((capacity.get(), fills_in(limit, capacity.get())?)),
                _ => None,
            };
            Some(Known { index, unit, amount, per, bucket })
        });
        let limits: Vec<Known> = limits.collect();
        let mut units = limits.iter().map(|limit| &limit.unit);
        let is_points = |unit: &&Unit| matches!(unit, Unit::Named(name) if POINTS.contains(&name.as_str()));
        let points = units.find(is_points).cloned();
        let learns = contract.is_learning();
        Self { dialects, signs, limits, learns, points }
    }

    /// What a body says of a limit. Only where such a limit is declared, or any is to be learnt: others
    /// are not looked at.
    fn body_tells(&self, body: &[u8]) -> Option<Reading> {
        if !self.learns && self.points.is_none() {
            return None;
        }
        let reading = feedback::throttle_status_of(body)?;
        let unit = self.points.clone().unwrap_or_else(|| reading.unit.clone());
        Some(Reading { unit, ..reading })
    }

    /// The limit that a reading is about: of its unit, and over its window if it names one. A greater
    /// amount than was declared, over a window that nobody knows, may be another limit.
    fn limit_of(&self, reading: &Reading) -> Option<&Known> {
        let mut of_unit = self.limits.iter().filter(|limit| limit.unit == reading.unit);
        if let Some(window) = reading.window {
            let is_about = |per: Duration| per.abs_diff(window) <= per / 100;
            return of_unit
                .find(|limit| is_about(limit.per) || limit.bucket.is_some_and(|(_, per)| is_about(per)));
        }
        match reading.limit {
            Some(amount) => of_unit.clone().find(|limit| limit.is_of(amount)).or_else(|| {
                let first = of_unit.next()?;
                (of_unit.next().is_none() && amount <= first.whole()).then_some(first)
            }),
            None => of_unit.next().filter(|_| of_unit.next().is_none()),
        }
    }
}

impl Known {
    /// Units that the provider has when none is used.
    fn whole(&self) -> u64 {
        self.bucket.map_or(self.amount, |(capacity, _)| capacity)
    }

    /// Whether it would be told as so much.
    fn is_of(&self, amount: u64) -> bool {
        amount == self.amount || amount == self.whole()
    }
}

/// How long a bucket takes to fill.
fn fills_in(limit: &Limit, capacity: u64) -> Option<Duration> {
    let nanos = limit.rule().per()?.as_nanos() * u128::from(capacity) / u128::from(limit.amount().max(1));
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

impl Engine {
    /// What the head of an answer tells, while its permit is held: any pause comes before units go back.
    pub(super) fn heed(&self, head: &Head, permit: &Permit) -> News {
        if self.charges.follows_calendar()
            && let Some(date) = date(&head.headers)
        {
            permit.observe(WallClock::from_date(date, permit.granted_at(), self.clock.now(), DATE_SKEW));
        }
        let feedback = feedback::read(&self.ears.dialects, &head.headers, self.wall(self.clock.now()));
        self.learn(&feedback, head.status, permit);
        self.tighten(&feedback, permit);
        // Until a bucket is full is longer than until it has something.
        let is_used_up = |reading: &&Reading| reading.remaining == Some(0) && reading.reset != Reset::Full;
        let used_up = feedback.readings.iter().filter(is_used_up);
        let used_up = used_up.filter_map(|reading| reading.resets_in).max();
        let asked = feedback.retry_after;
        let news = match head.status {
            StatusCode::TOO_MANY_REQUESTS => {
                let asked = asked.or(used_up);
                // Without a limit there is no hold to wait for; and a "Retry-After: 0" must not make us
                // ask as fast as the network goes.
                let silence = match asked {
                    Some(asked) => Some(asked.max(self.throttle.min(LEAST_SILENCE))),
                    None if self.limits.is_empty() => Some(self.throttle),
                    None => None,
                };
                News { silence, is_rejected: true }
            }
            StatusCode::FORBIDDEN if asked.is_some() || used_up.is_some() => {
                News { silence: asked.or(used_up), is_rejected: true }
            }
            StatusCode::SERVICE_UNAVAILABLE if asked.is_some() => {
                self.park_if_longer(asked, head.status);
                permit.pause(asked.unwrap_or_default());
                News { silence: asked, is_rejected: false }
            }
            _ => News { silence: asked, is_rejected: false },
        };
        if news.is_rejected {
            self.reject(news.silence, head.status, permit);
        }
        news
    }

    /// What the whole answer is about, if it is no result.
    pub(super) fn heed_body(
        &self,
        news: &News,
        head: &Head,
        body: Option<&[u8]>,
        permit: &Permit,
    ) -> Option<Class> {
        if let Some(reading) = body.and_then(|body| self.ears.body_tells(body)) {
            let feedback = Feedback { readings: vec![reading], ..Feedback::default() };
            self.learn(&feedback, head.status, permit);
            self.tighten(&feedback, permit);
        }
        let is_accepted = self.accept.accepts(head.status);
        let class = self.ears.signs.class(head.status, body.unwrap_or_default(), is_accepted).or_else(|| {
            // Where calls carry many rows, each has an answer of its own.
            let whole = is_accepted && self.split.is_none();
            (whole && !self.is_success(head.status.as_u16(), body?)).then_some(Class::Fail)
        });
        match class {
            Some(Class::Wait) if !news.is_rejected => {
                let silence =
                    news.silence.unwrap_or(if head.status.is_success() { self.throttle } else { UNNAMED });
                self.reject(Some(silence), head.status, permit);
            }
            Some(Class::Cap) => {
                lock(&self.stats).capped();
                let silence = news.silence.filter(|silence| *silence > Duration::from_secs(60));
                self.used_up(silence, head.status, permit);
            }
            Some(Class::Stop) => lock(&self.stats).refused(),
            None if news.is_rejected => return Some(Class::Wait),
            _ => {}
        }
        class
    }

    /// Whether an answer with an accepted status is a result, by the job's own rule.
    pub(super) fn is_success(&self, status: u16, body: &[u8]) -> bool {
        self.success.as_ref().is_none_or(|rule| rule.holds(status, body))
    }

    /// A call was one too many.
    fn reject(&self, silence: Option<Duration>, status: StatusCode, permit: &Permit) {
        self.park_if_longer(silence, status);
        if let Some(incident) = permit.rejected(silence) {
            lock(&self.stats).incident(permit.granted_at(), incident, silence);
        }
    }

    /// Takes in what the answer says of limits that nobody has declared.
    fn learn(&self, feedback: &Feedback, status: StatusCode, permit: &Permit) {
        if !self.ears.learns {
            return;
        }
        let is_no = [StatusCode::TOO_MANY_REQUESTS, StatusCode::FORBIDDEN, StatusCode::SERVICE_UNAVAILABLE]
            .contains(&status);
        let heard = permit.follow(&feedback.readings, !is_no);
        lock(&self.stats).heard(heard);
    }

    /// Holds what the answer says is left against what can be ours.
    fn tighten(&self, feedback: &Feedback, permit: &Permit) {
        for reading in &feedback.readings {
            let (Some(remaining), Some(limit)) = (reading.remaining, self.ears.limit_of(reading)) else {
                continue;
            };
            let resets_in = reading.resets_in.filter(|_| reading.reset == Reset::All);
            let told = Told { amount: reading.limit, remaining, resets_in };
            if let Some(others) = permit.heed(limit.index, told) {
                lock(&self.stats).others(others);
            }
            if let Some(amount) = reading.limit.filter(|amount| !limit.is_of(*amount)) {
                lock(&self.stats).told(limit.index, amount);
            }
        }
        for ignored in &feedback.ignored {
            lock(&self.stats).ignored(&ignored.field, ignored.why);
        }
    }

    /// The quota of a day is gone.
    fn used_up(&self, silence: Option<Duration>, status: StatusCode, permit: &Permit) {
        match silence {
            Some(silence) if silence <= self.retry.max_pause => permit.pause(silence),
            None if self.retry.max_pause == Duration::MAX => permit.pause(USED_UP),
            _ => {
                let until = silence
                    .map_or_else(|| "it does not say until when".to_owned(), |silence| self.back_at(silence));
                self.stop(Ended::Stopped(format!(
                    "the provider's quota is used up (status {}): {until}; the same command goes on then, or waits with --wait",
                    status.as_u16()
                )));
            }
        }
    }

    /// Stops the job if the provider asks for more silence than it may wait for.
    fn park_if_longer(&self, asked: Option<Duration>, status: StatusCode) {
        if let Some(silence) = asked.filter(|silence| *silence > self.retry.max_pause) {
            let (back, most) = (self.back_at(silence), Human(self.retry.max_pause));
            self.stop(Ended::Stopped(format!(
                "the provider answered {} and asks for silence: {back}, more than max_pause = {most}; \
                 the same command goes on then, or waits with --wait",
                status.as_u16()
            )));
        }
    }

    /// When a silence is over, for people.
    pub(super) fn back_at(&self, silence: Duration) -> String {
        let at = jiff::Timestamp::try_from(self.wall(self.clock.now() + silence));
        let at = at.map(|at| format!(", at {}", at.strftime("%Y-%m-%d %H:%M UTC"))).unwrap_or_default();
        format!("it is back in {}{at}", Human(silence))
    }
}

/// The `Date` of an answer, in seconds since 1970; `None` of one that a cache has kept (RFC 9111,
/// section 5.1).
fn date(headers: &HeaderMap) -> Option<i64> {
    if headers.contains_key(AGE) {
        return None;
    }
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}
