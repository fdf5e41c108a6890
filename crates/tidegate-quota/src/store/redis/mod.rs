//! Quotas on a Redis or Valkey server, shared by processes of many machines.
//!
//! Exchanges run on the server, as one script (`lua/exchange.lua`), which does what core's `Pool` does, where the
//! rows are. Rare operations run here: a quota is read, `books.rs` reckons, and what has changed is written if the
//! quota is still as it was read (`lua/commit.lua`). `frame.rs` has the proof that nobody's clock matters but for its
//! rate.
//!
//! A script may have run though no answer came, may run twice, and late. Reports have numbers, ids are given once, and what
//! is written after a read says what it was read from: so none of that changes anything.
//!
//! *A server forgets.* A quota that is not there is unknown, and so is all of it when the server has another run id
//! than the one that the quota was last used on (it has started again, or a replica has taken its place), or when its
//! clock was set. Then nobody is a member any more, and all units are held for as long as calls may be
//! under way: `loss.rs`. A server that was away, while another one had its place, and is back as it was, has the run id that
//! it had: who has been with the other one meanwhile says so.

mod address;
mod checks;
mod frame;
mod image;
mod rows;
mod script;
mod server;
mod session;
mod talk;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tidegate_core::{MemberId, Time};

pub use self::address::RedisAddress;
use self::frame::{Frame, Reference};
use self::rows::Draft;
pub use self::script::Text as RedisScript;
use self::server::Server;
pub use self::session::Session as RedisSession;
use self::talk::Spelled;
use super::books::{Books, Candidate, check_name};
use super::rows::Rows;
use super::{Answer, Definition, Exchange, Held, HeldFor, Join, Joined, Machine, Reply, Store, StoreError};

/// Who finds a quota changed since it was read reads it again, so often.
const TRIES: u32 = 12;
/// Meanwhile.
const MOMENT: Duration = Duration::from_millis(20);
/// An exchange that has to wait, or be said in other words, is said so often.
const REPEATS: u32 = 30;

/// A server that keeps quotas.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    machine: Machine,
    spelled: HashMap<String, Spelled>,
    /// Quotas that members of this store have joined.
    joined: HashSet<String>,
    /// On which run of a server that was, and when that answered for the last time.
    last_on: HashMap<String, (String, Time)>,
    reference: Option<Reference>,
}

impl Redis {
    /// The quotas of a server, for processes of this machine.
    ///
    /// # Errors
    /// If it cannot be reached, or is not fit to keep quotas.
    pub fn open(address: RedisAddress, machine: Machine) -> Result<Self, StoreError> {
        let mut store = Self::of(Server::new(address), machine);
        checks::fitness(store.server.session())?;
        Ok(store)
    }

    /// The same with a server whose clock is the machine's, as scripts that no other has are told: for tests in
    /// simulated time.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub fn simulated(address: RedisAddress, machine: Machine) -> Result<Self, StoreError> {
        Ok(Self::of(Server::simulated(address, machine.clone()), machine))
    }

    fn of(server: Server, machine: Machine) -> Self {
        Self {
            server,
            machine,
            spelled: HashMap::new(),
            joined: HashSet::new(),
            last_on: HashMap::new(),
            reference: None,
        }
    }

    /// Where it is, without a password.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// What people should know of the server before they rely on it.
    pub fn warnings(&mut self) -> Vec<String> {
        checks::warnings(self.server.session())
    }

    pub(super) fn quotas(&mut self) -> Result<Vec<String>, StoreError> {
        let names = self.server.names();
        let mut names: Vec<String> = self.server.session().command(&["SMEMBERS", &names])?;
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn transact<T>(
        &mut self,
        quota: &str,
        work: impl Fn(&mut Books, &mut dyn Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let name = |store: &mut Self, there: bool| {
            let (command, names) = (if there { "SADD" } else { "SREM" }, store.server.names());
            store.server.session().command::<u64>(&[command, &names, quota]).map(drop)
        };
        let (done, before, after) = self.transact_draft(quota, |books, draft, _| {
            let before = draft.quota(quota)?.is_some();
            let done = work(books, draft)?;
            Ok((done, before, draft.quota(quota)?.is_some()))
        })?;
        // Only a list for people; so it may be a little wrong if this fails.
        if before != after {
            name(self, after)?;
        }
        Ok(done)
    }

    fn transact_draft<T>(
        &mut self,
        quota: &str,
        work: impl Fn(&mut Books, &mut Draft<'_>, u64) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut forgets = false;
        for attempt in 0..TRIES {
            // At first others are not held up: mostly nobody has come in between.
            let loaded = self.server.load(quota, false, attempt > 0)?;
            let (now, revision, run) = (loaded.now, loaded.revision().to_owned(), loaded.run.clone());
            let frame = Frame::around(now);
            let machine = Machine::server(&run, frame.time(now), now / 1_000);
            let mut books = Books::of_server(machine);
            forgets |= loaded.has_holes();
            let is_rest = loaded.is_a_rest();
            let elsewhere = self.was_elsewhere(quota, &run);
            let mut draft = Draft::new(&mut self.server, quota, frame, loaded)?;
            if is_rest {
                forgets = true;
                draft.clear()?;
            }
            if forgets && let Some(mut row) = draft.quota(quota)? {
                let now = books.now();
                books.lose_memory(&mut draft, quota, &mut row, HeldFor::ColdStart, now)?;
                books.put(&mut draft, quota, &mut row, now)?;
            }
            if let Some(ago) = elsewhere
                && let Some(mut row) = draft.quota(quota)?
            {
                books.come_back(&mut draft, quota, &mut row, ago)?;
            }
            let done = work(&mut books, &mut draft, now);
            if draft.has_holes && !forgets {
                forgets = true;
                continue;
            }
            let (done, is_torn) = (done?, draft.is_torn);
            let writes = draft.into_writes();
            if !is_torn && (writes.is_empty() || self.server.commit(quota, &revision, &run, writes)?) {
                return Ok(done);
            }
            if attempt > 0 {
                std::thread::park_timeout(MOMENT.mul_f64(fastrand::f64()));
            }
        }
        let message = format!("others change quota `{quota}` all the time");
        Err(StoreError::Unreachable { server: self.address(), message })
    }

    /// How long ago another server than this one gave out units of a quota, if one did: at most.
    fn was_elsewhere(&self, quota: &str, run: &str) -> Option<Duration> {
        let (_, heard) = self.last_on.get(quota).filter(|(last, _)| last != run)?;
        Some(self.machine.now().since(*heard))
    }

    /// The server has lost its memory of a quota, or its clock was set: it begins anew, once for all.
    fn lose(&mut self, quota: &str, member: MemberId, why: HeldFor) -> Result<(), StoreError> {
        self.transact(quota, |books, rows| {
            let Some(mut row) = rows.quota(quota)? else { return Ok(()) };
            let now = books.now();
            // If it is known no more, somebody else has seen to it.
            if rows.members(quota)?.iter().any(|row| row.id == member) {
                books.lose_memory(rows, quota, &mut row, why, now)?;
            } else {
                books.catch_up(rows, quota, &mut row, now)?;
            }
            books.put(rows, quota, &mut row, now)
        })
    }

    /// One exchange as the script says it, in words that it has understood; with when it was written and answered.
    fn converse(&mut self, exchange: &Exchange<'_>) -> Result<Option<(Vec<String>, Time, Time)>, StoreError> {
        let quota = exchange.quota;
        let keys = self.server.keys(quota);
        let mut all = keys.all().to_vec();
        let partitions = exchange.visits.iter().map(|visit| &*visit.partition);
        all.extend(partitions.flat_map(|partition| [keys.pool(partition), keys.holders(partition)]));
        for _ in 0..REPEATS {
            let written = self.machine.now();
            let spelled = self.spelled.get(quota);
            let (version, limits) = spelled.map_or((0, ""), |spelled| (spelled.version, &spelled.limits));
            let (server, passed) =
                self.reference.map_or((0, 0), |reference| (reference.server(), reference.passed(written)));
            let flag = |is: bool| if is { "1" } else { "0" }.to_owned();
            let mut args = vec![
                exchange.member.0.to_string(),
                exchange.version.to_string(),
                version.to_string(),
                flag(exchange.leaves),
                server.to_string(),
                passed.to_string(),
                limits.to_owned(),
            ];
            for visit in exchange.visits {
                let report = talk::report(&visit.report, written);
                args.extend([visit.partition.to_string(), flag(visit.leaves), report]);
            }
            let words = self.server.exchange(&all, args)?;
            let heard = self.machine.now();
            let now = words.get(1).and_then(|now| now.parse::<u64>().ok());
            let now = now.ok_or_else(|| self.strange("no time"))?;
            if self.reference.is_some_and(|reference| reference.is_overtaken(now, heard)) {
                // What was just given may not be back yet.
                self.reference = None;
                self.lose(quota, exchange.member, HeldFor::ClockJumped)?;
                return Ok(None);
            }
            let renewed = self.reference.map(|reference| reference.renewed(now, written));
            self.reference = Some(renewed.unwrap_or_else(|| Reference::new(now, written)));
            match words[0].as_str() {
                "busy" => std::thread::park_timeout(MOMENT),
                "terms" => self.spell(quota, &words, now)?,
                "lost" => {
                    self.reference = None;
                    let why = match words.get(2).map(String::as_str) {
                        Some("run") => HeldFor::Restarted,
                        Some("data") => HeldFor::ColdStart,
                        _ => HeldFor::ClockJumped,
                    };
                    self.lose(quota, exchange.member, why)?;
                    return Ok(None);
                }
                _ => return Ok(Some((words, written, heard))),
            }
        }
        let message = format!("quota `{quota}` is being changed");
        Err(StoreError::Unreachable { server: self.address(), message })
    }

    /// The script asks for the limits of the definition that it has.
    fn spell(&mut self, quota: &str, words: &[String], now: u64) -> Result<(), StoreError> {
        let version = words.get(2).and_then(|version| version.parse().ok());
        let definition = words.get(3).and_then(|text| serde_json::from_str(text).ok());
        let (version, definition) =
            version.zip(definition).ok_or_else(|| self.server.damaged(quota, "definition"))?;
        self.spelled.insert(quota.to_owned(), Spelled::new(quota, &definition, version, now)?);
        Ok(())
    }

    fn strange(&mut self, what: &str) -> StoreError {
        self.server.session().strange(what)
    }

    fn answers(words: &[String], written: Time, heard: Time) -> Option<Vec<Answer>> {
        let answer = |text: &String| match text.as_str() {
            "L" => Some(Answer::Left),
            "B" => Some(Answer::Buried),
            text => talk::allotment(text, written, heard).map(Answer::Allotted),
        };
        words.iter().map(answer).collect()
    }
}

impl Store for Redis {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn definition(&mut self, quota: &str) -> Result<Option<Definition>, StoreError> {
        self.transact(quota, |_, rows| Ok(rows.quota(quota)?.map(|quota| quota.definition)))
    }

    fn join(&mut self, join: &Join<'_>) -> Result<Joined, StoreError> {
        check_name(join.quota)?;
        let written = self.machine.now();
        let (names, quota) = (self.server.names(), join.quota);
        let (joined, now, run) = self.transact_draft(quota, |books, draft, now| {
            let id = draft.new_id(now);
            let joined = books.join(draft, &Candidate { join, id, forgets: true })?;
            Ok((joined, now, draft.run().to_owned()))
        })?;
        let heard = self.machine.now();
        self.last_on.insert(quota.to_owned(), (run, heard));
        self.server.session().command::<u64>(&["SADD", &names, quota])?;
        self.reference = Some(Reference::new(now, written));
        self.spelled.insert(quota.to_owned(), Spelled::new(quota, &joined.definition, joined.version, now)?);
        self.joined.insert(quota.to_owned());
        let frame = Frame::around(now);
        let mapped = |held: Held| Held {
            until: frame::date(frame.micros(held.until).saturating_sub(now), heard),
            ..held
        };
        Ok(Joined { held: joined.held.map(mapped), ..joined })
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) -> Result<Reply, StoreError> {
        let Some((words, written, heard)) = self.converse(exchange)? else { return Ok(Reply::Unknown) };
        if let Some((_, last)) = self.last_on.get_mut(exchange.quota).filter(|_| words[0] != "unknown") {
            *last = heard;
        }
        let strange = |store: &mut Self| store.strange("an exchange");
        let news = |store: &mut Self| {
            let version = words.get(2).and_then(|version| version.parse::<u64>().ok());
            let definition = words.get(3).and_then(|text| serde_json::from_str::<Definition>(text).ok());
            version.zip(definition).ok_or_else(|| store.server.damaged(exchange.quota, "definition"))
        };
        match words[0].as_str() {
            "unknown" => Ok(Reply::Unknown),
            "redefined" => {
                let (version, definition) = news(self)?;
                Ok(Reply::Redefined { definition, version })
            }
            "settled" if words.len() >= 5 => {
                let news = if words[3].is_empty() { None } else { Some(news(self)?) };
                let answers = Self::answers(&words[5..], written, heard).ok_or_else(|| strange(self))?;
                if words[4] == "1" {
                    // Somebody has to; if it cannot be done now, the next one will.
                    let _ = self.transact(exchange.quota, |books, rows| books.tend(rows, exchange.quota));
                }
                Ok(Reply::Settled { answers, news })
            }
            _ => Err(strange(self)),
        }
    }

    fn died_by(&mut self, member: MemberId) -> Result<Option<Time>, StoreError> {
        for quota in self.joined.clone() {
            let died_by = self.transact_draft(&quota, |books, draft, now| {
                books.tend(draft, &quota)?;
                let died_by = books.died_by(draft, member)?;
                let frame = Frame::around(now);
                Ok(died_by.map(|at| (frame.micros(at), now)))
            })?;
            let heard = self.machine.now();
            if let Some((at, now)) = died_by {
                let ago = Duration::from_micros(now.saturating_sub(at));
                // In doubt it is later.
                let past = heard - ago.saturating_sub(ago / 1_000);
                return Ok(Some(if at > now { frame::date(at - now, heard) } else { past }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod same_as_core;
#[cfg(test)]
#[expect(dead_code, reason = "what kills servers is for other tests")]
#[path = "../../../tests/support/redis.rs"]
mod support;
#[cfg(test)]
mod tests;
