//! ComponentStatuses, which are only looked at.

use machinery::meta;
use serde_json::{Value, json};

use super::super::plain::Plain;
use super::super::value::{list, text};
use crate::registry::strategy::Generic;

pub(super) fn plain(generic: Generic) -> Plain {
    Plain { row: Some(|object, _| row(object)), ..Plain::new(generic) }
}

fn row(object: &Value) -> Vec<Value> {
    let healthy = list(object, "conditions").iter().find(|condition| text(condition, "type") == "Healthy");
    let status = match healthy.map(|condition| text(condition, "status")) {
        None => "Unknown",
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
    };
    let said = |field| healthy.map_or("", |condition| text(condition, field));
    vec![json!(meta::name(object)), json!(status), json!(said("message")), json!(said("error"))]
}
