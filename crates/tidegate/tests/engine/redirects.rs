//! Redirects: only if asked, each for a permit, and without credentials to another origin.

use std::net::TcpListener;

use tidegate::Ended;

use crate::setting::{Provider, Setting};

const SECRET: &str = "sk-0123456789";

fn redirected(provider: &Provider, to: &str) -> Setting {
    let mut setting = Setting::with_input(&provider.url("/redirect?to={line}"), format!("{to}\n").as_bytes())
        .header("Authorization", "Bearer {{ env.KEY }}")
        .header("X-Own", "{{ env.KEY }}")
        .header("X-Plain", "plain");
    setting.env = vec![("KEY", SECRET)];
    setting
}

#[tokio::test]
async fn they_are_not_followed_unasked() {
    let provider = Provider::easy();
    let setting = redirected(&provider, "/echo");
    let report = setting.run().await;
    assert_eq!((report.summary.failed, provider.sim.stats().arrived), (1, 1));
    let message = setting.failures()[0]["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("/echo") && message.contains("--location"), "{message}");
}

#[tokio::test]
async fn each_costs_a_permit_but_no_attempt() {
    let provider = Provider::easy();
    let mut setting = redirected(&provider, "/echo/here").limits(&["5/s"]);
    setting.file.request.redirects = Some(3);
    setting.file.retry.attempts = Some(1);
    let report = setting.run().await;
    assert_eq!((report.summary.ok, report.summary.attempts), (1, 2));
    assert_eq!(provider.sim.stats().arrived, 2);
    let result = &setting.results()[0];
    assert_eq!((&result["body"]["path"], &result["attempts"]), (&"/echo/here".into(), &2.into()));
    assert_eq!(result["body"]["headers"]["authorization"], "Bearer ***");
}

#[tokio::test]
async fn credentials_stay_with_their_origin() {
    let (provider, other) = (Provider::easy(), Provider::easy());
    let mut setting = redirected(&provider, &other.url("/echo/there"));
    setting.file.request.redirects = Some(1);
    let report = setting.run().await;
    assert_eq!((report.summary.ok, other.sim.stats().arrived), (1, 1));
    let headers = &setting.results()[0]["body"]["headers"];
    assert_eq!(headers["x-plain"], "plain");
    assert!(headers["authorization"].is_null() && headers["x-own"].is_null(), "{headers}");
    assert_eq!(headers["host"], other.addr.to_string());
}

#[tokio::test]
async fn a_circle_ends() {
    let provider = Provider::easy();
    let to = "/redirect?to=/redirect";
    let mut setting = redirected(&provider, to);
    setting.file.request.redirects = Some(1);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    assert_eq!((report.summary.failed, provider.sim.stats().arrived), (1, 2));
}

#[tokio::test]
async fn one_that_leads_nowhere_fails_its_row() {
    let provider = Provider::easy();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut setting = redirected(&provider, &format!("http://{free}/"));
    setting.file.request.redirects = Some(1);
    setting.file.retry.attempts = Some(3);
    let report = setting.run().await;
    assert!(matches!(report.ended, Ended::Finished), "{report:?}");
    assert_eq!((report.summary.failed, provider.sim.stats().arrived), (1, 1));
    assert_eq!(setting.failures()[0]["error"]["kind"], "network");
}
