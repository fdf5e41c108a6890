//! Buckets of points that are told of in bodies: Shopify's GraphQL API.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tidegate::job::{LimitSection, StatusOrWord};

use crate::scripted::{Scripted, Told};
use crate::setting::Setting;

/// Points that it holds, that are restored each second, and that a call takes.
const HOLDS: i64 = 1_000;
const RESTORES: i64 = 50;
const TAKES: i64 = 10;

/// A bucket of which somebody else takes so much before the fourth call.
fn shop(taken: i64) -> (Scripted, Arc<AtomicI64>) {
    let least = Arc::new(AtomicI64::new(HOLDS));
    let (mut available, mut at, least_of) = (HOLDS * 1_000, clock(), Arc::clone(&least));
    let shop = Scripted::start(move |asked| {
        let now = clock();
        let passed = i64::try_from(now.duration_since(at).as_millis()).unwrap();
        at += Duration::from_millis(passed.unsigned_abs());
        available = (available + passed * RESTORES).min(HOLDS * 1_000);
        if asked.len() == 4 {
            available -= taken * 1_000;
        }
        let is_enough = available >= TAKES * 1_000;
        if is_enough {
            available -= TAKES * 1_000;
        }
        least_of.fetch_min(available / 1_000, Relaxed);
        let says = if is_enough {
            r#""data":{"shop":{"name":"x"}}"#
        } else {
            r#""errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]"#
        };
        let cost = format!(
            r#""requestedQueryCost":50,"actualQueryCost":{TAKES},"throttleStatus":{{"maximumAvailable":{HOLDS}.0,"currentlyAvailable":{},"restoreRate":{RESTORES}.0}}"#,
            available / 1_000
        );
        Told(200, String::new(), format!(r#"{{{says},"extensions":{{"cost":{{{cost}}}}}}}"#))
    });
    (shop, least)
}

#[expect(clippy::disallowed_methods, reason = "the provider's own clock")]
fn clock() -> Instant {
    Instant::now()
}

fn setting(shop: &Scripted, rows: usize) -> Setting {
    let rows: Vec<String> = (0..rows).map(|row| format!("u{row}\n")).collect();
    Setting::with_input(&format!("{}/{{line}}", shop.url), rows.concat().as_bytes()).connections(4)
}

/// Fifty are reserved for a call, ten are taken, and the rest comes back; what somebody else has taken is
/// not there to be used.
#[tokio::test]
async fn what_bodies_tell_of_points_tightens_the_limit_of_points() {
    for unit in ["points", "cost"] {
        let (shop, least) = shop(700);
        let mut setting = setting(&shop, 40);
        setting.file.quota.pace = Some("burst".to_owned());
        setting.file.quota.limit = vec![LimitSection {
            rate: Some(format!("{RESTORES} {unit}/s bucket {HOLDS}")),
            cost: Some(StatusOrWord::Number(50)),
            actual: Some("/extensions/cost/actualQueryCost".to_owned()),
            refund: true,
            ..LimitSection::default()
        }];
        let report = setting.run().await;
        setting.assert_each_row_once(40);
        let summary = &report.summary;
        assert_eq!((summary.ok, summary.throttled), (40, 0), "{report:?}");
        assert!(least.load(Relaxed) >= 0, "{least:?}");
        let [others] = &summary.others[..] else { panic!("{report:?}") };
        assert!((250..=700).contains(&others.most) && others.of == 1_000, "{others:?}");
        // Two thousand were reserved, which would have taken twenty seconds.
        assert!((0.5..10.0).contains(&summary.wall_s), "{}", summary.wall_s);
    }
}

/// Nobody has declared anything: the first answer tells what there is.
#[tokio::test]
async fn what_bodies_tell_of_points_is_learnt() {
    let (shop, least) = shop(500);
    let setting = setting(&shop, 40).limits(&["auto"]);
    let report = setting.run().await;
    setting.assert_each_row_once(40);
    let summary = &report.summary;
    let learnt = summary.learnt.as_ref().unwrap();
    assert!(learnt.is_told && learnt.limits.is_empty(), "{learnt:?}");
    assert_eq!((summary.ok, summary.throttled), (40, 0), "{report:?}");
    assert!(least.load(Relaxed) >= 0, "{least:?}");
    assert!(summary.wall_s < 20.0, "{}: slower than without a word", summary.wall_s);
}

/// A limit of calls is not one of points, however alike they are.
#[tokio::test]
async fn points_say_nothing_of_calls() {
    let (shop, _) = shop(700);
    let setting = setting(&shop, 20).limits(&["50/s bucket 1000"]);
    let report = setting.run().await;
    assert_eq!((report.summary.ok, report.summary.others.len()), (20, 0), "{report:?}");
}
