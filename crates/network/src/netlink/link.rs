//! Interfaces.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};

use super::{NetlinkError, Socket};

/// An interface as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Free text beside the name; ours carries the owner.
    pub alias: Option<String>,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    pub mtu: u32,
    pub up: bool,
    pub is_bridge: bool,
}

/// A bridge to create.
#[derive(Debug, Clone)]
pub struct BridgeSpec<'a> {
    pub name: &'a str,
    /// A fixed address: a bridge without one changes it whenever a port joins, and neighbours' caches go stale.
    pub mac: [u8; 6],
    pub mtu: u32,
    pub alias: &'a str,
}

/// A veth pair to create: one end here as a bridge port, the other in another network namespace.
#[derive(Debug, Clone)]
pub struct VethSpec<'a> {
    pub name: &'a str,
    pub alias: &'a str,
    pub master: u32,
    pub mtu: u32,
    pub peer_name: &'a str,
    pub peer_mac: [u8; 6],
    pub peer_netns: BorrowedFd<'a>,
}

impl Socket {
    /// All interfaces of the namespace.
    ///
    /// # Errors
    /// When the kernel refuses or answers something unknown.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let answers = self.dump("list interfaces", RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => Some(read(message)),
                _ => None,
            })
            .collect())
    }

    /// The interface of that name, if there is one.
    ///
    /// # Errors
    /// See [`Socket::links`].
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }

    /// Creates a bridge and sets it up.
    ///
    /// # Errors
    /// When the name is taken or the kernel has no bridges.
    pub fn add_bridge(&mut self, spec: &BridgeSpec<'_>) -> Result<(), NetlinkError> {
        let mut message = named(spec.name);
        set_up(&mut message);
        message.attributes.extend([
            LinkAttribute::Address(spec.mac.to_vec()),
            LinkAttribute::Mtu(spec.mtu),
            LinkAttribute::IfAlias(spec.alias.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![
                    // No spanning tree: ports forward at once. No snooping: nobody asks for multicast groups here.
                    InfoBridge::ForwardDelay(0),
                    InfoBridge::MulticastSnooping(false),
                ])),
            ]),
        ]);
        self.create(&format!("create bridge {}", spec.name), message)?;
        // The kernel ignores the alias of a link being created.
        self.set_alias(spec.name, spec.alias)
    }

    /// Creates a veth pair, this end up as a port of the bridge and in hairpin mode, the other end in its namespace.
    ///
    /// # Errors
    /// When a name is taken on either side.
    pub fn add_veth(&mut self, spec: &VethSpec<'_>) -> Result<(), NetlinkError> {
        let mut peer = named(spec.peer_name);
        peer.attributes.extend([
            LinkAttribute::Address(spec.peer_mac.to_vec()),
            LinkAttribute::Mtu(spec.mtu),
            LinkAttribute::NetNsFd(spec.peer_netns.as_raw_fd()),
        ]);
        let mut message = named(spec.name);
        set_up(&mut message);
        message.attributes.extend([
            LinkAttribute::Mtu(spec.mtu),
            LinkAttribute::Controller(spec.master),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ]);
        self.create(&format!("create interface {}", spec.name), message)?;
        self.set_alias(spec.name, spec.alias)?;
        self.set_hairpin(spec.name)
    }

    /// Sets interface text that only people and this program read.
    fn set_alias(&mut self, name: &str, alias: &str) -> Result<(), NetlinkError> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::IfAlias(alias.to_owned()));
        self.change(&format!("set the alias of {name}"), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// A pod may reach itself through its own Service: frames must be able to leave by the port they came from.
    fn set_hairpin(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]));
        self.change(&format!("set hairpin mode of {name}"), RouteNetlinkMessage::NewLink(message), 0)
    }

    fn create(&mut self, action: &str, message: LinkMessage) -> Result<(), NetlinkError> {
        self.change(action, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn set_up(&mut self, name: &str) -> Result<(), NetlinkError> {
        let mut message = named(name);
        set_up(&mut message);
        self.change(&format!("set {name} up"), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Changes an interface's MTU.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn set_mtu(&mut self, name: &str, mtu: u32) -> Result<(), NetlinkError> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::Mtu(mtu));
        self.change(&format!("set the MTU of {name}"), RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Deletes an interface; succeeds when it is gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn delete_link(&mut self, name: &str) -> Result<(), NetlinkError> {
        match self.change(&format!("delete interface {name}"), RouteNetlinkMessage::DelLink(named(name)), 0) {
            Err(error) if error.is_missing() => Ok(()),
            other => other,
        }
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn set_up(message: &mut LinkMessage) {
    message.header.flags |= LinkFlags::Up;
    message.header.change_mask |= LinkFlags::Up;
}

fn read(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        alias: None,
        master: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        is_bridge: false,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::LinkInfo(infos) => {
                link.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge))
            }
            _ => {}
        }
    }
    link
}
