//! What providers say of their limits: in headers, in bodies, and with statuses that have other meanings.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidegate::job::{AuthSection, OAuth2Section, SignSection};
use tidegate::{Ended, Report};

use crate::scripted::{Scripted, Told};
use crate::setting::Setting;

const OK: &str = r#"{"ok":true}"#;

fn setting(provider: &Scripted, rows: usize) -> Setting {
    let rows: Vec<String> = (0..rows).map(|row| format!("u{row}\n")).collect();
    Setting::with_input(&format!("{}/{{line}}", provider.url), rows.concat().as_bytes()).connections(1)
}

fn ok() -> Told {
    Told(200, String::new(), OK.to_owned())
}

/// The third call is answered like that, all others well.
fn third(status: u16, headers: &'static str, body: &'static str) -> Scripted {
    Scripted::start(
        move |asked| if asked.len() == 3 { Told(status, headers.into(), body.into()) } else { ok() },
    )
}

#[track_caller]
fn stopped(report: &Report) -> &str {
    let Ended::Stopped(why) = &report.ended else { panic!("{report:?}") };
    why
}

#[tokio::test]
async fn what_asks_to_wait_pauses_all_and_costs_no_attempt() {
    let throttled = r#"{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}"#;
    for (status, headers, body, least) in [
        (429, "Retry-After: 1\r\n", "", 1_000),
        (429, "Retry-After-Ms: 300\r\n", "", 300),
        (429, "Retry-After: 0.4\r\n", "", 400),
        (
            429,
            "Date: Fri, 31 Dec 1999 23:59:58 GMT\r\nRetry-After: Fri, 31 Dec 1999 23:59:58 GMT\r\n",
            "",
            1_000,
        ),
        (403, "Retry-After: 1\r\n", "no", 1_000),
        (403, "X-RateLimit-Remaining: 0\r\nX-RateLimit-Limit: 60\r\nX-RateLimit-Reset: 1\r\n", "no", 900),
        (200, "Retry-After: 1\r\n", throttled, 1_000),
        (400, "Retry-After: 1\r\n", r#"{"__type":"ThrottlingException"}"#, 1_000),
    ] {
        let provider = third(status, headers, body);
        let mut setting = setting(&provider, 5);
        setting.file.retry.attempts = Some(1);
        let report = setting.run().await;
        assert!(matches!(report.ended, Ended::Finished), "{headers}{body}: {report:?}");
        setting.assert_each_row_once(5);
        let summary = &report.summary;
        assert_eq!((summary.ok, summary.throttled, summary.attempts), (5, 1, 6), "{headers}{body}");
        assert!(
            summary.wall_s >= Duration::from_millis(least).as_secs_f64(),
            "{headers}{body}: {}",
            summary.wall_s
        );
    }
}

#[tokio::test]
async fn statuses_alone_are_failures() {
    let provider = third(403, "", r#"{"message":"Must have admin rights"}"#);
    let setting = setting(&provider, 5);
    let report = setting.run().await;
    assert_eq!((report.summary.ok, report.summary.failed, report.summary.throttled), (4, 1, 0));
}

#[tokio::test]
async fn the_quota_of_the_day_is_gone() {
    let until =
        "X-HubSpot-RateLimit-Daily: 1000\r\nX-HubSpot-RateLimit-Daily-Remaining: 0\r\nRetry-After: 7200\r\n";
    for headers in [until, ""] {
        let provider = third(429, headers, r#"{"policyName":"DAILY"}"#);
        let setting = setting(&provider, 5);
        let report = setting.run().await;
        let why = stopped(&report);
        assert!(why.contains("--wait"), "{why}");
        assert_eq!(headers.is_empty(), why.contains("does not say until when"), "{why}");
        assert!(headers.is_empty() || why.contains("back in 2h 0m, at 20"), "{why}");
        assert_eq!((report.summary.ok, report.summary.failed, report.summary.capped), (2, 0, 1));
        // Nothing is lost: the same command goes on.
        let mut setting = setting;
        setting.file.quota.limits.clear();
        let report = setting.run().await;
        assert!(matches!(report.ended, Ended::Finished), "{report:?}");
        setting.assert_each_row_once(5);
    }
}

#[tokio::test]
async fn what_waiting_does_not_help_stops_the_job() {
    for (status, body) in [
        (429, r#"{"error":{"code":"insufficient_quota","type":"insufficient_quota"}}"#),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access"}}"#,
        ),
        (402, ""),
        (200, r#"{"ok":false,"error":"token_revoked"}"#),
    ] {
        let provider = third(status, "", body);
        let setting = setting(&provider, 5);
        let report = setting.run().await;
        assert!(stopped(&report).contains("nothing more is to be had"), "{body}");
        assert_eq!((report.summary.ok, report.summary.failed, report.summary.refused), (2, 0, 1), "{body}");
        assert_eq!(setting.ended().len(), 2);
    }
}

#[tokio::test]
async fn a_jobs_own_words() {
    let provider = third(200, "", r#"{"state":{"code":"slow down"}}"#);
    let mut setting = setting(&provider, 5);
    setting.file.retry.sign = vec![SignSection {
        at: Some("/state/code".to_owned()),
        is: vec!["slow down".to_owned()],
        means: Some("wait".to_owned()),
        ..SignSection::default()
    }];
    let report = setting.run().await;
    assert_eq!((report.summary.ok, report.summary.throttled), (5, 1), "{report:?}");
}

#[tokio::test]
async fn a_jobs_own_word_on_success() {
    let provider = third(200, "", r#"{"ok":false,"why":"no such user"}"#);
    let mut setting = setting(&provider, 5);
    setting.file.output.success = Some("{{ body.ok }}".to_owned());
    let report = setting.run().await;
    assert_eq!((report.summary.ok, report.summary.failed), (4, 1), "{report:?}");
    assert_eq!(setting.failures()[0]["body"]["why"], "no such user");
}

#[tokio::test]
async fn an_outage_costs_no_row_its_result() {
    // Twenty errors show it, and two more calls that it goes on.
    let provider = Scripted::start(|asked| match asked.len() {
        6..=27 => Told(500, String::new(), String::new()),
        _ => ok(),
    });
    let mut setting = setting(&provider, 60);
    // A wait is random, from nothing on: one that ends before the outage is seen costs its row an attempt.
    setting.file.retry.backoff = Some("4s..5s".to_owned());
    setting.file.retry.attempts = Some(5);
    let report = setting.run().await;
    setting.assert_each_row_once(60);
    let summary = &report.summary;
    assert_eq!((summary.ok, summary.failed, summary.attempts), (60, 0, 60 + 22), "{report:?}");
    // Two probes, one and two seconds apart, and the one that came through four later.
    assert!(summary.wall_s >= 7.0, "{}", summary.wall_s);
}

#[tokio::test]
async fn a_probe_that_is_redirected_holds_nobody_up() {
    let provider = Scripted::start(|asked| match asked.len() {
        6..=25 => Told(500, String::new(), String::new()),
        26 => Told(302, "Location: /moved\r\n".to_owned(), String::new()),
        _ => ok(),
    });
    let mut setting = setting(&provider, 40);
    setting.file.retry.backoff = Some("500ms..1s".to_owned());
    setting.file.request.redirects = Some(1);
    let report = setting.run().await;
    assert_eq!((report.summary.ok, report.summary.failed), (40, 0), "{report:?}");
    assert!(provider.asked().iter().any(|call| call.target == "/moved"));
}

#[tokio::test]
async fn retries_do_not_crowd_out_new_rows() {
    // Every other row fails at first; a fifth of the rows' number may be sent again meanwhile.
    let provider = Scripted::start(|asked| {
        let last = asked.last().unwrap();
        let row: usize = last.target[2..].parse().unwrap();
        let is_first = asked.iter().filter(|other| other.target == last.target).count() == 1;
        if row.is_multiple_of(2) && is_first { Told(503, String::new(), String::new()) } else { ok() }
    });
    let setting = setting(&provider, 600);
    let report = setting.run().await;
    assert_eq!((report.summary.ok, report.summary.attempts), (600, 900), "{report:?}");
    let asked = provider.asked();
    let newest = asked.iter().position(|call| call.target == "/u599").unwrap();
    // Ten are there at first.
    assert!((newest - 599).abs_diff(120 + 10) < 8, "{} retries before the last row", newest - 599);
}

/// A key that is good for so many calls.
fn expiring(good_for: usize) -> Scripted {
    let (mut key, mut used) = (String::new(), 0);
    Scripted::start(move |asked| {
        let last = asked.last().unwrap();
        if last.target == "/token" {
            assert!(last.body.contains("grant_type=client_credentials&client_id=me&client_secret=s3cret"));
            key = format!("key-{}", asked.len());
            used = 0;
            return Told(200, String::new(), format!(r#"{{"access_token":"{key}","expires_in":3600}}"#));
        }
        used += 1;
        if used > good_for || last.key != format!("Bearer {key}") {
            return Told(401, String::new(), "who are you?".to_owned());
        }
        // It echoes what must not be kept.
        Told(200, String::new(), format!(r#"{{"ok":"{key}"}}"#))
    })
}

fn with_auth(setting: &mut Setting, provider: &Scripted) {
    setting.file.auth = Some(AuthSection {
        oauth2: Some(OAuth2Section {
            token_url: Some(format!("{}/token", provider.url)),
            client_id: Some("me".to_owned()),
            client_secret_env: Some("TIDEGATE_TEST_CLIENT_SECRET".to_owned()),
            ..OAuth2Section::default()
        }),
        ..AuthSection::default()
    });
    setting.env.push(("TIDEGATE_TEST_CLIENT_SECRET", "s3cret"));
}

#[tokio::test]
async fn a_key_that_expires_is_fetched_once_for_all() {
    let provider = expiring(50);
    let mut setting = setting(&provider, 1_000).connections(16);
    with_auth(&mut setting, &provider);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    setting.assert_each_row_once(1_000);
    let asked = provider.asked();
    let fetched = asked.iter().filter(|call| call.target == "/token").count();
    assert_eq!((report.summary.ok, report.summary.keys_fetched), (1_000, fetched as u64));
    assert!((20..=21).contains(&fetched), "{fetched}");
    assert_eq!(report.summary.retried_by_cause["401"], asked.len() as u64 - 1_000 - fetched as u64);
    // Nothing of it is on the disk.
    for entry in walk(setting.folder()) {
        let bytes = std::fs::read(&entry).unwrap();
        let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
        assert!(!holds(b"key-") && !holds(b"s3cret"), "{}", entry.display());
    }
}

/// 20,000 rows with a key that is good for five seconds, whether that is known or not.
#[tokio::test]
#[ignore = "takes 50 s"]
async fn a_key_that_is_good_for_five_seconds() {
    for is_told in [true, false] {
        let (mut key, mut until) = (String::new(), clock());
        let provider = Scripted::start(move |asked| {
            let last = asked.last().unwrap();
            let now = clock();
            if last.target == "/token" {
                key = format!("key-{}", asked.len());
                until = now + Duration::from_secs(5);
                let expires = if is_told { r#","expires_in":5"# } else { "" };
                return Told(200, String::new(), format!(r#"{{"access_token":"{key}"{expires}}}"#));
            }
            if now >= until || last.key != format!("Bearer {key}") {
                return Told(401, String::new(), String::new());
            }
            ok()
        });
        let mut setting = setting(&provider, 20_000).connections(32).limits(&["800/s"]);
        with_auth(&mut setting, &provider);
        let (run, _handle) = setting.prepare().unwrap();
        let report = run.drive().await;
        setting.assert_each_row_once(20_000);
        let summary = &report.summary;
        assert_eq!((summary.ok, summary.failed), (20_000, 0));
        let asked = provider.asked();
        let fetched = asked.iter().filter(|call| call.target == "/token").count() as u64;
        assert_eq!(summary.keys_fetched, fetched);
        // One each time, and none in vain.
        assert!(fetched as f64 <= summary.wall_s / 4.4 + 1.0, "{fetched} keys in {} s", summary.wall_s);
    }
}

#[tokio::test]
async fn keys_that_nobody_takes_stop_the_job() {
    let provider = expiring(0);
    let mut setting = setting(&provider, 10);
    with_auth(&mut setting, &provider);
    let report = setting.run().await;
    assert!(stopped(&report).contains("401"), "{report:?}");
    assert_eq!((setting.ended().len(), report.summary.keys_fetched), (0, 2));
}

#[expect(clippy::disallowed_methods, reason = "the provider's own clock")]
fn clock() -> Instant {
    Instant::now()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
