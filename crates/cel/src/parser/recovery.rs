//! How syntax errors are told and gone past, as ANTLR's default strategy does it: one token may be too many or missing;
//! otherwise a rule is given up, tokens are skipped until one that can follow, and the caller goes on. While nothing has
//! matched since the last error, no other is told.

use super::lexer::Lexed;
use super::tokens::{Set, Tok, Token};
use crate::issue::{Issue, Source};

/// A rule may be in itself as often as this.
const DEPTH_MAX: usize = 250;
/// As many errors are gone past.
const RECOVERIES_MAX: usize = 30;
/// As many tokens are skipped after an error.
const SKIPPED_MAX: usize = 256;

/// Why a rule stops before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Its caller goes on after what is told.
    Rule(String, usize),
    /// Nothing goes on.
    All,
}

/// What may come after a rule where it is used, and whether the rule that uses it may end there.
#[derive(Clone, Copy)]
pub(super) struct Follow {
    pub set: Set,
    pub ends: bool,
}

pub(super) struct Stream<'a> {
    pub source: &'a Source,
    tokens: Vec<Token>,
    junk: Vec<(usize, usize)>,
    at: usize,
    follows: Vec<Follow>,
    pub depths: [usize; 17],
    recovering: bool,
    last: Option<(usize, Vec<u32>)>,
    state: u32,
    recoveries: usize,
    pub issues: Vec<Issue>,
}

impl<'a> Stream<'a> {
    pub fn new(source: &'a Source, lexed: Lexed) -> Self {
        let Lexed { tokens, issues, junk } = lexed;
        Self {
            source,
            tokens,
            junk,
            at: 0,
            follows: Vec::new(),
            depths: [0; 17],
            recovering: false,
            last: None,
            state: 0,
            recoveries: 0,
            issues,
        }
    }

    /// The token that many places ahead of the current one.
    pub fn ahead(&self, places: usize) -> Token {
        self.tokens[(self.at + places).min(self.tokens.len() - 1)]
    }

    pub fn kind(&self) -> Tok {
        self.ahead(0).kind
    }

    pub fn text(&self, token: Token) -> String {
        self.source.text(token.start, token.end)
    }

    fn consume(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    /// Notes that a rule is entered once more.
    pub fn deepen(&mut self, rule: usize) -> Result<(), Stop> {
        self.depths[rule] += 1;
        if self.depths[rule] <= DEPTH_MAX {
            return Ok(());
        }
        let message = format!("expression recursion limit exceeded: {DEPTH_MAX}");
        self.issues.push(Issue { at: None, message });
        Err(Stop::All)
    }

    pub fn enter(&mut self, follow: Follow) {
        self.follows.push(follow);
    }

    pub fn leave(&mut self) {
        self.follows.pop();
    }

    /// All that may come next: these, or what follows the rules that may end here.
    fn expected(&self, set: Set, ends: bool) -> Set {
        let (mut set, mut ends) = (set, ends);
        for follow in self.follows.iter().rev() {
            if !ends {
                return set;
            }
            (set, ends) = (set.and(follow.set), follow.ends);
        }
        set
    }

    /// Where a choice begins: says so when nothing of the set comes, and drops one token when the next is of it.
    pub fn sync(&mut self, state: u32, set: Set) -> Result<(), Stop> {
        self.state = state;
        if self.recovering || set.has(self.kind()) {
            return Ok(());
        }
        if self.drop_one(set) {
            return Ok(());
        }
        Err(self.mismatch(set))
    }

    /// Where a loop may be left: what fits neither is told and skipped.
    pub fn sync_loop(&mut self, state: u32, set: Set) -> Result<(), Stop> {
        self.state = state;
        if self.recovering || set.has(self.kind()) {
            return Ok(());
        }
        self.unwanted(set);
        self.skip_until(set.and(self.recovery_set()))
    }

    /// Takes a token of this kind. One before it is dropped, or it is made up when what may come `after` it is there.
    pub fn take(&mut self, state: u32, kind: Tok, after: Set, ends: bool) -> Result<Token, Stop> {
        self.state = state;
        if self.kind() == kind {
            let token = self.ahead(0);
            self.matched();
            self.consume();
            return Ok(token);
        }
        self.attempt()?;
        let set = Set::of(&[kind]);
        if self.drop_one(set) {
            let token = self.ahead(0);
            self.consume();
            return Ok(token);
        }
        if self.expected(after, ends).has(self.kind()) {
            let (missing, there) = (set.names(), self.shown());
            self.tell(format!("missing {missing} at {there}"));
            return Ok(Token { kind, start: self.ahead(0).start, end: self.ahead(0).start });
        }
        Err(self.mismatch(set))
    }

    fn matched(&mut self) {
        self.recovering = false;
        self.last = None;
    }

    fn drop_one(&mut self, set: Set) -> bool {
        let fits = set.has(self.ahead(1).kind);
        if fits {
            self.unwanted(set);
            self.consume();
            self.matched();
        }
        fits
    }

    fn unwanted(&mut self, set: Set) {
        let message = format!("extraneous input {} expecting {}", self.shown(), set.names());
        self.tell(message);
    }

    fn shown(&self) -> String {
        let token = self.ahead(0);
        match token.kind {
            Tok::End => "'<EOF>'".to_owned(),
            _ => quote(&self.text(token)),
        }
    }

    /// Tells an error at the current token, unless one was told since something matched.
    fn tell(&mut self, message: String) {
        let at = self.ahead(0).start;
        self.tell_at(message, at);
    }

    fn tell_at(&mut self, message: String, at: usize) {
        if self.recovering {
            return;
        }
        self.recovering = true;
        self.issues.push(Issue { at: Some(at), message: format!("Syntax error: {message}") });
    }

    fn mismatch(&self, set: Set) -> Stop {
        let message = format!("mismatched input {} expecting {}", self.shown(), set.names());
        Stop::Rule(message, self.ahead(0).start)
    }

    /// None of the alternatives that start at the current token fits the one that many places ahead.
    pub fn no_alternative(&mut self, state: u32, places: usize) -> Stop {
        self.state = state;
        let (first, last) = (self.ahead(0), self.ahead(places));
        let text = match first.kind {
            Tok::End => "<EOF>".to_owned(),
            _ => self.between(first.start, last.end),
        };
        // Words that name nothing are told in the older way after a single character.
        let word = text.get(1..).filter(|word| ["true", "false", "null"].contains(word));
        let message = match word {
            Some(word) => format!("mismatched input '{word}' expecting IDENTIFIER"),
            None => format!("no viable alternative at input {}", quote(&text)),
        };
        Stop::Rule(message, last.start)
    }

    /// The text of a range without what is no token.
    fn between(&self, start: usize, end: usize) -> String {
        let junk = |at: usize| self.junk.iter().any(|(from, to)| (*from..*to).contains(&at));
        (start..end).filter(|at| !junk(*at)).map(|at| self.source.chars[at]).collect()
    }

    /// Goes past the error that ended a rule.
    pub fn recover(&mut self, message: String, at: usize) -> Result<(), Stop> {
        self.tell_at(message, at);
        self.attempt()?;
        let (index, state) = (self.at, self.state);
        // The same error again: one token has to go, or this would not end.
        if self.last.as_ref().is_some_and(|(last, states)| *last == index && states.contains(&state)) {
            self.consume();
        }
        let index = self.at;
        let (last, states) = self.last.get_or_insert_with(|| (index, Vec::new()));
        *last = index;
        states.push(state);
        self.skip_until(self.recovery_set())
    }

    fn attempt(&mut self) -> Result<(), Stop> {
        if self.recoveries == RECOVERIES_MAX {
            let at = Some(self.ahead(0).start);
            let message = format!("Syntax error: error recovery attempt limit exceeded: {RECOVERIES_MAX}");
            self.issues.push(Issue { at, message });
            return Err(Stop::All);
        }
        self.recoveries += 1;
        Ok(())
    }

    fn recovery_set(&self) -> Set {
        self.follows.iter().fold(Set::default(), |set, follow| set.and(follow.set))
    }

    fn skip_until(&mut self, set: Set) -> Result<(), Stop> {
        for _ in 0..SKIPPED_MAX {
            if self.kind() == Tok::End || set.has(self.kind()) {
                return Ok(());
            }
            self.consume();
        }
        let message = format!("error recovery token lookahead limit exceeded: {SKIPPED_MAX}");
        self.issues.push(Issue { at: None, message });
        Err(Stop::All)
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r"))
}
