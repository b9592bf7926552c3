//! Watches read the log: nothing is buffered for a slow one, it just reads later.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::Stream;

use crate::driver::Update;
use crate::error::{ReadError, WatchError};
use crate::types::Event;

use super::Shared;
use super::read::{self, Events};

/// Writes looked at in one go.
const RECORDS: usize = 512;

struct Reader {
    shared: Arc<Shared>,
    scope: String,
    /// Everything up to here has been read.
    until: u64,
    events: VecDeque<Event>,
    /// Whether `until` has been told.
    told: bool,
}

/// A watch whose first events have been read.
pub(super) async fn start(
    shared: Arc<Shared>,
    scope: &str,
    after: u64,
) -> Result<impl Stream<Item = Result<Update, WatchError>> + Send + use<>, ReadError> {
    let mut reader =
        Reader { shared, scope: scope.to_owned(), until: after, events: VecDeque::new(), told: false };
    reader.read().await?;
    Ok(futures::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await {
            Ok(update) => Some((Ok(update), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

impl Reader {
    async fn next(&mut self) -> Result<Update, WatchError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Update::Event(event));
            }
            if !self.told {
                self.told = true;
                return Ok(Update::Progress(self.until));
            }
            if self.shared.feed.wait_for(self.until + 1).await.is_err() {
                return Err(WatchError::Closed);
            }
            self.read().await.map_err(|error| match error {
                ReadError::Compacted { oldest } => WatchError::Lagged { oldest },
                error => WatchError::Read(error),
            })?;
        }
    }

    async fn read(&mut self) -> Result<(), ReadError> {
        let (shared, scope, after) = (Arc::clone(&self.shared), self.scope.clone(), self.until);
        let read = move || read::events(&shared.index, &scope, after, RECORDS);
        let answer = tokio::task::spawn_blocking(read).await;
        let Events { events, until } = answer.map_err(|panic| ReadError::Io(panic.to_string()))??;
        self.events = events.into();
        self.told = false;
        self.until = until;
        Ok(())
    }
}
