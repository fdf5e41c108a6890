//! Limits that nobody declares: what headers tell is learnt, kept and used.

use std::thread;

use serde_json::{Value, json};

use super::{JITTERY, RESPONSE};
use crate::job::Job;
use crate::provider::Provider;

/// What an automatic run says, and its summary; the provider rejects none of its calls.
fn run(provider: &[&str], rows: u64) -> (String, Value) {
    let provider = Provider::start(&[provider, JITTERY].concat());
    let job = Job::new(rows);
    let said = job.run(&provider, &["--rate", "auto"], &[0]);
    let (summary, stats) = (job.summary(), provider.stats());
    job.check_rows(rows);
    assert_eq!((&stats["rejected"], &stats["accepted"]), (&json!(0), &json!(rows)), "{stats}");
    assert!(!job.path(".state").exists(), "nobody shares what is learnt");
    (said, summary)
}

/// Nearly as fast as if it had been declared: what is left is known only as of a call's send, so that
/// each is held for its answer's time twice; and the start is slow.
fn check(provider: &[&str], rows: u64, (amount, window_s): (f64, f64), learnt: &Value, says: &str) {
    let (said, summary) = run(provider, rows);
    assert_eq!(&summary["learnt"], learnt, "{said}");
    assert!(said.contains("auto: learnt from the provider's headers"), "{said}");
    assert!(said.contains(says), "{said}");
    let steady = summary["steady_rate_per_s"].as_f64().unwrap();
    let share = steady / (amount / (window_s + 2.0 * RESPONSE));
    println!("{provider:?}: {steady:.2}/s is {share:.4} of the formula");
    assert!(share > 0.93, "{share}: {said}");
}

#[test]
fn what_headers_tell_is_learnt_kept_and_used() {
    let learnt = |resource: &str, limit: &str, window_told: bool| {
        json!({
            "limits": [{ "resource": resource, "limit": limit, "window_told": window_told }],
            "is_told": true,
        })
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            check(
                &["--limit", "rolling 100/2s", "--ratelimit-headers=ietf"],
                700,
                (100.0, 2.0),
                &learnt("default", "100/2s", true),
                "note: believes 100/2s for \"default\" (its headers say so)\n",
            );
        });
        scope.spawn(|| {
            check(
                &["--limit", "fixed 100/3s phase 2s", "--ratelimit-headers=x"],
                700,
                (100.0, 3.0),
                &learnt("requests", "100/3s", false),
                "hint: declare it: --rate '100/3s' keeps it by proof\n",
            );
        });
        scope.spawn(|| {
            let (said, summary) = run(&["--limit", "rolling 10/s"], 22);
            assert_eq!(summary["learnt"], json!({ "limits": [], "is_told": false }), "{said}");
            let untold = "note: no rate-limit headers seen: still at 1/s; declare the limit with --rate\n";
            assert_eq!(said.matches(untold).count(), 1, "{said}");
            let wall = summary["wall_s"].as_f64().unwrap();
            assert!((21.0..23.0).contains(&wall), "{wall}");
        });
    });
}
