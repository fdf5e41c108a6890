//! Calls that cost more than 1, each something else.

use std::fmt::Write as _;

use super::JITTERY;
use crate::job::Job;
use crate::provider::Provider;

const TOKENS: u64 = 20_000;
/// So many that costs are 200 on average.
pub(super) const ROWS: u64 = 5 * DIFFERENT;
/// Each row costs 150 to 250 tokens, in an order that looks random.
const LEAST: u64 = 150;
const DIFFERENT: u64 = 101;

/// Others are sent, and of this one not even a part.
#[test]
fn what_can_never_fit_fails_alone() {
    let arguments: Vec<&str> =
        ["--limit", "rolling 20k tokens/6s"].into_iter().chain(JITTERY.iter().copied()).collect();
    let provider = Provider::start(&arguments);
    let rows = "id,tokens\nu0,200\nu1,20001\nu2,many\nu3,200\n";
    let job = job(rows, &[]);
    job.run(&provider, &[], &[1]);
    let failures = job.check_rows(4);
    let said: Vec<_> = failures.iter().map(|line| line["error"]["message"].as_str().unwrap()).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("row 1 (line 3): ") && said[0].contains("a call costs 20001 tokens"),
        "{}",
        said[0]
    );
    assert!(said[1].contains("its cost is `many`: expected a number of tokens"), "{}", said[1]);
    let stats = provider.stats();
    assert_eq!((&stats["arrived"], &stats["rejected"]), (&2.into(), &0.into()), "{stats}");
}

/// Users that cost what their column says.
pub(super) fn costed(limits: &[&str]) -> Job {
    let mut rows = "id,tokens\n".to_owned();
    for i in 0..ROWS {
        writeln!(rows, "u{i},{}", LEAST + i * 37 % DIFFERENT).unwrap();
    }
    job(&rows, limits)
}

fn job(rows: &str, limits: &[&str]) -> Job {
    let job = format!(
        r#"
        [input]
        path = "rows.csv"

        [request]
        headers = {{ X-Cost = "{{{{ row.tokens }}}}" }}

        [quota]
        limits = {limits:?}

        [[quota.limit]]
        rate = "{TOKENS} tokens/6s"
        cost = "{{{{ row.tokens }}}}"
        "#
    );
    Job::of(&[("job.toml", &job), ("rows.csv", rows)], "/v1/users/{id}")
}

/// Prompts of 160 characters, which count as 40 tokens, and 160 for the answer. That it was shorter in the
/// end gives something back if the provider does.
pub(super) fn completions(refund: bool) -> Job {
    let mut rows = String::new();
    for i in 0..ROWS {
        writeln!(rows, r#"{{"prompt": "{:160}"}}"#, format!("What is the tide at gate {i}?")).unwrap();
    }
    let job = format!(
        r#"
        [input]
        path = "rows.jsonl"

        [request]
        json = {{ model = "sim", max_tokens = 160, messages = [{{ role = "user", content = "{{{{ row.prompt }}}}" }}] }}

        [quota]
        limits = ["200/6s"]

        [[quota.limit]]
        rate = "20k tokens/6s"
        cost = "{{{{ 160 + (row.prompt | length + 3) // 4 }}}}"
        actual = "/usage/total_tokens"
        refund = {refund}
        "#
    );
    Job::of(&[("job.toml", &job), ("rows.jsonl", &rows)], "/v1/chat/completions")
}
