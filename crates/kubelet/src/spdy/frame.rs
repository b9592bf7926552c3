//! Frames and the compression of their headers.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::dictionary::DICTIONARY;

const VERSION: u16 = 3;
const HEADER_LEN: usize = 8;
/// Largest frame that is accepted. Clients write at most 32 KiB of data a frame.
const FRAME_MAX: usize = 1 << 20;
/// Largest header block after decompression.
const HEADERS_MAX: usize = 64 * 1024;
const FLAG_FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Why bytes are not SPDY.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("frame of {0} bytes is too large")]
    TooLarge(usize),
    #[error("unsupported SPDY version {0}")]
    Version(u16),
    #[error("malformed {0} frame")]
    Malformed(&'static str),
    #[error("header block cannot be decompressed")]
    Compression,
}

/// Headers of a stream; names are in lower case.
pub(crate) type HeaderList = Vec<(String, String)>;

/// What a peer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    SynStream {
        id: u32,
        fin: bool,
        headers: HeaderList,
    },
    SynReply {
        id: u32,
        fin: bool,
        headers: HeaderList,
    },
    Rst {
        id: u32,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Trailing headers; nothing here uses their content.
    Headers {
        id: u32,
        fin: bool,
    },
    Data {
        id: u32,
        fin: bool,
        data: Bytes,
    },
    /// Settings, window updates and types that are not known.
    Ignored,
}

/// Reads and writes frames; header compression has a state in each direction.
pub(crate) struct Codec {
    inflate: Decompress,
    deflate: Compress,
    dictionary_set: bool,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").finish_non_exhaustive()
    }
}

impl Codec {
    pub fn new() -> Self {
        Self {
            inflate: Decompress::new(true),
            deflate: Compress::new(Compression::fast(), true),
            dictionary_set: false,
        }
    }

    /// Takes one frame off the front of `buffer`; `None` when more bytes are needed.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if buffer.len() < HEADER_LEN {
            return Ok(None);
        }
        let length = usize::from(buffer[5]) << 16 | usize::from(buffer[6]) << 8 | usize::from(buffer[7]);
        if length > FRAME_MAX {
            return Err(FrameError::TooLarge(length));
        }
        if buffer.len() < HEADER_LEN + length {
            return Ok(None);
        }
        let mut head = buffer.split_to(HEADER_LEN);
        let body = buffer.split_to(length).freeze();
        let first = head.get_u32();
        let fin = head[0] & FLAG_FIN != 0;
        if first & 0x8000_0000 == 0 {
            return Ok(Some(Frame::Data { id: first, fin, data: body }));
        }
        let version = u16::try_from(first >> 16 & 0x7fff).unwrap_or(0);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        self.control(u16::try_from(first & 0xffff).unwrap_or(0), fin, body).map(Some)
    }

    fn control(&mut self, kind: u16, fin: bool, mut body: Bytes) -> Result<Frame, FrameError> {
        let need = |body: &Bytes, length: usize, name: &'static str| {
            if body.len() < length { Err(FrameError::Malformed(name)) } else { Ok(()) }
        };
        Ok(match kind {
            SYN_STREAM => {
                need(&body, 10, "SYN_STREAM")?;
                let id = body.get_u32() & 0x7fff_ffff;
                body.advance(6);
                Frame::SynStream { id, fin, headers: self.headers(&body)? }
            }
            SYN_REPLY => {
                need(&body, 4, "SYN_REPLY")?;
                let id = body.get_u32() & 0x7fff_ffff;
                Frame::SynReply { id, fin, headers: self.headers(&body)? }
            }
            RST_STREAM => {
                need(&body, 8, "RST_STREAM")?;
                Frame::Rst { id: body.get_u32() & 0x7fff_ffff, status: body.get_u32() }
            }
            PING => {
                need(&body, 4, "PING")?;
                Frame::Ping { id: body.get_u32() }
            }
            GOAWAY => Frame::GoAway,
            HEADERS => {
                need(&body, 4, "HEADERS")?;
                let id = body.get_u32() & 0x7fff_ffff;
                // Read for the sake of the compression's state.
                self.headers(&body)?;
                Frame::Headers { id, fin }
            }
            SETTINGS | WINDOW_UPDATE => Frame::Ignored,
            _ => Frame::Ignored,
        })
    }

    fn headers(&mut self, block: &[u8]) -> Result<HeaderList, FrameError> {
        parse_headers(&self.inflate_block(block)?)
    }

    fn inflate_block(&mut self, block: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut out = Vec::with_capacity(1024);
        let mut at = 0;
        loop {
            let (before_in, before_out) = (self.inflate.total_in(), out.len());
            let result = self.inflate.decompress_vec(&block[at..], &mut out, FlushDecompress::Sync);
            at += usize::try_from(self.inflate.total_in() - before_in).unwrap_or(0);
            match result {
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(&DICTIONARY).map_err(|_| FrameError::Compression)?;
                    continue;
                }
                Err(_) => return Err(FrameError::Compression),
            }
            if out.len() > HEADERS_MAX {
                return Err(FrameError::TooLarge(out.len()));
            }
            if at >= block.len() && out.len() < out.capacity() {
                return Ok(out);
            }
            if out.len() == out.capacity() {
                out.reserve(out.capacity());
            } else if out.len() == before_out && self.inflate.total_in() == before_in {
                return Err(FrameError::Compression);
            }
        }
    }

    fn deflate_block(&mut self, plain: &[u8]) -> Result<Vec<u8>, FrameError> {
        if !self.dictionary_set {
            self.deflate.set_dictionary(&DICTIONARY).map_err(|_| FrameError::Compression)?;
            self.dictionary_set = true;
        }
        let mut out = Vec::with_capacity(plain.len() + 256);
        let start = self.deflate.total_in();
        loop {
            let at = usize::try_from(self.deflate.total_in() - start).unwrap_or(plain.len());
            self.deflate
                .compress_vec(&plain[at..], &mut out, FlushCompress::Sync)
                .map_err(|_| FrameError::Compression)?;
            let done = usize::try_from(self.deflate.total_in() - start).unwrap_or(0) >= plain.len();
            if done && out.len() < out.capacity() {
                return Ok(out);
            }
            out.reserve(256);
        }
    }

    /// Writes one frame to the end of `buffer`.
    pub fn encode(&mut self, frame: &Frame, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let flags = |fin: bool| if fin { FLAG_FIN } else { 0 };
        match frame {
            Frame::Data { id, fin, data } => {
                buffer.put_u32(*id);
                put_length(buffer, flags(*fin), data.len())?;
                buffer.put_slice(data);
            }
            Frame::SynStream { id, fin, headers } => {
                let block = self.deflate_block(&plain_headers(headers))?;
                put_control(buffer, SYN_STREAM, flags(*fin), block.len() + 10)?;
                buffer.put_u32(*id);
                buffer.put_slice(&[0; 6]);
                buffer.put_slice(&block);
            }
            Frame::SynReply { id, fin, headers } => {
                let block = self.deflate_block(&plain_headers(headers))?;
                put_control(buffer, SYN_REPLY, flags(*fin), block.len() + 4)?;
                buffer.put_u32(*id);
                buffer.put_slice(&block);
            }
            Frame::Rst { id, status } => {
                put_control(buffer, RST_STREAM, 0, 8)?;
                buffer.put_u32(*id);
                buffer.put_u32(*status);
            }
            Frame::Ping { id } => {
                put_control(buffer, PING, 0, 4)?;
                buffer.put_u32(*id);
            }
            Frame::GoAway => {
                put_control(buffer, GOAWAY, 0, 8)?;
                buffer.put_u64(0);
            }
            Frame::Headers { .. } | Frame::Ignored => {}
        }
        Ok(())
    }
}

fn put_control(buffer: &mut BytesMut, kind: u16, flags: u8, length: usize) -> Result<(), FrameError> {
    buffer.put_u16(0x8000 | VERSION);
    buffer.put_u16(kind);
    put_length(buffer, flags, length)
}

fn put_length(buffer: &mut BytesMut, flags: u8, length: usize) -> Result<(), FrameError> {
    let length = u32::try_from(length).ok().filter(|length| *length < 1 << 24);
    let length = length.ok_or(FrameError::TooLarge(usize::MAX))?;
    buffer.put_u32(u32::from(flags) << 24 | length);
    Ok(())
}

fn plain_headers(headers: &HeaderList) -> Vec<u8> {
    let mut plain = Vec::new();
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    plain.extend(length(headers.len()));
    for (name, value) in headers {
        plain.extend(length(name.len()));
        plain.extend(name.bytes());
        plain.extend(length(value.len()));
        plain.extend(value.bytes());
    }
    plain
}

fn parse_headers(mut block: &[u8]) -> Result<HeaderList, FrameError> {
    fn number(block: &mut &[u8]) -> Result<usize, FrameError> {
        if block.len() < 4 {
            return Err(FrameError::Malformed("header block"));
        }
        usize::try_from(block.get_u32()).map_err(|_| FrameError::Malformed("header block"))
    }
    fn text(block: &mut &[u8]) -> Result<String, FrameError> {
        let length = number(block)?;
        if block.len() < length {
            return Err(FrameError::Malformed("header block"));
        }
        let (text, rest) = block.split_at(length);
        *block = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
    let count = number(&mut block)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = text(&mut block)?.to_lowercase();
        let value = text(&mut block)?;
        headers.push((name, value));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn frames_survive_the_way() {
        let (mut sender, mut receiver) = (Codec::new(), Codec::new());
        let long = "x".repeat(5000);
        let frames = [
            Frame::SynStream {
                id: 1,
                fin: false,
                headers: vec![header("streamtype", "error"), header("port", "80")],
            },
            Frame::SynStream {
                id: 3,
                fin: true,
                headers: vec![header("streamtype", "data"), header("x", &long)],
            },
            Frame::SynReply { id: 1, fin: false, headers: vec![] },
            Frame::Data { id: 3, fin: false, data: Bytes::from_static(b"hello") },
            Frame::Data { id: 3, fin: true, data: Bytes::new() },
            Frame::Rst { id: 3, status: 5 },
            Frame::Ping { id: 7 },
            Frame::GoAway,
        ];
        let mut wire = BytesMut::new();
        for frame in &frames {
            sender.encode(frame, &mut wire).expect("encodes");
        }
        // Byte by byte, as a slow network would bring them.
        let mut buffer = BytesMut::new();
        let mut got = Vec::new();
        for byte in wire {
            buffer.put_u8(byte);
            got.extend(receiver.decode(&mut buffer).expect("decodes"));
        }
        assert_eq!(got, frames);
    }

    #[test]
    fn nonsense_is_refused() {
        let mut codec = Codec::new();
        let decode = |codec: &mut Codec, bytes: &[u8]| codec.decode(&mut BytesMut::from(bytes));
        assert_eq!(decode(&mut codec, &[0x80, 2, 0, 1, 0, 0, 0, 0]), Err(FrameError::Version(2)));
        assert_eq!(
            decode(&mut codec, &[0x80, 3, 0, 1, 0, 0, 0, 1, 0]),
            Err(FrameError::Malformed("SYN_STREAM"))
        );
        assert_eq!(
            decode(&mut codec, &[0, 0, 0, 1, 0, 0xff, 0xff, 0xff]),
            Err(FrameError::TooLarge(0xff_ffff))
        );
        let mut bad = vec![0x80, 3, 0, 2, 0, 0, 0, 8, 0, 0, 0, 1];
        bad.extend([1, 2, 3, 4]);
        assert_eq!(decode(&mut codec, &bad), Err(FrameError::Compression));
        assert_eq!(decode(&mut codec, &[0x80, 3]), Ok(None));
    }
}
