//! A ruleset of nftables as values: only what the proxy uses, so that a test can walk it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use super::world::Protocol;

/// One table of family `ip`, whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    pub table: String,
    pub chains: BTreeMap<String, Chain>,
    pub sets: BTreeMap<String, Set>,
    pub maps: BTreeMap<String, Map>,
}

/// Rules in order. Without a hook it is only reached from other chains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    pub hook: Option<Hook>,
    pub rules: Vec<Rule>,
}

/// Where the kernel calls a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    pub kind: HookKind,
    pub point: Point,
    /// Lower runs earlier; destination addresses are rewritten at -100, source addresses at 100.
    pub priority: i32,
}

/// What a hooked chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    Filter,
    Nat,
}

/// A packet's station in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// When all conditions hold, act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub when: Vec<Condition>,
    pub then: Action,
}

/// A question about a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Source(Ipv4Net),
    SourceNot(Ipv4Net),
    /// In none of the ranges.
    SourceNotAmong(Vec<Ipv4Net>),
    Destination(Ipv4Net),
    DestinationNot(Ipv4Net),
    /// The source is an address of this node.
    SourceIsLocal,
    /// The destination is an address of this node.
    DestinationIsLocal,
    ArrivedNotBy(String),
    LeavesNotBy(String),
    Protocol(Protocol),
    /// Of this protocol to this port.
    Port(Protocol, u16),
    /// The first packet of a connection.
    NewConnection,
    /// Belongs to no connection that could be.
    InvalidConnection,
    Marked(u32),
    /// The source is in the set.
    SourceIn(String),
    /// The set has the pair of source and destination.
    PairIn(String),
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Drop,
    /// Drop, and tell the sender that nothing listens there.
    Reject(Refusal),
    Jump(String),
    Goto(String),
    Mark(u32),
    Unmark(u32),
    /// The source becomes the address of the interface the packet leaves by.
    Masquerade,
    /// The destination becomes another.
    Rewrite(Protocol, SocketAddrV4),
    /// Goes on in one of the chains, each equally likely.
    Balance(Vec<String>),
    /// Looks up destination address, protocol and port.
    DispatchAddress(String),
    /// Looks up protocol and port of a packet.
    DispatchPort(String),
    /// Puts the source into the set, or renews it there.
    Remember(String),
}

/// How a sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Only for TCP. Unlike ICMP messages the kernel does not limit how many it sends, so every client knows at once.
    Reset,
    PortUnreachable,
}

/// A set of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Set {
    /// Filled by packets; an element is forgotten so many seconds after the last.
    Recent { seconds: u32 },
    /// Pairs of the same address.
    Pairs(Vec<Ipv4Addr>),
}

/// A map from where a packet goes to what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    pub by_address: bool,
    pub elements: BTreeMap<MapKey, Verdict>,
}

/// A destination. `address` is `None` in maps by port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapKey {
    pub address: Option<Ipv4Addr>,
    pub protocol: Protocol,
    pub port: u16,
}

/// What a map answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Goto(String),
    Drop,
}
