//! What cells of `kubectl get` are made of, as upstream's printers print them.

use machinery::meta;
use serde_json::{Value, json};

use super::value::{list, map, text};

/// The time since creation.
pub(super) fn age(object: &Value, now: i64) -> Value {
    json!(since(meta::creation_timestamp(object), now))
}

/// The time since a timestamp, or `<unknown>`.
pub(super) fn since(time: &str, now: i64) -> String {
    machinery::time::parse(time)
        .map_or_else(|| "<unknown>".to_owned(), |then| duration(now - then.as_second()))
}

/// A duration in seconds as people read it, in at most two units (apimachinery `duration.HumanDuration`).
pub(super) fn duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 3600;
    const DAY: i64 = 86_400;
    let two = |major: i64, unit: &str, minor: i64, lesser: &str| match minor {
        0 => format!("{major}{unit}"),
        minor => format!("{major}{unit}{minor}{lesser}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(seconds / (365 * DAY), "y", seconds / DAY % 365, "d"),
        _ => format!("{}y", seconds / (365 * DAY)),
    }
}

/// Names and images of a template's containers, comma separated.
pub(super) fn containers(pod_spec: &Value) -> (Value, Value) {
    let join = |field: &str| {
        let items: Vec<&str> = list(pod_spec, "containers").iter().map(|c| text(c, field)).collect();
        json!(items.join(","))
    };
    (join("name"), join("image"))
}

/// A label selector as one string, `<none>` when it is absent.
pub(super) fn selector(selector: &Value) -> Value {
    if selector.is_null() {
        return json!("<none>");
    }
    match machinery::selector::LabelSelector::from_object(selector) {
        Ok(parsed) => json!(or_none(parsed.to_string())),
        Err(_) => json!("<error>"),
    }
}

/// A plain label map as one string.
pub(super) fn labels(object: &Value, field: &str) -> Value {
    let Some(labels) = map(object, field) else { return json!("<none>") };
    let pairs: Vec<String> =
        labels.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    json!(pairs.join(","))
}

/// At most three items, and how many more there are; `nothing` when there is none.
pub(super) fn shortened(items: &[String], nothing: &str) -> String {
    const SHOWN: usize = 3;
    match items.len() {
        0 => nothing.to_owned(),
        n if n > SHOWN => format!("{} + {} more...", items[..SHOWN].join(","), n - SHOWN),
        _ => items.join(","),
    }
}

/// `<none>` for nothing.
pub(super) fn or_none(text: impl Into<String>) -> String {
    let text = text.into();
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// The value, or `<unset>` as upstream prints what is missing.
pub(super) fn or_unset(value: Option<&Value>) -> Value {
    match value {
        None | Some(Value::Null) => json!("<unset>"),
        Some(value) => value.clone(),
    }
}

/// An integer, 0 when absent.
pub(super) fn count(object: &Value, field: &str) -> Value {
    json!(super::value::int(object, field).unwrap_or_default())
}

/// Access modes in their short forms: each once, in upstream's order.
pub(super) fn access_modes(modes: &[Value]) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let there = SHORT.iter().filter(|(mode, _)| modes.iter().any(|have| have == mode));
    there.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_upstream_prints_them() {
        for (seconds, printed) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (121, "2m1s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (-5, "<invalid>"),
        ] {
            assert_eq!(duration(seconds), printed, "{seconds}");
        }
    }

    #[test]
    fn access_modes_have_one_order() {
        let modes = ["ReadWriteMany", "ReadWriteOnce", "ReadWriteOnce", "other"].map(Value::from);
        assert_eq!(access_modes(&modes), "RWO,RWX");
        assert_eq!(access_modes(&[]), "");
    }
}
