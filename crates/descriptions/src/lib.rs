//! What upstream's API documents say about types and fields, for the OpenAPI documents and so for `kubectl explain`.
//!
//! The texts are in no file of this repository: `build.rs` takes them from `k8s-openapi` and compresses them into a table
//! that is embedded here. The table is unpacked only while a document is written.
//!
//! # The table
//! Deflated UTF-8. Types are separated by U+001E, the parts of a type by U+001F: its OpenAPI name, its description, then
//! for each field the JSON name and the description, which may be empty.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::collections::HashMap;
use std::io::{self, Read};

use flate2::read::DeflateDecoder;

static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.bin"));

/// The table, compressed: changes whenever a description does.
#[must_use]
pub fn table() -> &'static [u8] {
    TABLE
}

/// The unpacked table: some two megabytes, not to be kept.
#[derive(Debug)]
pub struct Descriptions(String);

/// Descriptions by type.
#[derive(Debug)]
pub struct Index<'a>(HashMap<&'a str, &'a str>);

/// What is said about one type.
#[derive(Debug, Clone, Copy)]
pub struct TypeDescription<'a> {
    parts: &'a str,
}

impl Descriptions {
    /// Unpacks the table.
    ///
    /// # Errors
    /// When the embedded table is damaged.
    pub fn unpack() -> io::Result<Descriptions> {
        let mut text = String::new();
        DeflateDecoder::new(TABLE).read_to_string(&mut text)?;
        Ok(Descriptions(text))
    }

    /// No descriptions.
    #[must_use]
    pub fn none() -> Descriptions {
        Descriptions(String::new())
    }

    /// Finds types by name.
    #[must_use]
    pub fn index(&self) -> Index<'_> {
        Index(self.0.split('\u{1e}').filter_map(|ty| ty.split_once('\u{1f}')).collect())
    }
}

impl<'a> Index<'a> {
    /// What is said about the type of this OpenAPI name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<TypeDescription<'a>> {
        self.0.get(name).map(|parts| TypeDescription { parts })
    }
}

impl<'a> TypeDescription<'a> {
    /// About the type itself; may be empty.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.parts.split('\u{1f}').next().unwrap_or_default()
    }

    /// The fields with what is said about them, which may be nothing.
    pub fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut parts = self.parts.split('\u{1f}').skip(1);
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }

    /// About a field.
    #[must_use]
    pub fn field(self, name: &str) -> Option<&'a str> {
        self.fields().find(|(field, _)| *field == name).map(|(_, text)| text).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        let descriptions = Descriptions::unpack().unwrap();
        let index = descriptions.index();
        let spec = index.of("io.k8s.api.core.v1.PodSpec").unwrap();
        assert!(spec.text().contains("pod"), "{}", spec.text());
        assert!(spec.field("containers").unwrap().contains("container"));
        assert!(spec.field("absent").is_none());
        assert!(index.of("io.k8s.api.core.v1.Absent").is_none());
        let meta = index.of("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap();
        assert!(meta.fields().count() > 10);
        assert!(Descriptions::none().index().of("io.k8s.api.core.v1.PodSpec").is_none());
    }
}
