//! Reboots, clocks that jump, containers that forget, and files that are not what they should be.

use std::fs;
use std::path::Path;

use tidegate_core::{Outcome, Priority};
use tidegate_quota::store::{Admin, HeldFor, Machine, Sqlite, Store, StoreError, Who};
use tidegate_quota::{Clock, Gate, Membership, Partitions};
use tokio::time::sleep;

use crate::on_every_store_of_a_machine;
use crate::world::{EPOCH_MS, QUOTA, TIMEOUT, World, contract, secs};

/// Takes all that there is.
async fn use_up(gate: &Gate) -> u64 {
    sleep(secs(0.3)).await;
    let mut used = 0;
    while let Ok(permit) = gate.try_acquire() {
        permit.settle(Outcome::Answered);
        used += 1;
    }
    used
}

/// After a reboot the dates mean nothing: all that was leased or in use is held for its whole hold.
async fn a_reboot_holds_what_was_in_use(world: World) {
    let process = world.process(&["100/min"]);
    assert_eq!(use_up(&process.partitions.gate("")).await, 100);
    process.kill();
    sleep(secs(1_000.0)).await; // longer than the new boot's clock will ever show
    let world = world.rebooted("second", world.wall_ms() + 20_000);
    let next = world.process(&["100/min"]);
    let gate = next.partitions.gate("");
    // Nobody sent anything for 1,020 s by the wall clock; it may be wrong by ten minutes.
    sleep(secs(1.0)).await;
    assert_eq!(use_up(&gate).await, 100);
    drop(gate);
    next.kill();

    let world = world.rebooted("third", world.wall_ms());
    let next = world.process(&["100/min"]);
    let gate = next.partitions.gate("");
    assert_eq!(use_up(&gate).await, 0);
    assert_eq!(next.partitions.held().unwrap().why, HeldFor::FormerUse);
    sleep(secs(59.0)).await;
    assert_eq!(use_up(&gate).await, 0);
    sleep(secs(3.0)).await;
    assert_eq!(use_up(&gate).await, 100);
}

/// A clock that goes back on the same boot (a snapshot of a virtual machine) is as bad.
async fn a_clock_that_jumps_back_is_a_reboot(world: World) {
    sleep(secs(100.0)).await;
    let process = world.process(&["100/min"]);
    assert_eq!(use_up(&process.partitions.gate("")).await, 100);
    let (former, wall_ms) = (process.id(), world.wall_ms());
    // The process goes on with the machine, and knows nothing yet.
    process.freeze();
    let world = world.rebooted("first", wall_ms);
    let next = world.process(&["100/min"]);
    let gate = next.partitions.gate("");
    assert_eq!(use_up(&gate).await, 0);
    assert!(next.partitions.died_by(former).unwrap().is_some());
    sleep(secs(55.0)).await;
    assert_eq!(use_up(&gate).await, 0);
    sleep(secs(10.0)).await;
    assert_eq!(use_up(&gate).await, 100);
}

/// A day is a day, whatever the machine did.
async fn calendars_keep_their_counts_over_a_reboot(world: World) {
    let process = world.process(&["10/day UTC"]);
    let gate = process.partitions.gate("");
    sleep(secs(0.5)).await;
    for _ in 0..6 {
        gate.try_acquire().unwrap().settle(Outcome::Answered);
    }
    drop(gate);
    sleep(secs(2.0)).await;
    drop(process);
    let world = world.rebooted("second", world.wall_ms() + 60_000);
    let next = world.process(&["10/day UTC"]);
    let gate = next.partitions.gate("");
    assert_eq!(use_up(&gate).await, 4);
    // Midnight is 400 s after the first boot, give or take a minute.
    sleep(secs(250.0)).await;
    assert_eq!(use_up(&gate).await, 0);
    sleep(secs(150.0)).await;
    assert_eq!(use_up(&gate).await, 10);
}

/// The wall clock may be set on one boot: nothing happens.
async fn pauses_survive_a_reboot(world: World) {
    let process = world.process(&["100/s"]);
    let gate = process.partitions.gate("");
    sleep(secs(1.0)).await;
    gate.pause(world.now() + secs(30.0));
    sleep(secs(1.0)).await;
    drop(gate);
    drop(process);
    world.admin().pause("crm", secs(20.0)).unwrap();
    let world = world.rebooted("second", world.wall_ms());
    let next = world.process(&["100/s"]);
    let gate = next.partitions.gate("");
    sleep(secs(1.0)).await;
    let left = gate.paused().expect("the pause is forgotten").since(world.now());
    assert!(left >= secs(15.0) && left <= secs(31.0), "{left:?}");
}

on_every_store_of_a_machine!(
    a_reboot_holds_what_was_in_use,
    a_clock_that_jumps_back_is_a_reboot,
    calendars_keep_their_counts_over_a_reboot,
    pauses_survive_a_reboot,
);

fn membership(assume_idle: bool) -> Membership {
    Membership {
        quota: QUOTA.to_owned(),
        who: Who::this("a test"),
        timeout: TIMEOUT,
        assume_idle,
        priority: Priority::Normal,
    }
}

/// Where the folder goes with the container, a name that was never seen may be one that was lost.
#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_holds_at_first() {
    let machine = Machine::simulated(Clock::simulated(), "first", EPOCH_MS);
    let folder = tempfile::tempdir().unwrap();
    let store = |name: &str| {
        Box::new(Sqlite::open(&folder.path().join(name), machine.clone()).unwrap().that_forgets())
    };
    let contract = contract(&machine, &["10/min"]);
    let held = Partitions::shared(&contract, store("a"), membership(false)).unwrap();
    let until = held.held().expect("it is not held");
    assert_eq!(until.why, HeldFor::ColdStart);
    assert!(until.until >= machine.clock().now() + secs(60.0));
    let gate = held.gate("");
    assert_eq!(use_up(&gate).await, 0);
    sleep(secs(62.0)).await;
    assert_eq!(use_up(&gate).await, 10);
    assert_eq!(held.held(), None);

    let vouched = Partitions::shared(&contract, store("b"), membership(true)).unwrap();
    assert_eq!((vouched.held(), use_up(&vouched.gate("")).await), (None, 10));
    let definition = tidegate_quota::store::Definition::of(&contract);
    let mut admin = Admin::new(*store("c"), Who::this("quota create"));
    admin.create(QUOTA, &definition).unwrap();
    let created = Partitions::shared(&contract, store("c"), membership(false)).unwrap();
    assert_eq!((created.held(), use_up(&created.gate("")).await), (None, 10));
}

/// Real threads, real time, real locks: processes are stood in for by connections.
#[test]
fn ledgers_run_on_threads_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let store = Sqlite::open(folder.path(), Machine::this()).unwrap();
        let contract = contract(store.machine(), &["100/min"]);
        Partitions::shared(&contract, Box::new(store), membership(false)).unwrap()
    };
    let shares: Vec<Partitions> = (0..3).map(|_| open()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let granted = runtime.block_on(async {
        let mut granted = 0;
        for share in &shares {
            let (gate, changed) = (share.gate(""), share.changed().unwrap());
            let deadline = tokio::time::Instant::now() + secs(20.0);
            let mut own = 0;
            while own < 20 && tokio::time::Instant::now() < deadline {
                match gate.try_acquire() {
                    Ok(permit) => {
                        permit.settle(Outcome::Answered);
                        own += 1;
                    }
                    Err(_) => drop(tokio::time::timeout(secs(0.5), changed.notified()).await),
                }
            }
            granted += own;
        }
        granted
    });
    assert_eq!(granted, 60);
    let (id, died_by) = (shares[0].member_id().unwrap(), |by: &Partitions, id| by.died_by(id).unwrap());
    assert_eq!(died_by(&shares[1], id), None);
    shares[0].close().unwrap();
    assert!(died_by(&shares[1], id).is_some());
    drop(shares);
    let mut admin = Admin::new(Sqlite::open(folder.path(), Machine::this()).unwrap(), Who::this("a test"));
    let view = admin.show(QUOTA).unwrap();
    assert_eq!((view.members.len(), view.limits[0].leased, view.limits[0].coming_back), (0, 0, 60));
    assert_eq!(fs::read_dir(folder.path().join("members")).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_look_into_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("state/tidegate");
    let store = Sqlite::open(&folder, Machine::this()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("members"))), (0o700, 0o700));
    assert_eq!((mode(store.path()), mode(&folder.join("quotas.db-wal"))), (0o600, 0o600));
}

#[test]
fn what_is_wrong_with_a_folder_or_file_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Sqlite::open(path, Machine::this());
    // A file in the place of the folder.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file.join("state")).unwrap_err();
    assert!(matches!(error, StoreError::Folder { .. }), "{error:?}");
    assert!(
        error.to_string().contains("file/state") && error.hint().contains("TIDEGATE_STATE_DIR"),
        "{error}"
    );
    // No database.
    let damaged = folder.path().join("damaged");
    fs::create_dir(&damaged).unwrap();
    fs::write(damaged.join("quotas.db"), "not a database at all ".repeat(100)).unwrap();
    let error = open(&damaged).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("quotas.db is damaged"), "{error}");
    assert!(error.hint().contains("move it away"), "{}", error.hint());
    // One of a later release.
    let later = folder.path().join("later");
    drop(open(&later).unwrap());
    let raw = rusqlite::Connection::open(later.join("quotas.db")).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    assert!(matches!(open(&later), Err(StoreError::Later { found: 99, .. })));
    // Damaged while it is in use: what is leased is spent.
    let broken = folder.path().join("broken");
    let mut store = open(&broken).unwrap();
    let raw = rusqlite::Connection::open(broken.join("quotas.db")).unwrap();
    raw.execute("INSERT INTO quotas VALUES ('crm', '{}')", []).unwrap();
    assert!(matches!(store.definition("crm"), Err(StoreError::Damaged { .. })));
    raw.execute("DROP TABLE quotas", []).unwrap();
    assert!(store.definition("crm").is_err());
}

/// Somebody who stopped in the middle of a transaction keeps all others waiting, but not for ever.
#[test]
fn a_busy_file_is_an_error_after_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Sqlite::open(folder.path(), Machine::this()).unwrap();
    let raw = rusqlite::Connection::open(folder.path().join("quotas.db")).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.definition("crm").unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { full: false, .. }), "{error:?}");
    raw.execute_batch("ROLLBACK").unwrap();
    assert!(store.definition("crm").unwrap().is_none());
}

/// Many processes may be the first at the same time.
#[test]
fn a_new_folder_can_be_opened_by_many_at_once() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let opened: Vec<_> = (0..8)
            .map(|_| {
                let path = folder.path().to_owned();
                std::thread::spawn(move || {
                    Sqlite::open(&path, Machine::this()).map(|mut s| s.definition("crm"))
                })
            })
            .collect();
        for opened in opened {
            opened.join().unwrap().unwrap().unwrap();
        }
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains("new")), "{left:?}");
    }
}
