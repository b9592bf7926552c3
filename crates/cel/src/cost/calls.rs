//! What calls cost.

use super::{Estimator, Node, PATTERN, Range, TRAVERSAL};
use crate::ast::{Expr, Kind, Literal};
use crate::types::Type;

/// The cost of a call, and how big its result is.
type Call = (Range, Option<Range>);

/// Addresses have as many bytes.
const ADDRESS: Range = Range::new(4, 16);
/// The longest pattern of a named format.
const FORMAT_PATTERN: f64 = 128.0;

const fn flat(cost: u64) -> Call {
    (Range::exactly(cost), None)
}

impl<'a> Estimator<'a> {
    pub(super) fn call(
        &mut self,
        expr: &'a Expr,
        function: &str,
        overloads: &[&'static str],
        target: Option<&'a Expr>,
        args: &'a [Expr],
    ) -> Range {
        if let ("dyn", [arg]) = (function, args) {
            let cost = self.cost(arg).plus(Range::exactly(1));
            let (size, entry) = (self.size(arg), self.entry(arg));
            self.keep(expr, size, entry);
            return cost;
        }
        let mut costs = Vec::new();
        let mut nodes = Vec::new();
        for arg in args {
            costs.push(self.cost(arg));
            nodes.push(self.node(arg));
        }
        let before = target.map_or(Range::default(), |target| self.cost(target));
        let target = target.map(|target| self.node(target));
        let (mut cost, mut result) = (Range::nothing_yet(false), None);
        for overload in overloads {
            let (one, size) = self.overload(expr, function, overload, target.as_ref(), &nodes, &costs);
            cost = cost.union(one);
            result = match (result, size) {
                (Some(result), Some(size)) => Some(Range::union(result, size)),
                (result, size) => result.or(size),
            };
            let step = match *overload {
                "index_list" => Some("@items"),
                "index_map" => Some("@values"),
                _ => None,
            };
            if let (Some(step), Some(first)) = (step, args.first()) {
                result = self.entry(first).map(|entry| entry.value);
                let path = self.path(first).into_iter().chain([step.to_owned()]).collect();
                self.paths.insert(expr.id, path);
            }
            result = result.or_else(|| self.size(expr));
        }
        self.keep(expr, result, None);
        before.plus(cost)
    }

    fn overload(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Node<'a>>,
        args: &[Node<'a>],
        costs: &[Range],
    ) -> Call {
        if let Some(call) = self.control(expr, overload, args, costs) {
            return call;
        }
        let given = costs.iter().fold(Range::default(), |sum, cost| sum.plus(*cost));
        let (cost, size) = self
            .list_call(overload, target, args)
            .or_else(|| self.library_call(function, overload, target, args))
            .or_else(|| self.text_call(overload, target, args))
            .or_else(|| self.comparison(overload, args))
            .or_else(|| self.sum(expr, overload, args))
            .unwrap_or(flat(1));
        (cost.plus(given), size)
    }

    /// What evaluates only some of its arguments.
    fn control(&mut self, expr: &Expr, overload: &str, args: &[Node], costs: &[Range]) -> Option<Call> {
        match (overload, costs) {
            ("logical_or" | "logical_and", [left, right]) => {
                Some((Range::new(left.min, left.plus(*right).max), None))
            }
            ("conditional", [condition, yes, no]) => {
                let size = known(&args[1]).union(known(&args[2]));
                let entry = self.joint_entry(&args[1], &args[2]);
                self.keep(expr, None, entry);
                Some((condition.plus(yes.union(*no)), Some(size)))
            }
            _ => None,
        }
    }

    fn joint_entry(&self, one: &Node, other: &Node) -> Option<super::Entry> {
        let (one, other) = (self.entry(one.expr?)?, self.entry(other.expr?)?);
        let (key, value) = (one.key.union(other.key), one.value.union(other.value));
        Some(super::Entry { list: one.list, key, value })
    }

    fn sum(&mut self, expr: &Expr, overload: &str, args: &[Node]) -> Option<Call> {
        let (true, [one, other]) = (matches!(overload, "add_string" | "add_bytes" | "add_list"), args) else {
            return None;
        };
        let size = known(one).plus(known(other));
        let entry = self.joint_entry(one, other);
        self.keep(expr, None, entry);
        Some(if overload == "add_list" {
            (Range::exactly(1), Some(size))
        } else {
            (size.scale(TRAVERSAL), Some(size))
        })
    }

    fn comparison(&self, overload: &str, args: &[Node]) -> Option<Call> {
        let compared = matches!(overload, "equals" | "not_equals")
            || (overload.starts_with("less_") || overload.starts_with("greater_"))
                && (overload.ends_with("_string") || overload.ends_with("_bytes"));
        let (true, [one, other]) = (compared, args) else { return None };
        let max = known(one).max.min(known(other).max);
        Some((Range::new(u64::from(max > 0), max).scale(TRAVERSAL), None))
    }

    /// Functions of the language on texts.
    fn text_call(&self, overload: &str, target: Option<&Node>, args: &[Node]) -> Option<Call> {
        match (overload, target, args) {
            ("string_format", Some(target), _) => Some((known(target).scale(TRAVERSAL), None)),
            ("string_to_bytes", _, [text]) => {
                let size = known(text);
                Some((size.scale(TRAVERSAL), Some(Range::new(size.min, size.max.wrapping_mul(4)))))
            }
            ("bytes_to_string", _, [bytes]) => {
                let size = known(bytes);
                Some((size.scale(TRAVERSAL), Some(Range::new(size.min / 4, size.max))))
            }
            ("strings_quote", _, [text]) => {
                let size = known(text);
                let quoted = Range::new(size.min.wrapping_add(2), size.max.wrapping_mul(2).wrapping_add(2));
                Some((size.scale(TRAVERSAL), Some(quoted)))
            }
            ("starts_with_string" | "ends_with_string", _, [part]) => {
                Some((known(part).scale(TRAVERSAL), None))
            }
            ("in_list", _, [_, list]) => Some((known(list).scale(1.0), None)),
            ("matches_string", Some(target), [pattern]) => {
                let text = known(target).plus(Range::exactly(1)).scale(TRAVERSAL);
                Some((text.multiply(known(pattern).scale(PATTERN)), None))
            }
            ("contains_string", Some(target), [part]) => {
                Some((known(target).scale(TRAVERSAL).multiply(known(part).scale(TRAVERSAL)), None))
            }
            _ => None,
        }
    }

    /// Functions of Kubernetes.
    fn library_call(
        &self,
        function: &str,
        overload: &str,
        target: Option<&Node>,
        args: &[Node],
    ) -> Option<Call> {
        let first = || args.first().map(|arg| self.node_size(arg));
        match function {
            "check" => Some(flat(350_000)),
            "serviceAccount"
            | "path"
            | "group"
            | "resource"
            | "subresource"
            | "namespace"
            | "name"
            | "allowed"
            | "reason"
            | "error"
            | "errored"
            | "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast"
            | "isGlobalUnicast"
            | "format.named"
            | "sign"
            | "asInteger"
            | "isInteger"
            | "asApproximateFloat"
            | "isGreaterThan"
            | "isLessThan"
            | "compareTo"
            | "add"
            | "sub"
            | "major"
            | "minor"
            | "patch"
            | "getScheme"
            | "getHostname"
            | "getHost"
            | "getPort"
            | "getEscapedPath"
            | "getQuery" => Some(flat(1)),
            "ip" if overload == "cidr_ip" => Some(flat(1)),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                first().map(|size| (size.scale(TRAVERSAL), None))
            }
            "ip.isCanonical" => first().map(|size| (size.scale(2.0 * TRAVERSAL), None)),
            "url" | "jsonpatch.escapeKey" => first().map(|size| (size.scale(TRAVERSAL), Some(size))),
            "validate" => first().map(|size| (size.scale(TRAVERSAL).scale(FORMAT_PATTERN * PATTERN), None)),
            "containsIP" | "containsCIDR" => first().map(|size| contains(overload, size)),
            "_==_" => equal(args),
            _ => self.library_text(function, target?, args),
        }
    }

    /// Functions of Kubernetes on texts and lists.
    fn library_text(&self, function: &str, target: &Node, args: &[Node]) -> Option<Call> {
        let size = self.node_size(target);
        let first = || args.first().map(|arg| self.node_size(arg));
        match (function, args) {
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", _) => {
                let Some(element) = element(target) else { return Some((size.scale(TRAVERSAL), None)) };
                let mut each = Range::exactly(1);
                if matches!(element.of, Type::Text | Type::Bytes) {
                    each = each.plus(self.node_size(&element).scale(TRAVERSAL));
                }
                Some((size.multiply(each), None))
            }
            ("lowerAscii" | "upperAscii" | "substring" | "trim", _) => {
                Some((size.scale(TRAVERSAL), Some(size)))
            }
            ("replace", [old, new, ..]) => {
                let result = replaced(size, self.node_size(old), self.node_size(new));
                Some((size.scale(2.0 * TRAVERSAL), Some(result)))
            }
            ("split", _) => {
                let limit = match args.get(1).and_then(|arg| arg.expr).map(|expr| &expr.kind) {
                    Some(Kind::Literal(Literal::Int(limit))) => Some(limit.cast_unsigned()),
                    _ => None,
                };
                Some((size.scale(2.0 * TRAVERSAL), Some(Range::new(0, limit.unwrap_or(size.max)))))
            }
            ("join", _) => {
                let mut result =
                    element(target).map_or(Range::default(), |one| size.multiply(self.node_size(&one)));
                if let Some(separator) = first() {
                    let gaps = Range::new(size.min.saturating_sub(1), size.max.saturating_sub(1));
                    result = result.plus(separator.multiply(gaps));
                }
                Some((result.scale(TRAVERSAL), Some(result)))
            }
            ("find" | "findAll", [pattern, ..]) => {
                let text = size.plus(Range::exactly(1)).scale(TRAVERSAL);
                let pattern = self.node_size(pattern).scale(PATTERN);
                Some((text.multiply(pattern), Some(Range::new(0, size.max))))
            }
            _ => None,
        }
    }
}

/// The size that was found for a node.
fn known(node: &Node) -> Range {
    node.size.unwrap_or(Range::UNKNOWN)
}

/// Any element of a list, or any key of a map.
fn element<'a>(list: &Node) -> Option<Node<'a>> {
    let of = (*list.of.parameters().first()?).clone();
    let mut path = list.path.clone();
    if !path.is_empty() {
        path.push("@items".to_owned());
    }
    Some(Node { path, of, expr: None, size: None })
}

fn contains(overload: &str, text: Range) -> Call {
    let mut cost = ADDRESS.plus(ADDRESS).scale(TRAVERSAL);
    if overload.starts_with("cidr_contains_cidr") {
        cost = cost.plus(ADDRESS.scale(TRAVERSAL)).plus(Range::exactly(1));
    }
    if overload.ends_with("_string") {
        cost = cost.plus(text.scale(TRAVERSAL));
    }
    (cost, None)
}

/// What Kubernetes' own types cost to compare.
fn equal(args: &[Node]) -> Option<Call> {
    let [one, other] = args else { return None };
    if one.of.name() != other.of.name() {
        return None;
    }
    match one.of.name() {
        "net.IP"
        | "net.CIDR"
        | "kubernetes.Quantity"
        | "kubernetes.Semver"
        | "kubernetes.authorization.Authorizer"
        | "kubernetes.authorization.PathCheck"
        | "kubernetes.authorization.GroupCheck"
        | "kubernetes.authorization.ResourceCheck"
        | "kubernetes.authorization.Decision" => Some(flat(1)),
        "kubernetes.NamedFormat" => Some((Range::new(1, 64).scale(TRAVERSAL), None)),
        "kubernetes.URL" => {
            Some((Range::new(1, other.size.map_or(1, |size| size.max)).scale(TRAVERSAL), None))
        }
        _ => None,
    }
}

/// How big a text is after parts of it were replaced.
fn replaced(text: Range, old: Range, new: Range) -> Range {
    let times = |length: u64, part: u64| (length as f64 / part as f64).ceil() as u64;
    let (count, kept) = match old.min {
        0 => (text.max.saturating_add(1), text.max),
        min if new.max <= min => (0, text.max),
        min => (times(text.max, min), 0),
    };
    let (least, least_kept) = match old.max {
        0 => (text.min.saturating_add(1), text.min),
        max if max <= new.min => (0, text.min),
        max => (times(text.min, max), 0),
    };
    Range::new(least, count).multiply(new).plus(Range::new(least_kept, kept))
}
