//! Quotas in a file, shared by all processes of a machine.

mod alive;
mod folder;
mod rows;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use tidegate_core::{MemberId, Time};

use self::alive::Alive;
use self::rows::Tables;
use super::books::{Books, Candidate};
use super::rows::Rows;
use super::{Definition, Exchange, Join, Joined, Machine, Reply, Store, StoreError};

pub use self::folder::state_folder;

const FILE: &str = "quotas.db";
const MEMBERS: &str = "members";
/// The form of the tables, in the file's `user_version`.
const FORM: i64 = 1;
/// How long to wait for others. A transaction takes less than a millisecond, so this is a machine in
/// great trouble, or a process that was stopped within one.
const BUSY: Duration = Duration::from_secs(1);
const SCHEMA: &str = "
    CREATE TABLE quotas (name TEXT PRIMARY KEY, row TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE members (
        id INTEGER PRIMARY KEY, quota TEXT NOT NULL, pid INTEGER NOT NULL, does TEXT NOT NULL,
        joined_ms INTEGER NOT NULL, seen_ns INTEGER NOT NULL, until_ns INTEGER NOT NULL,
        timeout_ns INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX members_of ON members (quota);
    CREATE TABLE pools (
        quota TEXT NOT NULL, partition TEXT NOT NULL, pool TEXT NOT NULL, PRIMARY KEY (quota, partition)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tombstones (
        id INTEGER PRIMARY KEY, counted_by_ns INTEGER NOT NULL, boot TEXT NOT NULL, at_ms INTEGER NOT NULL
    ) STRICT;
";

/// A file of quotas on a local disk.
///
/// Each process opens it for itself. It holds a lock for each of its members, so that the others
/// know when it has ended.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    path: PathBuf,
    books: Books,
    machine: Machine,
    alive: Alive,
    /// A quota that was never seen here may have been used all the same.
    forgets: bool,
    /// Whether each commit reaches the disk before it returns.
    is_synchronous: bool,
}

impl Sqlite {
    /// The machine's own: in [`state_folder`].
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn of_this_machine() -> Result<Self, StoreError> {
        let env = |name: &str| std::env::var_os(name);
        let folder = state_folder(env)?;
        let mut store = Self::open(&folder, Machine::this())?;
        // Whoever names a folder has seen to it that it lasts.
        store.forgets = env("TIDEGATE_STATE_DIR").is_none() && folder::is_lost_with_container(&folder);
        Ok(store)
    }

    /// Opens the quotas in a folder, which is made if need be.
    ///
    /// # Errors
    /// If it cannot be used: it may not be written, is on a network file system, or its file is
    /// damaged.
    pub fn open(folder: &Path, machine: Machine) -> Result<Self, StoreError> {
        folder::make(folder)?;
        folder::refuse_network(folder)?;
        let path = folder.join(FILE);
        let alive = Alive::new(folder.join(MEMBERS))?;
        let connection = connect(&path)?;
        let books = Books::new(machine.clone());
        let mut store =
            Self { connection, path, books, machine, alive, forgets: false, is_synchronous: false };
        store.tidy()?;
        Ok(store)
    }

    /// The same, for a process whose children act for it: if it is killed, it is not taken for dead while one of
    /// them lives, and its units rest until lease and time-out are over.
    #[must_use]
    pub fn shared_with_children(mut self) -> Self {
        self.alive.inherited = true;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a quota that was never seen here as one that was lost: it is held at first.
    #[must_use]
    pub fn that_forgets(self) -> Self {
        Self { forgets: true, ..self }
    }

    fn tidy(&mut self) -> Result<(), StoreError> {
        let known = self.transact(|_, rows| {
            let mut known = Vec::new();
            for quota in rows.quotas()? {
                known.extend(rows.members(&quota)?.into_iter().map(|member| member.id));
            }
            Ok(known)
        })?;
        self.alive.tidy(|id| known.contains(&id));
        Ok(())
    }

    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(&mut Books, &mut dyn Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Self { connection, path, books, alive, .. } = self;
        let failed = |error| said(path, &error);
        // Nobody else is within: what is read is what will be changed, and `now` is read after
        // everybody else's.
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let mut tables = Tables { transaction: &transaction, path, alive, buried: Vec::new() };
        let result = work(books, &mut tables)?;
        let buried = std::mem::take(&mut tables.buried);
        transaction.commit().map_err(failed)?;
        // Not before: who is still in the table has to be found dead by the next one.
        for id in buried {
            alive.bury(id);
        }
        Ok(result)
    }

    /// What a power cut may take from the file makes no difference: it is a reboot as well, after
    /// which all that was in use or leased is held anew, for at least as long as it could have been
    /// used. But a calendar's counts are not dates: they are believed after a reboot, so they have to
    /// be on the disk before anybody sends by them.
    fn choose_synchronous(&mut self, definition: &Definition) -> Result<(), StoreError> {
        if self.is_synchronous || !definition.follows_calendar() {
            return Ok(());
        }
        self.connection.pragma_update(None, "synchronous", "FULL").map_err(|e| said(&self.path, &e))?;
        self.is_synchronous = true;
        Ok(())
    }
}

impl Store for Sqlite {
    fn machine(&self) -> &Machine {
        &self.machine
    }

    fn definition(&mut self, quota: &str) -> Result<Option<Definition>, StoreError> {
        self.transact(|_, rows| Ok(rows.quota(quota)?.map(|quota| quota.definition)))
    }

    fn join(&mut self, join: &Join<'_>) -> Result<Joined, StoreError> {
        let id = self.alive.enter()?;
        let forgets = self.forgets;
        let joined = self.transact(|books, rows| books.join(rows, &Candidate { join, id, forgets }));
        match joined {
            Ok(joined) => {
                self.choose_synchronous(&joined.definition)?;
                Ok(joined)
            }
            Err(error) => {
                self.alive.bury(id);
                Err(error)
            }
        }
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) -> Result<Reply, StoreError> {
        let reply = self.transact(|books, rows| books.exchange(rows, exchange))?;
        if let Reply::Redefined { definition, .. } | Reply::Settled { news: Some((_, definition)), .. } =
            &reply
        {
            self.choose_synchronous(definition)?;
        }
        Ok(reply)
    }

    fn died_by(&mut self, member: MemberId) -> Result<Option<Time>, StoreError> {
        self.transact(|books, rows| books.died_by(rows, member))
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error| said(path, &error);
    make_private(path)?;
    // Without a mutex within SQLite: a connection is used by one thread at a time, as Rust sees to.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    write_ahead(&connection).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let form: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
    match form {
        FORM => {}
        0 => {
            transaction.execute_batch(SCHEMA).map_err(failed)?;
            transaction.pragma_update(None, "user_version", FORM).map_err(failed)?;
        }
        found => return Err(StoreError::Later { path: path.to_owned(), found, known: FORM }),
    }
    transaction.commit().map_err(failed)?;
    Ok(connection)
}

/// Many processes may be the first at the same time, and for this one change `SQLite` does not wait for
/// the others by itself.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    const PATIENCE: Duration = Duration::from_millis(10);
    let mut left = BUSY;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && !left.is_zero() => {
                std::thread::park_timeout(PATIENCE);
                left = left.saturating_sub(PATIENCE);
            }
            result => return result,
        }
    }
}

/// `SQLite` gives its other files the permissions of this one.
///
/// The file must not be opened and closed once it is in its place: that would let go of the locks
/// that other connections of this process have on it.
fn make_private(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    let failed = |source| StoreError::Folder { path: path.to_owned(), source };
    let new = path.with_extension(format!("new-{:x}", fastrand::u64(..)));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    drop(options.open(&new).map_err(failed)?);
    let linked = std::fs::hard_link(&new, path);
    std::fs::remove_file(&new).map_err(failed)?;
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.map_err(failed),
    }
}

fn said(path: &Path, error: &rusqlite::Error) -> StoreError {
    let (path, message) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        // Without a code: the tables, or the values in them, are not what they should be.
        None | Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path, message }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            StoreError::Folder { path, source: std::io::Error::other(message) }
        }
        Some(code) => StoreError::Unavailable { path, message, full: code == ErrorCode::DiskFull },
    }
}
