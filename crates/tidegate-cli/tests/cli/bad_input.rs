//! What is refused before anything is sent: exit code 2, what was expected, and what to do.

use insta::assert_snapshot;

use crate::support::{Ended, Folder, Sim};

/// Nobody is asked here; if somebody were, these tests would fail by their exit code.
const URL: &str = "http://127.0.0.1:9/v1/users/{user_id}";

/// Runs `tidegate run users.csv --url URL -o out.jsonl`, as far as `args` do not say otherwise, and
/// sees to it that it is refused without a trace.
#[track_caller]
fn refused(args: &[&str]) -> Ended {
    let folder = Folder::new();
    folder.users(3);
    let mut whole = vec!["run", "users.csv"];
    for (flag, value) in [("--url", URL), ("-o", "out.jsonl")] {
        if !args.contains(&flag) {
            whole.extend([flag, value]);
        }
    }
    refused_in(&folder, &[&whole, args].concat())
}

#[track_caller]
fn refused_in(folder: &Folder, args: &[&str]) -> Ended {
    let ended = folder.tidegate(args);
    ended.assert_code(2);
    assert!(ended.stdout.is_empty(), "{ended}");
    assert!(ended.stderr.contains("error: "), "{ended}");
    assert!(!folder.exists("out.jsonl") && !folder.exists("out.csv"), "an output was begun\n{ended}");
    ended
}

#[track_caller]
fn refused_input(name: &str, content: &[u8]) -> Ended {
    let folder = Folder::new();
    folder.write(name, content);
    refused_in(&folder, &["run", name, "--url", URL, "-o", "out.jsonl"])
}

// ---- the input ----

#[test]
fn an_input_that_is_not_there() {
    let folder = Folder::new();
    assert_snapshot!(refused_in(&folder, &["run", "usres.csv", "--url", URL, "-o", "out.jsonl"]), @"
    exit code 2
    --- stderr
    error: cannot open usres.csv: No such file or directory (os error 2)
    hint: is the path right? it is relative to the folder you are in
    ");
}

#[test]
fn an_input_that_may_not_be_read() {
    let folder = Folder::new();
    // A folder is as unreadable for root as for anybody.
    assert_snapshot!(refused_in(&folder, &["run", ".", "--url", URL, "-o", "out.jsonl"]), @"
    exit code 2
    --- stderr
    error: . is a folder, where a file of rows is needed
    hint: name one file; join several with `cat` and read `-`
    ");
}

#[test]
fn an_empty_input() {
    assert_snapshot!(refused_input("users.csv", b""), @"
    exit code 2
    --- stderr
    error: users.csv is empty
    hint: one row a line is needed; did the step before write anything?
    ");
    assert_snapshot!(refused_input("ids.txt", b"\n\n"), @"
    exit code 2
    --- stderr
    error: ids.txt is empty
    hint: one row a line is needed; did the step before write anything?
    ");
}

#[test]
fn a_table_without_rows_is_an_empty_list() {
    let folder = Folder::new();
    folder.write("users.csv", "user_id\n");
    let ended = folder.tidegate(["run", "users.csv", "--url", URL, "-o", "out.jsonl"]);
    ended.assert_code(0);
    assert_eq!(folder.summary()["rows"], 0);
}

#[test]
fn a_header_that_names_a_column_twice() {
    assert_snapshot!(refused_input("users.csv", b"user_id,user_id\n1,2\n"), @"
    exit code 2
    --- stderr
    error: the header of users.csv has two columns `user_id`
    hint: the first line must name every column once; for a plain list say --input-format lines
    ");
}

#[test]
fn a_name_that_promises_gzip() {
    assert_snapshot!(refused_input("users.csv.gz", b"user_id\n1\n"), @"
    exit code 2
    --- stderr
    error: users.csv.gz is named like gzip but does not begin like it
    hint: drop .gz or .zst from the name if it was unpacked already
    ");
}

// ---- the request ----

#[test]
fn an_unknown_column() {
    assert_snapshot!(refused(&["--url", "http://127.0.0.1:9/v1/users/{user_ID}"]), @"
    exit code 2
    --- stderr
    error: url: unknown column `user_ID`; the input has `user_id`, `plan`
    hint: did you mean `user_id`?
    ");
    assert_snapshot!(refused(&["--key", "id"]), @"
    exit code 2
    --- stderr
    error: key: unknown column `id`; the input has `user_id`, `plan`
    ");
}

#[test]
fn a_url_that_is_none() {
    let folder = Folder::new();
    folder.users(3);
    assert_snapshot!(refused_in(&folder, &["run", "users.csv"]), @"
    exit code 2
    --- stderr
    error: the job has no URL
    hint: give one with --url 'https://api.example.com/v1/users/{user_id}'
    ");
    assert_snapshot!(refused(&["--url", "http:///v1/users/{user_id}"]), @"
    exit code 2
    --- stderr
    error: url: expected a host after `://`
    hint: a URL looks like https://api.example.com:8443/path; non-ASCII names as xn--…
    ");
    assert_snapshot!(refused(&["--url", "api.example.com/{user_id}"]), @"
    exit code 2
    --- stderr
    error: url: expected a URL that starts with http:// or https://
    hint: write the whole URL, such as https://api.example.com/v1/users/{id}
    ");
    assert_snapshot!(refused(&["--url", "https://{user_id}.example.com/"]), @"
    exit code 2
    --- stderr
    error: url: scheme, host and port must be literal: a row must not choose where a secret is sent
    hint: write the host out, with a `/` after it; one job talks to one host
    ");
}

#[test]
fn an_environment_variable_that_is_not_set() {
    assert_snapshot!(refused(&["-H", "Authorization: Bearer {{ env.TOKEN }}"]), @"
    exit code 2
    --- stderr
    error: header `Authorization`: environment variable TOKEN is not set, or empty
    hint: export TOKEN=…
    ");
    assert_snapshot!(refused(&["--bearer-env", "TOKEN"]), @"
    exit code 2
    --- stderr
    error: bearer token: environment variable TOKEN is not set, or empty
    hint: export TOKEN=…
    ");
}

#[test]
fn a_body_that_is_no_json() {
    assert_snapshot!(refused(&["--json", "{id: 1}"]), @r#"
    exit code 2
    --- stderr
    error: --json: expected JSON: key must be a string at line 1 column 2
    hint: for example --json '{"id": "{{ row.user_id }}"}'; other text is sent with -d
    "#);
    assert_snapshot!(refused(&["--json", "@body.json"]), @"
    exit code 2
    --- stderr
    error: --json: cannot read body.json: No such file or directory (os error 2)
    hint: after `@` stands the name of a file with the body
    ");
    assert_snapshot!(refused(&["-H", "no colon"]), @"
    exit code 2
    --- stderr
    error: header: expected `Name: value`
    hint: for example -H 'Accept: application/json'
    ");
}

// ---- the limits ----

#[test]
fn a_limit_that_is_none() {
    assert_snapshot!(refused(&["--limit", "10"]), @"
    exit code 2
    --- stderr
    error: `10` is not a limit: expected an amount and a period such as `1000/s`, `10k/min`, `100/6s`, `50/s bucket 10`, `1000/s counter`, `10k/day UTC`, or `concurrency 20`
    hint: say per what: `10/s` or `10/min`; to try a few rows only: `--head 10`
    ");
    assert_snapshot!(refused(&["--rate", "0/s"]), @"
    exit code 2
    --- stderr
    error: `0/s`: an amount of 0 would never send anything
    hint: the smallest is 1, as in `1/min`
    ");
    assert_snapshot!(refused(&["--rate", "100/0s"]), @"
    exit code 2
    --- stderr
    error: `100/0s`: a period of 0 has no length
    hint: write the window's length, as in `100/6s`
    ");
    assert_snapshot!(refused(&["--rate", "2M tokens/min"]), @"
    exit code 2
    --- stderr
    error: the limit `2000000 tokens/min` counts tokens, but not how many a call costs
    hint: in a job file, give [[quota.limit]] a `cost`, the most tokens that one call can take: a number, or a column such as `{tokens}`
    ");
    assert_snapshot!(refused(&["--concurrency", "0"]), @"
    exit code 2
    --- stderr
    error: quota.concurrency: 0 calls at a time would never send anything: expected 1 or more
    ");
}

#[test]
fn a_priority_and_a_reserve_that_mean_nothing() {
    assert_snapshot!(refused(&["--rate", "10/s", "--priority", "urgent"]), @"
    exit code 2
    --- stderr
    error: quota.priority: `urgent` is no priority: it is high, normal or low
    ");
    assert_snapshot!(refused(&["--rate", "10/s", "--reserve", "high=5"]), @r#"
    exit code 2
    --- stderr
    error: quota.reserve: `high=5` is no reserve: expected a priority and a percentage, as in high=5%
    hint: reserve = { high = "5%" }; what is reserved of tokens is tokens = "p99" in there
    "#);
    assert_snapshot!(refused(&["--rate", "10/s", "--reserve", "high=5%", "--store", "memory"]), @r#"
    exit code 2
    --- stderr
    error: quota.reserve: a quota in memory is shared with nobody for whom something could be kept
    hint: store = "sqlite", or an address: redis://HOST:PORT/DB
    "#);
}

#[test]
fn a_limit_smaller_than_the_cost_of_one_call() {
    let job = "[[quota.limit]]\namount = 40_000\nper = \"min\"\nunit = \"tokens\"\ncost = 52_000\n";
    assert_snapshot!(refused_job(job), @"
    exit code 2
    --- stderr
    error: a call costs 52000 tokens, but the limit `40000 tokens/min` never allows more than 40000 at once
    hint: raise the limit, lower `cost`, or split the call
    ");
}

#[test]
fn explain_refuses_what_run_refuses() {
    let folder = Folder::new();
    assert_snapshot!(refused_in(&folder, &["explain", "10"]), @"
    exit code 2
    --- stderr
    error: `10` is not a limit: expected an amount and a period such as `1000/s`, `10k/min`, `100/6s`, `50/s bucket 10`, `1000/s counter`, `10k/day UTC`, or `concurrency 20`
    hint: say per what: `10/s` or `10/min`; to try a few rows only: `--head 10`
    ");
    assert_snapshot!(refused_in(&folder, &["explain", "10/s", "--latency", "soon"]), @"
    exit code 2
    --- stderr
    error: quota.latency: `soon` is not a duration: expected one such as `30s`, `250ms`, `5m` or `1h`
    ");
}

// ---- the job file ----

/// A job file with `section` in it, and all else as it should be.
#[track_caller]
fn refused_job(section: &str) -> Ended {
    let folder = Folder::new();
    folder.users(3).write("job.toml", format!("{JOB}\n{section}"));
    refused_in(&folder, &["run", "job.toml"])
}

const JOB: &str = r#"[input]
path = "users.csv"

[request]
url = "http://127.0.0.1:9/v1/users/{user_id}"

[output]
path = "out.jsonl"
"#;

#[test]
fn a_job_file_that_is_not_there() {
    let folder = Folder::new();
    assert_snapshot!(refused_in(&folder, &["run", "job.toml"]), @"
    exit code 2
    --- stderr
    error: cannot read the job file job.toml: No such file or directory (os error 2)
    hint: is the path right? it is relative to the folder you are in
    ");
}

#[test]
fn a_job_file_with_an_unknown_key() {
    assert_snapshot!(refused_job("[retry]\nmax_retries = 3\n"), @"
    exit code 2
    --- stderr
    error: job.toml: TOML parse error at line 11, column 1
       |
    11 | max_retries = 3
       | ^^^^^^^^^^^
    unknown field `max_retries`, expected one of `attempts`, `backoff`, `on`, `unknown`, `probe`, `max_elapsed`, `max_pause`, `wait`, `budget`, `sign`
    ");
}

#[test]
fn a_job_file_with_values_of_the_wrong_kind() {
    assert_snapshot!(refused_job("[quota]\nlimits = \"1000/s\"\n"), @r#"
    exit code 2
    --- stderr
    error: job.toml: TOML parse error at line 11, column 10
       |
    11 | limits = "1000/s"
       |          ^^^^^^^^
    invalid type: string "1000/s", expected a sequence
    "#);
    assert_snapshot!(refused_job("[quota]\nmode = \"hopeful\"\n"), @"
    exit code 2
    --- stderr
    error: quota.mode: `hopeful` is not a mode: expected guaranteed or estimated
    ");
    assert_snapshot!(refused_job("[[quota.limit]]\namount = 10\n"), @r#"
    exit code 2
    --- stderr
    error: quota.limit: a limit with an `amount` needs `per`
    hint: in which time, such as per = "min"; or enforced = "concurrency" for calls at a time
    "#);
    assert_snapshot!(refused_job("[[quota.limit]]\namount = 10\nper = \"s\"\nenforced = \"bucket\"\n"), @"
    exit code 2
    --- stderr
    error: quota.limit: a bucket needs its `capacity`
    hint: what it holds when it is full, such as capacity = 10; nginx: its burst + 1
    ");
    assert_snapshot!(refused_job("[retry]\non = [503, \"netwrok\"]\n"), @r#"
    exit code 2
    --- stderr
    error: retry.on: `netwrok` is neither a status nor "network"
    "#);
}

// ---- the output ----

#[test]
fn an_output_that_cannot_be_written() {
    assert_snapshot!(refused(&["-o", "results/out.jsonl"]), @"
    exit code 2
    --- stderr
    error: cannot create results/out.tidegate: No such file or directory (os error 2)
    hint: create the folder first
    ");
    assert_snapshot!(refused(&["-o", "users.csv/out.jsonl"]), @"
    exit code 2
    --- stderr
    error: cannot read users.csv/out.tidegate/job.json: Not a directory (os error 20)
    hint: a file stands where a folder is needed: choose another place with -o
    ");
    assert_snapshot!(refused(&["-o", "out.parquet"]), @"
    exit code 2
    --- stderr
    error: cannot write out.parquet: outputs are .jsonl or .csv, not compressed
    hint: use -o out.jsonl or -o out.csv
    ");
    assert_snapshot!(refused(&["-o", "users.csv", "--select", "name=/name"]), @"
    exit code 2
    --- stderr
    error: users.csv is both input and output
    hint: choose another file for -o
    ");
}

#[test]
fn an_output_that_somebody_else_wrote() {
    let folder = Folder::new();
    folder.users(3).write("notes.jsonl", "{\"note\": \"mine\"}\n");
    assert_snapshot!(refused_in(&folder, &["run", "users.csv", "--url", URL, "-o", "notes.jsonl"]), @"
    exit code 2
    --- stderr
    error: notes.jsonl exists and is not an output of tidegate (line 1)
    hint: move it away, or choose another name with -o
    ");
    assert_eq!(folder.read("notes.jsonl"), "{\"note\": \"mine\"}\n");
}

#[test]
fn the_output_of_another_job() {
    let sim = Sim::start(&[]);
    let folder = Folder::new();
    folder.users(3);
    folder.tidegate(["run", "users.csv", "--url", &sim.users(), "-o", "out.jsonl"]).assert_code(0);
    let written = folder.read("out.jsonl");
    let other = format!("{}/v1/users/{{plan}}", sim.url);
    let ended = folder.tidegate(["run", "users.csv", "--url", &other, "-o", "out.jsonl"]);
    assert_snapshot!(ended.to_string().replace(&sim.url, "[SIM]"), @r#"
    exit code 2
    --- stderr
    error: out.jsonl holds the results of another job:
      request was ["GET","[SIM]/v1/users/{user_id}",[],null]
              is  ["GET","[SIM]/v1/users/{plan}",[],null]
    hint: give this job another -o; or move the old output and its .tidegate folder away to start over
    "#);
    assert_eq!((folder.read("out.jsonl"), sim.arrived()), (written, 3));
}

#[test]
fn select_without_csv_and_csv_without_select() {
    assert_snapshot!(refused(&["--select", "name=/name"]), @"
    exit code 2
    --- stderr
    error: selected values are columns of a CSV output, and this output is JSONL
    hint: use -o out.csv, or drop --select
    ");
    assert_snapshot!(refused(&["-o", "out.csv"]), @"
    exit code 2
    --- stderr
    error: a CSV output needs to know which values to keep of each answer
    hint: say --select city=/address/city, or write whole answers to .jsonl
    ");
    assert_snapshot!(refused(&["-o", "out.csv", "--select", "name"]), @"
    exit code 2
    --- stderr
    error: output.select: `name` does not select a value: there is no `=`
    hint: write NAME=/path/to/value, for example city=/address/city or first=/items/0/id
    ");
    assert_snapshot!(refused(&["-o", "-", "--output-format", "csv", "--select", "name=/name"]), @"
    exit code 2
    --- stderr
    error: stdout takes JSONL only
    hint: give a file: -o out.csv
    ");
}

// ---- the command line ----

#[test]
fn words_of_other_tools_get_the_right_one() {
    assert_snapshot!(refused(&["--max-retries", "3"]), @"
    exit code 2
    --- stderr
    error: there is no --max-retries
    hint: --attempts N counts the first attempt as well
    ");
    assert_snapshot!(refused(&["--parallel=8"]), @"
    exit code 2
    --- stderr
    error: there is no --parallel
    hint: --concurrency N if the provider allows so many calls at a time; else leave it away, as many connections are made as the rate needs (--connections N caps them)
    ");
    assert_snapshot!(refused(&["--resume"]), @"
    exit code 2
    --- stderr
    error: there is no --resume
    hint: run the same command again: it carries on where it stopped
    ");
    assert_snapshot!(refused(&["-k"]), @"
    exit code 2
    --- stderr
    error: there is no -k
    hint: --ca FILE trusts a certificate of your own
    ");
}

#[test]
fn values_that_make_no_sense() {
    let said = [
        ["--timeout", "soon"],
        ["--timeout", "0"],
        ["--backoff", "5s"],
        ["--accept", "2xx,good"],
        ["--max-failed", "few"],
        ["--unknown", "maybe"],
        ["--attempts", "0"],
        ["--connections", "0"],
        ["--pace", "fast"],
        ["--http2", "no"],
        ["--proxy", "localhost"],
        ["--input-format", "xml"],
        ["--output-format", "xml"],
    ]
    .map(|args| format!("{}\n{}", args.join(" "), refused(&args).stderr))
    .concat();
    assert_snapshot!(said, @"
    --timeout soon
    error: request.timeout: `soon` is not a duration: expected one such as `30s`, `250ms`, `5m` or `1h`
    --timeout 0
    error: request.timeout: a time-out of 0 leaves no time for an answer
    --backoff 5s
    error: retry.backoff: `5s` is not a back-off: expected a range such as `1s..60s`
    --accept 2xx,good
    error: output.accept: `good` is not a status: expected one such as `404` or a class such as `2xx`
    --max-failed few
    error: output.max_failed: `few` is neither a number nor a percentage such as `2%`
    --unknown maybe
    error: retry.unknown: `maybe` is not a policy for unknown outcomes: expected resend, hold, probe or method
    --attempts 0
    error: retry.attempts: 0 attempts would never send anything; 1 never retries
    --connections 0
    error: quota.connections: 0 connections would never send anything: expected 1 or more
    --pace fast
    error: quota.pace: `fast` is not a pace: expected even or burst
    --http2 no
    error: request.http2: `no` is not one of auto, never, always
    --proxy localhost
    error: the proxy's URL cannot be used: it has no port
    hint: expected http://[USER:PASSWORD@]HOST:PORT
    --input-format xml
    error: input.format: `xml` is not an input format: expected lines, csv, tsv, jsonl or batch
    --output-format xml
    error: output.format: `xml` is not an output format: expected jsonl, csv or batch
    ");
    // Certificates matter to https only.
    assert_snapshot!(refused(&["--url", "https://127.0.0.1:9/{user_id}", "--ca", "missing.pem"]), @"
    exit code 2
    --- stderr
    error: cannot read certificates from missing.pem: I/O error: No such file or directory (os error 2)
    hint: expected a PEM file with -----BEGIN CERTIFICATE----- blocks
    ");
}

#[test]
fn a_sim_that_cannot_be() {
    let folder = Folder::new();
    assert_snapshot!(refused_in(&folder, &["sim", "--limit", "100/min"]), @"
    exit code 2
    --- stderr
    error: limit `100/min`: does not say how it is enforced
    hint: write `rolling 100/min`, `fixed 100/6s phase 2s`, `bucket 50/s capacity 10`, `gcra 50/s capacity 10`, `counter 1000/s`, `concurrency 20` or `calendar 10k/day zone Europe/Berlin`; tokens as in `rolling 2M tokens/min`
    ");
    assert_snapshot!(refused_in(&folder, &["sim", "--fault", "reset 60%", "--fault", "hang 60%"]), @"
    exit code 2
    --- stderr
    error: fault `hang 0.6`: the shares of all faults are not between 0% and 100%
    hint: lower one of them
    ");
}
