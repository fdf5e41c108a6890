//! What a quota is, who may say so, and what people do with it.

use std::time::Duration;

use tidegate_core::{Limit, Outcome};
use tidegate_quota::store::{HeldFor, StoreError};
use tokio::time::sleep;

use crate::on_every_store;
use crate::world::{Calls, World, definition, secs};

/// While somebody uses a quota, nobody else can mean something else by its name.
async fn who_disagrees_is_refused(world: World) {
    let first = world.process(&["100/s"]);
    let Err(error) = world.try_process(&["200/s"]) else { panic!("it was let in") };
    let said = error.to_string();
    assert!(said.contains("quota `crm` is 100/s (set by `a test`"), "{said}");
    assert!(said.contains("2023-11-14") && said.ends_with("but this job says 200/s"), "{said}");
    assert!(error.hint().contains("`tidegate quota set crm --rate 200/s`"), "{}", error.hint());
    drop(world.process(&["100/s"]));
    assert_eq!(world.admin().show("crm").unwrap().members.len(), 1, "who was refused is no member");

    // Nobody is left who would mind; a person's word stays.
    drop(first);
    drop(world.process(&["200/s"]));
    world.admin().set("crm", &definition(&["300/s"])).unwrap();
    let Err(StoreError::Disagrees { explicit: true, .. }) = world.try_process(&["200/s"]) else { panic!() };
    drop(world.process(&["300/s"]));
}

/// A job that says nothing takes what there is.
async fn a_definition_can_be_asked_for(world: World) {
    let mut store = world.store();
    assert_eq!(store.definition("crm").unwrap(), None);
    world.admin().create("crm", &definition(&["100/s", "concurrency 7"])).unwrap();
    let known = store.definition("crm").unwrap().unwrap();
    assert_eq!(known, definition(&["100/s", "concurrency 7"]));
    let contract = known.contract(tidegate_core::Pacing::Even, Some(world.machine.wall())).unwrap();
    let process = world.process_with(&contract, false).unwrap();
    assert_eq!(process.partitions.contract().limits().len(), 2);
}

/// A latency is a guess; the one that was first counts.
async fn nobody_has_to_agree_about_the_latency(world: World) {
    let limits = ["100/s counter".parse::<Limit>().unwrap()];
    let with = |ms| {
        let terms = tidegate_core::Terms { latency: Duration::from_millis(ms), ..Default::default() };
        tidegate_core::Contract::new(&limits, tidegate_core::Pacing::Burst, terms).unwrap()
    };
    let one = world.process_with(&with(100), false).unwrap();
    let other = world.process_with(&with(300), false).unwrap();
    assert_eq!(other.partitions.contract().terms().latency, Duration::from_millis(100));
    drop(one);
}

async fn new_amounts_act_within_a_second(world: World) {
    let calls = Calls::default();
    let (one, other) = (world.process(&["100/s"]), world.process(&["100/s"]));
    let _works = (one.work(&calls, 400, secs(0.02)), other.work(&calls, 400, secs(0.02)));
    sleep(secs(5.0)).await;
    world.admin().set_limits("crm", &["200/s".parse().unwrap()]).unwrap();
    sleep(secs(3.0)).await;
    let begin = world.now();
    sleep(secs(5.0)).await;
    let made = calls.between(begin, world.now());
    assert!(made >= 900, "{made}");
    assert!(calls.worst(secs(1.0)) <= 200, "{}", calls.worst(secs(1.0)));
    assert_eq!(one.partitions.contract_now().declared()[0].to_string(), "200/s");

    let fewer = Calls::default();
    world.admin().set_limits("crm", &["40/s".parse().unwrap()]).unwrap();
    sleep(secs(1.9)).await; // a second until all know it, and until the calls of before are forgotten
    let _works = (one.work(&fewer, 100, secs(0.02)), other.work(&fewer, 100, secs(0.02)));
    let begin = world.now();
    sleep(secs(10.0)).await;
    let made = calls.and(&fewer).between(begin, world.now());
    assert!((340..=400).contains(&made), "{made}");
    assert_eq!(world.admin().show("crm").unwrap().members.len(), 2);
}

/// What was used of the old limits counts against the new ones: they begin when it is over.
async fn other_limits_begin_when_the_old_ones_are_over(world: World) {
    let calls = Calls::default();
    let (one, other) = (world.process(&["100/s"]), world.process(&["100/s"]));
    let _works = (one.work(&calls, 100, secs(0.02)), other.work(&calls, 100, secs(0.02)));
    sleep(secs(5.0)).await;
    world.admin().set("crm", &definition(&["600/10s"])).unwrap();
    let set = world.now();
    sleep(secs(40.0)).await;
    assert_eq!(calls.between(set + secs(0.6), set + secs(8.0)), 0, "lease, time-out and window");
    let made = calls.between(set + secs(15.0), set + secs(35.0));
    assert!((1_000..=1_200).contains(&made), "{made}");
    assert_eq!(one.partitions.trouble(), None);
    assert_eq!(one.partitions.contract_now().declared()[0].to_string(), "600/10s");
}

/// A job whose calls would cost something else cannot go on.
async fn limits_that_count_something_else_end_a_job(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/s"]));
    let _work = process.work(&calls, 10, secs(0.02));
    sleep(secs(2.0)).await;
    world.admin().set("crm", &definition(&["100/s", "500 tokens/s"])).unwrap();
    sleep(secs(1.0)).await;
    let said = process.partitions.ended().expect("it goes on");
    assert!(
        said.contains("was changed to 100/s, 500 tokens/s") && said.contains("start this job again"),
        "{said}"
    );
    let made = calls.len();
    sleep(secs(20.0)).await;
    assert_eq!(calls.len(), made);
    assert_eq!(world.admin().show("crm").unwrap().members.len(), 0);
}

/// If nobody is left, a job may mean other limits; what was used of the old ones is waited for.
async fn an_old_definition_that_nobody_uses_is_replaced(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/min"]));
    let work = process.work(&calls, 100, secs(0.02));
    sleep(secs(2.0)).await;
    drop(work);
    sleep(secs(0.1)).await;
    drop(process);
    // The same window: the units used are known.
    let more = world.process(&["120/min"]);
    assert_eq!(more.partitions.held(), None);
    let view = world.admin().show("crm").unwrap();
    assert!(view.limits[0].units == 120 && view.limits[0].coming_back >= 90, "{view:?}");
    drop(more);
    let other = world.process(&["50/10s"]);
    let held = other.partitions.held().expect("it is not held");
    assert_eq!(held.why, HeldFor::Redefined);
    assert!(held.until >= world.now() + secs(57.0), "{}", held.until);
    let gate = other.partitions.gate("");
    sleep(secs(50.0)).await;
    assert!(gate.try_acquire().is_err());
    sleep(secs(20.0)).await;
    gate.try_acquire().unwrap().settle(Outcome::Answered);
}

async fn quotas_are_listed_and_shown(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/min"]));
    let work = process.work(&calls, 30, secs(1.0));
    sleep(secs(0.5)).await;
    world.admin().create("other", &definition(&["1/s"])).unwrap();
    let list = world.admin().list().unwrap();
    let names: Vec<_> = list.iter().map(|quota| (&*quota.name, quota.explicit)).collect();
    assert_eq!(names, [("crm", false), ("other", true)]);
    let view = world.admin().show("crm").unwrap();
    let member = &view.members[0];
    assert_eq!((member.id, &*member.who.does, member.who.pid), (process.id(), "a test", std::process::id()));
    assert_eq!((member.is_late, member.leased[0], view.limits[0].leased), (false, 100, 100));
    assert_eq!((view.limits[0].limit.as_str(), view.partition_count), ("100/min", 1));
    process.freeze();
    sleep(secs(5.0)).await;
    let view = world.admin().show("crm").unwrap();
    assert!(view.members[0].is_late && view.members[0].silent_for >= secs(4.0), "{view:?}");
    drop(work);
    sleep(secs(10.0)).await;
    let view = world.admin().show("crm").unwrap();
    assert!(view.members.is_empty());
    assert_eq!((view.limits[0].leased, view.limits[0].coming_back), (0, 100));
    assert!(view.limits[0].back_in.unwrap() < secs(60.1), "{view:?}");
}

async fn quotas_are_created_once_and_forgotten_when_nobody_uses_them(world: World) {
    let mut admin = world.admin();
    assert!(matches!(admin.show("crm"), Err(StoreError::NoSuchQuota { .. })));
    assert!(matches!(admin.set("crm", &definition(&["1/s"])), Err(StoreError::NoSuchQuota { .. })));
    admin.create("crm", &definition(&["1/s"])).unwrap();
    admin.create("crm", &definition(&["1/s"])).unwrap();
    let Err(StoreError::Exists { .. }) = admin.create("crm", &definition(&["2/s"])) else { panic!() };
    let Err(StoreError::Limit { .. }) = admin.set(
        "crm",
        &definition(&["1 tokens/s"])
            .with_limits(&["5/s".parse::<Limit>().unwrap().amplified(9.try_into().unwrap())]),
    ) else {
        panic!()
    };

    let process = world.process(&["1/s"]);
    let gate = process.partitions.gate("");
    sleep(secs(0.1)).await;
    gate.try_acquire().unwrap().settle(Outcome::Answered);
    let Err(StoreError::InUse { members: 1, .. }) = admin.forget("crm", false) else { panic!() };
    // By force: the process joins again, and brings the quota back as its own.
    admin.forget("crm", true).unwrap();
    sleep(secs(2.0)).await;
    if !world.knows_the_dead() {
        // There a name that is not known may have been lost: a lease, a time-out and a window.
        gate.try_acquire().unwrap_err();
        sleep(secs(3.0 + 5.0 + 1.1)).await;
    }
    let view = admin.show("crm").unwrap();
    assert_eq!((view.members.len(), view.explicit), (1, false));
    gate.try_acquire().unwrap().settle(Outcome::Answered);
    drop(process);
    admin.forget("crm", false).unwrap();
    assert!(admin.list().unwrap().is_empty());
}

async fn a_person_can_pause_all_of_it(world: World) {
    let (calls, process) = (Calls::default(), world.process(&["100/s"]));
    let works = (
        process.work_in(&calls, 10, secs(0.02), "a", None),
        process.work_in(&calls, 10, secs(0.02), "b", None),
    );
    sleep(secs(2.0)).await;
    world.admin().pause("crm", secs(3_600.0)).unwrap();
    assert!(world.admin().show("crm").unwrap().paused_for.is_some());
    sleep(secs(0.6)).await;
    let made = calls.len();
    sleep(secs(60.0)).await;
    assert_eq!(calls.len(), made);
    let late = process.work_in(&calls, 1, secs(0.02), "c", None);
    sleep(secs(5.0)).await;
    assert_eq!(late.made(), 0);
    world.admin().resume("crm").unwrap();
    sleep(secs(3.0)).await;
    assert!(works.0.made() > 100 && works.1.made() > 100 && late.made() > 10);
}

/// Two limits that the text does not tell apart keep their costs and margins.
async fn other_limits_keep_what_their_text_does_not_say(world: World) {
    let two = 2.try_into().unwrap();
    let before = "100 tokens/s".parse::<Limit>().unwrap().with_cost(two).amplified(two);
    let contract = tidegate_core::Contract::new(
        &[before],
        tidegate_core::Pacing::Burst,
        tidegate_core::Terms::default(),
    );
    let process = world.process_with(&contract.unwrap(), false).unwrap();
    world.admin().set_limits("crm", &["300 tokens/s".parse().unwrap()]).unwrap();
    sleep(secs(1.1)).await;
    assert_eq!(process.partitions.ended(), None);
    let now = process.partitions.contract_now();
    assert_eq!((now.costs().of(0), now.declared()[0].amplification()), (2, 2));
    assert_eq!(contract_units(&now), 150);
}

fn contract_units(contract: &tidegate_core::Contract) -> u64 {
    contract.limits().map(|(_, meter)| meter.greatest_cost()).max().unwrap()
}

on_every_store!(
    who_disagrees_is_refused,
    a_definition_can_be_asked_for,
    nobody_has_to_agree_about_the_latency,
    new_amounts_act_within_a_second,
    other_limits_begin_when_the_old_ones_are_over,
    limits_that_count_something_else_end_a_job,
    an_old_definition_that_nobody_uses_is_replaced,
    quotas_are_listed_and_shown,
    quotas_are_created_once_and_forgotten_when_nobody_uses_them,
    a_person_can_pause_all_of_it,
    other_limits_keep_what_their_text_does_not_say,
);
