//! The 409 for an apply that would change fields of others (apimachinery `managedfields/internal/conflict.go`).

use machinery::status::{Cause, Status};

use super::owner::Conflicts;
use super::path;

/// The refusal, in upstream's words.
pub fn refusal(mut conflicts: Conflicts) -> Status {
    conflicts.sort_by_cached_key(|(owner, _)| owner.identifier());
    let conflicts: Vec<(String, Vec<String>)> =
        conflicts.iter().map(|(owner, set)| (owner.describe(), path::all(set))).collect();
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    let cause = |(owner, path): (&String, &String)| Cause {
        reason: "FieldManagerConflict".into(),
        message: format!("conflict with {owner}"),
        field: path.clone(),
    };
    let each = conflicts.iter().flat_map(|(owner, paths)| paths.iter().map(move |path| (owner, path)));
    let causes: Vec<Cause> = each.map(cause).collect();
    Status::apply_conflict(causes, message(&conflicts, count))
}

fn message(conflicts: &[(String, Vec<String>)], count: usize) -> String {
    if let [(owner, paths)] = conflicts
        && let [path] = paths.as_slice()
    {
        return format!("Apply failed with 1 conflict: conflict with {owner}: {path}");
    }
    let mut lines = Vec::new();
    for (owner, paths) in conflicts {
        lines.push(format!("conflicts with {owner}:"));
        lines.extend(paths.iter().map(|path| format!("- {path}")));
    }
    format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
}
