//! What an expression may cost at worst, told from its text alone, in the units that cel-go counts.

mod calls;
mod lists;
mod range;

use std::collections::HashMap;

use crate::ast::{Expr, Fold, Id, Kind, Literal};
use crate::check::Reference;
use crate::compile::Compiled;
use crate::types::Type;
pub use range::Range;

/// Cost for each character of a text that is gone through once.
const TRAVERSAL: f64 = 0.1;
/// Cost for each character of a pattern.
const PATTERN: f64 = 0.25;
const LIST: u64 = 10;
const MAP: u64 = 30;
const MESSAGE: u64 = 40;

/// Sizes of what comes from outside, by path: a variable, then fields, `@items`, `@keys` and `@values`.
pub type Sizes<'a> = &'a dyn Fn(&[String]) -> Option<Range>;

/// The least and the most that an evaluation costs.
pub fn estimate(compiled: &Compiled, sizes: Sizes) -> Range {
    let mut estimator = Estimator {
        compiled,
        sizes,
        paths: HashMap::new(),
        locals: Vec::new(),
        computed: HashMap::new(),
        entries: HashMap::new(),
    };
    estimator.cost(&compiled.expr)
}

/// Sizes of keys and values of a list or map.
#[derive(Clone, Copy)]
struct Entry {
    list: bool,
    key: Range,
    value: Range,
}

/// A name within a fold.
struct Local {
    name: String,
    path: Vec<String>,
    size: Option<Range>,
    entry: Option<Entry>,
}

/// A value as estimates of calls see it.
struct Node<'a> {
    path: Vec<String>,
    of: Type,
    expr: Option<&'a Expr>,
    size: Option<Range>,
}

struct Estimator<'a> {
    compiled: &'a Compiled,
    sizes: Sizes<'a>,
    paths: HashMap<Id, Vec<String>>,
    locals: Vec<Local>,
    computed: HashMap<Id, Range>,
    entries: HashMap<Id, Entry>,
}

impl<'a> Estimator<'a> {
    fn cost(&mut self, expr: &'a Expr) -> Range {
        match (&expr.kind, &self.compiled.checked.references[expr.id as usize]) {
            (Kind::Ident(_) | Kind::Select { test: false, .. }, Some(Reference::Variable(name))) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                Range::exactly(1)
            }
            (Kind::Select { operand, field, test }, _) => self.select(expr, operand, field, *test),
            (Kind::Call { target, args, .. }, Some(Reference::Function { name, overloads, member })) => {
                let target = target.as_deref().filter(|_| *member);
                self.call(expr, name, overloads, target, args)
            }
            (Kind::List { elements, .. }, _) => self.list(expr, elements),
            (Kind::Map(entries), _) => self.map(expr, entries),
            (Kind::Struct { fields, .. }, _) => {
                let fields =
                    fields.iter().fold(Range::default(), |sum, field| sum.plus(self.cost(&field.value)));
                fields.plus(Range::exactly(MESSAGE))
            }
            (Kind::Fold(fold), _) if is_bind(fold) => self.bind(expr, fold),
            (Kind::Fold(fold), _) => self.fold(expr, fold),
            _ => Range::default(),
        }
    }

    fn of(&self, expr: &Expr) -> &'a Type {
        &self.compiled.checked.types[expr.id as usize]
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn select(&mut self, expr: &'a Expr, operand: &'a Expr, field: &str, test: bool) -> Range {
        let cost = self.cost(operand);
        if test {
            return cost;
        }
        let mut path = self.path(operand);
        path.push(field.to_owned());
        self.paths.insert(expr.id, path);
        match self.of(operand) {
            Type::Map(..) | Type::Struct(_) | Type::Param(_) => cost.plus(Range::exactly(1)),
            _ => cost,
        }
    }

    fn list(&mut self, expr: &Expr, elements: &'a [Expr]) -> Range {
        let mut cost = Range::exactly(LIST);
        let mut value = Range::nothing_yet(elements.is_empty());
        for element in elements {
            cost = cost.plus(self.cost(element));
            value = value.union(self.size_or_unknown(element));
        }
        self.entries.insert(expr.id, Entry { list: true, key: Range::exactly(1), value });
        cost
    }

    fn map(&mut self, expr: &Expr, entries: &'a [crate::ast::Entry]) -> Range {
        let mut cost = Range::exactly(MAP);
        let mut key = Range::nothing_yet(entries.is_empty());
        let mut value = key;
        for entry in entries {
            cost = cost.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
            key = key.union(self.size_or_unknown(&entry.key));
            value = value.union(self.size_or_unknown(&entry.value));
        }
        self.entries.insert(expr.id, Entry { list: false, key, value });
        cost
    }

    /// A name for a value costs what both parts cost.
    fn bind(&mut self, expr: &Expr, fold: &'a Fold) -> Range {
        let cost = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_accumulator(fold);
        let cost = cost.plus(self.cost(&fold.result));
        self.locals.pop();
        let (size, entry) = (self.size(&fold.result), self.entry(&fold.result));
        self.keep(expr, size, entry);
        cost
    }

    fn push_accumulator(&mut self, fold: &'a Fold) {
        let (path, entry, size) = (self.path(&fold.init), self.entry(&fold.init), self.size(&fold.init));
        self.locals.push(Local { name: fold.accumulator.clone(), path, size, entry });
    }

    fn fold(&mut self, expr: &Expr, fold: &'a Fold) -> Range {
        let cost = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_accumulator(fold);
        let depth = self.locals.len();
        self.push_variables(fold);
        let each = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.truncate(depth);
        let cost = cost.plus(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        match fold.init.kind {
            Kind::Literal(_) => {
                let size = self.size(&fold.init);
                self.keep(expr, size, None);
            }
            Kind::List { .. } | Kind::Map(_) => {
                let entry = self.entry(&fold.step);
                self.keep(expr, Some(count), entry);
            }
            _ => {}
        }
        cost.plus(count.multiply(each))
    }

    fn push_variables(&mut self, fold: &Fold) {
        let entry = self.entry(&fold.range);
        let list = entry.map_or_else(|| matches!(self.of(&fold.range), Type::List(_)), |entry| entry.list);
        let base = self.path(&fold.range);
        let mut push = |name: &str, key: bool| {
            let step = match (key, list) {
                (true, true) => "@indices",
                (true, false) => "@keys",
                (false, true) => "@items",
                (false, false) => "@values",
            };
            let path = base.iter().cloned().chain([step.to_owned()]).collect();
            let size = entry.map(|entry| if key { entry.key } else { entry.value });
            self.locals.push(Local { name: name.to_owned(), path, size, entry: None });
        };
        match &fold.second {
            Some(second) => {
                push(&fold.variable, true);
                push(second, false);
            }
            None => push(&fold.variable, !list),
        }
    }

    fn path(&self, expr: &Expr) -> Vec<String> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn keep(&mut self, expr: &Expr, size: Option<Range>, entry: Option<Entry>) {
        self.computed.extend(size.map(|size| (expr.id, size)));
        self.entries.extend(entry.map(|entry| (expr.id, entry)));
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(Range::UNKNOWN)
    }

    /// How big a value is, if that can be told.
    fn size(&mut self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.computed.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = written(expr) {
            return Some(size);
        }
        let path = self.path(expr);
        let given = if path.is_empty() { None } else { (self.sizes)(&path) };
        if let Some(size) = given {
            self.computed.insert(expr.id, size);
            return Some(size);
        }
        if scalar(self.of(expr)) {
            return Some(Range::exactly(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn entry(&self, expr: &Expr) -> Option<Entry> {
        if let Some(entry) = self.entries.get(&expr.id) {
            return Some(*entry);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name)?.entry,
            _ => None,
        }
    }

    fn node(&mut self, expr: &'a Expr) -> Node<'a> {
        let mut path = self.path(expr);
        if path.first().is_some_and(|first| first == "@result" || first == "__result__") {
            path.clear();
        }
        Node { path, of: self.of(expr).clone(), expr: Some(expr), size: self.size(expr) }
    }

    /// The size of a node, or that nothing is known.
    fn node_size(&self, node: &Node) -> Range {
        let given = || if node.path.is_empty() { None } else { (self.sizes)(&node.path) };
        node.size.or_else(given).unwrap_or(Range::UNKNOWN)
    }
}

/// Whether a fold only gives a name to a value.
fn is_bind(fold: &Fold) -> bool {
    let empty = matches!(&fold.range.kind, Kind::List { elements, .. } if elements.is_empty());
    empty && fold.condition.kind == Kind::Literal(Literal::Bool(false)) && fold.accumulator != "__result__"
}

/// The size of what is written out.
fn written(expr: &Expr) -> Option<Range> {
    let size = match &expr.kind {
        Kind::Literal(Literal::Text(text)) => text.chars().count(),
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len(),
        Kind::Literal(_) => 1,
        Kind::List { elements, .. } => elements.len(),
        Kind::Map(entries) => entries.len(),
        _ => return None,
    };
    Some(Range::exactly(size as u64))
}

/// Whether all values of a type are of the same size.
fn scalar(of: &Type) -> bool {
    match of.unwrapped() {
        (inner, true) => scalar(inner),
        (Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint, _) => true,
        _ => false,
    }
}
