use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use tidegate_sim::{HeaderForm, RetryAfter, Sim, SimConfig};

use crate::client::{Answer, Client, Provider, config};

fn statuses(client: &mut Client, requests: usize) -> Vec<u16> {
    (0..requests).map(|id| client.get(&format!("/v1/users/{id}")).status).collect()
}

#[test]
fn accepts_as_many_as_allowed_and_counts_the_rest() {
    let provider = Provider::start(config(&["rolling 3/h", "fixed 10/h"], &[]));
    let mut client = provider.connect();
    assert_eq!(statuses(&mut client, 5), [200, 200, 200, 429, 429]);
    let stats = client.get("/_stats").json();
    assert_eq!(
        stats["rejected_by"],
        json!([{"limit": "rolling 3/h", "rejected": 2}, {"limit": "fixed 10/h", "rejected": 0}])
    );
    assert_eq!(
        stats["worst_window"],
        json!({"limit": "rolling 3/h", "window_ms": 3_600_000, "accepted": 3, "arrived": 5, "exact": true})
    );
    assert_eq!(stats["rejected"], json!(2));

    client.get("/_reset");
    assert_eq!(statuses(&mut client, 4), [200, 200, 200, 429]);
}

#[test]
fn every_path_without_an_underscore_is_limited() {
    let provider = Provider::start(config(&["rolling 1/h"], &[]));
    let mut client = provider.connect();
    assert_eq!(client.get("/nowhere").status, 404);
    for path in ["/nowhere", "/echo", "/status/200", "/big?bytes=1", "/gzip", "/v1/chat/completions"] {
        assert_eq!(client.get(path).status, 429, "{path}");
    }
    assert_eq!(client.get("/_stats").status, 200);
}

#[test]
fn counted_rejections_use_up_other_limits() {
    let limits = ["rolling 1/h", "fixed 3/d"];
    let fixed = |reject_counts| {
        let provider = Provider::start(SimConfig { reject_counts, ..config(&limits, &[]) });
        statuses(&mut provider.connect(), 9);
        provider.stats()["rejected_by"][1]["rejected"].as_u64().unwrap()
    };
    // Uncounted, the daily limit never sees more than the one accepted request.
    assert_eq!((fixed(false), fixed(true)), (0, 6));
}

#[test]
fn says_when_to_come_back_in_every_form() {
    let rejected = |retry_after| {
        let provider = Provider::start(SimConfig { retry_after, ..config(&["rolling 1/h"], &[]) });
        let mut client = provider.connect();
        client.get("/echo");
        client.get("/echo")
    };
    let number = |answer: &Answer, name| answer.header(name).unwrap().parse::<u64>().unwrap();

    let none = rejected(RetryAfter::None);
    assert_eq!((none.header("retry-after"), none.header("retry-after-ms")), (None, None));
    assert_eq!(none.json()["error"]["limit"], json!("rolling 1/h"));
    let told = none.json()["error"]["retry_after_ms"].as_u64().unwrap();
    assert!((3_590_000..=3_600_000).contains(&told), "{told}");

    assert!((3_590..=3_600).contains(&number(&rejected(RetryAfter::Seconds), "retry-after")));
    assert!((3_590_000..=3_600_000).contains(&number(&rejected(RetryAfter::Millis), "retry-after-ms")));

    let dated = rejected(RetryAfter::HttpDate);
    let date = |name| httpdate::parse_http_date(dated.header(name).unwrap()).unwrap();
    let wait = date("retry-after").duration_since(date("date")).unwrap().as_secs();
    assert!((3_590..=3_602).contains(&wait), "{wait}");
}

#[test]
fn stamps_and_decimals_are_rounded_up() {
    let asked = |retry_after| {
        let provider = Provider::start(SimConfig { retry_after, ..config(&["rolling 1/h"], &[]) });
        let mut client = provider.connect();
        client.get("/echo");
        client.get("/echo").header("retry-after").unwrap().to_owned()
    };
    let decimal = asked(RetryAfter::Decimal);
    let (whole, fraction) = decimal.split_once('.').unwrap();
    assert_eq!((whole.len(), fraction.len()), (4, 3), "{decimal}");
    let iso = asked(RetryAfter::Iso);
    assert!(iso.len() == "2026-11-13T08:00:00Z".len() && iso.ends_with('Z'), "{iso}");
}

#[test]
fn each_form_has_its_names() {
    let names = |header_form| {
        let limits = ["fixed 100/h", "fixed 5000 tokens/h"];
        let told = SimConfig { ratelimit_headers: true, header_form, ..config(&limits, &[]) };
        let answer = Provider::start(told).connect().get("/echo");
        let known = [
            "x-ratelimit-remaining",
            "x-ratelimit-resource",
            "ratelimit",
            "ratelimit-policy",
            "ratelimit-reset",
            "x-ratelimit-reset-requests",
            "x-ratelimit-limit-tokens",
            "anthropic-ratelimit-requests-reset",
            "anthropic-ratelimit-tokens-limit",
        ];
        known.into_iter().filter(|name| answer.header(name).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(names(HeaderForm::X), ["x-ratelimit-remaining"]);
    assert_eq!(names(HeaderForm::Github), ["x-ratelimit-remaining", "x-ratelimit-resource"]);
    assert_eq!(names(HeaderForm::Ietf), ["ratelimit", "ratelimit-policy"]);
    assert_eq!(names(HeaderForm::IetfOld), ["ratelimit-reset"]);
    assert_eq!(names(HeaderForm::Openai), ["x-ratelimit-reset-requests", "x-ratelimit-limit-tokens"]);
    let anthropic = ["anthropic-ratelimit-requests-reset", "anthropic-ratelimit-tokens-limit"];
    assert_eq!(names(HeaderForm::Anthropic), anthropic);
}

#[test]
fn every_answer_tells_what_remains() {
    let limits = ["rolling 100/h", "bucket 1/h capacity 2", "concurrency 5"];
    let provider = Provider::start(SimConfig { ratelimit_headers: true, ..config(&limits, &[]) });
    let mut client = provider.connect();
    let mut told = || {
        let answer = client.get("/echo");
        let number = |name: &str| answer.header(name).unwrap().parse::<u64>().unwrap();
        (
            answer.status,
            number("x-ratelimit-limit"),
            number("x-ratelimit-remaining"),
            number("x-ratelimit-reset"),
        )
    };
    assert_eq!(told(), (200, 2, 1, 3_600));
    assert!(matches!(told(), (200, 2, 0, 7_190..=7_200)));
    assert!(matches!(told(), (429, 2, 0, 7_190..=7_200)));
}

#[test]
fn concurrency_is_freed_when_the_client_has_gone() {
    let provider = Provider::start(config(&["concurrency 2"], &["hang 100%"]));
    let mut hanging = [provider.connect(), provider.connect()];
    for client in &mut hanging {
        client.send("GET", "/echo", "", b"");
    }
    provider.wait_for("in_service", 2);
    assert_eq!(provider.get("/echo").status, 429);
    drop(hanging);
    provider.wait_for("in_service", 0);
    let stats = provider.stats();
    assert_eq!((&stats["greatest_concurrency"], &stats["faults"]["hang"]), (&json!(2), &json!(2)));
}

#[test]
fn a_request_is_in_service_until_its_answer_is_written() {
    const SIZE: usize = 64 << 20;
    let provider = Provider::start(config(&["concurrency 1"], &[]));
    let mut slow = provider.connect();
    // More than all buffers on the way can take.
    slow.send("GET", &format!("/big?bytes={SIZE}"), "", b"");
    provider.wait_for("in_service", 1);
    assert_eq!(provider.get("/echo").status, 429);
    assert_eq!(slow.answer(false).unwrap().body.len(), SIZE);
    provider.wait_for("in_service", 0);
    assert_eq!(provider.get("/echo").status, 200);
}

#[test]
fn rejections_do_not_wait_for_the_service_time() {
    let service = "1h".parse().unwrap();
    let provider = Provider::start(SimConfig { service, ..config(&["rolling 1/h"], &[]) });
    let mut waiting = provider.connect();
    waiting.send("GET", "/echo", "", b"");
    provider.wait_for("in_service", 1);
    assert_eq!(provider.get("/echo").status, 429);
}

#[test]
fn jitter_passes_before_the_check() {
    let jitter = "1h".parse().unwrap();
    let provider = Provider::start(SimConfig { jitter, ..config(&["rolling 1/h"], &[]) });
    let mut waiting = provider.connect();
    waiting.send("GET", "/echo", "", b"");
    waiting.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(waiting.answer(false).is_err());
    assert_eq!(provider.stats()["arrived"], json!(0));
}

#[test]
fn latencies_add_up() {
    let (jitter, service) = ("30ms".parse().unwrap(), "uniform 50..60ms".parse().unwrap());
    let provider = Provider::start(SimConfig { jitter, service, ..SimConfig::default() });
    let mut client = provider.connect();
    let uptime = |client: &mut Client| client.get("/_stats").json()["uptime_ms"].as_u64().unwrap();
    let start = uptime(&mut client);
    statuses(&mut client, 5);
    assert!(uptime(&mut client) - start >= 5 * 80 - 1);
}

#[test]
fn hundreds_connect_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sim = runtime.block_on(async { Sim::bind(SimConfig::default()) }).unwrap();
    // Nobody accepts yet: with a short queue the kernel would let them wait.
    let connect = || TcpStream::connect_timeout(&sim.local_addr(), Duration::from_secs(5));
    let mut clients: Vec<_> = (0..300).map(|_| Client(connect().unwrap())).collect();
    for client in &mut clients {
        client.send("GET", "/v1/users/7", "", b"");
    }
    let handle = sim.handle();
    let serving = std::thread::spawn(move || runtime.block_on(sim.run(std::future::pending())));
    assert!(clients.iter_mut().all(|client| client.answer(false).unwrap().status == 200));
    assert_eq!(handle.stats().served_200, 300);
    handle.shutdown();
    serving.join().unwrap().unwrap();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let provider = Provider::start(config(&["concurrency 1"], &[]));
    let mut client = provider.connect();
    let request = |id| format!("GET /v1/users/{id} HTTP/1.1\r\nhost: sim\r\n\r\n");
    client.0.write_all([request(1), request(2)].concat().as_bytes()).unwrap();
    for id in ["1", "2"] {
        assert_eq!(client.answer(false).unwrap().json()["id"], json!(id));
    }
}

#[test]
fn shutdown_ends_what_is_open() {
    let provider = Provider::start(config(&[], &["hang 100%"]));
    let mut hanging = provider.connect();
    hanging.send("GET", "/echo", "", b"");
    provider.wait_for("in_service", 1);
    assert!(provider.stop().is_ok());
    // A clean end or a reset, but an end.
    assert!(!matches!(hanging.0.read(&mut [0; 1]), Ok(1)));
}

#[test]
fn an_address_in_use_is_named() {
    let provider = Provider::start(SimConfig::default());
    let config = SimConfig { addr: provider.addr, ..SimConfig::default() };
    let error = tidegate_sim::serve_blocking(config, |_, _| panic!("bound twice")).unwrap_err();
    assert!(error.to_string().contains(&provider.addr.to_string()), "{error}");
}
