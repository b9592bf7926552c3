//! nftables, as far as it is asked about without the `nft` program.

use super::socket::{Request, attribute};
use super::{NetlinkError, Socket};

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE`
const GET_TABLE: u16 = (10 << 8) | 1;
/// `NFTA_TABLE_NAME`
const TABLE_NAME: u16 = 1;
/// `NFPROTO_IPV4`
const IPV4: u8 = 2;

/// Whether the table `ip <name>` exists: somebody may have flushed the whole ruleset.
///
/// # Errors
/// When the kernel refuses, for example because it has no nftables.
pub fn table_exists(name: &str) -> Result<bool, NetlinkError> {
    let mut body = vec![IPV4, 0, 0, 0];
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    attribute(&mut body, TABLE_NAME, &text);
    let request = Request {
        action: "look up an nftables table",
        kind: GET_TABLE,
        flags: libc::NLM_F_ACK as u16,
        body: &body,
    };
    match Socket::netfilter()?.exchange(&request, |_, _| Ok(())) {
        Ok(()) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}
