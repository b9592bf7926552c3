//! libcontainer passes errors between its processes without their causes, but logs these: they are sent along.
#![allow(unsafe_code)] // borrows a descriptor that is inherited across clones

use std::fmt::{Debug, Write};
use std::os::fd::{BorrowedFd, RawFd};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::protocol::Report;
use super::wire;

/// Sends every logged error to the monitor.
pub struct Details {
    reports: RawFd,
}

impl Details {
    /// `reports` stays open for the life of the process and its clones.
    pub fn new(reports: RawFd) -> Self {
        Self { reports }
    }
}

/// Causes first: `err=…` holds what the message only announces.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "err" | "error" => write!(self.fields, ": {value:?}"),
            name => write!(self.fields, " ({name} {value:?})"),
        };
    }
}

impl Subscriber for Details {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        // SAFETY: see `new`.
        let socket = unsafe { BorrowedFd::borrow_raw(self.reports) };
        let _ = wire::send(socket, &Report::Detail(text.message + &text.fields), &[]);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
