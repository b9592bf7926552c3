//! Giving back the disk's space.

use std::sync::Arc;

use super::super::rewrite::{Rewriting, Rewritten};
use super::super::segment::START;
use super::super::{Health, base};
use super::Writer;
use crate::embedded::load::Base;

impl Writer {
    /// Rewrites the base when more than half of the disk's space is for nothing.
    pub(super) fn tidy(&mut self) {
        if *self.shared.health.borrow() != Health::Running {
            return;
        }
        if self.rewriting.as_ref().is_some_and(Rewriting::is_finished) {
            match self.rewriting.take().map(Rewriting::join) {
                Some(Ok(rewritten)) => self.replace_base(rewritten),
                Some(Err(error)) => {
                    tracing::error!(%error, "the space of what was compacted cannot be made free");
                    self.rewrite_from = self.unneeded().saturating_add(self.shared.options.rewrite_bytes);
                }
                None => {}
            }
        }
        let kept = self.shared.index.read().kept_bytes();
        let due = self.unneeded() > kept.max(self.rewrite_from);
        if due && self.rewriting.is_none() && self.shared.index.read().compacted() > self.base.revision {
            self.rewriting = Rewriting::start(&self.shared).ok();
        }
    }

    /// Bytes on disk of records that are not kept.
    fn unneeded(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|sealed| sealed.bytes).sum();
        let all = self.base.bytes + sealed + self.log.current().at - START;
        all.saturating_sub(self.shared.index.read().kept_bytes())
    }

    fn replace_base(&mut self, rewritten: Rewritten) {
        let shared = Arc::clone(&self.shared);
        let header = rewritten.header;
        let file = rewritten.take_over(&shared.index);
        let new = Base { file, revision: header.revision, bytes: header.bytes };
        let old = std::mem::replace(&mut self.base, new);
        self.remove(old.file, &base::name(old.revision));
        self.remove_passed();
        self.rewrite_from = shared.options.rewrite_bytes;
        tracing::debug!(revision = header.revision, bytes = header.bytes, "the base has been rewritten");
    }

    /// Removes the segments of which the base has everything.
    pub(super) fn remove_passed(&mut self) {
        let revision = self.base.revision;
        let passed: Vec<_> = self.sealed.extract_if(.., |sealed| sealed.last <= revision).collect();
        passed.iter().for_each(|sealed| self.remove(sealed.file, &sealed.name));
    }

    fn remove(&self, file: u32, name: &str) {
        self.shared.index.write().close(file);
        if let Err(error) = self.shared.disk.remove(name) {
            // The next open tries again.
            tracing::warn!(%error, name, "a file that is no longer needed cannot be removed");
        }
    }
}
