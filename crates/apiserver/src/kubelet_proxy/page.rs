//! Proxied HTML pages: taken in whole, so that their links can be rewritten.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};
use futures::{StreamExt, stream};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};

use super::html;
use super::links::Links;
use crate::ApiBody;
use crate::http::full;

/// Longer pages are passed on as they are.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// How a page is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Deflate,
}

impl Packing {
    /// `None` when nobody here knows it.
    fn of(headers: &HeaderMap) -> Option<Self> {
        match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"") => Some(Self::None),
            Some(b"gzip") => Some(Self::Gzip),
            Some(b"deflate") => Some(Self::Deflate),
            Some(_) => None,
        }
    }

    fn unpack(self, packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut page = Vec::new();
        let limit = PAGE_BYTES_MAX as u64 + 1;
        match self {
            Self::None => page.extend_from_slice(packed),
            Self::Gzip => drop(GzDecoder::new(packed).take(limit).read_to_end(&mut page)?),
            Self::Deflate => drop(DeflateDecoder::new(packed).take(limit).read_to_end(&mut page)?),
        }
        if page.len() > PAGE_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(page) }
    }

    fn pack(self, page: String) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(page.into_bytes()),
            Self::Gzip => {
                let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
                packer.write_all(page.as_bytes())?;
                packer.finish()
            }
            Self::Deflate => {
                let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
                packer.write_all(page.as_bytes())?;
                packer.finish()
            }
        }
    }
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim() == "text/html")
}

/// The answer with the links of its page rewritten. What is no page, too long, or cannot be understood stays as it is.
pub(super) async fn rewrite(response: Response<ApiBody>, links: Links) -> Response<ApiBody> {
    let (true, Some(packing)) = (is_page(response.headers()), Packing::of(response.headers())) else {
        return response;
    };
    let (mut parts, body) = response.into_parts();
    let packed = match collect(body).await {
        Ok(packed) => packed,
        Err(longer) => return Response::from_parts(parts, longer),
    };
    let worked = packed.clone();
    let rewritten = tokio::task::spawn_blocking(move || rewrite_page(&worked, packing, links)).await;
    match rewritten.ok().flatten() {
        Some(page) => {
            parts.headers.remove(CONTENT_LENGTH);
            Response::from_parts(parts, full(page))
        }
        None => Response::from_parts(parts, full(packed)),
    }
}

fn rewrite_page(packed: &[u8], packing: Packing, links: Links) -> Option<Vec<u8>> {
    let page = String::from_utf8(packing.unpack(packed).ok()?).ok()?;
    let prefix = links.prefix.replace('&', "&amp;").replace('\'', "&#39;");
    let links = Links { prefix, ..links };
    packing.pack(html::rewrite(&page, |link| links.rewritten(link))).ok()
}

/// The whole body; an error is the same body, when it is longer than a page may be or breaks off.
async fn collect(mut body: ApiBody) -> Result<Bytes, ApiBody> {
    let mut taken = Vec::new();
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => taken.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Err(error) => {
                let frames = [Ok(Frame::data(taken.into())), Err(error)];
                return Err(StreamBody::new(stream::iter(frames)).boxed_unsync());
            }
        }
        if taken.len() > PAGE_BYTES_MAX {
            let first = stream::iter([Ok(Frame::data(taken.into()))]);
            return Err(StreamBody::new(first.chain(BodyStream::new(body))).boxed_unsync());
        }
    }
    Ok(taken.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links { prefix: "/it's".to_owned(), target: "t".to_owned(), asked: "a".to_owned() }
    }

    async fn passed(headers: &[(&'static str, &'static str)], body: Vec<u8>) -> Vec<u8> {
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = rewrite(response.body(full(body)).expect("a response"), links()).await;
        response.into_body().collect().await.expect("a body").to_bytes().to_vec()
    }

    #[tokio::test]
    async fn pages_are_rewritten_however_they_are_packed() {
        let (page, want) = ("<a href='/x'>", "<a href='/it&#39;s/x'>");
        for (packing, name) in [(Packing::None, ""), (Packing::Gzip, "gzip"), (Packing::Deflate, "deflate")] {
            let packed = packing.pack(page.to_owned()).expect("packed");
            let kind = ("content-type", "text/html; charset=utf-8");
            let out = passed(&[kind, ("content-encoding", name)], packed).await;
            assert_eq!(packing.unpack(&out).expect("unpacked"), want.as_bytes(), "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_no_page_stays_as_it_is() {
        let page = b"<a href='/x'>".to_vec();
        let html = ("content-type", "text/html");
        let long = [page.clone(), vec![b' '; PAGE_BYTES_MAX]].concat();
        for (headers, body) in [
            (&[("content-type", "text/plain")][..], page.clone()),
            (&[html, ("content-encoding", "br")], page.clone()),
            (&[html, ("content-encoding", "gzip")], page),
            (&[html], b"<a href='/x'>\xff".to_vec()),
            (&[html], long),
        ] {
            assert!(passed(headers, body.clone()).await == body, "{headers:?}");
        }
    }
}
