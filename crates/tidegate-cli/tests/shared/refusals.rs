//! What the commands say, and what they refuse.

use std::fmt::Write as _;

use insta::assert_snapshot;

use crate::world::{Ended, World};

/// Processes and times differ from run to run.
fn filtered(ended: &Ended, check: impl FnOnce(String)) {
    insta::with_settings!({ filters => vec![
        (r"process \d+", "process [PID]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[TIME]"),
    ] }, { check(ended.to_string()); });
}

fn idle() -> World {
    World::new(&[])
}

#[test]
fn a_quota_from_its_beginning_to_its_end() {
    let world = idle();
    assert_snapshot!(world.tidegate(["quota", "list"]).to_string(), @"
    exit code 0
    --- stderr
    note: there are no quotas here yet: the first job with a limit makes one
    ");
    assert_snapshot!(world.tidegate(["quota", "create", "crm", "100/min", "30/s"]).to_string(), @"
    exit code 0
    --- stderr
    crm: 100/min, 30/s
    ");
    assert_snapshot!(world.tidegate(["quota", "list"]).to_string(), @"
    exit code 0
    --- stdout
    crm	100/min, 30/s	nobody uses it
    ");
    filtered(&world.tidegate(["quota", "show", "crm"]), |text| {
        assert_snapshot!(text, @"
    exit code 0
    --- stdout
    quota    crm
    limits   100/min, 30/s
    set      by `quota create crm 100/min 30/s` (process [PID]) at [TIME]
    use      100/min: of 100 units 0 with processes
    use      30/s: of 30 units 0 with processes
    ");
    });
    // The same again is what there is; another one is not.
    assert_snapshot!(world.tidegate(["quota", "create", "crm", "100/min", "30/s"]).to_string(), @"
    exit code 0
    --- stderr
    crm: 100/min, 30/s
    ");
    assert_snapshot!(world.tidegate(["quota", "create", "crm", "200/min"]).to_string(), @"
    exit code 2
    --- stderr
    error: there is a quota `crm` already: 100/min, 30/s
    hint: change it with `tidegate quota set crm --rate …`
    ");
    assert_snapshot!(world.tidegate(["quota", "set", "crm", "--rate", "200/min"]).to_string(), @"
    exit code 0
    --- stderr
    crm: 200/min
    ");
    assert_snapshot!(world.tidegate(["quota", "pause", "crm", "--for", "2h"]).to_string(), @"
    exit code 0
    --- stderr
    crm is paused for 2h 0m
    ");
    assert_snapshot!(world.tidegate(["quota", "pause", "crm"]).to_string(), @"
    exit code 0
    --- stderr
    crm is paused until `tidegate quota resume crm`
    ");
    assert_snapshot!(world.tidegate(["quota", "list"]).to_string(), @"
    exit code 0
    --- stdout
    crm	200/min	nobody uses it	paused
    ");
    filtered(&world.tidegate(["quota", "show", "crm"]), |text| {
        assert_snapshot!(text, @"
    exit code 0
    --- stdout
    quota    crm
    limits   200/min
    set      by `quota set crm --rate 200/min` (process [PID]) at [TIME]
    paused   until it is resumed
    use      200/min: of 200 units 0 with processes
    ");
    });
    assert_snapshot!(world.tidegate(["quota", "resume", "crm"]).to_string(), @"
    exit code 0
    --- stderr
    crm goes on
    ");
    assert_snapshot!(world.tidegate(["quota", "forget", "crm"]).to_string(), @"
    exit code 0
    --- stderr
    crm is forgotten
    ");
    assert_snapshot!(world.tidegate(["quota", "list"]).to_string(), @"
    exit code 0
    --- stderr
    note: there are no quotas here yet: the first job with a limit makes one
    ");
}

#[test]
fn what_is_not_there_or_cannot_be_is_refused() {
    let world = idle();
    let args: [&[&str]; 9] = [
        &["show", "crm"],
        &["set", "crm", "--rate", "10/s"],
        &["pause", "crm"],
        &["resume", "crm"],
        &["forget", "crm"],
        &["create", "crm", "ten/s"],
        &["create", "", "10/s"],
        &["list", "--store", "memory"],
        &["list", "--store", "postgres://localhost"],
    ];
    let mut all = String::new();
    for args in args {
        let ended = world.tidegate([&["quota"], args].concat());
        writeln!(all, "$ tidegate quota {}\n{ended}", args.join(" ")).unwrap();
    }
    assert_snapshot!(all, @"
    $ tidegate quota show crm
    exit code 2
    --- stderr
    error: there is no quota `crm` here
    hint: `tidegate quota list` shows those there are

    $ tidegate quota set crm --rate 10/s
    exit code 2
    --- stderr
    error: there is no quota `crm` here
    hint: `tidegate quota list` shows those there are

    $ tidegate quota pause crm
    exit code 2
    --- stderr
    error: there is no quota `crm` here
    hint: `tidegate quota list` shows those there are

    $ tidegate quota resume crm
    exit code 2
    --- stderr
    error: there is no quota `crm` here
    hint: `tidegate quota list` shows those there are

    $ tidegate quota forget crm
    exit code 2
    --- stderr
    error: there is no quota `crm` here
    hint: `tidegate quota list` shows those there are

    $ tidegate quota create crm ten/s
    exit code 2
    --- stderr
    error: `ten/s` is not a limit: expected an amount and a period such as `1000/s`, `10k/min`, `100/6s`, `50/s bucket 10`, `1000/s counter`, `10k/day UTC`, or `concurrency 20`
    hint: `ten` is not an amount; write `1000`, `10k` or `2M`

    $ tidegate quota create  10/s
    exit code 2
    --- stderr
    error: `` cannot be the name of a quota: expected 1 to 200 characters, none of them a control character
    hint: the default is the URL's host

    $ tidegate quota list --store memory
    exit code 2
    --- stderr
    error: quotas in memory end with the process that has them
    hint: leave --store away, or name a folder or a server: --store sqlite:FOLDER, --store redis://HOST:PORT/DB

    $ tidegate quota list --store postgres://localhost
    exit code 2
    --- stderr
    error: quota.store: `postgres://localhost` is not a store: expected sqlite, sqlite:FOLDER, redis://HOST:PORT/DB or memory
    ");
}

/// Rows to send, if there is nothing against it.
fn ten_rows(world: &World, flags: &[&str]) -> Ended {
    world.write("ids.txt", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    let url = format!("{}/v1/users/{{line}}", world.provider.url);
    world.tidegate([&["run", "ids.txt", "-o", "out.jsonl", "--url", &url], flags].concat())
}

#[test]
fn a_job_that_disagrees_with_what_a_person_has_set_is_refused() {
    let world = idle();
    world.quota(&["create", "crm", "100/min"]);
    let refused = ten_rows(&world, &["--rate", "200/min", "--quota", "crm"]);
    filtered(&refused, |text| {
        assert_snapshot!(text, @"
    exit code 2
    --- stderr
    error: quota `crm` is 100/min (set by `quota create crm 100/min` (process [PID]) at [TIME]), but this job says 200/min
    hint: to change it for everybody: `tidegate quota set crm --rate 200/min`; to take it as it is: leave the limits away; for a quota of its own: another `--quota` name
    ");
    });
    assert_eq!(world.stat("arrived"), 0);
    // With its limits, or without any, it is let in.
    let taken = ten_rows(&world, &["--quota", "crm", "--pace", "burst"]);
    assert_eq!(taken.code, Some(0), "{taken}");
    assert!(taken.stderr.contains("limit   100/min"), "{taken}");
    assert_eq!(world.stat("accepted"), 10);
}

/// A job that was the first says what a quota is until nobody uses it any more.
#[test]
fn a_job_that_disagrees_with_one_that_runs_is_refused() {
    let world = World::new(&["--limit", "rolling 1000/s"]);
    let mut first = world.worker("first", 10_000, &["--rate", "50/s", "--quota", "crm", "-q"]);
    first.start();
    world.wait_for(10);
    let refused = ten_rows(&world, &["--rate", "60/s", "--quota", "crm", "-q"]);
    filtered(&refused, |text| {
        assert_snapshot!(text, @"
    exit code 2
    --- stderr
    error: quota `crm` is 50/s (set by `run first.txt -o first.jsonl` (process [PID]) at [TIME]), but this job says 60/s
    hint: to change it for everybody: `tidegate quota set crm --rate 60/s`; to take it as it is: leave the limits away; for a quota of its own: another `--quota` name
    ");
    });
    first.signal("INT");
    first.ends_with(130);
    let taken = ten_rows(&world, &["--rate", "60/s", "--quota", "crm", "-q"]);
    assert_eq!(taken.code, Some(0), "{taken}");
    assert_eq!(world.quota(&["list"]).stdout, "crm\t60/s\tnobody uses it\n");
}

#[test]
fn limits_that_are_stored_are_kept_by_a_job_that_names_none() {
    let world = World::new(&["--limit", "rolling 20/s", "--service", "20ms"]);
    world.quota(&["create", "crm", "20/s"]);
    let mut worker = world.worker("rows", 60, &["--quota", "crm", "-q"]);
    worker.start().ends_with(0);
    let stats = world.check_contract();
    assert_eq!((&stats["accepted"], &worker.summary()["limits"][0]["limit"]), (&60.into(), &"20/s".into()));
}

#[test]
fn quotas_are_kept_where_they_are_told_to_be() {
    let world = idle();
    let in_memory = ten_rows(&world, &["--rate", "1000/s", "--store", "memory", "-q"]);
    assert_eq!(in_memory.code, Some(0), "{in_memory}");
    assert!(!world.path("state").exists(), "a quota in memory has a folder");
    world.write("ids.txt", "");

    std::fs::remove_dir_all(world.path("out.tidegate")).unwrap();
    std::fs::remove_file(world.path("out.jsonl")).unwrap();
    let elsewhere =
        ten_rows(&world, &["--rate", "1000/s", "--quota", "crm", "--store", "sqlite:deep/own", "-q"]);
    assert_eq!(elsewhere.code, Some(0), "{elsewhere}");
    assert!(!world.path("state").exists() && world.path("deep/own/quotas.db").exists());
    let list = world.quota(&["list", "--store", "sqlite:deep/own"]);
    assert_eq!(list.stdout, "crm\t1,000/s\tnobody uses it\n".replace(',', ""));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name| std::fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("deep/own"), mode("deep/own/quotas.db")), (0o700, 0o600));
    }
}

#[test]
fn without_a_folder_that_can_be_written_nothing_is_sent() {
    let world = idle();
    world.write("file", "");
    world.write("ids.txt", "u0\n");
    let url = format!("{}/v1/users/{{line}}", world.provider.url);
    let run = ["run", "ids.txt", "-o", "out.jsonl", "--url", &url, "--rate", "10/s", "-q"];
    let mut below_a_file = world.command(run);
    below_a_file.env("TIDEGATE_STATE_DIR", world.path("file/state"));
    assert_snapshot!(world.end(below_a_file).to_string(), @"
    exit code 2
    --- stderr
    error: cannot use [DIR]/file/state: Not a directory (os error 20)
    hint: set TIDEGATE_STATE_DIR to a folder that you may write
    ");
    let mut homeless = world.command(run);
    homeless.env_remove("TIDEGATE_STATE_DIR").env_remove("XDG_STATE_HOME").env_remove("HOME");
    assert_snapshot!(world.end(homeless).to_string(), @"
    exit code 2
    --- stderr
    error: there is no folder to keep quotas in: neither TIDEGATE_STATE_DIR, XDG_STATE_HOME nor HOME is set
    hint: set TIDEGATE_STATE_DIR to a folder that lasts
    ");
    assert_eq!(world.stat("arrived"), 0);
    // What needs no store runs without one.
    let mut in_memory = world.command(run);
    in_memory.args(["--store", "memory"]).env_remove("HOME").env_remove("TIDEGATE_STATE_DIR");
    let ended = world.end(in_memory);
    assert_eq!(ended.code, Some(0), "{ended}");
}

#[test]
fn a_damaged_file_of_quotas_is_refused() {
    let world = idle();
    std::fs::create_dir(world.path("state")).unwrap();
    world.write("state/quotas.db", &"this is no database\n".repeat(500));
    assert_snapshot!(ten_rows(&world, &["--rate", "10/s", "-q"]).to_string(), @"
    exit code 2
    --- stderr
    error: [DIR]/state/quotas.db is damaged: file is not a database
    hint: move it away (`mv [DIR]/state/quotas.db [DIR]/state/quotas.db.damaged`); all quotas then begin anew, so wait as long as the longest window first
    ");
    assert_snapshot!(world.tidegate(["quota", "list"]).to_string(), @"
    exit code 2
    --- stderr
    error: [DIR]/state/quotas.db is damaged: file is not a database
    hint: move it away (`mv [DIR]/state/quotas.db [DIR]/state/quotas.db.damaged`); all quotas then begin anew, so wait as long as the longest window first
    ");
    assert_eq!(world.stat("arrived"), 0);
}
