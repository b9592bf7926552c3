//! Calls that stand for other expressions.

use super::nodes::Nodes;
use crate::ast::{Expr, Fold, Kind, Literal};

/// Name of the variable that folds keep their result in; no expression can say it.
const ACCUMULATOR: &str = "@result";
/// Name of the variable of a fold over nothing.
const UNUSED: &str = "#unused";
/// What people may think the accumulator is called.
const OLD_ACCUMULATOR: &str = "__result__";

/// The macros of an environment beyond those that every one has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Macros {
    /// `cel.bind(name, value, expression)`.
    pub bind: bool,
}

/// A place and what is wrong there.
type Refusal = (usize, String);

/// What a macro makes nodes with: all are where the call is.
struct Maker<'a> {
    nodes: &'a mut Nodes,
    at: usize,
}

/// A step that a fold takes, apart from what it goes over.
struct Steps {
    init: Expr,
    condition: Expr,
    step: Expr,
    result: Expr,
}

impl Maker<'_> {
    fn expr(&mut self, kind: Kind) -> Expr {
        self.nodes.expr(self.at, kind)
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.expr(Kind::Literal(literal))
    }

    fn bool(&mut self, value: bool) -> Expr {
        self.literal(Literal::Bool(value))
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.expr(Kind::Ident(name.to_owned()))
    }

    fn accumulator(&mut self) -> Expr {
        self.ident(ACCUMULATOR)
    }

    fn list(&mut self, elements: Vec<Expr>) -> Expr {
        self.expr(Kind::List { elements, optional: Vec::new() })
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.expr(Kind::Call { function: function.to_owned(), target: None, args })
    }

    fn method(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        self.expr(Kind::Call { function: function.to_owned(), target: Some(Box::new(target)), args })
    }

    fn fold(&mut self, range: Expr, names: Names, steps: Steps) -> Expr {
        let Steps { init, condition, step, result } = steps;
        let (variable, second) = names;
        let accumulator = ACCUMULATOR.to_owned();
        self.expr(Kind::Fold(Box::new(Fold {
            range,
            variable,
            second,
            accumulator,
            init,
            condition,
            step,
            result,
        })))
    }

    /// `body` with a name for a value.
    fn bind(&mut self, name: &str, value: Expr, body: Expr) -> Expr {
        let range = self.list(Vec::new());
        let condition = self.bool(false);
        let step = self.ident(name);
        self.expr(Kind::Fold(Box::new(Fold {
            range,
            variable: UNUSED.to_owned(),
            second: None,
            accumulator: name.to_owned(),
            init: value,
            condition,
            step,
            result: body,
        })))
    }

    fn quantifier(&mut self, which: Quantifier, predicate: Expr) -> Steps {
        let accumulator = self.accumulator();
        match which {
            Quantifier::All => {
                let condition = self.call("@not_strictly_false", vec![accumulator]);
                let again = self.accumulator();
                let step = self.call("_&&_", vec![again, predicate]);
                Steps { init: self.bool(true), condition, step, result: self.accumulator() }
            }
            Quantifier::Exists => {
                let not = self.call("!_", vec![accumulator]);
                let condition = self.call("@not_strictly_false", vec![not]);
                let again = self.accumulator();
                let step = self.call("_||_", vec![again, predicate]);
                Steps { init: self.bool(false), condition, step, result: self.accumulator() }
            }
            Quantifier::One => {
                let one = self.literal(Literal::Int(1));
                let more = self.call("_+_", vec![accumulator, one]);
                let same = self.accumulator();
                let step = self.call("_?_:_", vec![predicate, more, same]);
                let (found, one) = (self.accumulator(), self.literal(Literal::Int(1)));
                let result = self.call("_==_", vec![found, one]);
                Steps { init: self.literal(Literal::Int(0)), condition: self.bool(true), step, result }
            }
        }
    }

    /// Adds something to the accumulator for each element, or for those that pass a filter.
    fn gather(&mut self, init: Expr, filter: Option<Expr>, added: Expr) -> Steps {
        let step = match filter {
            Some(filter) => {
                let same = self.accumulator();
                self.call("_?_:_", vec![filter, added, same])
            }
            None => added,
        };
        Steps { init, condition: self.bool(true), step, result: self.accumulator() }
    }

    fn appended(&mut self, element: Expr) -> Expr {
        let (accumulator, list) = (self.accumulator(), self.list(vec![element]));
        self.call("_+_", vec![accumulator, list])
    }

    fn mapped(&mut self, target: Expr, args: Vec<Expr>) -> Result<Expr, Refusal> {
        let name = self.iterated(&args[0], "argument is not an identifier")?;
        let mut rest = args.into_iter().skip(1).collect::<Vec<Expr>>();
        let Some(body) = rest.pop() else { return Ok(target) };
        let (init, added) = (self.list(Vec::new()), self.appended(body));
        let steps = self.gather(init, rest.pop(), added);
        Ok(self.fold(target, (name, None), steps))
    }

    /// The name of a variable that goes over elements.
    fn iterated(&self, arg: &Expr, otherwise: &str) -> Result<String, Refusal> {
        let at = self.nodes.place(arg);
        match &arg.kind {
            Kind::Ident(name) if [ACCUMULATOR, OLD_ACCUMULATOR].contains(&name.as_str()) => {
                Err((at, "iteration variable overwrites accumulator variable".to_owned()))
            }
            Kind::Ident(name) => Ok(name.clone()),
            _ => Err((at, otherwise.to_owned())),
        }
    }

    /// The names of two variables.
    fn two(&self, first: &Expr, second: &Expr) -> Result<Names, Refusal> {
        const SIMPLE: &str = "argument must be a simple name";
        if let (Kind::Ident(one), Kind::Ident(other)) = (&first.kind, &second.kind)
            && one == other
        {
            return Err((self.nodes.place(second), format!("duplicate variable name: {one}")));
        }
        if !matches!(second.kind, Kind::Ident(_)) && matches!(first.kind, Kind::Ident(_)) {
            return Err((self.nodes.place(second), SIMPLE.to_owned()));
        }
        Ok((self.iterated(first, SIMPLE)?, Some(self.iterated(second, SIMPLE)?)))
    }
}

type Names = (String, Option<String>);

#[derive(Clone, Copy)]
enum Quantifier {
    All,
    Exists,
    One,
}

impl Quantifier {
    fn of(function: &str) -> Option<Self> {
        Some(match function {
            "all" => Self::All,
            "exists" => Self::Exists,
            "exists_one" | "existsOne" => Self::One,
            _ => return None,
        })
    }
}

impl Macros {
    /// The call as it is, or what its macro makes of it.
    pub(super) fn expand(
        self,
        nodes: &mut Nodes,
        at: usize,
        function: &str,
        target: Option<Expr>,
        args: Vec<Expr>,
    ) -> Result<Expr, Refusal> {
        let mut maker = Maker { nodes, at };
        match (function, target, args.len()) {
            ("has", None, 1) => has(&mut maker, args),
            ("bind", Some(target), 3)
                if self.bind && matches!(&target.kind, Kind::Ident(name) if name == "cel") =>
            {
                let name = simple(&maker, &args[0], "cel.bind() variable names must be simple identifiers")?;
                let [_, value, body] = take(args);
                Ok(maker.bind(&name, value, body))
            }
            (_, Some(target), 2) => one_variable(&mut maker, function, target, args),
            ("map", Some(target), 3) => maker.mapped(target, args),
            (_, Some(target), 3 | 4) => two_variables(&mut maker, function, target, args),
            (_, target, _) => Ok(plain(&mut maker, function, target, args)),
        }
    }
}

fn plain(maker: &mut Maker, function: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
    match target {
        Some(target) => maker.method(function, target, args),
        None => maker.call(function, args),
    }
}

fn take<const N: usize>(args: Vec<Expr>) -> [Expr; N] {
    let mut args = args.into_iter();
    std::array::from_fn(|_| args.next().unwrap_or(Expr { id: 0, kind: Kind::Missing }))
}

fn simple(maker: &Maker, arg: &Expr, otherwise: &str) -> Result<String, Refusal> {
    match &arg.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => Err((maker.nodes.place(arg), otherwise.to_owned())),
    }
}

fn has(maker: &mut Maker, args: Vec<Expr>) -> Result<Expr, Refusal> {
    let [arg] = take(args);
    let place = maker.nodes.place(&arg);
    match arg.kind {
        Kind::Select { operand, field, .. } => Ok(maker.expr(Kind::Select { operand, field, test: true })),
        _ => Err((place, "invalid argument to has() macro".to_owned())),
    }
}

/// Macros over one variable.
fn one_variable(maker: &mut Maker, function: &str, target: Expr, args: Vec<Expr>) -> Result<Expr, Refusal> {
    if let Some(which) = Quantifier::of(function).filter(|_| function != "existsOne") {
        let name = maker.iterated(&args[0], "argument must be a simple name")?;
        let [_, predicate] = take(args);
        let steps = maker.quantifier(which, predicate);
        return Ok(maker.fold(target, (name, None), steps));
    }
    match function {
        "map" => maker.mapped(target, args),
        "filter" => {
            let name = maker.iterated(&args[0], "argument is not an identifier")?;
            let [element, filter] = take(args);
            let (init, added) = (maker.list(Vec::new()), maker.appended(element));
            let steps = maker.gather(init, Some(filter), added);
            Ok(maker.fold(target, (name, None), steps))
        }
        "sortBy" => sort_by(maker, target, args),
        "optMap" | "optFlatMap" => optional_map(maker, function, target, args),
        _ => Ok(plain(maker, function, Some(target), args)),
    }
}

fn optional_map(maker: &mut Maker, function: &str, target: Expr, args: Vec<Expr>) -> Result<Expr, Refusal> {
    let otherwise = format!("{function}() variable name must be a simple identifier");
    let name = simple(maker, &args[0], &otherwise)?;
    let [_, body] = take(args);
    let again = maker.nodes.copy(&target);
    let condition = maker.method("hasValue", target, Vec::new());
    let value = maker.method("value", again, Vec::new());
    let mut some = maker.bind(&name, value, body);
    if function == "optMap" {
        some = maker.call("optional.of", vec![some]);
    }
    let none = maker.call("optional.none", Vec::new());
    Ok(maker.call("_?_:_", vec![condition, some, none]))
}

/// A list in the order of what is computed for each element.
fn sort_by(maker: &mut Maker, target: Expr, args: Vec<Expr>) -> Result<Expr, Refusal> {
    const INPUT: &str = "@__sortBy_input__";
    if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. } | Kind::Missing) {
        let detail =
            "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err((maker.nodes.place(&target), detail.to_owned()));
    }
    let input = maker.ident(INPUT);
    let keys = maker.mapped(input, args)?;
    let input = maker.ident(INPUT);
    let sorted = maker.method("@sortByAssociatedKeys", input, vec![keys]);
    Ok(maker.bind(INPUT, target, sorted))
}

/// Macros over two variables: index and element of a list, key and value of a map.
fn two_variables(maker: &mut Maker, function: &str, target: Expr, args: Vec<Expr>) -> Result<Expr, Refusal> {
    let quantifier = Quantifier::of(function).filter(|_| args.len() == 3);
    if quantifier.is_none() && !["transformList", "transformMap", "transformMapEntry"].contains(&function) {
        return Ok(plain(maker, function, Some(target), args));
    }
    let names = maker.two(&args[0], &args[1])?;
    let mut rest: Vec<Expr> = args.into_iter().skip(2).collect();
    let Some(body) = rest.pop() else { return Ok(target) };
    let steps = match quantifier {
        Some(which) => maker.quantifier(which, body),
        None => {
            let (init, added) = transform(maker, function, &names.0, body);
            maker.gather(init, rest.pop(), added)
        }
    };
    Ok(maker.fold(target, names, steps))
}

/// What a transformation starts with, and how one result is added.
fn transform(maker: &mut Maker, function: &str, key: &str, body: Expr) -> (Expr, Expr) {
    if function == "transformList" {
        return (maker.list(Vec::new()), maker.appended(body));
    }
    let init = maker.expr(Kind::Map(Vec::new()));
    let mut args = vec![maker.accumulator()];
    if function == "transformMap" {
        args.push(maker.ident(key));
    }
    args.push(body);
    (init, maker.call("cel.@mapInsert", args))
}
