//! Images: references, pulling, importing, unpacking and the built-in ones.
//!
//! On disk, below the runtime's root:
//! - `images.json`: which images there are, by what names, made of which layers;
//! - `blobs/sha256/<hex>`: manifests and configurations as they came (compressed layers are not kept: once unpacked
//!   they serve nothing);
//! - `layers/<20 hex of the diff id>`: the files of one layer, in overlayfs' terms (whiteouts as character devices).

mod archive;
mod builtin;
mod pull;
mod reference;
mod store;
mod unpack;

pub use builtin::BuiltinImage;
pub use store::{ImageConfig, ImageError, ImageRecord, Images};
pub use unpack::open_beneath;
