//! Jobs, a server with their queues, and workers.

use std::fmt::Write as _;
use std::fs;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::server::{Kind, Server};
use crate::world::{Ended, Worker, World, lines, now, sleep, time_of_day};

/// What has not happened by then never will.
const PATIENCE: f64 = 90.0;

/// A server and a provider.
pub(crate) struct Backlog {
    pub(crate) world: World,
    pub(crate) server: Server,
    limit: &'static str,
}

/// A row's result.
pub(crate) struct Line {
    pub(crate) index: u64,
    /// In seconds of some clock.
    pub(crate) sent_at: f64,
}

impl Backlog {
    /// A provider with this limit, `1000/s`, kept by a quota that nobody has used.
    pub(crate) fn new(kind: Kind, limit: &'static str, provider: &[&str]) -> Self {
        let server = Server::start(kind, &["--appendonly", "yes"]);
        let world = World::new(&[&["--limit", &format!("rolling {limit}")], provider].concat());
        let this = Self { world, server, limit };
        this.create_quota();
        this
    }

    pub(crate) fn create_quota(&self) {
        self.world.quota(&["create", "crm", self.limit, "--store", &self.server.url()]);
    }

    /// A job file, and a list of so many users for it. What is given goes below [output].
    pub(crate) fn write_job(&self, name: &str, rows: usize, request: &str, output: &str) {
        let mut ids = String::new();
        for i in 0..rows {
            writeln!(ids, "{name}-{i}").unwrap();
        }
        self.world.write(&format!("{name}.txt"), &ids);
        let (url, limit) = (&self.world.provider.url, self.limit);
        let text = format!(
            "[input]\npath = \"{name}.txt\"\n[request]\nurl = \"{url}/v1/users/{{line}}\"\ntimeout = \"2s\"\n{request}\n\
             [quota]\nname = \"crm\"\nlimits = [\"{limit}\"]\n[output]\npath = \"{name}.jsonl\"\n{output}\n"
        );
        self.world.write(&format!("{name}.toml"), &text);
    }

    /// Puts it into a queue; its number.
    #[track_caller]
    pub(crate) fn submit(&self, name: &str, queue: &str, shard: &str) -> String {
        let job = format!("{name}.toml");
        let ended = self.world.tidegate([
            "submit",
            &job,
            "--fleet",
            &self.server.url(),
            "--queue",
            queue,
            "--shard",
            shard,
        ]);
        assert_eq!(ended.code, Some(0), "{ended}");
        ended.stdout.trim().to_owned()
    }

    /// A worker that may do all that these jobs need.
    pub(crate) fn worker(&self, name: &str, queues: &str, flags: &[&str]) -> Worker<'_> {
        self.worker_on(&self.server.url(), name, queues, flags)
    }

    /// The same, whose server is reached at this address.
    pub(crate) fn worker_on(&self, fleet: &str, name: &str, queues: &str, flags: &[&str]) -> Worker<'_> {
        let folder = self.world.path("").to_string_lossy().into_owned();
        let args = ["worker", "--fleet", fleet, "--queue", queues];
        let allowed = ["--allow-host", "127.0.0.1", "--allow-folder", &folder];
        self.world.process(name, &[&args[..], &allowed, flags].concat())
    }

    pub(crate) fn worker_that_may(&self, name: &str, queues: &str, flags: &[&str]) -> Worker<'_> {
        let url = self.server.url();
        let args = ["worker", "--fleet", &url, "--queue", queues];
        self.world.process(name, &[&args, flags].concat())
    }

    /// A worker that borrows nothing, and ends with the job.
    pub(crate) fn start(&self, name: &str) -> Child {
        let folder = self.world.path("").to_string_lossy().into_owned();
        let url = self.server.url();
        let allowed = ["--allow-host", "127.0.0.1", "--allow-folder", &folder, "--until-empty"];
        let mut command = self.world.command([&["worker", "--fleet", &url][..], &allowed].concat());
        let said = fs::File::create(self.world.path(&format!("{name}.stderr"))).unwrap();
        command.stdout(Stdio::null()).stderr(said).spawn().unwrap()
    }

    /// `tidegate COMMAND JOB`, which has to go well.
    #[track_caller]
    pub(crate) fn tell(&self, command: &str, job: &str) -> Ended {
        let ended = self.world.tidegate([command, job, "--fleet", &self.server.url()]);
        assert_eq!(ended.code, Some(0), "{command} {job}: {ended}");
        ended
    }

    /// The line of `tidegate status` about a job; empty if there is none.
    pub(crate) fn status(&self, job: &str) -> String {
        let ended = self.world.tidegate(["status", "--fleet", &self.server.url()]);
        ended.stdout.lines().find(|line| line.starts_with(job)).unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for_status(&self, job: &str, words: &str) -> String {
        self.wait(words, || Some(self.status(job)).filter(|status| status.contains(words)))
    }

    /// Waits until something is there.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            let status = || self.world.tidegate(["status", "--fleet", &self.server.url()]).stdout;
            assert!(now() - start < PATIENCE, "never came: {what}; {}", status());
            sleep(0.02);
        }
    }

    /// Puts a job's parts together: each of its rows is there once, with its own answer. In the order of the output.
    #[track_caller]
    pub(crate) fn collect(&self, name: &str, rows: usize) -> Vec<Line> {
        self.tell("collect", &format!("{name}.toml"));
        let mut seen = vec![false; rows];
        let line = |line: Value| {
            let index = line["index"].as_u64().unwrap();
            assert_eq!(line["body"]["id"], format!("{name}-{index}"), "an answer on another row");
            assert!(!std::mem::replace(&mut seen[index as usize], true), "{name}: row {index} twice");
            Line { index, sent_at: time_of_day(line["sent_at"].as_str().unwrap()) }
        };
        let found: Vec<Line> = lines(&self.world.path(&format!("{name}.jsonl"))).map(line).collect();
        assert_eq!(found.len(), rows, "{name}: rows are missing");
        found
    }

    /// Calls that the provider took beyond one for each row; no row was rejected, and no more calls were bought again than were in
    /// flight when workers stopped, as their logs have it.
    #[track_caller]
    pub(crate) fn bought_again(&self, jobs: &[(&str, usize)]) -> (u64, u64) {
        let stats = self.world.check_contract();
        let rows: usize = jobs.iter().map(|(_, rows)| rows).sum();
        let again = stats["accepted"].as_u64().unwrap() - rows as u64;
        let left_open = jobs.iter().map(|(name, _)| self.left_open(name)).sum();
        assert!(again <= left_open, "{again} of {left_open}: {stats}");
        (again, left_open)
    }

    /// What `collect` says of calls that were in flight when workers died.
    pub(crate) fn left_open(&self, name: &str) -> u64 {
        let ended = self.tell("collect", &format!("{name}.toml"));
        let line = ended.stderr.lines().find_map(|line| line.strip_prefix("calls   ")).unwrap();
        line.split(' ').next().unwrap().replace(',', "").parse().unwrap()
    }

    /// Names in the folder of a job's parts.
    pub(crate) fn parts(&self, name: &str) -> Vec<String> {
        let folder = fs::read_dir(self.world.path(&format!("{name}.parts")));
        let names = folder.into_iter().flatten().flatten();
        let mut names: Vec<String> =
            names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}
