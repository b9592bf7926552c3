//! ComponentStatuses: nobody stores them, they are looked at anew for each request (upstream:
//! `pkg/registry/core/componentstatus`).

use std::fmt::Debug;
use std::sync::Arc;

use machinery::serialize::to_draft;
use machinery::status::Status;
use serde_json::json;
use store::Entry;

use super::Registry;
use super::call::Call;
use super::handle::ResourceHandle;
use super::list::Page;
use super::meta::{Meta, Selection};
use super::seam::Answer;

/// A key that nothing is ever stored under: reading it asks the store itself.
const NEVER_STORED: &str = "/registry/health";

/// A part of the cluster that can tell how it is.
pub trait Health: Debug + Send + Sync + 'static {
    /// Whether it runs.
    ///
    /// # Errors
    /// Why it does not.
    fn check(&self) -> Result<(), String>;
}

impl Registry {
    /// Whether the store answers.
    ///
    /// # Errors
    /// What it says instead.
    pub(crate) async fn check_store(&self) -> Result<(), String> {
        self.store.get(NEVER_STORED).await.map(drop).map_err(|error| error.to_string())
    }
}

impl Call<'_> {
    /// One of them.
    pub(super) async fn get_component(&self) -> Result<Answer, Status> {
        let mut all = self.components().await.into_iter();
        let found = all.find(|entry| *entry.key == *self.key());
        // Upstream names it in the singular.
        let found = found.ok_or_else(|| Status::not_found("", "componentstatus", self.name()))?;
        Ok(Answer::ok(self.view.object(&self.handle, &found.bytes)?))
    }

    /// Those that are selected; in no version, and never in pages.
    pub(super) async fn component_page(&self, selection: &Selection) -> Page {
        let prefix = self.handle.storage.prefix.len();
        let mut entries = self.components().await;
        entries.retain(|entry| {
            selection.matches(&entry.key[prefix..], &Meta::read(&entry.bytes, self.strategy()))
        });
        Page { entries, ..Page::default() }
    }

    /// All in the order of their names.
    async fn components(&self) -> Vec<Entry> {
        let others = self.registry.config.components.iter();
        let mut found: Vec<_> = others.map(|(name, health)| (*name, health.check())).collect();
        found.push(("etcd-0", self.registry.check_store().await));
        found.sort_unstable_by_key(|(name, _)| *name);
        found.into_iter().map(|(name, health)| self.component(name, health)).collect()
    }

    fn component(&self, name: &str, health: Result<(), String>) -> Entry {
        let status = if health.is_ok() { "True" } else { "False" };
        let message = health.err().unwrap_or_else(|| "ok".to_owned());
        let condition = json!({"type": "Healthy", "status": status, "message": message});
        let ResourceHandle { api_version, kind, .. } = &*self.handle;
        let (bytes, _) = to_draft(&json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "conditions": [condition]
        }));
        let key: Arc<str> = self.handle.key("", name).into();
        Entry { key, bytes: bytes.into(), revision: 0, revision_at: 0 }
    }
}
