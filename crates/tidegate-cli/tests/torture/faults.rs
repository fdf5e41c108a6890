//! Disks that are full or read-only, and files that somebody deletes, damages or changes.

use fastrand::Rng;

use crate::disk::{Disk, small};
use crate::support::{Background, Ended, Folder, Sim};
use crate::world::{Endings, Out, seed};

/// Everything about the users, each in an answer of 100 bytes.
fn args(sim: &Sim) -> Vec<String> {
    let url = sim.users();
    ["run", "users.csv", "-q", "-o", "out.jsonl", "--url", &url, "--rate", "200/500ms"]
        .map(str::to_owned)
        .into()
}

fn strict() -> Sim {
    Sim::start(&["--limit", "rolling 200/500ms", "--service", "5ms"])
}

/// All is there, and of what was bought only that twice of which no line could be written.
#[track_caller]
fn check_whole(folder: &Folder, sim: &Sim, rows: u64) {
    check_whole_after(60, folder, sim, rows);
}

/// When so many calls may have been under way at the end of a run.
#[track_caller]
fn check_whole_after(under_way: u64, folder: &Folder, sim: &Sim, rows: u64) {
    let out = Out::jsonl(folder);
    assert_eq!(out.check_whole(rows), Endings { results: rows, failed: 0, unknown: 0 });
    let (stats, told) = (sim.stats(), out.log());
    assert_eq!(stats["rejected"], 0, "{stats}");
    let twice = stats["served_twice"].as_u64().unwrap();
    assert!(twice <= told.lost, "{twice} rows served twice, {told:?}");
    assert!(twice <= under_way, "{twice} rows served twice: more than had no line yet");
}

fn run(folder: &Folder, args: &[String], state: &Folder) -> Ended {
    let mut command = folder.command(args);
    command.env("TIDEGATE_STATE_DIR", state.path("state"));
    folder.end(command)
}

#[test]
fn a_full_disk_stops_the_job_and_loses_nothing() {
    let first = seed();
    println!("TIDEGATE_TEST_SEED={first}");
    let mut rng = Rng::with_seed(first);
    // Without and with room for the reserve.
    for reserve in [0, 0, 0, 0, 8 << 10, 8 << 10, 8 << 10] {
        let kib = reserve + (rng.u64(40..120) & !3);
        let (sim, state) = (strict(), Folder::new());
        let (folder, disk) = small(kib);
        folder.users(700);
        let args = args(&sim);
        let ended = run(&folder, &args, &state);
        println!("{kib} KiB: {}", ended.stderr.trim_end().replace('\n', " | "));
        ended.assert_code(3).assert_says("No space left on device").assert_says("make room on the disk");
        ended.assert_says("cannot write out.").assert_says("carries on where this one stopped");
        // While it is full, it says so again, and sends little.
        let again = run(&folder, &args, &state);
        assert!(matches!(again.code, Some(0 | 2 | 3)), "{again}");
        if again.code != Some(0) {
            again.assert_says("No space left on device").assert_says("make room on the disk");
        } // else what was left to do fitted into what the first run had left
        let told = Out::jsonl(&folder).log();
        assert!(reserve == 0 || told.lost == 0, "what was bought went into the reserve: {told:?}");
        disk.resize(32 << 10);
        run(&folder, &args, &state).assert_code(0);
        check_whole(&folder, &sim, 700);
    }
}

#[test]
fn a_full_disk_of_the_quotas_stops_the_job_and_loses_nothing() {
    let (sim, folder) = (strict(), Folder::new());
    folder.users(4_000);
    let disk = Disk::over(&folder.path(".state"), 1_024);
    let args = args(&sim);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let run = Background::start(&folder, &args);
    sim.wait_for(300);
    disk.fill();
    let ended = run.wait();
    ended.assert_code(3).assert_says("quotas.db").assert_says("full");
    ended.assert_says("carries on where this one stopped");
    let arrived = sim.arrived();
    let again = folder.tidegate(&args);
    assert!(matches!(again.code, Some(2 | 3)), "{again}");
    again.assert_says(".state").assert_says("make room on the disk");
    assert_eq!(sim.arrived(), arrived, "nothing is sent without a quota");
    disk.make_room();
    folder.tidegate(&args).assert_code(0);
    check_whole(&folder, &sim, 4_000);
}

#[test]
fn a_folder_that_may_not_be_written_is_refused() {
    let (sim, state) = (strict(), Folder::new());
    let (folder, disk) = small(16 << 10);
    folder.users(20);
    let args = args(&sim);
    disk.make_read_only(true);
    let ended = run(&folder, &args, &state);
    ended
        .assert_code(2)
        .assert_says("out.tidegate")
        .assert_says("Read-only file system")
        .assert_says("hint: ");
    assert_eq!(sim.arrived(), 0);
    // Some rows; and then the disk is mounted for reading only, as after an error on it.
    disk.make_read_only(false);
    run(&folder, &[&args[..], &["--head".to_owned(), "5".to_owned()]].concat(), &state).assert_code(0);
    disk.make_read_only(true);
    run(&folder, &args, &state).assert_code(2).assert_says("Read-only file system");
    assert_eq!(sim.arrived(), 5);
    disk.make_read_only(false);
    run(&folder, &args, &state).assert_code(0);
    check_whole(&folder, &sim, 20);
}

#[test]
fn a_state_folder_that_may_not_be_written_is_refused() {
    let (sim, folder) = (strict(), Folder::new());
    folder.users(20);
    let disk = Disk::over(&folder.path(".state"), 1_024);
    disk.make_read_only(true);
    let args = args(&sim);
    let ended = folder.tidegate(&args);
    ended.assert_code(2).assert_says(".state").assert_says("TIDEGATE_STATE_DIR");
    assert_eq!(sim.arrived(), 0);
    disk.make_read_only(false);
    folder.tidegate(&args).assert_code(0);
    check_whole(&folder, &sim, 20);
}

/// As in a container that is started anew: what the job's own log shows still counts.
#[test]
fn a_state_folder_that_is_lost_between_runs() {
    for signal in ["KILL", "TERM"] {
        let (sim, folder) = (Sim::start(&["--limit", "rolling 100/s", "--service", "10ms"]), Folder::new());
        folder.users(350);
        let url = sim.users();
        let args = ["run", "users.csv", "-q", "-o", "out.jsonl", "--url", &url, "--rate", "100/s"];
        let args = [&args[..], &["--pace", "burst"]].concat();
        let run = Background::start(&folder, &args);
        sim.wait_for(130);
        run.signal(signal);
        run.wait();
        std::fs::remove_dir_all(folder.path(".state")).unwrap();
        folder.tidegate(&args).assert_code(0);
        // On a busy machine a whole burst.
        check_whole_after(100, &folder, &sim, 350);
        assert_eq!(sim.stats()["worst_window"]["accepted"], 100, "the limit was never met");
    }
}

/// Deletes what `names` while it runs: the run ends, and says which file is gone.
#[track_caller]
fn deleted_while_running(name: &str, delete: &str) {
    let (sim, folder) = (strict(), Folder::new());
    folder.users(4_000);
    let args = args(&sim);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let run = Background::start(&folder, &args);
    sim.wait_for(200);
    let path = folder.path(delete);
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    let ended = run.wait();
    ended.assert_code(3).assert_says(name).assert_says("deleted or replaced").assert_says("hint: ");
    let arrived = sim.arrived();
    assert!(arrived < 3_000, "{arrived} calls were made before it was seen");
    assert_eq!(sim.stats()["rejected"], 0);
}

#[test]
fn an_output_deleted_while_it_is_written() {
    deleted_while_running("out.jsonl", "out.jsonl");
}

#[test]
fn a_log_deleted_while_it_is_written() {
    deleted_while_running("out.tidegate/log", "out.tidegate/log");
}

#[test]
fn a_state_folder_deleted_while_it_is_written() {
    deleted_while_running("out.tidegate/log", "out.tidegate");
}

#[test]
fn an_output_deleted_between_runs() {
    let (sim, folder) = (strict(), Folder::new());
    folder.users(40);
    let args = args(&sim);
    let head = [&args[..], &["--head".to_owned(), "20".to_owned()]].concat();
    folder.tidegate(head).assert_code(0);
    std::fs::rename(folder.path("out.jsonl"), folder.path("moved")).unwrap();
    let ended = folder.tidegate(&args);
    ended.assert_code(2).assert_says("out.jsonl is missing").assert_says("hint: put it back");
    assert_eq!(sim.arrived(), 20, "nothing is bought again without a word");
    assert!(!folder.exists("out.jsonl"));
    std::fs::rename(folder.path("moved"), folder.path("out.jsonl")).unwrap();
    folder.tidegate(&args).assert_code(0);
    check_whole(&folder, &sim, 40);
    assert_eq!(sim.arrived(), 40);
}

/// One bit, anywhere in the log: the run is refused, or goes on without having forgotten anything.
#[test]
fn a_damaged_log_is_refused_or_makes_no_difference() {
    let first = seed();
    println!("TIDEGATE_TEST_SEED={first}");
    let mut rng = Rng::with_seed(first);
    for is_csv in [false, true] {
        let (sim, folder) = (strict(), Folder::new());
        folder.users(60);
        let out = Out { folder: &folder, is_csv };
        let mut args = args(&sim);
        if is_csv {
            args[4] = "out.csv".to_owned();
            args.extend(["--select", "name=/name"].map(str::to_owned));
        }
        folder.tidegate(&args).assert_code(0);
        out.check_whole(60);
        let path = folder.path("out.tidegate/log");
        let good = std::fs::read(&path).unwrap();
        let whole = folder.read(out.name());
        let (mut refused, mut arrived) = (0, sim.arrived());
        for _ in 0..40 {
            let (at, bit) = (rng.usize(..good.len()), rng.u8(..8));
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            let ended = folder.tidegate(&args);
            let what = format!("bit {bit} of byte {at} of {}: {ended}", good.len());
            if ended.code == Some(2) {
                refused += 1;
                ended.assert_says("out.tidegate/log").assert_says("hint: restore");
                assert_eq!(folder.read(out.name()), whole, "{what}");
                assert_eq!(std::fs::read(&path).unwrap(), bad, "what is damaged is left as it is: {what}");
            } else {
                assert_eq!(ended.code, Some(0), "{what}");
                let counts = out.counts();
                assert!(counts.len() == 60 && counts.values().all(|count| *count == 1), "{what}: {counts:?}");
            }
            // The last block may be taken for torn: of a CSV output what it tells of is bought again.
            let again = sim.arrived() - arrived;
            assert!(again == 0 || is_csv && again <= 20, "{what}: {again} were sent again");
            arrived += again;
            std::fs::write(&path, &good).unwrap();
            folder.write(out.name(), &whole);
        }
        println!("refused {refused} of 40, CSV {is_csv}");
        assert!(refused > 20);
        folder.tidegate(&args).assert_code(0);
        out.check_whole(60);
    }
}

#[test]
fn an_input_that_grows_is_carried_on_and_one_that_changes_is_refused() {
    let (sim, folder) = (strict(), Folder::new());
    folder.users(20);
    let args = args(&sim);
    folder.tidegate(&args).assert_code(0);
    folder.users(30);
    folder.tidegate(&args).assert_code(0);
    check_whole(&folder, &sim, 30);
    assert_eq!(sim.arrived(), 30);

    let changed = folder.read("users.csv").replace("u7,free", "x7,free");
    folder.write("users.csv", changed);
    let ended = folder.tidegate(&args);
    ended.assert_code(2).assert_says("users.csv").assert_says("hint: ");
    assert_eq!(sim.arrived(), 30);
    folder.users(30);
    folder.tidegate(&args).assert_code(0);
}

#[test]
fn a_job_file_edited_while_it_runs() {
    let (sim, folder) = (Sim::start(&["--limit", "rolling 100/500ms"]), Folder::new());
    folder.users(600);
    let job = |path: &str, rate: &str| {
        format!(
            "[input]\npath = \"users.csv\"\n[request]\nurl = \"{}{path}\"\n[quota]\nlimits = [\"{rate}\"]\n\
             [output]\npath = \"out.jsonl\"\n",
            sim.url
        )
    };
    let args = ["run", "job.toml"];
    folder.write("job.toml", job("/v1/users/{user_id}", "100/500ms"));
    let run = Background::start(&folder, &args);
    sim.wait_for(120);
    // Another request, and far too fast: the run goes on as it was.
    folder.write("job.toml", job("/echo/{user_id}", "5000/s"));
    sim.wait_for(240);
    run.signal("TERM");
    run.wait().assert_code(143);
    assert!(folder.lines("out.jsonl").iter().all(|line| line["body"]["id"].is_string()));
    let arrived = sim.arrived();
    // The next one is another job.
    let ended = folder.tidegate(args);
    ended.assert_code(2).assert_says("request was").assert_says("/echo/{user_id}").assert_says("hint: ");
    assert_eq!(sim.arrived(), arrived);
    // Another rate is not.
    folder.write("job.toml", job("/v1/users/{user_id}", "80/500ms"));
    let ended = folder.tidegate(args);
    if ended.code == Some(2) {
        // Unless the quota is kept with other limits: who changes them says so.
        ended.assert_says("quota set");
        let quota = sim.url.strip_prefix("http://").unwrap();
        folder.tidegate(["quota", "set", quota, "--rate", "80/500ms"]).assert_code(0);
        folder.tidegate(args).assert_code(0);
    } else {
        ended.assert_code(0);
    }
    check_whole(&folder, &sim, 600);
}
