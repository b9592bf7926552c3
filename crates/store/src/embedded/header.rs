//! What the headers of all files have in common, in every version of the format.

use crate::error::ReadError;

use super::FORMAT;
use super::record::{checksum, number};

pub(super) const HEADER: usize = 64;
const FORMAT_AT: usize = 8;
const SUM_AT: usize = HEADER - 4;

/// A header with nothing in it but what it is the header of.
pub(super) fn begin(magic: [u8; 8]) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..FORMAT_AT].copy_from_slice(&magic);
    bytes[FORMAT_AT..FORMAT_AT + 4].copy_from_slice(&FORMAT.to_be_bytes());
    bytes
}

/// Adds the checksum.
pub(super) fn seal(mut bytes: [u8; HEADER]) -> [u8; HEADER] {
    let sum = checksum(&[&bytes[..SUM_AT]]);
    bytes[SUM_AT..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// Refuses what is not a header of this kind and format. The checksum comes first: with a changed bit nothing in it counts.
pub(super) fn check(bytes: &[u8], magic: [u8; 8]) -> Result<(), ReadError> {
    let sum = bytes.get(..SUM_AT).map(|counted| checksum(&[counted]).to_be_bytes());
    if !bytes.starts_with(&magic) || sum.is_none() || sum != number(bytes, SUM_AT) {
        return Err(ReadError::Damaged("its header is wrong".to_owned()));
    }
    match number(bytes, FORMAT_AT).map(u32::from_be_bytes) {
        Some(FORMAT) => Ok(()),
        found => {
            let found = found.unwrap_or_default();
            Err(ReadError::UnknownFormat(format!("it has format {found}, this program knows {FORMAT}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_from_damage() {
        const MAGIC: [u8; 8] = *b"KNARRlog";
        let mut bytes = begin(MAGIC);
        assert_eq!(check(&seal(bytes), MAGIC), Ok(()));
        assert!(matches!(check(&seal(bytes), *b"KNARRbas"), Err(ReadError::Damaged(_))));
        bytes[11] += 1;
        let newer = seal(bytes);
        let unknown = "it has format 3, this program knows 2".to_owned();
        assert_eq!(check(&newer, MAGIC), Err(ReadError::UnknownFormat(unknown)));
        for at in 0..HEADER {
            let mut changed = newer;
            changed[at] ^= 1;
            assert!(matches!(check(&changed, MAGIC), Err(ReadError::Damaged(_))), "byte {at}");
            assert!(matches!(check(&newer[..at], MAGIC), Err(ReadError::Damaged(_))), "cut at {at}");
        }
    }
}
