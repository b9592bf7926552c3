//! Rulesets as text for `nft -f`: whole, or as the difference from the one before. Either is one atomic transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};

use ipnet::Ipv4Net;

use super::model::{
    Action, Chain, Condition, Hook, HookKind, Map, MapKey, Point, Refusal, Rule, Ruleset, Set, Verdict,
};

/// Elements of a set filled by packets are bounded by this.
const RECENT_MAX: u32 = 65_536;

/// The text that replaces the table as a whole, whatever it holds.
pub fn whole(rules: &Ruleset) -> String {
    let table = &rules.table;
    let mut out = format!("add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n");
    for (name, set) in &rules.sets {
        line(&mut out, format_args!("\tset {name} {{ {} }}", SetBody(set)));
    }
    for (name, map) in &rules.maps {
        let elements = Elements(&map.elements);
        if map.elements.is_empty() {
            line(&mut out, format_args!("\tmap {name} {{ {}; }}", map_type(map)));
        } else {
            line(
                &mut out,
                format_args!("\tmap {name} {{ {}; elements = {{{elements}\n\t}}; }}", map_type(map)),
            );
        }
    }
    for (name, chain) in &rules.chains {
        line(&mut out, format_args!("\tchain {name} {{"));
        if let Some(hook) = &chain.hook {
            line(&mut out, format_args!("\t\t{}", HookText(hook)));
        }
        for rule in &chain.rules {
            line(&mut out, format_args!("\t\t{}", RuleText(rule)));
        }
        line(&mut out, format_args!("\t}}"));
    }
    out.push_str("}\n");
    out
}

/// A transaction from one ruleset to the next, and the chains it leaves empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub text: String,
    /// Not part of the new ruleset any more. Older kernels cannot delete a chain in the transaction that takes away the
    /// last reference to it, so the next transaction does.
    pub stale: BTreeSet<String>,
}

/// The text that turns a table holding exactly `from` (and the empty chains `stale`) into `to`. Sets filled by packets
/// keep their elements.
pub fn change(from: &Ruleset, stale: &BTreeSet<String>, to: &Ruleset) -> Change {
    let mut out = String::new();
    let table = &to.table;
    for name in stale.iter().filter(|name| !to.chains.contains_key(*name)) {
        line(&mut out, format_args!("delete chain ip {table} {name}"));
    }
    let altered =
        |name: &String, chain: &Chain| from.chains.get(name).is_some_and(|old| old.rules != chain.rules);
    let removed: Vec<&String> = from.chains.keys().filter(|name| !to.chains.contains_key(*name)).collect();
    let altered: Vec<&String> =
        to.chains.iter().filter(|(name, chain)| altered(name, chain)).map(|(name, _)| name).collect();
    for name in removed.iter().chain(&altered) {
        line(&mut out, format_args!("flush chain ip {table} {name}"));
    }
    take_elements(&mut out, from, to);
    change_sets(&mut out, from, to);
    let added: Vec<&String> = to.chains.keys().filter(|name| !from.chains.contains_key(*name)).collect();
    for name in &added {
        line(&mut out, format_args!("add chain ip {table} {name}"));
    }
    for name in added.iter().chain(&altered) {
        for rule in to.chains.get(*name).map_or(&[][..], |chain| &chain.rules) {
            line(&mut out, format_args!("add rule ip {table} {name} {}", RuleText(rule)));
        }
    }
    give_elements(&mut out, from, to);
    Change { text: out, stale: removed.into_iter().cloned().collect() }
}

fn take_elements(out: &mut String, from: &Ruleset, to: &Ruleset) {
    for (name, old) in &from.maps {
        let gone = difference(&old.elements, to.maps.get(name));
        if !gone.is_empty() {
            line(out, format_args!("delete element ip {} {name} {{{}\n}}", to.table, Elements(&gone)));
        }
    }
}

fn give_elements(out: &mut String, from: &Ruleset, to: &Ruleset) {
    for (name, new) in &to.maps {
        let fresh = difference(&new.elements, from.maps.get(name));
        if !fresh.is_empty() {
            line(out, format_args!("add element ip {} {name} {{{}\n}}", to.table, Elements(&fresh)));
        }
    }
}

/// Elements that the other map has not, or has otherwise.
fn difference(elements: &BTreeMap<MapKey, Verdict>, other: Option<&Map>) -> BTreeMap<MapKey, Verdict> {
    let same = |key, verdict| other.is_some_and(|other| other.elements.get(key) == Some(verdict));
    elements.iter().filter(|(key, verdict)| !same(key, verdict)).map(|(key, v)| (*key, v.clone())).collect()
}

/// Sets with a fixed content are few and small: their elements are written anew.
fn change_sets(out: &mut String, from: &Ruleset, to: &Ruleset) {
    let table = &to.table;
    for (name, old) in &from.sets {
        match (old, to.sets.get(name)) {
            (old, Some(new)) if old == new => {}
            (Set::Pairs(_), Some(Set::Pairs(new))) => {
                line(out, format_args!("flush set ip {table} {name}"));
                if !new.is_empty() {
                    line(out, format_args!("add element ip {table} {name} {{ {} }}", Pairs(new)));
                }
            }
            _ => line(out, format_args!("delete set ip {table} {name}")),
        }
    }
    for (name, new) in &to.sets {
        let kept = match (from.sets.get(name), new) {
            (Some(Set::Pairs(_)), Set::Pairs(_)) => true,
            (Some(old), new) => old == new,
            (None, _) => false,
        };
        if !kept {
            line(out, format_args!("add set ip {table} {name} {{ {} }}", SetBody(new)));
        }
    }
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}

fn map_type(map: &Map) -> &'static str {
    match map.by_address {
        true => "type ipv4_addr . inet_proto . inet_service : verdict",
        false => "type inet_proto . inet_service : verdict",
    }
}

struct Pairs<'a>(&'a [std::net::Ipv4Addr]);

impl fmt::Display for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        separated(f, self.0, |f, address| write!(f, "{address} . {address}"))
    }
}

struct SetBody<'a>(&'a Set);

impl fmt::Display for SetBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Set::Recent { seconds } => {
                write!(f, "type ipv4_addr; size {RECENT_MAX}; flags dynamic,timeout; timeout {seconds}s;")
            }
            Set::Pairs(addresses) if addresses.is_empty() => f.write_str("type ipv4_addr . ipv4_addr;"),
            Set::Pairs(addresses) => {
                write!(f, "type ipv4_addr . ipv4_addr; elements = {{ {} }};", Pairs(addresses))
            }
        }
    }
}

/// Each on a line of its own, so that a difference of two texts is readable.
struct Elements<'a>(&'a BTreeMap<MapKey, Verdict>);

impl fmt::Display for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, verdict)) in self.0.iter().enumerate() {
            f.write_str(if at == 0 { "\n\t\t" } else { ",\n\t\t" })?;
            if let Some(address) = key.address {
                write!(f, "{address} . ")?;
            }
            write!(f, "{} . {} : ", key.protocol, key.port)?;
            match verdict {
                Verdict::Goto(chain) => write!(f, "goto {chain}")?,
                Verdict::Drop => f.write_str("drop")?,
            }
        }
        Ok(())
    }
}

struct HookText<'a>(&'a Hook);

impl fmt::Display for HookText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0.kind {
            HookKind::Filter => "filter",
            HookKind::Nat => "nat",
        };
        let point = match self.0.point {
            Point::Prerouting => "prerouting",
            Point::Input => "input",
            Point::Forward => "forward",
            Point::Output => "output",
            Point::Postrouting => "postrouting",
        };
        write!(f, "type {kind} hook {point} priority {}; policy accept;", self.0.priority)
    }
}

struct RuleText<'a>(&'a Rule);

impl fmt::Display for RuleText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.0.when {
            write!(f, "{} ", ConditionText(condition))?;
        }
        ActionText(&self.0.then).fmt(f)
    }
}

struct ConditionText<'a>(&'a Condition);

impl fmt::Display for ConditionText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Condition::Source(range) => write!(f, "ip saddr {}", Range(range)),
            Condition::SourceNot(range) => write!(f, "ip saddr != {}", Range(range)),
            Condition::SourceNotAmong(ranges) => {
                f.write_str("ip saddr != { ")?;
                separated(f, &Ipv4Net::aggregate(ranges), |f, range| Range(range).fmt(f))?;
                f.write_str(" }")
            }
            Condition::Destination(range) => write!(f, "ip daddr {}", Range(range)),
            Condition::DestinationNot(range) => write!(f, "ip daddr != {}", Range(range)),
            Condition::SourceIsLocal => f.write_str("fib saddr type local"),
            Condition::DestinationIsLocal => f.write_str("fib daddr type local"),
            Condition::ArrivedNotBy(interface) => write!(f, "iifname != \"{interface}\""),
            Condition::LeavesNotBy(interface) => write!(f, "oifname != \"{interface}\""),
            Condition::Protocol(protocol) => write!(f, "meta l4proto {protocol}"),
            Condition::Port(protocol, port) => write!(f, "{protocol} dport {port}"),
            Condition::NewConnection => f.write_str("ct state new"),
            Condition::InvalidConnection => f.write_str("ct state invalid"),
            Condition::Marked(bit) => write!(f, "meta mark & {bit:#x} == {bit:#x}"),
            Condition::SourceIn(set) => write!(f, "ip saddr @{set}"),
            Condition::PairIn(set) => write!(f, "ip saddr . ip daddr @{set}"),
        }
    }
}

struct ActionText<'a>(&'a Action);

impl fmt::Display for ActionText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Action::Drop => f.write_str("drop"),
            Action::Reject(Refusal::Reset) => f.write_str("reject with tcp reset"),
            Action::Reject(Refusal::PortUnreachable) => f.write_str("reject with icmp type port-unreachable"),
            Action::Jump(chain) => write!(f, "jump {chain}"),
            Action::Goto(chain) => write!(f, "goto {chain}"),
            Action::Mark(bit) => write!(f, "meta mark set meta mark or {bit:#x}"),
            Action::Unmark(bit) => write!(f, "meta mark set meta mark and {:#x}", !bit),
            Action::Masquerade => f.write_str("masquerade fully-random"),
            Action::Rewrite(protocol, to) => write!(f, "meta l4proto {protocol} dnat to {to}"),
            Action::Balance(chains) => match chains.as_slice() {
                [only] => write!(f, "goto {only}"),
                _ => {
                    write!(f, "numgen random mod {} vmap {{ ", chains.len())?;
                    separated(f, chains.iter().enumerate(), |f, (at, chain)| {
                        write!(f, "{at} : goto {chain}")
                    })?;
                    f.write_str(" }")
                }
            },
            Action::DispatchAddress(map) => write!(f, "ip daddr . meta l4proto . th dport vmap @{map}"),
            Action::DispatchPort(map) => write!(f, "meta l4proto . th dport vmap @{map}"),
            Action::Remember(set) => write!(f, "update @{set} {{ ip saddr }}"),
        }
    }
}

/// A single address without its prefix length.
struct Range<'a>(&'a Ipv4Net);

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() {
            32 => self.0.addr().fmt(f),
            _ => self.0.trunc().fmt(f),
        }
    }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            f.write_str(", ")?;
        }
        each(f, item)?;
    }
    Ok(())
}
