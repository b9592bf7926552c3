//! `docs/conformance.md` names tests; they have to be there, and counted.

use std::path::Path;

use crate::page;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
const NOTHING: &str = "-";

/// Whether the page names only tests that there are, each where its link leads, and counts the rows that name one.
pub fn check() {
    let text = std::fs::read_to_string(Path::new(DOCS).join("conformance.md")).unwrap();
    let cells: Vec<&str> = text.lines().filter_map(shown_by).collect();
    let shown = cells.iter().filter(|cell| **cell != NOTHING).inspect(|cell| check_links(cell)).count();
    assert!(shown > 0);
    let count = format!("\nShown: {shown} of {}. ", cells.len());
    assert!(text.contains(&count), "the page does not say {count:?}");
}

/// The right column of a row.
fn shown_by(line: &str) -> Option<&str> {
    let row = line.strip_prefix("| [sig-")?.strip_suffix(" |")?;
    Some(row.rsplit_once(" | ")?.1)
}

/// Each link reads `[name of a test](file that it is in)`.
fn check_links(cell: &str) {
    for link in cell.split(", ") {
        let parts = link.strip_prefix('[').and_then(|rest| rest.strip_suffix(')'));
        let (name, file) = parts.and_then(|link| link.split_once("](")).unwrap_or_else(|| panic!("{link}"));
        let source = std::fs::read_to_string(Path::new(DOCS).join(file)).unwrap_or_default();
        assert!(page::tests_in(&source).any(|test| test == name), "{file} has no test {name:?}");
    }
}
