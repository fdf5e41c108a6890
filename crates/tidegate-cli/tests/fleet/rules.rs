//! What workers must not do, and what people say to them.

use std::fs;
use std::io::Write as _;

use crate::backlog::Backlog;
use crate::calls;
use crate::server::Kind;
use crate::world::{now, sleep};

/// What its own command line does not allow a worker does not do, and says so; another one that may does it.
#[test]
fn a_worker_that_may_not_run_a_job_sends_nothing() {
    const ROWS: usize = 100;
    let backlog = Backlog::new(Kind::Redis, "1000/s", &[]);
    let header = "headers = { Authorization = \"Bearer {{ env.SECRET_TOKEN }}\" }";
    backlog.write_job("job", ROWS, header, "");
    let id = backlog.submit("job", "default", "1s");
    backlog.write_job("plain", ROWS, "", "");
    let plain = backlog.submit("plain", "plain", "1s");
    let folder = backlog.world.path("").to_string_lossy().into_owned();
    let elsewhere = backlog.world.path("elsewhere").to_string_lossy().into_owned();
    fs::create_dir(&elsewhere).unwrap();
    let (host, env, place) = ("--allow-host", "--allow-env", "--allow-folder");
    let cases: [(&str, &[&str], &str); 6] = [
        ("plain", &[host, "api.example.com", place, &folder], "(--allow-host)"),
        ("plain", &[host, "127.0.0.1:1", place, &folder], "(--allow-host)"),
        ("plain", &[place, &folder], "(--allow-host)"),
        ("default", &[host, "127.0.0.1", place, &folder], "SECRET_TOKEN (--allow-env)"),
        ("default", &[host, "127.0.0.1", env, "SECRET_TOKEN", place, &folder], "is not set here"),
        ("default", &[host, "127.0.0.1", env, "SECRET_TOKEN", place, &elsewhere], "(--allow-folder)"),
    ];
    for (i, (queue, flags, why)) in cases.into_iter().enumerate() {
        let id = if queue == "plain" { &plain } else { &id };
        let mut worker = backlog.worker_that_may(&format!("w{i}"), queue, flags);
        worker.start();
        let status = backlog.wait_for_status(id, "no worker may run it");
        backlog.wait("its reason", || worker.words().contains(why).then_some(()));
        worker.signal("INT");
        worker.ends_with(130);
        assert!(status.contains("open"), "{status}");
        // What one of them says is forgotten after a while.
        backlog.server.ask(&format!("DEL tidegate:{{fleet}}:refused:{id}"));
    }
    assert_eq!(backlog.world.stat("arrived"), 0, "something was sent");
    let url = backlog.server.url();
    let mut command = backlog.world.command(["worker", "--fleet", &url, "--until-empty"]);
    command.args([host, "127.0.0.1", env, "SECRET_TOKEN", place, &folder]).env("SECRET_TOKEN", "s3cret");
    let ended = backlog.world.end(command);
    assert_eq!(ended.code, Some(0), "{ended}");
    backlog.collect("job", ROWS);
    let dump = backlog.server.ask(&format!("HGETALL tidegate:{{fleet}}:job:{id}"));
    assert!(dump.contains("SECRET_TOKEN") && !dump.contains("s3cret"), "{dump}");
}

#[test]
fn jobs_that_cannot_be_shared_are_refused() {
    let backlog = Backlog::new(Kind::Redis, "1000/s", &[]);
    let fleet = backlog.server.url();
    let refused = |name: &str, why: &str| {
        let ended = backlog.world.tidegate(["submit", &format!("{name}.toml"), "--fleet", &fleet]);
        assert!(ended.code == Some(2) && ended.stderr.contains(why), "{ended}");
        assert!(backlog.parts(name).is_empty(), "something was written");
    };
    backlog.write_job("packed", 10, "", "");
    let packed = fs::File::create(backlog.world.path("packed.txt")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    packed.write_all(b"a\nb\n").unwrap();
    packed.finish().unwrap();
    backlog.write_job("secret", 10, "headers = { Authorization = \"Bearer abc\" }", "");
    refused("secret", "the header Authorization may be secret");
    backlog.write_job("query", 10, "query = { api_key = \"abc\" }", "");
    refused("query", "the query parameter api_key may be secret");
    backlog.write_job("made", 10, "", "");
    backlog.world.write("made.jsonl", "{}\n");
    refused("made", "was not made by collecting");
    refused("packed", "cannot be cut into shards");
    backlog.write_job("twice", 10, "", "");
    backlog.submit("twice", "default", "1s");
    let ended = backlog.world.tidegate(["submit", "twice.toml", "--fleet", &fleet]);
    assert!(ended.code == Some(2) && ended.stderr.contains("was submitted before"), "{ended}");
    assert_eq!(backlog.world.tidegate(["status", "--fleet", &fleet]).stdout.lines().count(), 1);
}

/// An input that is not the one that was submitted: nothing is sent, and when it is back it goes on.
#[test]
fn a_changed_input_is_refused() {
    const ROWS: usize = 300;
    let backlog = Backlog::new(Kind::Redis, "1000/s", &[]);
    backlog.write_job("job", ROWS, "", "");
    let id = backlog.submit("job", "default", "100ms");
    let input = backlog.world.path("job.txt");
    let text = fs::read_to_string(&input).unwrap();
    for other in [text.replacen("job-0", "job-x", 1), format!("{text}more\n")] {
        fs::write(&input, other).unwrap();
        backlog.worker("one", "default", &["--until-empty"]).start().ends_with(0);
        let status = backlog.status(&id);
        assert!(status.contains("paused") && status.contains("has changed"), "{status}");
        assert_eq!(backlog.world.stat("arrived"), 0, "something was sent");
        fs::write(&input, &text).unwrap();
        backlog.tell("resume", &id);
    }
    backlog.worker("two", "default", &["--until-empty"]).start().ends_with(0);
    backlog.collect("job", ROWS);
}

/// What stops one worker stops all of them, and they say why.
#[test]
fn a_job_whose_key_is_refused_is_paused_for_all() {
    let backlog = Backlog::new(Kind::Valkey, "200/s", &["--fault", "unauthorized after 150"]);
    backlog.write_job("job", 600, "", "");
    let id = backlog.submit("job", "default", "500ms");
    let mut workers = ["a", "b"].map(|name| backlog.worker(name, "default", &[]));
    for worker in &mut workers {
        worker.start();
    }
    let status = backlog.wait_for_status(&id, "paused");
    assert!(status.contains("401"), "{status}");
    backlog.wait_for_status(&id, "0 with workers");
    let arrived = backlog.world.stat("arrived");
    // They look each second.
    sleep(2.5);
    assert_eq!(backlog.world.stat("arrived"), arrived, "another one tried again");
    backlog.tell("cancel", &id);
    let late = backlog.world.tidegate(["resume", &id, "--fleet", &backlog.server.url()]);
    assert!(late.code == Some(2) && late.stderr.contains("is cancelled already"), "{late}");
}

/// Each shard has few failures, all of them too many.
#[test]
fn a_job_with_too_many_failures_is_paused_for_all() {
    let backlog = Backlog::new(Kind::Redis, "1000/s", &[]);
    let rows = (0..400).map(|row| if row % 25 == 24 { "404\n" } else { "200\n" });
    backlog.write_job("job", 0, "", "max_failed = 10");
    let job = fs::read_to_string(backlog.world.path("job.toml")).unwrap();
    backlog.world.write("job.toml", &job.replace("/v1/users/", "/status/"));
    backlog.world.write("job.txt", &rows.collect::<String>());
    let id = backlog.submit("job", "default", "100ms");
    let mut worker = backlog.worker("one", "default", &[]);
    worker.start();
    let status = backlog.wait_for_status(&id, "paused");
    // Of four shards of a hundred rows with four failures each.
    assert!(status.contains("3 of 4 shards") && status.contains("12 rows have failed"), "{status}");
    worker.signal("INT");
    worker.ends_with(130);
}

/// The first signal lets calls in flight finish, the second one does not.
#[test]
fn a_second_signal_ends_a_worker_at_once() {
    const ROWS: usize = 100;
    let backlog = Backlog::new(Kind::Valkey, "1000/s", &["--service", "1500ms"]);
    backlog.write_job("job", ROWS, "", "");
    backlog.submit("job", "default", "1s");
    let mut worker = backlog.worker("one", "default", &[]);
    worker.start();
    backlog.world.wait_for(20);
    worker.signal("TERM");
    backlog.wait("a word", || worker.words().contains("again to end at once").then_some(()));
    worker.signal("TERM");
    worker.ends_with(143);
    backlog.worker("two", "default", &["--until-empty"]).start().ends_with(0);
    backlog.collect("job", ROWS);
    assert!(backlog.bought_again(&[("job", ROWS)]).1 > 0);
}

/// `pause` and `resume` act on workers that are at it.
#[test]
fn a_job_is_paused_and_resumed() {
    const ROWS: usize = 600;
    let backlog = Backlog::new(Kind::Redis, "200/s", &["--service", "20ms"]);
    backlog.write_job("job", ROWS, "", "");
    let id = backlog.submit("job", "default", "5s");
    let mut worker = backlog.worker("one", "default", &[]);
    worker.start();
    backlog.world.wait_for(100);
    backlog.tell("pause", &id);
    backlog.wait_for_status(&id, "0 with workers");
    let sent = backlog.world.stat("accepted");
    sleep(1.5);
    assert_eq!(backlog.world.stat("accepted"), sent, "it goes on");
    backlog.tell("resume", &id);
    let fleet = backlog.server.url();
    let early = backlog.world.tidegate(["forget", &id, "--fleet", &fleet]);
    assert!(
        early.code == Some(2) && early.stderr.contains(&format!("hint: tidegate cancel {id} first")),
        "{early}"
    );
    backlog.wait_for_status(&id, "done");
    backlog.collect("job", ROWS);
    assert_eq!(backlog.bought_again(&[("job", ROWS)]), (0, 0));
    // With nothing to do it asks the server about once a second.
    let (before, from) = (calls(&backlog.server), now());
    sleep(3.0);
    let rate = (calls(&backlog.server) - before) as f64 / (now() - from);
    println!("{rate:.2} calls of an idle worker a second");
    assert!(rate <= 2.0, "{rate}");
}

/// The line of the documentation is enough.
#[test]
fn a_user_needs_the_commands_that_are_documented_for_a_fleet() {
    for kind in [Kind::Redis, Kind::Valkey] {
        let backlog = Backlog::new(kind, "1000/s", &[]);
        let page = include_str!("../../../../docs/fleet.md");
        let line = page.lines().find(|line| line.starts_with("ACL SETUSER")).unwrap();
        let said = backlog.server.ask(line);
        assert!(said.starts_with("+OK"), "{said}");
        backlog.server.ask("ACL SETUSER default off");
        let url = backlog.server.url();
        let run = |args: &[&str]| {
            let mut command = backlog.world.command([args, &["--fleet", &url]].concat());
            command.env("TIDEGATE_REDIS_USER", "tidegate").env("TIDEGATE_REDIS_PASSWORD", "PASSWORD");
            let ended = backlog.world.end(command);
            assert_eq!(ended.code, Some(0), "{kind:?} {ended}");
            ended.stdout
        };
        backlog.write_job("job", 50, "", "");
        let id = run(&["submit", "job.toml"]);
        let folder = backlog.world.path("").to_string_lossy().into_owned();
        let worker = ["worker", "--allow-host", "127.0.0.1", "--until-empty", "--allow-folder"];
        run(&["worker", "--until-empty"]); // it may not
        run(&["pause", id.trim()]);
        run(&["resume", id.trim()]);
        run(&[&worker[..], &[&folder]].concat());
        assert!(run(&["status"]).contains("50 results"));
        run(&["collect", "job.toml"]);
        run(&["forget", id.trim()]);
        assert!(run(&["status"]).is_empty());
    }
}

/// Commands of a job run only where its worker says so, and once.
#[test]
fn a_command_at_the_end_runs_once_where_it_is_allowed() {
    let backlog = Backlog::new(Kind::Redis, "1000/s", &[]);
    let command = "[fleet]\non_complete = 'echo $TIDEGATE_JOB $TIDEGATE_RESULTS $TIDEGATE_FAILURES >> ended'";
    backlog.write_job("job", 300, "", command);
    let id = backlog.submit("job", "default", "100ms");
    backlog.worker("no", "default", &["--until-empty"]).start().ends_with(0);
    assert_eq!(backlog.world.stat("arrived"), 0);
    let mut workers = ["a", "b"].map(|name| {
        let mut worker = backlog.worker(name, "default", &["--until-empty", "--allow-commands"]);
        worker.start();
        worker
    });
    for worker in &mut workers {
        worker.ends_with(0);
    }
    assert_eq!(fs::read_to_string(backlog.world.path("ended")).unwrap(), format!("{id} 300 0\n"));
}
