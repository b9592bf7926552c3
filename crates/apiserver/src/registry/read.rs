//! GET of one object, and the resource versions that reads ask for.

use std::time::Duration;

use machinery::status::Status;

use super::call::{Call, read_error};
use super::options;
use super::seam::Answer;

/// How long a read waits for a resource version that does not exist yet (upstream's `blockTimeout`).
const FUTURE_WAIT: Duration = Duration::from_secs(3);

impl Call<'_> {
    /// One object.
    pub async fn get(&self) -> Result<Answer, Status> {
        let query = &self.request.query;
        if query.flag("export") {
            let why = "the export parameter, deprecated since v1.14, is no longer supported";
            return Err(Status::bad_request(why));
        }
        let version = query.get_set("resourceVersion").map(options::resource_version).transpose()?;
        self.wait_for(version).await?;
        let item =
            self.handle.storage.cache.get(&self.key()).ok_or_else(|| self.handle.not_found(self.name()))?;
        Ok(Answer::ok(self.view.object(&self.handle, &item.entry.bytes)?))
    }

    /// Waits until the cache is new enough: as new as the newest write for a read without a version, as old as it may be for 0.
    pub(super) async fn wait_for(&self, version: Option<u64>) -> Result<(), Status> {
        match version {
            None => self.registry.fresh().await,
            Some(0) => Ok(()),
            Some(version) => {
                let wait = self.handle.storage.cache.wait_for(version);
                match tokio::time::timeout(FUTURE_WAIT, wait).await {
                    Ok(done) => done.map_err(|error| read_error(&error)),
                    Err(_) => {
                        Err(Status::too_large_resource_version(version, self.handle.storage.cache.revision()))
                    }
                }
            }
        }
    }
}
