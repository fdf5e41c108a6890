//! What goes where: data on stdout, people's lines on stderr, results in files of each kind.

use std::io::{BufRead, BufReader, Write};

use insta::assert_snapshot;
use serde_json::json;

use crate::support::{Folder, Sim, closed_port};

#[test]
fn without_an_output_results_are_all_that_is_on_stdout() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.users(5);
    let ended = folder.tidegate(["run", "users.csv", "--url", &sim.users(), "--rate", "1000/s"]);
    ended.assert_code(0).assert_says("1000/s → ").assert_says("rows    5 · 5 results · 0 failures");
    let mut lines = ended.lines();
    lines.sort_by_key(|line| line["index"].as_u64());
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[3]["body"]["id"], "u3");
    assert_eq!(lines[3]["input"], json!({ "user_id": "u3", "plan": "free" }));
}

#[test]
fn quiet_says_nothing() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.users(5);
    let args = ["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl", "--quiet"];
    for _ in 0..2 {
        let ended = folder.tidegate(args);
        ended.assert_code(0);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    }
}

#[test]
fn a_closed_pipe_stops_the_job() {
    let (sim, folder) = (Sim::start(&["--service", "2ms"]), Folder::new());
    folder.users(2_000);
    let mut child = folder
        .command(["run", "users.csv", "--url", &sim.users(), "--quiet", "--connections", "4"])
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap(); // and then closes it
    assert!(first.starts_with("{\"index\":"), "{first}");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @"
    error: stopped: cannot write <stdout>: Broken pipe (os error 32)
    hint: the program that was reading the results has ended
    hint: results on stdout cannot be carried on; with -o out.jsonl they can
    ");
    assert!(sim.arrived() < 2_000);
}

#[test]
fn a_closed_pipe_is_enough_of_an_explanation() {
    let folder = Folder::new();
    for args in [&["completions", "bash"][..], &["explain", "100/s"]] {
        let mut command = folder.command(args);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{args:?}");
    }
}

#[test]
fn csv_takes_the_selected_values_beside_the_columns_of_the_input() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("users.csv", "user_id,zip\nu0,01234\n\"a,b\",\"9\"\"9\"\nstatus,1,2\n");
    let ended = folder.tidegate([
        "run",
        "users.csv",
        "--url",
        &sim.users(),
        "-o",
        "out.csv",
        "--select",
        "name=/name",
        "--select",
        "phone=/phone",
        "--connections",
        "1",
    ]);
    ended.assert_code(1);
    assert_eq!(
        folder.read("out.csv"),
        "user_id,zip,name,phone\nu0,01234,User u0,\n\"a,b\",\"9\"\"9\",\"User a,b\",\n"
    );
    assert_snapshot!(folder.read("out.failed.csv"), @"
    user_id,zip,error_kind,error_message,status
    ,,input,row 2 (line 4): 3 fields where the header has 2,
    ");
}

#[test]
fn inputs_of_every_kind() {
    let sim = Sim::start(&[]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"user_id\nu0\nu1\n").unwrap();
    let zstd = zstd::encode_all(&b"{\"user_id\": \"u0\"}\n{\"user_id\": \"u1\"}\n"[..], 1).unwrap();
    for (name, content) in [
        ("users.csv", b"user_id\nu0\nu1\n".to_vec()),
        ("users.csv.gz", gzip.finish().unwrap()),
        ("users.tsv", b"plan\tuser_id\nfree\tu0\nfree\tu1\n".to_vec()),
        ("users.jsonl", b"{\"user_id\": \"u0\"}\n{\"user_id\": \"u1\"}".to_vec()),
        ("users.jsonl.zst", zstd),
    ] {
        let folder = Folder::new();
        folder.write(name, content);
        folder.tidegate(["run", name, "--url", &sim.users(), "-o", "out.jsonl"]).assert_code(0);
        let mut ids: Vec<_> =
            folder.lines("out.jsonl").iter().map(|line| line["body"]["id"].clone()).collect();
        ids.sort_by_key(ToString::to_string);
        assert_eq!(ids, ["u0", "u1"], "{name}");
    }
}

#[test]
fn stdin_is_read_as_lines_or_as_it_is_told() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    let url = format!("{}/v1/users/{{line}}", sim.url);
    let ended = folder.tidegate_with_stdin(&["run", "-", "--url", &url], b"u0\nu1\n");
    assert_eq!(ended.assert_code(0).lines().len(), 2);
    let args = ["run", "-", "--input-format", "csv", "--url", &sim.users()];
    let ended = folder.tidegate_with_stdin(&args, b"user_id\nu0\n");
    assert_eq!(ended.assert_code(0).lines()[0]["input"], json!({ "user_id": "u0" }));
    assert_eq!(folder.tidegate_with_stdin(&args, b"").code, Some(2));
}

#[test]
fn a_dry_run_shows_requests_and_sends_nothing() {
    let folder = Folder::new();
    folder.users(20_000);
    let url = format!("{}/v1/users/{{user_id}}", closed_port());
    let mut command = folder.command([
        "run",
        "users.csv",
        "--url",
        &url,
        "--rate",
        "1000/s",
        "--bearer-env",
        "TOKEN",
        "-o",
        "out.jsonl",
        "--dry-run",
    ]);
    command.env("TOKEN", "hunter2");
    let ended = folder.end(command);
    ended.assert_code(0);
    let said = ended.to_string();
    assert!(!said.contains("hunter2"), "{said}");
    assert_snapshot!(said.replace(url.trim_end_matches("/v1/users/{user_id}"), "[API]"), @"
    exit code 0
    --- stdout
    GET [API]/v1/users/u0
    authorization: Bearer ***
    user-agent: tidegate/0.1.0

    GET [API]/v1/users/u1
    authorization: Bearer ***
    user-agent: tidegate/0.1.0

    GET [API]/v1/users/u2
    authorization: Bearer ***
    user-agent: tidegate/0.1.0


    --- stderr
    limit   1000/s → 1,000 permits that come back 1.001s after each answer → 908/s of 1,000/s (9.2% given up) provable at 100ms answers
    hint: do they mean 60,000 a minute? `--rate 60000/min` gives 998/s
    rows    20,000
    time    about 22s
    Nothing was sent.
    ");
    assert!(!folder.exists("out.jsonl") && !folder.exists("out.tidegate"));
}

#[test]
fn a_dry_run_says_which_limit_binds() {
    let folder = Folder::new();
    folder.users(1);
    let url = "http://127.0.0.1:9/{user_id}";
    let limits = ["--rate", "10/s", "--concurrency", "1"];
    let ended = folder.tidegate([&["run", "users.csv", "--url", url, "--dry-run"][..], &limits].concat());
    let labels: Vec<&str> = ended.stderr.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(labels[..4], ["limit", "hint:", "limit", "binds"], "{}", ended.stderr);
}

#[test]
fn the_help_of_run_has_each_option_in_its_group() {
    let help = Folder::new().tidegate(["run", "--help"]).stdout;
    let (own, groups) = help.split_once("\nRequest:").expect("groups");
    for option in ["--rate", "--output", "--dry-run", "--head", "--quiet", "--help"] {
        assert!(own.contains(option) && !groups.contains(&format!(" {option} ")), "{option} in {help}");
    }
}

#[test]
fn completions_for_every_shell() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = folder.tidegate(["completions", shell]);
        ended.assert_code(0);
        assert!(ended.stdout.contains("dry-run"), "{shell}");
    }
}
