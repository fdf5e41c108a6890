//! `--rate auto`: what is said of it, and what does not go with it.

use insta::assert_snapshot;

use crate::support::{Folder, Sim};

const URL: &str = "http://localhost:1/{line}";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("ids.txt", "1\n2\n3\n");
    folder
}

fn refused(arguments: &[&str]) -> String {
    let ended = folder().tidegate([&["run", "ids.txt", "--url", URL], arguments].concat());
    ended.assert_code(2);
    ended.stderr
}

#[test]
fn what_is_learnt_goes_with_no_other_rate_and_no_store() {
    assert_snapshot!(refused(&["--rate", "auto", "--rate", "5/s"]), @"
    error: quota.limits: `auto` and `5/s`: is the limit to be learnt, or is it known?
    hint: leave `auto` away: a declared limit is kept by proof, and heeds headers that say less
    ");
    assert_snapshot!(refused(&["--rate", "auto", "--store", "sqlite"]), @"
    error: quota.store: what `auto` learns is this process's own: no store shares it
    hint: leave the store away, or say `memory`; with a declared limit processes share the quota
    ");
    assert_snapshot!(refused(&["--rate", "auto", "--tpm", "1000"]), @"
    error: quota.limits: `auto` and `1000 tokens/min`: is the limit to be learnt, or is it known?
    hint: leave `auto` away: a declared limit is kept by proof, and heeds headers that say less
    ");
}

#[test]
fn nothing_is_promised_before_it_is_learnt() {
    let dry = folder().tidegate(["run", "ids.txt", "--url", URL, "--rate", "auto", "--dry-run"]);
    dry.assert_code(0);
    assert_snapshot!(dry.stderr, @"
    limit   auto: learnt from the provider's headers, with one call a second until they tell; nothing is declared, so nothing is proved, and no other process shares what is learnt
    rows    3
    Nothing was sent.
    ");
    let explained = |arguments: &[&str]| folder().tidegate([&["explain"], arguments].concat()).stdout;
    assert_snapshot!(explained(&["auto"]), @"auto: learnt from the provider's headers, with one call a second until they tell; nothing is declared, so nothing is proved, and no other process shares what is learnt");
    assert!(explained(&["auto", "--concurrency", "3"]).contains("concurrency 3 → 28.6/s"));
}

/// It starts anew each time, carries on where the run before stopped, and can be verified.
#[test]
fn a_run_is_carried_on_and_verified() {
    let sim = Sim::start(&["--limit", "fixed 20/s", "--ratelimit-headers=ietf"]);
    let folder = folder();
    let url = format!("{}/v1/users/{{line}}", sim.url);
    let job = ["run", "ids.txt", "--url", &url, "--rate", "auto", "-o", "out.jsonl"];
    let head = folder.tidegate([&job[..], &["--head", "1"]].concat());
    head.assert_code(0);
    head.assert_says("note: believes 20/s for \"default\" (its headers say so)");
    head.assert_says("hint: declare it: --rate '20/s' keeps it by proof");
    let rest = folder.tidegate(job);
    rest.assert_code(0);
    rest.assert_says("rows    3 · 3 results · 0 failures");
    let verified = folder.tidegate(["verify", "out.jsonl"]);
    verified.assert_code(0);
    assert_snapshot!(verified.stdout, @"
    3 attempts in 2 runs
    no limit was declared: there is nothing to exceed
    ");
}
