//! What can be wrong with a store.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use tidegate_core::LimitError;

use super::{Definition, SetBy};

/// A store that cannot be used, or that refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nobody said where the store is, and there is no home folder.
    #[error(
        "there is no folder to keep quotas in: neither TIDEGATE_STATE_DIR, XDG_STATE_HOME nor HOME is set"
    )]
    NoFolder,
    /// The folder, or a file in it, cannot be made, read or written.
    #[error("cannot use {}: {source}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder is on a file system of the network, where locks cannot be relied on.
    #[error("{} is on a network file system ({kind}): quotas are kept on a disk of this machine", path.display())]
    Network {
        /// The folder.
        path: PathBuf,
        /// Of which kind.
        kind: &'static str,
    },
    /// The file is no database, or a broken one.
    #[error("{} is damaged: {message}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The file was written by a later release.
    #[error("{} was written by a later release (form {found}; this one knows {known})", path.display())]
    Later {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: i64,
        /// The form that is known.
        known: i64,
    },
    /// It does not answer: another process keeps it busy, the disk is full, and the like.
    #[error("{} cannot be used now: {message}", path.display())]
    Unavailable {
        /// The file.
        path: PathBuf,
        /// What it said.
        message: String,
        /// Whether the disk is full.
        full: bool,
    },
    /// The text is not the address of a server.
    #[error("this is not the address of a Redis server: {message}")]
    Address {
        /// What is wrong with it; without what may be a password.
        message: String,
    },
    /// The server does not answer, or cannot do it now.
    #[error("{server} cannot be used now: {message}")]
    Unreachable {
        /// Its address, without a password.
        server: String,
        /// What it said.
        message: String,
    },
    /// The server does not let this user do it.
    #[error("{server} refuses: {message}")]
    Forbidden {
        /// Its address, without a password.
        server: String,
        /// What it said.
        message: String,
    },
    /// The server is not one on which quotas can be kept.
    #[error("quotas cannot be kept on {server}: {message}")]
    Unsuitable {
        /// Its address, without a password.
        server: String,
        /// Why.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// The quota is defined otherwise.
    #[error("quota `{quota}` is {theirs} (set {set_by}), but this job says {ours}")]
    Disagrees {
        /// The quota.
        quota: String,
        /// As the store has it.
        theirs: Box<Definition>,
        /// As the job has it.
        ours: Box<Definition>,
        /// By whom it was set so, and when.
        set_by: Box<SetBy>,
        /// Whether that was a person's decision, by `quota create` or `quota set`.
        explicit: bool,
    },
    /// There is no quota of this name.
    #[error("there is no quota `{quota}` here")]
    NoSuchQuota {
        /// The name.
        quota: String,
    },
    /// There is a quota of this name already.
    #[error("there is a quota `{quota}` already: {definition}")]
    Exists {
        /// The name.
        quota: String,
        /// As it is.
        definition: Box<Definition>,
    },
    /// It is in use.
    #[error("quota `{quota}` is in use by {members} process{}", if *members == 1 { "" } else { "es" })]
    InUse {
        /// The name.
        quota: String,
        /// How many are alive.
        members: usize,
    },
    /// A quota cannot have this name.
    #[error(
        "`{quota}` cannot be the name of a quota: expected 1 to 200 characters, none of them a control character"
    )]
    Name {
        /// The name.
        quota: String,
    },
    /// The stored limits cannot be kept.
    #[error("quota `{quota}`: {source}")]
    Limit {
        /// The quota.
        quota: String,
        /// What is wrong.
        source: LimitError,
    },
    /// The thread that does the exchanges cannot be started.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// The quota was closed here: [`Partitions::close`](crate::Partitions::close).
    #[error("this process has left the quota")]
    Left,
}

impl StoreError {
    /// What to do about it, for a `hint:` line.
    pub fn hint(&self) -> Cow<'_, str> {
        match self {
            Self::NoFolder => "set TIDEGATE_STATE_DIR to a folder that lasts".into(),
            Self::Folder { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room on the disk".into()
            }
            Self::Folder { .. } => "set TIDEGATE_STATE_DIR to a folder that you may write".into(),
            Self::Network { .. } => "set TIDEGATE_STATE_DIR to a folder on a local disk".into(),
            Self::Damaged { path, .. } => format!(
                "move it away (`mv {0} {0}.damaged`); all quotas then begin anew, so wait as long as the longest window first",
                path.display()
            )
            .into(),
            Self::Later { .. } => "use the later release for all jobs of this machine".into(),
            Self::Unavailable { full: true, .. } => "make room on the disk".into(),
            Self::Unavailable { .. } => "see which process keeps it busy; nothing was sent".into(),
            Self::Address { .. } => {
                "expected redis://HOST:PORT/DB, rediss://HOST:PORT/DB (TLS), or unix:///PATH; user and password from \
                 TIDEGATE_REDIS_USER and TIDEGATE_REDIS_PASSWORD"
                    .into()
            }
            Self::Unreachable { .. } => "see whether it runs, and whether this machine reaches it; nothing was sent".into(),
            Self::Forbidden { .. } => {
                "set TIDEGATE_REDIS_USER and TIDEGATE_REDIS_PASSWORD; docs/quotas.md has the ACL line".into()
            }
            Self::Unsuitable { hint, .. } => (*hint).into(),
            Self::Disagrees { quota, ours, .. } => format!(
                "to change it for everybody: `tidegate quota set {quota} {}`; to take it as it is: leave the limits away; for a quota of its own: another `--quota` name",
                ours.as_flags()
            )
            .into(),
            Self::NoSuchQuota { .. } => "`tidegate quota list` shows those there are".into(),
            Self::Exists { quota, .. } => format!("change it with `tidegate quota set {quota} --rate …`").into(),
            Self::InUse { .. } => "stop them first, or use --force: they go on under limits that nobody shares any more".into(),
            Self::Name { .. } => "the default is the URL's host".into(),
            Self::Limit { source, .. } => source.hint(),
            Self::Thread { .. } => "this machine runs too many".into(),
            Self::Left => "nothing more can be sent under it".into(),
        }
    }

    /// Whether trying again may help.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Folder { .. } | Self::Unavailable { .. } | Self::Damaged { .. } | Self::Unreachable { .. }
        )
    }
}
