//! Real runs that share a quota on a real server, which is killed, forgets and is started again; and workers on a backlog there.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it measured")]

mod backlog;
mod cut;
mod dead;
#[path = "../support/jittery.rs"]
mod jittery;
mod line;
mod lost;
#[path = "../support/provider.rs"]
mod provider;
mod replica;
mod rules;
#[path = "../../../tidegate-quota/tests/support/redis.rs"]
mod server;
#[path = "../support/sim.rs"]
mod sim;
mod together;
mod whole;
#[expect(dead_code, reason = "the other tests of shared quotas need more of it")]
#[path = "../shared/world.rs"]
mod world;

use jittery::{JITTERY, formula};
use server::{Kind, Server};
use world::{Worker, World, now, sleep};

/// They mostly wait, so all of them at once.
fn at_once(tests: &[&(dyn Fn() + Sync)]) {
    std::thread::scope(|scope| {
        for test in tests {
            scope.spawn(test);
        }
    });
}

/// Scripts that were run on the server so far.
fn calls(server: &Server) -> u64 {
    let stats = server.ask("INFO commandstats");
    let count = |line: &str| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok();
    let scripts = stats.lines().filter(|line| line.starts_with("cmdstat_eval"));
    scripts.filter_map(count).sum()
}

/// Four greedy runs have all that there is, and ask the server a few times a second.
fn four(kind: Kind, rows: usize) {
    const LIMIT: &str = "500/6s";
    let server = Server::start(kind, &["--appendonly", "yes"]);
    let world = World::new(&[&["--limit", "rolling 500/6s"], &JITTERY[..]].concat());
    let store = server.url();
    world.quota(&["create", "crm", LIMIT, "--store", &store]);
    let flags = ["--rate", LIMIT, "--quota", "crm", "--store", &store, "-q"];
    let mut workers = ["a", "b", "c", "d"].map(|name| world.worker(name, rows, &flags));
    let (begin, before) = (now(), calls(&server));
    for worker in &mut workers {
        worker.start();
    }
    for worker in &mut workers {
        worker.ends_with(0);
    }
    let per_second = (calls(&server) - before) as f64 / (now() - begin) / 4.0;
    let stats = world.check_contract();
    assert_eq!(stats["accepted"], 4 * rows as u64, "{stats}");
    let mut all: Vec<f64> = workers.iter().flat_map(Worker::sends).collect();
    all.sort_by(f64::total_cmp);
    let (from, to) = (all[all.len() / 10], all[all.len() * 9 / 10]);
    let rate = all.iter().filter(|at| (from..to).contains(*at)).count() as f64 / (to - from);
    println!(
        "{kind:?}, {LIMIT}, four processes: {rate:.2}/s is {:.4} of the formula's {:.2}/s; {per_second:.2} scripts a second for each; worst window {}",
        rate / formula(LIMIT),
        formula(LIMIT),
        stats["worst_window"]["accepted"]
    );
    assert!(rate >= 0.95 * formula(LIMIT), "{rate}");
    assert!(per_second <= 4.0, "{per_second}");
}

#[test]
fn four_processes_share_a_quota_on_redis() {
    four(Kind::Redis, 700);
}

#[test]
fn four_processes_share_a_quota_on_valkey() {
    four(Kind::Valkey, 700);
}

/// What becomes of the server's data while it is gone.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Data {
    Kept,
    NeverWritten,
    Wiped,
}

/// Two runs that share 60 calls in two seconds, when they have made 130.
fn two_halfway<'a>(world: &'a World, server: &Server, rows: usize, timeout: &str) -> [Worker<'a>; 2] {
    let store = server.url();
    world.quota(&["create", "crm", "60/2s", "--store", &store]);
    let flags = ["--rate", "60/2s", "--quota", "crm", "--store", &store, "--timeout", timeout];
    let mut workers = ["one", "two"].map(|name| world.worker(name, rows, &flags));
    for worker in &mut workers {
        worker.start();
    }
    world.wait_for(130);
    workers
}

/// The server is killed in the middle of two runs and comes back: nothing is sent without a lease, nor before all
/// that may have been sent is over; and the runs go on by themselves.
fn killed(kind: Kind, data: Data) {
    const ROWS: usize = 250;
    let kept = if data == Data::NeverWritten { "no" } else { "yes" };
    let mut server = Server::start(kind, &["--appendonly", kept]);
    let world = World::new(&[&["--limit", "rolling 60/2s"], &JITTERY[..]].concat());
    let mut workers = two_halfway(&world, &server, ROWS, "2s");
    server.kill();
    let killed = now();
    if data == Data::Wiped {
        server.wipe();
    }
    // The lease, and what was under way by then.
    sleep(3.0 + 1.0);
    let sent = world.stat("accepted");
    sleep(killed + 5.5 - now());
    assert_eq!(world.stat("accepted"), sent, "{data:?}: sent without a lease");
    assert!(sent < 2 * ROWS as u64, "{data:?}: the runs are over already");
    server.start_again();
    // A lease, a time-out and a window from then.
    let back = now();
    sleep(back + 3.0 + 2.0 + 2.0 - now());
    assert_eq!(world.stat("accepted"), sent, "{data:?}: sent while calls may have been under way");
    for worker in &mut workers {
        worker.ends_with(0);
    }
    let stats = world.check_contract();
    assert_eq!(stats["accepted"], 2 * ROWS as u64, "{stats}");
    let (one, two) = (workers[0].words(), workers[1].words());
    let why = if data == Data::Kept { "has started again" } else { "has never seen it, or has lost it" };
    assert!(one.contains(why) || two.contains(why), "{data:?}\n{one}\n{two}");
    let warns = "it keeps no append-only file";
    assert_eq!(one.contains(warns), data == Data::NeverWritten, "{one}");
}

#[test]
fn a_server_that_is_killed_and_has_its_data_holds_what_may_be_missing() {
    killed(Kind::Redis, Data::Kept);
}

#[test]
fn a_server_that_is_killed_and_has_written_nothing_holds_all() {
    killed(Kind::Valkey, Data::NeverWritten);
}

#[test]
fn a_server_whose_data_are_wiped_holds_all() {
    killed(Kind::Redis, Data::Wiped);
}

/// A server that does not answer for a while: what was said to it is heard late, and changes nothing. No clock has
/// jumped, though every caller waited.
#[test]
fn a_server_that_is_frozen_goes_on_where_it_was() {
    const ROWS: usize = 250;
    let server = Server::start(Kind::Redis, &["--appendonly", "yes"]);
    let world = World::new(&[&["--limit", "rolling 60/2s"], &JITTERY[..]].concat());
    let mut workers = two_halfway(&world, &server, ROWS, "5s");
    server.signal("STOP");
    let frozen = now();
    sleep(3.0 + 1.0);
    let sent = world.stat("accepted");
    sleep(frozen + 6.0 - now());
    assert_eq!(world.stat("accepted"), sent, "sent without a lease");
    server.signal("CONT");
    for worker in &mut workers {
        worker.ends_with(0);
    }
    let stats = world.check_contract();
    assert_eq!(stats["accepted"], 2 * ROWS as u64, "{stats}");
    for worker in &workers {
        let words = worker.words();
        assert!(!words.contains("nothing is sent for"), "{words}");
    }
}

/// Nobody finds a password in what is said or kept.
#[test]
fn a_password_is_not_told() {
    let server = Server::start(Kind::Redis, &["--requirepass", "hunter2"]);
    let world = World::new(&["--limit", "rolling 100/s"]);
    let refused = world.tidegate(["quota", "list", "--store", &server.url()]);
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("TIDEGATE_REDIS_PASSWORD"), "{refused}");
    let store = format!("{}?pass=hunter2", server.url());
    world.quota(&["create", "crm", "100/s", "--store", &store]);
    let page = world.quota(&["show", "crm", "--store", &store]);
    let mut worker = world.worker("one", 10, &["--rate", "100/s", "--quota", "crm", "--store", &store]);
    worker.start().ends_with(0);
    let kept = std::fs::read_to_string(world.path("one.tidegate/job-file.json")).unwrap();
    for text in [page.to_string(), worker.words(), kept, refused.to_string()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let mut list = world.command(["quota", "list", "--store", &server.url()]);
    list.env("TIDEGATE_REDIS_PASSWORD", "hunter2");
    let list = world.end(list);
    assert!(list.code == Some(0) && list.stdout.contains("crm"), "{list}");
}

/// A server that would throw quotas away is refused.
#[test]
fn a_server_that_evicts_is_refused() {
    let server = Server::start(Kind::Valkey, &["--maxmemory-policy", "allkeys-lru"]);
    let world = World::new(&["--limit", "rolling 100/s"]);
    let refused = world.tidegate(["quota", "list", "--store", &server.url()]);
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("maxmemory-policy noeviction"), "{refused}");
}

/// The line of the documentation is enough, and nothing in it is there for nothing.
#[test]
fn a_user_needs_the_commands_that_are_documented() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let server = Server::start(kind, &[]);
        let world = World::new(&["--limit", "rolling 100/s"]);
        let page = include_str!("../../../../docs/quotas.md");
        let line = page.lines().find(|line| line.starts_with("ACL SETUSER")).unwrap();
        let said = server.ask(line);
        assert!(said.starts_with("+OK"), "{said}");
        let store = format!("{}?user=tidegate&pass=PASSWORD", server.url());
        world.quota(&["create", "crm", "100/s", "--store", &store]);
        let mut worker = world.worker("one", 50, &["--rate", "100/s", "--quota", "crm", "--store", &store]);
        worker.start().ends_with(0);
        assert!(!worker.words().contains("does not say"), "{}", worker.words());
        world.quota(&["pause", "crm", "--for", "1s", "--store", &store]);
        world.quota(&["forget", "crm", "--store", &store]);
        assert!(world.quota(&["list", "--store", &store]).stdout.is_empty());
        // Without one of them it says which.
        server.ask("ACL SETUSER tidegate -hset");
        let refused = world.tidegate(["quota", "create", "crm", "100/s", "--store", &store]);
        assert!(refused.code == Some(2) && refused.stderr.contains("docs/quotas.md"), "{kind:?} {refused}");
    }
}

/// A server that is not there is said to be so, without more ado.
#[test]
fn a_server_that_is_not_there_is_an_error() {
    let world = World::new(&["--limit", "rolling 100/s"]);
    let refused = world.tidegate(["quota", "list", "--store", "redis://me:hunter2@127.0.0.1:1/3"]);
    assert!(refused.code == Some(2) && !refused.stderr.contains("hunter2"), "{refused}");
    assert!(
        refused.stderr.contains("redis://127.0.0.1:1/3 cannot be used now: Connection refused"),
        "{refused}"
    );
}

/// With a certificate that the system trusts; else not a word is said to it.
#[test]
fn a_server_may_speak_tls() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert"), own.cert.pem()).unwrap();
    std::fs::write(path("key"), own.signing_key.serialize_pem()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (cert, key) = (path("cert"), path("key"));
    let settings =
        ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let server = Server::start(Kind::Redis, &[&settings[..], &["--tls-ca-cert-file", &cert]].concat());
    let world = World::new(&["--limit", "rolling 100/s"]);
    let store = format!("rediss://localhost:{port}/1");
    let ask = |trusted: Option<&str>, args: &[&str]| {
        let mut command = world.command([args, &["--store", &store]].concat());
        trusted.map(|file| command.env("SSL_CERT_FILE", file));
        world.end(command)
    };
    let refused = ask(None, &["quota", "list"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("certificate"), "{refused}");
    let created = ask(Some(&cert), &["quota", "create", "crm", "100/s"]);
    assert_eq!(created.code, Some(0), "{created}");
    let shown = ask(Some(&cert), &["quota", "show", "crm"]);
    assert!(shown.stdout.contains("by `quota create crm 100/s` ("), "{shown}");
    assert!(server.ask("INFO keyspace").contains("db1:"));
}
