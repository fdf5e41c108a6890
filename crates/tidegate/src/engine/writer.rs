//! The writer: appends to the outputs on a thread of its own, so that no disk stops the loop.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::sync::{Notify, oneshot};

use super::{Disk, lock};
use crate::sink::{Batch, Files, Finished, Formatter, SinkError};

/// Handed to the thread from this size on; smaller ones by the engine's tick.
const BATCH_BYTES: usize = 64 << 10;
/// While this much waits for the disk, no new calls are made.
const FULL_BYTES: usize = 4 << 20;
const QUEUE: usize = 4;

/// Formats rows into batches and passes them to the thread that writes.
pub(super) struct Writer {
    formatter: Formatter,
    batch: Batch,
    files: Way,
    error: Arc<Mutex<Option<SinkError>>>,
}

/// The way to the files.
enum Way {
    Thread {
        queue: SyncSender<Batch>,
        spent: Receiver<Batch>,
        closed: oneshot::Receiver<()>,
    },
    Inline(Files),
    /// Closed, or broken.
    None,
}

impl Writer {
    /// Opens the way to `files`; `wake` is notified when a thread has caught up or failed.
    pub(super) fn start(
        formatter: Formatter,
        files: Files,
        disk: Disk,
        wake: Arc<Notify>,
    ) -> io::Result<Self> {
        let error = Arc::default();
        let files = match disk {
            Disk::Inline => Way::Inline(files),
            Disk::Threads => thread(files, Arc::clone(&error), wake)?,
        };
        Ok(Self { formatter, batch: Batch::default(), files, error })
    }

    /// Adds a row at its end.
    pub(super) fn append(&mut self, row: &Finished<'_>) {
        self.formatter.append(row, &mut self.batch);
        if self.batch.bytes() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Passes on what there is, unless the thread is behind.
    pub(super) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        match &mut self.files {
            Way::Thread { queue, spent, .. } => {
                let next = spent.try_recv().unwrap_or_default();
                match queue.try_send(std::mem::replace(&mut self.batch, next)) {
                    Ok(()) => {}
                    Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => self.batch = batch,
                }
            }
            Way::Inline(files) => {
                if let Err(error) = files.write(&self.batch) {
                    *lock(&self.error) = Some(error);
                    self.files = Way::None;
                }
                self.batch.clear();
            }
            Way::None => {}
        }
    }

    /// Whether so much waits for the disk that no new call should be made.
    pub(super) fn is_full(&mut self) -> bool {
        if self.batch.bytes() >= FULL_BYTES {
            self.flush(); // the thread may have caught up since
        }
        self.batch.bytes() >= FULL_BYTES
    }

    /// The error that ended writing, once.
    pub(super) fn take_error(&self) -> Option<SinkError> {
        lock(&self.error).take()
    }

    /// What is left to do at the end: pass this on and wait, outside of any lock.
    pub(super) fn close(&mut self) -> Closing {
        self.flush();
        Closing {
            batch: std::mem::take(&mut self.batch),
            files: std::mem::replace(&mut self.files, Way::None),
            error: Arc::clone(&self.error),
        }
    }
}

/// The last batch on its way.
pub(super) struct Closing {
    batch: Batch,
    files: Way,
    error: Arc<Mutex<Option<SinkError>>>,
}

impl Closing {
    /// Waits until everything is written.
    pub(super) async fn finish(self) {
        let Self { batch, files, error } = self;
        match files {
            Way::Thread { queue, closed, .. } => {
                // Sending can block while the disk is slow; the loop has nothing else left to do but
                // its timers, which live elsewhere.
                let sent = tokio::task::spawn_blocking(move || {
                    if !batch.is_empty() {
                        let _ = queue.send(batch); // disconnected: the error says why
                    }
                });
                let _ = sent.await;
                let _ = closed.await;
            }
            Way::Inline(files) => {
                if let Err(failed) = files.sync() {
                    *lock(&error) = Some(failed);
                }
            }
            Way::None => {}
        }
    }
}

/// The thread that writes.
fn thread(mut files: Files, error: Arc<Mutex<Option<SinkError>>>, wake: Arc<Notify>) -> io::Result<Way> {
    let (queue, batches) = sync_channel::<Batch>(QUEUE);
    let (give_back, spent) = sync_channel(QUEUE);
    let (end, closed) = oneshot::channel();
    thread::Builder::new().name("writer".to_owned()).spawn(move || {
        let fail = |failed| *lock(&error) = Some(failed);
        for mut batch in batches {
            if let Err(error) = files.write(&batch) {
                fail(error);
                wake.notify_one();
                break;
            }
            batch.clear();
            let _ = give_back.try_send(batch); // nobody needs it: it is freed
            wake.notify_one();
        }
        if let Err(error) = files.sync() {
            fail(error);
        }
        drop(files); // the output's lock is free before anybody hears of the end
        let _ = end.send(());
    })?;
    Ok(Way::Thread { queue, spent, closed })
}
