//! From a question and a zone to the answer. Pure.

use std::net::Ipv4Addr;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ipnet::Ipv4Net;

use super::TTL_SECONDS;
use super::zone::{Records, Zone};

/// Longer chains of aliases inside the cluster are a mistake or a loop.
const ALIASES_MAX: usize = 8;
const REVERSE: &str = ".in-addr.arpa";
/// Sum of the weights of a name's SRV records, as CoreDNS has it.
const WEIGHT_TOTAL: usize = 100;

/// What to do with a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Answer this.
    Reply(Reply),
    /// Not a name of the cluster: ask the node's resolvers.
    Forward,
    /// The name is an alias of a name outside: ask the resolvers for that, and answer both.
    Alias { so_far: Vec<Record>, target: Name },
}

/// An authoritative answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    pub authority: Vec<Record>,
    pub additional: Vec<Record>,
}

/// Answers a question from the zone. `turn` chooses which of several addresses comes first.
pub fn answer(zone: &Zone, query: &Query, turn: usize) -> Outcome {
    let name = plain(query.name());
    let reverse = name.strip_suffix(REVERSE).and_then(|labels| reverse(zone, labels));
    let forward = zone.relative(&name).is_some();
    if !forward && reverse.is_none() {
        return Outcome::Forward;
    }
    if query.query_class() != DNSClass::IN
        || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR)
    {
        return Outcome::Reply(Reply::bare(ResponseCode::Refused));
    }
    match reverse {
        Some((range, address)) => Outcome::Reply(pointer(zone, query, range, address)),
        None => named(zone, query, name, turn),
    }
}

impl Reply {
    fn bare(code: ResponseCode) -> Self {
        Self { code, answers: Vec::new(), authority: Vec::new(), additional: Vec::new() }
    }

    /// Nothing to tell: the start of authority says how long that may be believed.
    fn negative(code: ResponseCode, answers: Vec<Record>, authority: Record) -> Self {
        Self { code, answers, authority: vec![authority], additional: Vec::new() }
    }
}

fn named(zone: &Zone, query: &Query, mut name: String, turn: usize) -> Outcome {
    let mut owner = query.name().clone();
    let mut answers = Vec::new();
    for _ in 0..ALIASES_MAX {
        let pod = pod(zone, &name);
        let Some(records) = pod.as_ref().or_else(|| zone.get(&name)) else {
            return Outcome::Reply(Reply::negative(
                ResponseCode::NXDomain,
                answers,
                zone.start_of_authority(),
            ));
        };
        let Some(target) = &records.alias else {
            return Outcome::Reply(zone.reply(query.query_type(), &owner, &name, records, answers, turn));
        };
        let Ok(target_name) = full(target) else { break };
        answers.push(record(&owner, RData::CNAME(CNAME(target_name.clone()))));
        if query.query_type() == RecordType::CNAME {
            return Outcome::Reply(Reply { answers, ..Reply::bare(ResponseCode::NoError) });
        }
        if zone.relative(target).is_none() {
            return Outcome::Alias { so_far: answers, target: target_name };
        }
        (name, owner) = (target.clone(), target_name);
    }
    Outcome::Reply(Reply::bare(ResponseCode::ServFail))
}

impl Zone {
    fn reply(
        &self,
        wanted: RecordType,
        owner: &Name,
        name: &str,
        records: &Records,
        mut answers: Vec<Record>,
        turn: usize,
    ) -> Reply {
        let before = answers.len();
        let mut additional = Vec::new();
        match wanted {
            RecordType::A | RecordType::ANY => answers.extend(addresses(owner, &records.addresses, turn)),
            RecordType::SRV => additional = self.services(owner, records, &mut answers),
            RecordType::TXT => {
                let text = records.text.iter().map(|text| RData::TXT(TXT::new(vec![text.clone()])));
                answers.extend(text.map(|data| record(owner, data)));
            }
            RecordType::NS => {
                let servers = records.name_server.iter().filter_map(|server| full(server).ok());
                answers.extend(servers.map(|server| record(owner, RData::NS(NS(server)))));
            }
            RecordType::SOA if name == self.facts.domain => answers.push(self.start_of_authority()),
            _ => {}
        }
        if answers.len() == before {
            return Reply::negative(ResponseCode::NoError, answers, self.start_of_authority());
        }
        Reply { answers, additional, ..Reply::bare(ResponseCode::NoError) }
    }

    /// SRV records into `answers`; returns the addresses of their targets.
    fn services(&self, owner: &Name, records: &Records, answers: &mut Vec<Record>) -> Vec<Record> {
        let share = WEIGHT_TOTAL / records.services.len().max(1);
        let weight = u16::try_from(share).unwrap_or(u16::MAX).max(1);
        let mut additional: Vec<Record> = Vec::new();
        for service in &records.services {
            let Ok(target) = full(&service.target) else { continue };
            answers.push(record(owner, RData::SRV(SRV::new(0, weight, service.port, target.clone()))));
            let known = additional.iter().any(|known| known.name == target);
            if let Some(records) = self.get(&service.target).filter(|_| !known) {
                additional.extend(addresses(&target, &records.addresses, 0));
            }
        }
        additional
    }

    fn start_of_authority(&self) -> Record {
        start_of_authority(self, &self.facts.domain)
    }
}

/// Clients mostly take the first address: each turn another one is it.
fn addresses(owner: &Name, addresses: &[Ipv4Addr], turn: usize) -> Vec<Record> {
    let mut records: Vec<Record> =
        addresses.iter().map(|address| record(owner, RData::A(A(*address)))).collect();
    if !records.is_empty() {
        let middle = turn % records.len();
        records.rotate_left(middle);
    }
    records
}

/// `1-2-3-4.<namespace>.pod.<domain>` has the address it spells.
fn pod(zone: &Zone, name: &str) -> Option<Records> {
    let (label, namespace) = zone.relative(name)?.strip_suffix(".pod")?.split_once('.')?;
    let address = label.replace('-', ".").parse().ok().filter(|_| !label.contains('.'))?;
    zone.has_namespace(namespace).then(|| Records { addresses: vec![address], ..Records::default() })
}

/// The range of the cluster a reverse name (`labels` without the suffix) is in, and its address when it has all four
/// numbers.
fn reverse(zone: &Zone, labels: &str) -> Option<(Ipv4Net, Option<Ipv4Addr>)> {
    let mut octets = [0u8; 4];
    let mut count = 0;
    for label in labels.rsplit('.') {
        *octets.get_mut(count)? = label.parse().ok()?;
        count += 1;
    }
    let address = Ipv4Addr::from(octets);
    let range = zone
        .facts
        .ranges
        .iter()
        .find(|range| range.contains(&address) && count * 8 >= usize::from(whole_octets(range)) * 8)?;
    Some((*range, (count == 4).then_some(address)))
}

fn whole_octets(range: &Ipv4Net) -> u8 {
    range.prefix_len() / 8
}

fn pointer(zone: &Zone, query: &Query, range: Ipv4Net, address: Option<Ipv4Addr>) -> Reply {
    let names: Vec<Name> = address
        .into_iter()
        .flat_map(|address| zone.names_of(address))
        .filter_map(|name| full(name).ok())
        .collect();
    let authority = || start_of_authority(zone, &reverse_zone(&range));
    let code = match (names.is_empty(), address) {
        (true, Some(_)) => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    };
    if names.is_empty() || query.query_type() != RecordType::PTR {
        return Reply::negative(code, Vec::new(), authority());
    }
    let answers = names.into_iter().map(|name| record(query.name(), RData::PTR(PTR(name)))).collect();
    Reply { answers, ..Reply::bare(code) }
}

/// `42.10.in-addr.arpa` for 10.42.0.0/16.
fn reverse_zone(range: &Ipv4Net) -> String {
    let octets = range.network().octets();
    let labels = octets.iter().take(usize::from(whole_octets(range))).rev().map(|octet| format!("{octet}."));
    format!("{}in-addr.arpa", labels.collect::<String>())
}

fn start_of_authority(zone: &Zone, owner: &str) -> Record {
    let domain = &zone.facts.domain;
    let name = |text: &str| full(text).unwrap_or_else(|_| Name::root());
    let data = SOA::new(
        name(&format!("ns.dns.{domain}")),
        name(&format!("hostmaster.{domain}")),
        zone.serial,
        7200,
        1800,
        86_400,
        TTL_SECONDS,
    );
    record(&name(owner), RData::SOA(data))
}

fn record(owner: &Name, data: RData) -> Record {
    Record::from_rdata(owner.clone(), TTL_SECONDS, data)
}

fn full(name: &str) -> Result<Name, hickory_proto::ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    Ok(name)
}

/// Lower case, without the dot at the end.
fn plain(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with('.') {
        text.pop();
    }
    text
}
