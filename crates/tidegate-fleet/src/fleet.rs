//! The server's side: which job has which shards, and who has them. Every change is one script, and harmless if it is said
//! twice.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use redis::{FromRedisValue, Value};
use tidegate::job::StoreSpec;
use tidegate_quota::store::{RedisAddress, RedisScript, RedisSession};

use crate::error::FleetError;
use crate::job::{FleetJob, Shard};
use crate::worker::Backlog;

/// A worker that has said nothing for so long has lost its shard.
pub const LEASE: Duration = Duration::from_secs(10);
/// Why somebody refuses a job is remembered for so long.
pub(crate) const REFUSED: Duration = Duration::from_secs(30);

const COMMON: &str = include_str!("lua/common.lua");

/// A fleet: jobs, queues and shards on a server.
#[derive(Debug)]
pub struct Fleet {
    session: RedisSession,
    address: RedisAddress,
    key: String,
    scripts: Scripts,
}

#[derive(Debug)]
struct Scripts {
    take: RedisScript,
    renew: RedisScript,
    raise: RedisScript,
    further: RedisScript,
    finish: RedisScript,
    release: RedisScript,
    begin: RedisScript,
    load: RedisScript,
    open: RedisScript,
    control: RedisScript,
    forget: RedisScript,
    status: RedisScript,
    refuse: RedisScript,
}

/// A shard that a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The job.
    pub job: String,
    /// The entry of the stream.
    pub(crate) entry: String,
    /// Where the shard is in the input.
    pub shard: Shard,
    /// How often it was given, at least; nobody else has this number.
    pub epoch: u64,
    /// Workers that it has ended, as far as the server knows, and none of which brought it further.
    pub(crate) ended: u64,
}

/// What is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    Shard(Grant),
    /// Others have all the shards of a job; one may come back.
    Busy,
    Empty,
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its shards are being written down.
    Loading,
    /// Workers may take its shards.
    Open,
    /// Nobody goes on with it until it is resumed.
    Paused,
    /// All shards are done.
    Done,
    /// Nobody will go on with it.
    Cancelled,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Open => "open",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Self> {
        let all = [Self::Loading, Self::Open, Self::Paused, Self::Done, Self::Cancelled];
        all.into_iter().find(|state| state.word() == word)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// What a worker is told when it says that it is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// The shard is its own; the job is in this state, for this reason.
    Mine(Option<State>, String),
    /// Somebody else has it, or nobody.
    Lost,
}

/// What was written about a shard that is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) rebought: u64,
}

/// What becomes of a shard that somebody says is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finished {
    /// False: another one has it now, or has done it.
    pub(crate) accepted: bool,
    pub(crate) left: u64,
    /// This was the job's last shard.
    pub(crate) ended_job: bool,
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
}

impl Fleet {
    /// The fleet at this address: `redis://HOST:PORT/DB` and the like, as for quotas.
    ///
    /// # Errors
    /// If it cannot be reached, or is not fit.
    pub fn open(address: &str) -> Result<Self, FleetError> {
        let address = StoreSpec::parse(address)?.server().ok_or(FleetError::NoServer)?;
        let session = RedisSession::open(address.clone())?;
        let key = format!("{}:{{fleet}}:", session.prefix());
        let script = |text: &str| RedisScript::new(&[COMMON, text]);
        let scripts = Scripts {
            take: script(include_str!("lua/take.lua")),
            renew: script(include_str!("lua/renew.lua")),
            raise: script(include_str!("lua/raise.lua")),
            further: script(include_str!("lua/further.lua")),
            finish: script(include_str!("lua/finish.lua")),
            release: script(include_str!("lua/release.lua")),
            begin: script(include_str!("lua/begin.lua")),
            load: script(include_str!("lua/load.lua")),
            open: script(include_str!("lua/open.lua")),
            control: script(include_str!("lua/control.lua")),
            forget: script(include_str!("lua/forget.lua")),
            status: script(include_str!("lua/status.lua")),
            refuse: script(include_str!("lua/refuse.lua")),
        };
        Ok(Self { session, address, key, scripts })
    }

    /// Where it is, for the quotas of its jobs.
    pub(crate) fn store(&self) -> StoreSpec {
        StoreSpec::Redis(Box::new(self.address.clone()))
    }

    /// The same as it may be written down: without a login.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// What people should know of the server before they rely on it.
    pub fn warnings(&mut self) -> Vec<String> {
        self.session.warnings()
    }

    /// Jobs and queues do not share their names with anything.
    pub(crate) fn check_queue(name: &str) -> Result<(), FleetError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good = (1..=100).contains(&name.len()) && name.chars().all(plain);
        if good { Ok(()) } else { Err(FleetError::QueueName(name.to_owned())) }
    }

    pub(crate) fn take(
        &mut self,
        worker: &str,
        backlog: &Backlog,
        skip: &[String],
    ) -> Result<Taken, FleetError> {
        let mut args = vec![worker.to_owned(), LEASE.as_millis().to_string()];
        match backlog {
            Backlog::Job(job) => args.extend([job.id.clone(), "0".to_owned()]),
            Backlog::Queues(queues) => {
                args.extend([String::new(), queues.len().to_string()]);
                args.extend(queues.iter().chain(skip).cloned());
            }
        }
        let answer = run(&mut self.session, &self.key, &self.scripts.take, &args)?;
        if let Ok(word) = String::from_redis_value(answer.clone()) {
            return Ok(if word == "busy" { Taken::Busy } else { Taken::Empty });
        }
        let words: Vec<String> = self.read(answer, "a shard")?;
        let grant = match &words[..] {
            [job, entry, number, epoch, cut, ended] => {
                number.parse().ok().zip(epoch.parse().ok()).and_then(|(number, epoch)| {
                    let cut = serde_json::from_str(cut).ok()?;
                    let shard = Shard { number, cut };
                    let ended = ended.parse().unwrap_or(0);
                    Some(Grant { job: job.clone(), entry: entry.clone(), shard, epoch, ended })
                })
            }
            _ => None,
        };
        grant.map(Taken::Shard).ok_or_else(|| self.session.strange("a shard").into())
    }

    pub(crate) fn renew(&mut self, worker: &str, grant: &Grant) -> Result<Renewal, FleetError> {
        let answer = run(&mut self.session, &self.key, &self.scripts.renew, &args(worker, grant, []))?;
        let (word, state, why): (String, String, String) = self.read(answer, "a renewal")?;
        Ok(if word == "mine" { Renewal::Mine(State::of(&state), why) } else { Renewal::Lost })
    }

    /// Another epoch above `used`; none if the shard is lost.
    pub(crate) fn raise(
        &mut self,
        worker: &str,
        grant: &Grant,
        used: u64,
    ) -> Result<Option<u64>, FleetError> {
        let args = args(worker, grant, [used.to_string()]);
        let answer = run(&mut self.session, &self.key, &self.scripts.raise, &args)?;
        let word: String = self.read(answer, "an epoch")?;
        Ok(word.parse().ok())
    }

    /// Says how many rows of a dead worker's shard are done; why nobody should go on with it.
    pub(crate) fn further(
        &mut self,
        worker: &str,
        grant: &Grant,
        rows: u64,
    ) -> Result<Option<String>, FleetError> {
        let args = args(worker, grant, [rows.to_string()]);
        let answer = run(&mut self.session, &self.key, &self.scripts.further, &args)?;
        let why: String = self.read(answer, "a reason")?;
        Ok((!why.is_empty()).then_some(why))
    }

    /// The shard is done by the part of that epoch.
    pub(crate) fn finish(
        &mut self,
        worker: &str,
        grant: &Grant,
        part: u64,
        sums: Sums,
    ) -> Result<Finished, FleetError> {
        let Sums { ok, failed, unknown, rebought } = sums;
        let more = [part, ok, failed, unknown, rebought].map(|n| n.to_string());
        let answer = run(&mut self.session, &self.key, &self.scripts.finish, &args(worker, grant, more))?;
        let words: Vec<String> = self.read(answer, "an end")?;
        let number = |i: usize| words.get(i).and_then(|word| word.parse().ok()).unwrap_or(0);
        Ok(Finished {
            accepted: words.first().is_some_and(|word| word == "done"),
            left: number(1),
            ended_job: number(2) == 1,
            ok: number(3),
            failed: number(4),
            unknown: number(5),
        })
    }

    /// Hands a shard back; with a reason, nobody goes on with the job. Whether it was still this worker's.
    pub(crate) fn release(
        &mut self,
        worker: &str,
        grant: &Grant,
        why: Option<&str>,
    ) -> Result<bool, FleetError> {
        let args = args(worker, grant, [why.unwrap_or_default().to_owned()]);
        let answer = run(&mut self.session, &self.key, &self.scripts.release, &args)?;
        self.read(answer, "a release")
    }

    /// Begins to write down a job; its state, if the server has it already.
    pub(crate) fn begin(
        &mut self,
        job: &str,
        queue: &str,
        fields: &[(&str, String)],
    ) -> Result<Option<String>, FleetError> {
        let mut args = vec![job.to_owned(), queue.to_owned()];
        args.extend(fields.iter().flat_map(|(name, value)| [(*name).to_owned(), value.clone()]));
        let answer = run(&mut self.session, &self.key, &self.scripts.begin, &args)?;
        let state: String = self.read(answer, "a job")?;
        Ok((state != "loading").then_some(state))
    }

    /// Writes shards down: each with the greatest epoch that was used, and that of its part if it is complete.
    pub(crate) fn load(
        &mut self,
        job: &str,
        place: usize,
        shards: &[(Shard, u64, Option<u64>)],
    ) -> Result<(), FleetError> {
        let mut args = vec![job.to_owned(), place.to_string()];
        for (shard, epoch, part) in shards {
            let cut = serde_json::to_string(&shard.cut).unwrap_or_default();
            args.extend([shard.number.to_string(), cut, epoch.to_string()]);
            args.push(part.map(|part| part.to_string()).unwrap_or_default());
        }
        run(&mut self.session, &self.key, &self.scripts.load, &args)?;
        Ok(())
    }

    /// All is written down.
    pub(crate) fn begin_work(&mut self, job: &str) -> Result<(), FleetError> {
        run(&mut self.session, &self.key, &self.scripts.open, &[job.to_owned()])?;
        Ok(())
    }

    /// Puts a job into another state.
    ///
    /// # Errors
    /// If there is no such job, or it is over.
    pub fn control(&mut self, job: &str, to: State, why: &str) -> Result<(), FleetError> {
        self.change(job, to, why, "")
    }

    /// Goes on with a job as it is written now.
    pub(crate) fn reopen(&mut self, job: &FleetJob) -> Result<(), FleetError> {
        self.change(&job.id, State::Open, "", &job.text())
    }

    fn change(&mut self, job: &str, to: State, why: &str, text: &str) -> Result<(), FleetError> {
        let args = [job, to.word(), why, text].map(str::to_owned);
        let answer = run(&mut self.session, &self.key, &self.scripts.control, &args)?;
        let state: String = self.read(answer, "a state")?;
        match State::of(&state) {
            Some(state) if state == to => Ok(()),
            Some(state) => Err(FleetError::TooLate { id: job.to_owned(), state }),
            None => Err(FleetError::Unknown { id: job.to_owned() }),
        }
    }

    /// Takes a job that is over off the server; its files stay.
    ///
    /// # Errors
    /// If there is no such job, or it is not over.
    pub fn forget(&mut self, job: &str) -> Result<(), FleetError> {
        let answer = run(&mut self.session, &self.key, &self.scripts.forget, &[job.to_owned()])?;
        let state: String = self.read(answer, "a state")?;
        match State::of(&state) {
            Some(State::Done | State::Cancelled) => Ok(()),
            Some(state) => Err(FleetError::NotOver { id: job.to_owned(), state }),
            None => Err(FleetError::Unknown { id: job.to_owned() }),
        }
    }

    pub(crate) fn refuse(&mut self, job: &str, worker: &str, why: &str) -> Result<(), FleetError> {
        let length = REFUSED.as_millis().to_string();
        let args = [job.to_owned(), worker.to_owned(), why.to_owned(), length];
        run(&mut self.session, &self.key, &self.scripts.refuse, &args)?;
        Ok(())
    }

    pub(crate) fn status(&mut self) -> Result<Vec<Value>, FleetError> {
        let answer = run(&mut self.session, &self.key, &self.scripts.status, &[])?;
        self.read(answer, "jobs")
    }

    /// How a job stands, and why it is paused; `None` if the server does not know it.
    ///
    /// # Errors
    /// If the server cannot be asked.
    pub fn state(&mut self, job: &str) -> Result<Option<(State, String)>, FleetError> {
        let state = self.field(job, "state")?.and_then(|word| State::of(&word));
        let why = self.field(job, "why")?.unwrap_or_default();
        Ok(state.map(|state| (state, why)))
    }

    /// A field of a job.
    pub(crate) fn field(&mut self, job: &str, name: &str) -> Result<Option<String>, FleetError> {
        Ok(self.session.command(&["HGET", &format!("{}job:{job}", self.key), name])?)
    }

    /// Where a job writes its results.
    ///
    /// # Errors
    /// If the server does not know the job.
    pub fn output_of(&mut self, job: &str) -> Result<PathBuf, FleetError> {
        let output = self.field(job, "output")?;
        output.map(PathBuf::from).ok_or_else(|| FleetError::Unknown { id: job.to_owned() })
    }

    /// By shard, the epoch of the part that it was done by.
    pub(crate) fn done(&mut self, job: &str) -> Result<HashMap<u64, u64>, FleetError> {
        Ok(self.session.command(&["HGETALL", &format!("{}done:{job}", self.key)])?)
    }

    fn read<T: FromRedisValue>(&self, value: Value, what: &str) -> Result<T, FleetError> {
        T::from_redis_value(value).map_err(|_| self.session.strange(what).into())
    }
}

fn args<const N: usize>(worker: &str, grant: &Grant, more: [String; N]) -> Vec<String> {
    let Grant { job, entry, shard, epoch, .. } = grant;
    let mut args =
        vec![worker.to_owned(), job.clone(), entry.clone(), shard.number.to_string(), epoch.to_string()];
    args.extend(more);
    args
}

fn run(
    session: &mut RedisSession,
    key: &String,
    script: &RedisScript,
    args: &[String],
) -> Result<Value, FleetError> {
    Ok(session.run(script, std::slice::from_ref(key), args)?)
}
