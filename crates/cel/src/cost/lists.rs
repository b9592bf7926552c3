//! What calls on lists and sets cost.

use super::{Estimator, LIST, Node, Range, TRAVERSAL};
use crate::ast::{Kind, Literal};

impl Estimator<'_> {
    pub(super) fn list_call(
        &self,
        overload: &str,
        target: Option<&Node>,
        args: &[Node],
    ) -> Option<(Range, Option<Range>)> {
        let size = |node: &Node| self.node_size(node);
        match (overload, target, args) {
            ("list_sets_contains_list" | "list_sets_intersects_list", _, [one, other]) => {
                Some((size(one).multiply(size(other)).scale(1.0).plus(Range::exactly(1)), None))
            }
            ("list_sets_equivalent_list", _, [one, other]) => {
                Some((size(one).multiply(size(other)).scale(2.0).plus(Range::exactly(1)), None))
            }
            ("list_slice", Some(target), [start, end]) => {
                let (start, end) = (number(start, 0), number(end, size(target).max));
                Some(allocating(1.0, Range::exactly(end.wrapping_sub(start))))
            }
            ("list_flatten", Some(target), []) => Some(allocating(1.0, size(target))),
            ("list_flatten_int", Some(target), [depth]) => {
                Some(allocating(number(depth, u64::MAX) as f64, size(target)))
            }
            ("lists_range", None, [count]) => Some(allocating(1.0, Range::exactly(number(count, u64::MAX)))),
            ("list_reverse", Some(target), []) => Some(allocating(1.0, size(target))),
            ("list_distinct", Some(target), []) => Some(allocating(2.0, size(target).multiply(size(target)))),
            (sort, Some(target), []) if sort.ends_with("_sort") => Some(sorted(sort, size(target))),
            (sort, Some(_), [keys]) if sort.ends_with("_sortByAssociatedKeys") => {
                Some(sorted(sort, size(keys)))
            }
            _ => None,
        }
    }
}

/// Each element is compared with each, texts character by character.
fn sorted(overload: &str, size: Range) -> (Range, Option<Range>) {
    let texts = overload.starts_with("list_string_") || overload.starts_with("list_bytes_");
    allocating(if texts { 2.0 + TRAVERSAL } else { 2.0 }, size.multiply(size))
}

fn allocating(factor: f64, size: Range) -> (Range, Option<Range>) {
    (size.scale(factor).plus(Range::exactly(1 + LIST)), Some(size))
}

/// A number that is written out.
fn number(node: &Node, otherwise: u64) -> u64 {
    match node.expr.map(|expr| &expr.kind) {
        Some(Kind::Literal(Literal::Int(value))) => u64::try_from(*value).unwrap_or(0),
        _ => otherwise,
    }
}
