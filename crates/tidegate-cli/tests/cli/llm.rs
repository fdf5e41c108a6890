//! Jobs for LLM providers: presets, limits of tokens, streams, prices.

use serde_json::{Value, json};

use crate::batch::prompts;
use crate::support::{Background, Ended, Folder, Sim};

/// Runs a job with these flags, with a key for each provider in the environment.
fn run(folder: &Folder, args: &[&str]) -> Ended {
    let mut command = folder.command(args);
    command.env("OPENAI_API_KEY", "sk-secret-1").env("ANTHROPIC_API_KEY", "sk-secret-2");
    folder.end(command)
}

/// Sums of the usage in a batch's answers.
fn used(folder: &Folder) -> (u64, u64) {
    let lines = folder.lines("out.jsonl");
    let sum = |name: &str| {
        lines.iter().map(|line| line["response"]["body"]["usage"][name].as_u64().unwrap()).sum::<u64>()
    };
    (sum("prompt_tokens"), sum("completion_tokens"))
}

#[test]
fn a_preset_says_what_it_knows_and_where_from() {
    let folder = Folder::new();
    folder.write("batch.jsonl", prompts(2));
    let args =
        ["run", "batch.jsonl", "--provider", "openai", "--rpm", "10000", "--tpm", "2000000", "--dry-run"];
    let said = run(&folder, &args);
    said.assert_code(0).assert_says("openai: https://api.openai.com/v1, Authorization from OPENAI_API_KEY");
    said.assert_says("https://platform.openai.com/docs/guides/rate-limits, 2026-11")
        .assert_says("2000000 tokens/min");
    assert!(said.stdout.starts_with("POST https://api.openai.com/v1/chat/completions\n"), "{said}");
    assert!(!said.stdout.contains("sk-secret-1"), "{said}");

    folder.write("rows.jsonl", "{\"text\":\"a\"}\n");
    let body = r#"{"max_tokens":9,"messages":[{"role":"user","content":"{{ row.text }}"}]}"#;
    let said = run(&folder, &["run", "rows.jsonl", "--provider", "anthropic", "--json", body, "--dry-run"]);
    said.assert_code(0).assert_says("api/rate-limits");
    assert!(said.stdout.starts_with("POST https://api.anthropic.com/v1/messages\n"), "{said}");
    assert!(
        said.stdout.contains("anthropic-version: 2023-06-01") && !said.stdout.contains("secret"),
        "{said}"
    );
    run(&folder, &["run", "batch.jsonl", "--provider", "openaj"])
        .assert_code(2)
        .assert_says("expected one of openai");
}

#[test]
fn tokens_are_counted_as_the_provider_counts_them() {
    let sim = Sim::start(&["--limit", "rolling 20k tokens/6s refund"]);
    let folder = Folder::new();
    folder.write("batch.jsonl", prompts(100));
    let url = &sim.url;
    let args =
        ["run", "batch.jsonl", "--provider", "openai", "--url", url, "-o", "out.jsonl", "--store", "memory"];
    let args = [&args[..], &["--rate", "20k tokens/6s", "--order", "input"]].concat();
    let said = run(&folder, &args);
    said.assert_code(0).assert_says("of prompts").assert_says("× what calls took");
    let (stats, summary) = (sim.stats(), folder.summary());
    assert_eq!(stats["rejected"], 0, "{stats}");
    let (input, output) = used(&folder);
    assert_eq!((&summary["tokens"]["input"], &summary["tokens"]["output"]), (&json!(input), &json!(output)));
    assert_eq!(stats["cost_settled"], input + output);
    assert_eq!(summary["tokens"]["used"], input + output);
    // The bound was one: 40 bytes and 20 tokens, for 7 and at most 20.
    assert!(summary["tokens"]["reserved"].as_u64().unwrap() >= stats["cost_accepted"].as_u64().unwrap());
}

#[test]
fn what_nothing_bounds_is_said_before_it_is_sent() {
    let (sim, folder) = (Sim::start(&[]), Folder::new());
    folder.write("batch.jsonl", prompts(3).replace(r#""max_tokens":20,"#, ""));
    let args = ["run", "batch.jsonl", "--url", &sim.url, "-o", "out.jsonl", "--tpm", "100000", "-q"];
    run(&folder, &args).assert_code(1);
    assert_eq!(sim.arrived(), 0);
    let said = folder.lines("out.failed.jsonl")[0]["error"]["message"].as_str().unwrap().to_owned();
    assert!(said.contains("nothing bounds the tokens of its answer; hint: set max_tokens"), "{said}");
    let bounded = ["--tpm", "1000000", "--max-output-tokens", "256", "-q"];
    run(&folder, &[&["retry", "out.jsonl"][..], &bounded].concat()).assert_code(0);
    assert_eq!(sim.arrived(), 3);
}

#[test]
fn half_of_the_bound_is_enough_once_a_hundred_answers_say_so() {
    let sim = Sim::start(&["--limit", "rolling 1M tokens/s refund"]);
    let folder = Folder::new();
    folder.write("batch.jsonl", prompts(400).replace("\"max_tokens\":20", "\"max_tokens\":4096"));
    let run_with = |out: &str, reserve: &str| {
        let args = ["run", "batch.jsonl", "--url", &sim.url, "-o", out, "--rate", "1M tokens/s"];
        run(&folder, &[&args[..], &["--reserve", reserve, "--store", "memory", "-q"]].concat())
            .assert_code(0);
        let path = out.replace(".jsonl", ".tidegate/summary.json");
        let summary: Value = serde_json::from_str(&folder.read(&path)).unwrap();
        (summary["tokens"]["reserved"].as_u64().unwrap(), summary["tokens"]["used"].as_u64().unwrap())
    };
    let (bound, used) = run_with("a.jsonl", "bound");
    let (learnt, same) = run_with("b.jsonl", "p99");
    assert_eq!(used, same);
    assert!(learnt < bound / 2 && learnt >= used, "{learnt} of {bound}, used {used}");
}

#[test]
fn streams_come_out_whole() {
    let sim = Sim::start(&["--fault", "truncate 20%", "--seed", "5"]);
    let folder = Folder::new();
    let streamed = prompts(40).replace(
        r#""model":"sim""#,
        r#""model":"sim","stream":true,"stream_options":{"include_usage":true}"#,
    );
    folder.write("streamed.jsonl", streamed).write("plain.jsonl", prompts(40));
    let answers = |input: &str, out: &str| {
        let args =
            ["run", input, "--url", &sim.url, "-o", out, "--order", "input", "-q", "--unknown", "resend"];
        let args = [&args[..], &["--attempts", "20", "--backoff", "1ms..2ms", "--tpm", "100000000"]].concat();
        run(&folder, &args).assert_code(0);
        let lines = folder.lines(out);
        lines.into_iter().map(|line| line["response"]["body"].clone()).collect::<Vec<_>>()
    };
    let (streamed, plain) = (answers("streamed.jsonl", "a.jsonl"), answers("plain.jsonl", "b.jsonl"));
    assert_eq!(streamed, plain);
    assert!(sim.stats()["faults"]["truncate"].as_u64().unwrap() > 5);
}

const PRICED: &str = r#"
    [input]
    path = "batch.jsonl"

    [quota]
    store = "memory"

    [prices.sim]
    input = "1000"
    output = 2000.5
"#;

/// What the answers cost at these prices: a token of a prompt 0.001, one of an answer 0.0020005.
fn cost_of(folder: &Folder) -> String {
    let (input, output) = used(folder);
    let digits = format!("{:08}", input * 10_000 + output * 20_005);
    let (whole, part) = digits.split_at(digits.len() - 7);
    format!("{whole}.{part}")
}

fn amount(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn a_job_costs_what_its_answers_cost_and_no_more_than_it_may() {
    let (sim, folder) = (Sim::start(&["--service", "5ms"]), Folder::new());
    folder.write("batch.jsonl", prompts(60)).write("job.toml", PRICED);
    let args = ["run", "job.toml", "--url", &sim.url, "-o", "out.jsonl"];
    let mut spent = 0.0;
    for most in ["1.5", "2"] {
        let ended = run(&folder, &[&args[..], &["--max-cost", most]].concat());
        ended.assert_code(3).assert_says(&format!("of --max-cost {most}"));
        let cost = &folder.summary()["cost"];
        assert!(amount(&cost["spent"]) <= most.parse().unwrap(), "{cost}");
        assert!(amount(&cost["spent"]) > spent, "it went on, and knew what was spent");
        spent = amount(&cost["spent"]);
    }
    run(&folder, &args).assert_code(0).assert_says("cost");
    let cost = &folder.summary()["cost"];
    assert!((amount(&cost["spent"]) - cost_of(&folder).parse::<f64>().unwrap()).abs() < 1e-6, "{cost}");
    assert_eq!((&cost["at_most"], &cost["unpriced"]), (&json!("0.00"), &json!(0)));
    let unknown = folder.read("job.toml").replace("prices.sim", "prices.other");
    folder.write("job.toml", unknown);
    let other = ["run", "job.toml", "--url", &sim.url, "-o", "b.jsonl", "--max-cost", "9", "-q"];
    // All rows fail alike, so none is buried.
    run(&folder, &other).assert_code(3).assert_says("there is no price of the model `sim`");
}

#[test]
fn after_a_kill_what_was_spent_is_still_known() {
    let (sim, folder) = (Sim::start(&["--service", "30ms"]), Folder::new());
    folder.write("batch.jsonl", prompts(200)).write("job.toml", PRICED);
    let args = ["run", "job.toml", "--url", &sim.url, "-o", "out.jsonl", "--unknown", "resend"];
    let killed =
        Background::start(&folder, &[&args[..], &["--connections", "4", "--max-cost", "100"]].concat());
    sim.wait_for(80);
    killed.signal("KILL");
    killed.wait();
    run(&folder, &[&args[..], &["--max-cost", "100"]].concat()).assert_code(0);
    let cost = &folder.summary()["cost"];
    let exact: f64 = cost_of(&folder).parse().unwrap();
    // Calls that were in flight are counted with the most that they can have cost.
    assert!((amount(&cost["spent"]) - amount(&cost["at_most"]) - exact).abs() < 1e-6, "{cost} for {exact}");
    assert!(amount(&cost["at_most"]) <= 8.0 * 0.2, "{cost}");
}
