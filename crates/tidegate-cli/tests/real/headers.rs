//! Headers that nobody here wrote: what the limiters of two web frameworks send, as `tidegate probe`
//! reads it.

use std::process::Command;

use serde_json::{Value, json};

use crate::provider::Provider;
use crate::windows::command;

const CALLS: &str = "1000";
const SECONDS: &str = "3";

fn probed(arguments: &[&str]) -> Value {
    let _alone = crate::whole_machine();
    let (limiter, more) = arguments.split_first().unwrap();
    let provider = Provider::spawn(command(limiter).args([CALLS, SECONDS]).args(more));
    let mut probe = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = probe.args(["probe", "--json", &format!("{}/v1/users/1", provider.url)]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one limit that is told, without its times; the reset is a window away, or a little more for
/// stamps of whole seconds.
fn limit(arguments: &[&str]) -> Value {
    let found = probed(arguments);
    assert_eq!((&found["status"], &found["ignored"]), (&200.into(), &json!([])), "{arguments:?}: {found}");
    assert_eq!(found["limits"].as_array().map(Vec::len), Some(1), "{arguments:?}: {found}");
    let limit = &found["limits"][0];
    let resets_in = limit["resets_in_s"].as_f64().unwrap();
    assert!((2.0..=5.0).contains(&resets_in), "{arguments:?}: {found}");
    json!([limit["dialect"], limit["limit"], limit["remaining"], limit["window_s"]])
}

#[test]
fn express_rate_limit_in_each_draft() {
    for draft in ["draft-6", "draft-7", "draft-8"] {
        assert_eq!(limit(&["express.mjs", draft]), json!(["ietf", 1_000, 999, 3.0]), "{draft}");
    }
}

#[test]
fn express_rate_limit_as_it_was() {
    assert_eq!(limit(&["express.mjs"]), json!(["x-ratelimit", 1_000, 999, null]));
}

#[test]
fn flask_limiter() {
    assert_eq!(limit(&["moving_window.py"]), json!(["x-ratelimit", 1_000, 999, null]));
}
