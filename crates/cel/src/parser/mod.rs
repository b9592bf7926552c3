//! From text to tree. What cel-go says about bad syntax comes from the way ANTLR recovers from errors, so this
//! parser recovers the same way: `recovery` keeps what follows each rule, `rules` and `operands` are the grammar, `macros` expands.

mod lexer;
mod macros;
mod nodes;
mod operands;
mod recovery;
mod rules;
mod text;
mod tokens;

pub(crate) use macros::Macros;
pub(crate) use rules::parse;
