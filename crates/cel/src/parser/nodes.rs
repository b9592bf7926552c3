//! Identities of nodes.

use crate::ast::{Entry, Expr, Field, Fold, Id, Kind};

/// Macros that repeat their target make no more nodes than these.
const NODES_MAX: usize = 1 << 18;

/// Operators and fields may be in each other as often as this.
const HEIGHT_MAX: usize = 250;

/// Gives nodes identities and keeps where they are.
#[derive(Default)]
pub(super) struct Nodes {
    pub places: Vec<usize>,
    /// How many operators, fields and calls on values are in each other below a node.
    heights: Vec<usize>,
}

impl Nodes {
    pub fn id(&mut self, at: usize) -> Id {
        let id = self.places.len();
        self.places.push(at);
        self.heights.push(0);
        Id::try_from(id).unwrap_or(Id::MAX)
    }

    pub fn expr(&mut self, at: usize, kind: Kind) -> Expr {
        let expr = Expr { id: self.id(at), kind };
        self.heights[expr.id as usize] = self.below(&expr);
        expr
    }

    fn below(&self, expr: &Expr) -> usize {
        expr.parts().into_iter().map(|part| self.heights[part.id as usize]).max().unwrap_or_default()
    }

    /// Counts a node as one more level.
    pub fn raise(&mut self, expr: Expr) -> Expr {
        self.heights[expr.id as usize] = self.below(&expr) + 1;
        expr
    }

    pub fn is_too_deep(&self, expr: &Expr) -> bool {
        self.heights[expr.id as usize] > HEIGHT_MAX
    }

    pub fn place(&self, expr: &Expr) -> usize {
        self.places[expr.id as usize]
    }

    /// Whether macros were told to stop.
    pub fn are_too_many(&self) -> bool {
        self.places.len() >= NODES_MAX
    }

    /// The same expression once more, with identities of its own.
    pub fn copy(&mut self, expr: &Expr) -> Expr {
        if self.are_too_many() {
            return self.expr(self.place(expr), Kind::Missing);
        }
        let again = |nodes: &mut Self, expr: &Expr| Box::new(nodes.copy(expr));
        let kind = match &expr.kind {
            Kind::Select { operand, field, test } => {
                Kind::Select { operand: again(self, operand), field: field.clone(), test: *test }
            }
            Kind::Call { function, target, args } => Kind::Call {
                function: function.clone(),
                target: target.as_ref().map(|target| again(self, target)),
                args: args.iter().map(|arg| self.copy(arg)).collect(),
            },
            Kind::List { elements, optional } => Kind::List {
                elements: elements.iter().map(|element| self.copy(element)).collect(),
                optional: optional.clone(),
            },
            Kind::Map(entries) => Kind::Map(entries.iter().map(|entry| self.copy_entry(entry)).collect()),
            Kind::Struct { name, fields } => {
                let fields = fields.iter().map(|field| self.copy_field(field)).collect();
                Kind::Struct { name: name.clone(), fields }
            }
            Kind::Fold(fold) => Kind::Fold(Box::new(self.copy_fold(fold))),
            plain => plain.clone(),
        };
        let at = self.place(expr);
        self.expr(at, kind)
    }

    fn copy_entry(&mut self, entry: &Entry) -> Entry {
        let id = self.id(self.places[entry.id as usize]);
        Entry { id, key: self.copy(&entry.key), value: self.copy(&entry.value), optional: entry.optional }
    }

    fn copy_field(&mut self, field: &Field) -> Field {
        let id = self.id(self.places[field.id as usize]);
        Field { id, name: field.name.clone(), value: self.copy(&field.value), optional: field.optional }
    }

    fn copy_fold(&mut self, fold: &Fold) -> Fold {
        Fold {
            range: self.copy(&fold.range),
            init: self.copy(&fold.init),
            condition: self.copy(&fold.condition),
            step: self.copy(&fold.step),
            result: self.copy(&fold.result),
            ..fold.clone()
        }
    }
}
