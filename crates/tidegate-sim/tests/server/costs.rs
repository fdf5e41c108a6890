use serde_json::json;
use tidegate_sim::SimConfig;

use crate::client::{Client, Provider, config};

const CHAT: &str = "/v1/chat/completions";

/// Asks for a completion whose prompt has one token, and returns its status.
fn chat(client: &mut Client, max_tokens: u64) -> u16 {
    let prompt = json!({ "messages": [{ "content": "word" }], "max_tokens": max_tokens });
    client.post(CHAT, &prompt.to_string()).status
}

fn costing(client: &mut Client, cost: &str) -> u16 {
    client.call("GET", "/echo", &format!("x-cost: {cost}\r\n"), b"").status
}

#[test]
fn a_header_says_what_a_request_costs() {
    let provider = Provider::start(config(&["rolling 100 tokens/h", "rolling 1000/h"], &[]));
    let mut client = provider.connect();
    let statuses = ["60", "41", "39", "2"].map(|cost| costing(&mut client, cost));
    assert_eq!(statuses, [200, 429, 200, 429]);
    assert_eq!([client.get("/echo").status, client.get("/echo").status], [200, 429], "without one it is 1");
    for bad in ["-1", "1.5", "many", "99999999999999999999999"] {
        assert_eq!(costing(&mut client, bad), 400, "{bad}");
    }
    let stats = provider.stats();
    assert_eq!((&stats["cost_accepted"], &stats["arrived"]), (&json!(100), &json!(6)));
    assert_eq!(
        stats["worst_cost_window"],
        json!({"limit": "rolling 100 tokens/h", "window_ms": 3_600_000, "accepted": 100, "arrived": 144, "exact": true})
    );
    assert_eq!(stats["worst_window"]["accepted"], json!(3));
}

#[test]
fn what_can_never_be_allowed_has_no_retry_after() {
    let provider = Provider::start(config(&["rolling 100 tokens/h"], &[]));
    let answer = provider.connect().call("GET", "/echo", "x-cost: 101\r\n", b"");
    assert_eq!((answer.status, &answer.json()["error"]["retry_after_ms"]), (429, &json!(null)));
}

#[test]
fn completions_reserve_the_longest_answer() {
    let provider = Provider::start(config(&["fixed 1000 tokens/d"], &[]));
    let mut client = provider.connect();
    // 1 + 599; then 1 + 399 is all that is left, whatever was really answered.
    assert_eq!([599, 400, 399, 1].map(|most| chat(&mut client, most)), [200, 429, 200, 429]);
    // Without `max_tokens` it may be 256 long.
    client.get("/_reset");
    assert_eq!(client.post(CHAT, r#"{"messages":[]}"#).status, 200);
    assert_eq!(provider.stats()["cost_accepted"], json!(256));
    assert_eq!(client.post(CHAT, "no json").status, 400);
    assert_eq!(provider.stats()["cost_accepted"], json!(257));
}

#[test]
fn with_refund_only_the_actual_cost_stays() {
    let base = config(&["fixed 1000 tokens/d", "rolling 1000 tokens/d", "rolling 100/h"], &[]);
    let provider = Provider::start(SimConfig { refund: true, ..base });
    let mut client = provider.connect();
    let prompt = json!({ "messages": [{ "content": "word" }], "max_tokens": 999 }).to_string();
    let actual = client.post(CHAT, &prompt).json()["usage"]["total_tokens"].as_u64().unwrap();
    assert!(actual < 300, "{actual}");
    let left = 1000 - actual;
    assert_eq!(costing(&mut client, &(left + 1).to_string()), 429);
    assert_eq!(costing(&mut client, &left.to_string()), 200, "the header is the actual cost, too");
    assert_eq!(costing(&mut client, "1"), 429);
    let limits = &provider.stats()["rejected_by"];
    assert_eq!(limits[0]["limit"], json!("fixed 1000 tokens/d refund"));
    assert_eq!(limits[2]["limit"], json!("rolling 100/h"));
}
