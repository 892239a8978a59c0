//! The one writer of a process. Requests put their command into a bounded queue; the writer takes all that waits, decides it and
//! commits it as one batch, and only then answers. The first that comes is written at once: batches grow by themselves while one
//! is being synced to the disk.

mod writer;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::command::{Command, Outcome, Refusal};
use crate::store::{Offer, Reader, Store, StoreError};
use crate::{Place, store};

/// Commands that wait for the writer; more are refused, so that nobody waits for long.
pub const QUEUE: usize = 8192;
/// Commands of one batch.
pub const BATCH: usize = 1024;

/// Why a command was not even decided, or nobody can say whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Too many commands wait.
    #[error("{QUEUE} changes wait for the disk already")]
    Full,
    /// The store failed. The batch may have been written: who has a key can ask again.
    #[error("the ledger could not be written: {0}")]
    Failed(Arc<str>),
    /// The writer has ended.
    #[error("the ledger is closed")]
    Closed,
}

/// What the writer does with one command, and whom it answers.
struct Job {
    command: Command,
    reply: oneshot::Sender<Result<Result<Outcome, Refusal>, Unavailable>>,
}

/// What keeps the ledger from being ready: empty while nothing does.
type Trouble = Option<Arc<str>>;

/// A ledger that is open. Clones share its writer; it ends when the last one is dropped.
#[derive(Clone)]
pub struct Ledger {
    jobs: mpsc::Sender<Job>,
    reader: Arc<dyn Reader>,
    trouble: watch::Receiver<Trouble>,
    /// The epoch under which this process does background work when no sidecar tells one.
    epoch: i64,
}

/// The writer of a ledger, to be waited for after the last [`Ledger`] is dropped.
pub struct Writing(JoinHandle<()>);

impl Writing {
    /// Returns when everything is written and the slot for ids is given back.
    pub async fn ended(self) {
        let _ = self.0.await;
    }
}

impl Ledger {
    /// Opens the ledger at `place` and starts its writer. `holder` is written beside the slot that makes its ids.
    pub async fn open(place: &Place, holder: &str, offers: &[Offer]) -> Result<(Self, Writing), StoreError> {
        match place {
            Place::File(path) => {
                let (store, reader) = store::sqlite::open(path).await?;
                Self::start(store, Arc::new(reader), holder, offers).await
            }
            Place::Server(url) => {
                let (store, reader) = store::postgres::open(url).await?;
                Self::start(store, Arc::new(reader), holder, offers).await
            }
        }
    }

    async fn start(
        mut store: impl Store,
        reader: Arc<dyn Reader>,
        holder: &str,
        offers: &[Offer],
    ) -> Result<(Self, Writing), StoreError> {
        store.offer(offers).await?;
        let epoch = store.next_epoch().await?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (tell, trouble) = watch::channel(None);
        let writer = writer::Writer::new(store, queue, tell, holder.to_owned()).await?;
        let writing = Writing(tokio::spawn(writer.run()));
        Ok((Self { jobs, reader, trouble, epoch }, writing))
    }

    /// Does `command`. What is answered is durable.
    pub async fn submit(&self, command: Command) -> Result<Result<Outcome, Refusal>, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.jobs.try_send(Job { command, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unavailable::Full,
            mpsc::error::TrySendError::Closed(_) => Unavailable::Closed,
        })?;
        answer.await.map_err(|_| Unavailable::Closed)?
    }

    /// Reads beside the writer.
    pub fn read(&self) -> &dyn Reader {
        &*self.reader
    }

    /// What keeps this ledger from being ready, in words.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.borrow().clone()
    }

    /// The epoch under which this process does background work when no sidecar tells one.
    pub const fn own_epoch(&self) -> i64 {
        self.epoch
    }
}
