use std::io::Read;

use serde_json::json;
use tidegate_sim::SimConfig;

use crate::client::{Provider, config};

fn provider() -> Provider {
    Provider::start(SimConfig::default())
}

#[test]
fn users_echo_the_decoded_id() {
    let provider = provider();
    let mut client = provider.connect();
    let user = client.get("/v1/users/42");
    assert_eq!((user.status, user.header("content-type")), (200, Some("application/json")));
    assert_eq!((&user.json()["id"], &user.json()["name"]), (&json!("42"), &json!("User 42")));
    assert_eq!(user.body, client.get("/v1/users/42").body);

    let odd = client.get("/v1/users/a%2Fb%20%22%C3%A9%22%0A%5C").json();
    assert_eq!(odd["id"], json!("a/b \"é\"\n\\"));
    assert_eq!(client.get("/v1/users/%ff").status, 400);
    assert_eq!(client.get("/v1/users/").status, 404);
    assert_eq!(client.get("/v1/users/1/2").status, 404);

    let head = client.call("HEAD", "/v1/users/42", "", b"");
    assert_eq!(head.header("content-length"), Some(&*user.body.len().to_string()));
    let post = client.post("/v1/users/42", "");
    assert_eq!((post.status, post.header("allow")), (405, Some("GET")));
}

#[test]
fn chat_counts_tokens() {
    let provider = provider();
    let mut client = provider.connect();
    let prompt = r#"{"model":"m","messages":[{"role":"user","content":"twelve chars"}]}"#;
    let answer = client.post("/v1/chat/completions", prompt);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, client.post("/v1/chat/completions", prompt).body);
    let answer = answer.json();
    let usage = |name: &str| answer["usage"][name].as_u64().unwrap();
    assert_eq!((&answer["model"], usage("prompt_tokens")), (&json!("m"), 3));
    assert!((16..=256).contains(&usage("completion_tokens")));
    assert_eq!(usage("total_tokens"), 3 + usage("completion_tokens"));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");

    let short = r#"{"messages":[{"content":[{"type":"text","text":"12345"}]}],"max_tokens":2}"#;
    let short = client.post("/v1/chat/completions", short).json();
    assert_eq!(short["usage"], json!({"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}));
    assert_eq!(short["choices"][0]["finish_reason"], "length");

    let streamed = r#"{"messages":[{"content":"hello"}],"max_tokens":2,"stream":true,"stream_options":{"include_usage":true}}"#;
    let streamed = client.post("/v1/chat/completions", streamed);
    let streamed = String::from_utf8(streamed.body).unwrap();
    assert_eq!(streamed.matches("chat.completion.chunk").count(), 5, "{streamed}");
    assert!(streamed.contains(r#""total_tokens":4"#) && streamed.ends_with("data: [DONE]\n\n"), "{streamed}");

    for bad in ["", "not json", "{}"] {
        let answer = client.post("/v1/chat/completions", bad);
        assert_eq!((answer.status, &answer.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    }
}

#[test]
fn the_seed_decides_what_is_made_up() {
    let answer = |seed| {
        let provider = Provider::start(SimConfig { seed, ..SimConfig::default() });
        provider.connect().post("/v1/chat/completions", r#"{"messages":[{"content":"hello"}]}"#).body
    };
    assert_eq!(answer(1), answer(1));
    assert_ne!(answer(1), answer(2));
}

#[test]
fn echo_returns_the_request() {
    let provider = provider();
    let answer =
        provider.connect().call("PUT", "/echo/a%20b?x=1&y", "x-test: one\r\nx-test: two\r\n", b"h\xffi");
    let echo = answer.json();
    assert_eq!(
        (&echo["method"], &echo["path"], &echo["query"], &echo["body"], &echo["headers"]["x-test"]),
        (&json!("PUT"), &json!("/echo/a%20b"), &json!("x=1&y"), &json!("h\u{fffd}i"), &json!("one, two")),
    );
    assert_eq!(provider.get("/echo").json()["query"], json!(null));
}

#[test]
fn small_endpoints() {
    let provider = provider();
    let mut client = provider.connect();
    let redirect = client.get("/redirect?to=http%3A%2F%2Fa.example%2F%3Fb%3D1");
    assert_eq!((redirect.status, redirect.header("location")), (302, Some("http://a.example/?b=1")));
    assert_eq!(client.get("/redirect").status, 400);
    assert_eq!(client.get("/redirect?to=a%0Ab").status, 400);

    for status in [200, 204, 304, 404, 503, 599] {
        assert_eq!(client.get(&format!("/status/{status}")).status, status);
    }
    for bad in ["100", "600", "x", ""] {
        assert_eq!(client.get(&format!("/status/{bad}")).status, 400);
    }

    let gzip = client.get("/gzip");
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*gzip.body).read_to_string(&mut text).unwrap();
    assert_eq!(text, r#"{"compressed":"gzip"}"#);

    for size in [0, 1, 65_536, 1_000_000] {
        let big = client.get(&format!("/big?bytes={size}"));
        assert_eq!((big.status, big.body.len(), big.cut), (200, size, false));
    }
    assert_eq!(client.get("/big?bytes=99999999999999").status, 400);
    assert_eq!(client.get("/nowhere").status, 404);
    assert_eq!(client.get("/_nowhere").status, 404);
}

#[test]
fn large_request_bodies_are_read_and_too_large_ones_refused() {
    let provider = provider();
    let body = "x".repeat(3_000_000);
    assert_eq!(provider.connect().post("/echo", &body).json()["body"], json!(body));

    let stats = provider.stats();
    let mut client = provider.connect();
    client.send("POST", "/echo", "", &vec![b'x'; (16 << 20) + 1]);
    // The connection may be reset before the answer could be read; nothing is counted either way.
    if let Ok(answer) = client.answer(false) {
        assert_eq!(answer.status, 413);
    }
    assert_eq!(provider.stats()["arrived"], stats["arrived"]);
}

#[test]
fn stats_tell_repeated_calls_and_reset_forgets() {
    let provider = Provider::start(config(&["rolling 100/min"], &[]));
    let mut client = provider.connect();
    for id in [1, 2, 3, 2, 2] {
        client.get(&format!("/v1/users/{id}"));
    }
    let prompt = r#"{"messages":[]}"#;
    for prompt in [prompt, r#"{"messages":[ ]}"#, prompt, "not json", "not json"] {
        client.post("/v1/chat/completions", prompt);
    }
    client.get("/echo");
    client.get("/echo");

    let mut stats = client.get("/_stats").json();
    let mut own = serde_json::to_value(provider.handle.stats()).unwrap();
    stats["uptime_ms"] = json!(0);
    own["uptime_ms"] = json!(0);
    assert_eq!(stats, own);
    let count = |name: &str| stats[name].as_u64().unwrap();
    assert_eq!((count("arrived"), count("accepted"), count("rejected")), (12, 12, 0));
    assert_eq!((count("served_200"), count("served_twice")), (8, 2));
    assert_eq!((count("in_service"), count("greatest_concurrency")), (0, 1));

    let fresh = client.post("/_reset", "").json();
    assert_eq!((&fresh["arrived"], &fresh["served_200"]), (&json!(0), &json!(0)));
    client.get("/v1/users/2");
    assert_eq!(provider.stats()["served_twice"], json!(0));
}
