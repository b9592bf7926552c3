//! The Table view: what `kubectl get` prints (upstream: `pkg/printers/tableconvertor`, `meta.k8s.io/v1` Table).

use machinery::meta;
use serde_json::{Value, json};

use super::answer::{Include, partial};
use super::column_texts::{self, shown};
use super::handle::{Column, ResourceHandle};

/// Annotation of the bookmark after the state that a watch begins with.
pub(super) const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// A Table under construction.
pub struct Table {
    version: &'static str,
    include: Include,
    columns: Value,
    now: i64,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.continue`.
    pub continue_token: Option<String>,
    /// `metadata.remainingItemCount`.
    pub remaining: Option<u64>,
    rows: Vec<Row>,
}

struct Row {
    /// See [`Strategy::row_rank`](super::strategy::Strategy::row_rank).
    rank: i64,
    row: Value,
}

impl Table {
    /// An empty Table with the columns of the resource.
    pub fn new(handle: &ResourceHandle, version: &'static str, include: Include) -> Self {
        Self::of(&handle.columns, version, include)
    }

    /// An empty Table with these columns.
    pub fn of(shown: &[Column], version: &'static str, include: Include) -> Self {
        Self {
            version,
            include,
            columns: columns(shown),
            now: jiff::Timestamp::now().as_second(),
            resource_version: String::new(),
            continue_token: None,
            remaining: None,
            rows: Vec::new(),
        }
    }

    /// The same without column definitions, as later events of a watch carry it.
    #[must_use]
    pub fn without_columns(mut self) -> Self {
        self.columns = Value::Null;
        self
    }

    /// Adds a row for an object of the served version.
    pub fn push(&mut self, handle: &ResourceHandle, object: &Value) {
        let cells = handle
            .strategy()
            .table_row(object, self.now)
            .filter(|cells| cells.len() == handle.columns.len().max(2));
        let cells = cells.unwrap_or_else(|| generic_row(&handle.columns, object, self.now));
        self.push_row(cells, object);
        let Some(last) = self.rows.last_mut() else { return };
        last.rank = handle.strategy().row_rank(object);
        if let Some(conditions) = handle.strategy().row_conditions(object) {
            last.row["conditions"] = conditions;
        }
    }

    /// How old the object is.
    pub fn age(&self, object: &Value) -> String {
        age(meta::creation_timestamp(object), self.now)
    }

    /// Adds a row with given cells.
    pub fn push_row(&mut self, cells: Vec<Value>, object: &Value) {
        // Without the annotation nobody could tell the end of the first events.
        let ends = meta::annotations(object).is_some_and(|map| map.contains_key(INITIAL_EVENTS_END));
        let object = match self.include {
            Include::None if !ends => Value::Null,
            Include::None | Include::Metadata => partial(object, self.version),
            Include::Object => object.clone(),
        };
        self.rows.push(Row { rank: 0, row: json!({ "cells": cells, "object": object }) });
    }

    /// Whether the columns are those of kinds that have none of their own.
    fn is_generic(&self) -> bool {
        self.columns.pointer("/1/name").is_some_and(|name| name == DEFAULT_COLUMNS[1].0)
    }

    /// The document.
    pub fn into_value(mut self) -> Value {
        self.rows.sort_by_key(|row| row.rank);
        // Upstream's generic table of nothing never gets a list of rows.
        let rows = if self.rows.is_empty() && self.is_generic() {
            Value::Null
        } else {
            self.rows.into_iter().map(|row| row.row).collect()
        };
        let mut metadata = json!({});
        if !self.resource_version.is_empty() {
            metadata["resourceVersion"] = self.resource_version.into();
        }
        if let Some(token) = self.continue_token {
            metadata["continue"] = token.into();
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{}", self.version),
            "metadata": metadata,
            "columnDefinitions": self.columns,
            "rows": rows,
        })
    }
}

/// Columns that every resource without its own has.
const DEFAULT_COLUMNS: [(&str, &str, &str, &str); 2] =
    [("Name", "string", "name", column_texts::NAME), ("Created At", "date", "", column_texts::CREATED)];

fn columns(columns: &[Column]) -> Value {
    if columns.is_empty() {
        return DEFAULT_COLUMNS
            .iter()
            .map(|(name, kind, format, description)| {
                json!({"name": name, "type": kind, "format": format, "description": shown(description), "priority": 0})
            })
            .collect();
    }
    columns
        .iter()
        .map(|c| {
            json!({"name": c.name, "type": c.ty, "format": c.format, "description": shown(&c.description), "priority": c.priority})
        })
        .collect()
}

/// Name, age where the columns have one, and nothing else that is known.
fn generic_row(columns: &[Column], object: &Value, now: i64) -> Vec<Value> {
    let name = machinery::meta::name(object);
    let created = machinery::meta::creation_timestamp(object);
    if columns.is_empty() {
        return vec![name.into(), created.into()];
    }
    let cell = |column: &Column| match &*column.name {
        "Name" => name.into(),
        "Created At" => created.into(),
        "Age" => age(created, now).into(),
        _ if matches!(&*column.ty, "integer" | "number") => 0.into(),
        _ if matches!(&*column.ty, "boolean") => false.into(),
        _ => "<none>".into(),
    };
    columns.iter().map(cell).collect()
}

/// How long ago a time was, as tables print it; `<unknown>` for no time.
pub fn age(time: &str, now: i64) -> String {
    machinery::time::parse(time)
        .map_or_else(|| "<unknown>".to_owned(), |then| human_duration(now - then.as_second()))
}

/// A duration in seconds in the short form of tables (apimachinery `pkg/util/duration.HumanDuration`).
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match seconds {
        i64::MIN..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => pair(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => pair(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => pair(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => pair(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::human_duration;

    #[test]
    fn durations_as_tables_print_them() {
        for (seconds, want) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 61, "3h1m"),
            (9 * 3600, "9h"),
            (2 * 86400 + 3600, "2d1h"),
            (400 * 86400, "400d"),
            (3 * 365 * 86400 + 86400, "3y1d"),
        ] {
            assert_eq!(human_duration(seconds), want);
        }
    }
}
