//! The writer: appends to the outputs on a thread of its own, so that no disk stops the loop.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::sync::{Notify, oneshot};

use super::{Disk, lock};
use crate::llm::Purse;
use crate::log::{Control, End};
use crate::sink::{Batch, Files, Finished, Formatter, SinkError};

/// Handed to the thread from this size on; smaller ones when the loop has nothing else to do.
const BATCH_BYTES: usize = 64 << 10;
/// While this much waits for the disk, no new calls are made.
const FULL_BYTES: usize = 4 << 20;
/// One is written while the next gathers: the busier the disk, the larger the batches.
const QUEUE: usize = 1;

/// Formats rows into batches and passes them to the thread that writes.
pub(super) struct Writer {
    formatter: Formatter,
    batch: Batch,
    files: Way,
    error: Arc<Mutex<Option<SinkError>>>,
    /// Somebody will see to it that the batch is passed on.
    announced: bool,
    dirty: Arc<Notify>,
    /// What was spent is told with the ends of the calls that it was spent for.
    purse: Option<Arc<Purse>>,
}

/// The way to the files.
enum Way {
    Thread {
        queue: SyncSender<Batch>,
        spent: Receiver<Batch>,
        closed: oneshot::Receiver<Files>,
    },
    Inline(Files),
    /// Closed, or broken.
    None,
}

impl Writer {
    /// Opens the way to `files`; `wake` is notified when a thread has caught up or failed. Whoever
    /// waits on [`dirty`](Self::dirty) must call [`flush`](Self::flush).
    pub(super) fn start(
        (formatter, files): (Formatter, Files),
        purse: Option<Arc<Purse>>,
        disk: Disk,
        wake: Arc<Notify>,
    ) -> io::Result<Self> {
        let (error, dirty) = (Arc::default(), Arc::new(Notify::new()));
        let files = match disk {
            Disk::Inline => Way::Inline(files),
            Disk::Threads => thread(files, Arc::clone(&error), wake, Arc::clone(&dirty))?,
        };
        Ok(Self { formatter, batch: Batch::default(), files, error, announced: false, dirty, purse })
    }

    /// Notified when there is something to pass on.
    pub(super) fn dirty(&self) -> Arc<Notify> {
        Arc::clone(&self.dirty)
    }

    /// Adds a row at its end, and the end of the call that brought it. Until [`added`](Self::added) is called,
    /// what was added stays together, and is written as a whole or not at all.
    pub(super) fn append(&mut self, row: &Finished<'_>, call: Option<&End>) {
        self.formatter.append(row, call, &mut self.batch);
    }

    /// Notes that a call is over whose row is not at its end.
    pub(super) fn end(&mut self, call: &End) {
        self.formatter.end(call, &mut self.batch);
        self.added();
    }

    /// Adds something else to the log.
    pub(super) fn control(&mut self, control: &Control) {
        self.formatter.control(control, &mut self.batch);
        self.added();
    }

    /// What was added may be passed on.
    pub(super) fn added(&mut self) {
        if self.batch.bytes() >= BATCH_BYTES {
            self.flush();
        } else if let Way::Thread { .. } = self.files
            && !std::mem::replace(&mut self.announced, true)
        {
            self.dirty.notify_one(); // without a thread, the engine's tick is soon enough
        }
    }

    /// Passes on what there is, unless the thread is behind.
    pub(super) fn flush(&mut self) {
        self.announced = false;
        if let Some(spent) = self.purse.as_ref().and_then(|purse| purse.news()) {
            self.formatter.control(&spent, &mut self.batch);
        }
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
    /// Waits until everything is written. With `sort`, results are put in the order of the input then,
    /// if all went well. The outputs are free for others after that.
    pub(super) async fn finish(self, sort: bool) {
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
                let Ok(files) = closed.await else { return };
                let end = move || finish(files, sort && lock(&error).is_none(), &error);
                let _ = tokio::task::spawn_blocking(end).await;
            }
            Way::Inline(files) => finish(files, sort && lock(&error).is_none(), &error),
            Way::None => {}
        }
    }
}

/// The last that is done to the files; with them the output's lock is let go.
fn finish(mut files: Files, sort: bool, error: &Mutex<Option<SinkError>>) {
    let sorted = if sort { files.sort() } else { Ok(()) };
    if let Err(failed) = sorted.and_then(|()| files.sync()) {
        *lock(error) = Some(failed);
    }
    files.release_reserve();
}

/// The thread that writes.
fn thread(
    mut files: Files,
    error: Arc<Mutex<Option<SinkError>>>,
    wake: Arc<Notify>,
    dirty: Arc<Notify>,
) -> io::Result<Way> {
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
            if let Some(full) = files.take_warning() {
                fail(full);
                wake.notify_one();
            }
            let was_large = batch.bytes() >= BATCH_BYTES;
            batch.clear();
            let _ = give_back.try_send(batch); // nobody needs it: it is freed
            dirty.notify_one(); // what has gathered meanwhile
            if was_large {
                wake.notify_one(); // calls may have waited for the disk
            }
        }
        let _ = end.send(files);
    })?;
    Ok(Way::Thread { queue, spent, closed })
}
