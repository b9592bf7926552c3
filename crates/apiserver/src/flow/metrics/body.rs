//! Bodies of long-running requests: counted while they last, with the events they carry.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::series::Series;
use crate::{ApiBody, BoxError};

/// Counts the request as running until the body is dropped.
pub(super) fn counted(inner: ApiBody, series: Arc<Series>) -> ApiBody {
    series.running.fetch_add(1, Relaxed);
    Counted { inner, series }.boxed_unsync()
}

struct Counted {
    inner: ApiBody,
    series: Arc<Series>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let (Poll::Ready(Some(Ok(frame))), "WATCH") = (&polled, self.series.verb)
            && let Some(bytes) = frame.data_ref()
        {
            // Pieces of the body are whole events. The mean is taken for the size of each: looking for their ends would
            // cost more than sending them.
            let events = events(bytes);
            if events > 0 {
                self.series.events.add_many(bytes.len() as f64 / events as f64, events);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.series.running.fetch_sub(1, Relaxed);
    }
}

/// Events in a piece of a watch: lines of JSON, or protobuf with lengths in front.
fn events(mut bytes: &[u8]) -> u64 {
    if bytes.first() == Some(&b'{') {
        return memchr::memchr_iter(b'\n', bytes).count() as u64;
    }
    let mut count = 0;
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        count += 1;
        bytes = rest.get(u32::from_be_bytes(*length) as usize..).unwrap_or_default();
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_in_both_forms() {
        let frame = [&[0, 0, 0, 2], b"ab".as_slice()].concat();
        let cases: [(&[u8], u64); 5] = [
            (b"", 0),
            (b"{}\n{}\n", 2),
            (&frame, 1),
            (&[frame.clone(), frame.clone()].concat(), 2),
            (b"ab", 0),
        ];
        for (bytes, expected) in cases {
            assert_eq!(events(bytes), expected, "{bytes:?}");
        }
    }
}
