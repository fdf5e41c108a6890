//! Limits in plain words, before a run and on their own.

use insta::assert_snapshot;

use crate::support::Folder;

fn explained(args: &[&str]) -> String {
    let ended = Folder::new().tidegate([&["explain"], args].concat());
    ended.assert_code(0);
    ended.stdout
}

/// What stands behind a label, on its first line.
#[track_caller]
fn labelled<'t>(label: &str, text: &'t str) -> &'t str {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(label));
    line.unwrap_or_else(|| panic!("nothing is said to be {label} in\n{text}")).trim()
}

#[test]
fn a_window_is_explained_whole() {
    assert_snapshot!(explained(&["1000/s", "--rows", "2000000"]), @"
    With answers of 100ms on average (--latency):

    1000/s → 908/s of 1,000/s (9.2% given up)
      kept by    1,000 permits that come back 1.001s after each answer
      get back   do they mean 60,000 a minute? `60000/min` gives 998/s
                 do they count on arrival? `--counted-within 30ms` gives 970/s

      rows       2,000,000 take about 36m 42s
      time-outs  2% of the calls hanging for 30s: 588/s instead of 908/s (with --timeout 5s: 833/s)
      assumed    · they enforce what is declared, or less
                 · their clock runs as fast as ours, within 200 in a million, and never steps back
                 · time stamps are of 1ms or finer, and one clock decides
                 · each call is counted once, and no other job, process or machine uses the key
                 · a call that times out alone is not counted later; when many do, only probes are sent
    ");
}

#[test]
fn of_several_limits_one_binds() {
    assert_snapshot!(explained(&["1000/s", "50/s bucket 3", "--concurrency", "20", "--rows", "100000"]), @"
    With answers of 100ms on average (--latency):

    1000/s → 908/s of 1,000/s (9.2% given up)
      kept by    1,000 permits that come back 1.001s after each answer
      get back   do they mean 60,000 a minute? `60000/min` gives 998/s
                 do they count on arrival? `--counted-within 30ms` gives 970/s

    50/s bucket 3 → 18.6/s of 50.0/s (62.7% given up)
      kept by    3 permits that come back 61.012ms after each answer
      get back   may the bucket be larger? `50/s bucket 7` gives 50.0/s

    concurrency 20 → 190/s
      kept by    20 at a time, each until 5ms after its answer

      binds      50/s bucket 3: 18.6/s
      rows       100,000 take about 1h 29m
      time-outs  2% of the calls hanging for 30s: 2.9/s instead of 18.6/s (with --timeout 5s: 10.0/s)
      assumed    · they enforce what is declared, or less
                 · their clock runs as fast as ours, within 200 in a million, and never steps back
                 · time stamps are of 1ms or finer, and one clock decides
                 · each call is counted once, and no other job, process or machine uses the key
                 · a call stops counting 5ms after the last byte of its answer, or earlier
                 · a call that times out alone is not counted later; when many do, only probes are sent
    ");
}

#[test]
fn what_nobody_knows_is_kept_for_all_that_it_may_be() {
    let text = explained(&["1000/s unknown", "--latency", "50ms"]);
    let holds_for = labelled("holds for", &text);
    assert!(
        holds_for.starts_with("any window of 1s, any sliding counter, a bucket with room for "),
        "{text}"
    );
    assert!(labelled("get back", &text).starts_with("is it a window? `1000/s` gives 951/s"), "{text}");
}

#[test]
fn calendars_bind_when_their_period_is_used_up() {
    let text = explained(&["10k/day Europe/Berlin", "100/s", "--rows", "25000"]);
    assert_eq!(labelled("binds", &text), "100/s: 90.8/s; 10000/day Europe/Berlin after 10,000 calls");
    assert_eq!(labelled("rows", &text), "25,000 take about 2d 0h");
    assert!(text.contains("the Date of their answers"), "{text}");
    let rolling = explained(&["5/day"]);
    assert!(labelled("get back", &rolling).contains("`5/day UTC`"), "{rolling}");
}

#[test]
fn where_calls_differ_rates_are_in_units() {
    let text = explained(&["10000/min", "2M tokens/min", "--rows", "5"]);
    assert!(
        text.contains("\n2000000 tokens/min → 33,271 tokens/s of 33,333 tokens/s (0.2% given up)\n"),
        "{text}"
    );
    let binds = "10000/min: 166/s; 2000000 tokens/min where calls cost more than 200 tokens";
    assert_eq!(labelled("binds", &text), binds);
    assert_eq!(labelled("rows", &text), "5 take at least 30ms");
    let alone = explained(&["2M tokens/min", "--rows", "5"]);
    assert_eq!(labelled("rows", &alone), "how long 5 take depends on what each costs");
}

#[test]
fn an_estimate_says_what_it_assumes() {
    let text = explained(&["1000/s", "--counted-within", "30ms"]);
    assert!(text.contains("1000/s → 970/s of 1,000/s (3.0% given up)"), "{text}");
    assert!(text.contains("within 30ms of its send: your word, not proved"), "{text}");
    // Nor do calls that hang cost anything, if all is counted on arrival.
    assert!(labelled("time-outs", &text).ends_with("no loss"), "{text}");
    assert!(!text.contains("stall") && !text.contains("probes"), "{text}");
    // A bucket that small is kept without the estimate, and then its stalls matter.
    assert!(explained(&["10/s bucket 1", "--counted-within", "200ms"]).contains("probes"));
}

#[test]
fn a_job_is_explained_on_its_own_terms() {
    let folder = Folder::new();
    folder.write(
        "job.toml",
        "[request]\ntimeout = \"6s\"\n[quota]\nlatency = \"50ms\"\nmode = \"guaranteed\"\n\
         [[quota.limit]]\nrate = \"1000/s\"\ngranularity = \"1s\"\nskew = \"50ms\"\namplification = 2\n",
    );
    let text = folder.tidegate(["explain", "job.toml"]).stdout;
    assert_snapshot!(text, @"
    With answers of 50ms on average (--latency):

    1000/s → 238/s of 1,000/s (76.2% given up)
      kept by    500 permits that come back 2.050s after each answer (each may arrive 2 times)
      get back   do they mean 60,000 a minute? `60000/min` gives 491/s
                 do they count on arrival? `--counted-within 30ms` gives 240/s

      time-outs  2% of the calls hanging for 6s: 225/s instead of 238/s (with --timeout 1s: 236/s)
      assumed    · they enforce what is declared, or less
                 · their clock runs as fast as ours, within 200 in a million, and never steps back
                 · time stamps are of 1s or finer, and clocks that decide together agree within 50ms
                 · each call is counted at most 2 times, and no other job, process or machine uses the key
                 · a call that times out alone is not counted later; when many do, only probes are sent
    ");
    // Flags beside it win.
    let text = folder.tidegate(["explain", "job.toml", "--counted-within", "1ms", "--latency", "1s"]).stdout;
    assert!(
        text.starts_with("With answers of 1s on average") && text.contains("within 1ms of its send"),
        "{text}"
    );
    let two = folder.tidegate(["explain", "job.toml", "job.toml"]);
    two.assert_code(2).assert_says("one job at a time");
}

#[test]
fn one_call_at_a_time_shows_no_stall() {
    assert!(explained(&["1/min"]).contains("a stall cannot be told"));
    assert!(!explained(&["100/min"]).contains("a stall cannot be told"));
}

#[test]
fn a_run_says_the_short_of_it() {
    let folder = Folder::new();
    folder.users(1);
    let run = |more: &[&str]| {
        let args = ["run", "users.csv", "--url", "http://127.0.0.1:9/{user_id}", "--dry-run"];
        folder.tidegate([&args[..], more].concat()).stderr
    };
    assert_snapshot!(run(&["--rate", "1000/s", "--rate", "50/s bucket 3", "--latency", "50ms"]), @"
    limit   1000/s → 1,000 permits that come back 1.001s after each answer → 951/s of 1,000/s (4.9% given up) provable at 50ms answers
    hint: do they mean 60,000 a minute? `--rate 60000/min` gives 999/s
    limit   50/s bucket 3 → 3 permits that come back 61.012ms after each answer → 27.0/s of 50.0/s (46.0% given up) provable at 50ms answers
    hint: may the bucket be larger? `--rate '50/s bucket 5'` gives 50.0/s
    binds   50/s bucket 3: 27.0/s
    rows    1
    time    about 37ms
    Nothing was sent.
    ");
    assert_snapshot!(run(&["--rate", "1000/s counter", "--counted-within", "30ms"]), @"
    limit   1000/s counter → one per 1.044ms, 12 saved up at most → 958/s of 1,000/s (4.2% given up) provable at 100ms answers
    note: estimated: this holds only if each call is counted within 30ms of its send
    rows    1
    time    about 1ms
    Nothing was sent.
    ");
}
