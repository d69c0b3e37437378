//! Bodies that come compressed, as `Content-Encoding` says: inflated within the bound that holds for plain ones.

use std::io::{self, Read};

use bytes::buf::Reader;
use bytes::{Buf as _, Bytes};
use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::admission::Held;
use super::problem::{Answer, ApiError};

/// What `Accept-Encoding` says to who sent something else.
pub const ACCEPTED: &str = "gzip, zstd, deflate";
/// The largest window of a zstd frame, as a power of two: what RFC 9659 has decoders of HTTP support. A frame may ask for
/// gigabytes, which the decoder would set aside before it has read anything.
const ZSTD_WINDOW_LOG: u32 = 23;
/// How much is inflated at a time: a fraction of a millisecond's work.
const STEP: u64 = 64 * 1024;

/// How a body is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    Gzip,
    Zstd,
    Deflate,
}

impl Encoding {
    /// What the headers say; `None` for a plain body.
    pub fn of(headers: &HeaderMap) -> Answer<Option<Self>> {
        let mut found = None;
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().unwrap_or("?").split(',').map(str::trim) {
                let encoding = match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "zstd" => Self::Zstd,
                    "deflate" => Self::Deflate,
                    _ => {
                        let detail = format!("the content encoding `{name}` is not taken; {ACCEPTED} and identity are");
                        return Err(ApiError::unsupported_encoding(detail));
                    }
                };
                if found.replace(encoding).is_some() {
                    let detail = "a body that is compressed twice is not taken; send it compressed once";
                    return Err(ApiError::unsupported_encoding(detail));
                }
            }
        }
        Ok(found)
    }

    /// The body as it was before it was compressed: at most `limit` bytes, of which no more are ever made, and which need room
    /// like those that came. Other requests have their turn in between.
    pub async fn inflate(self, body: Bytes, limit: usize, mut held: Option<&mut Held<'_>>) -> Answer<Bytes> {
        let mut inflated = Vec::new();
        if body.is_empty() {
            return Ok(body);
        }
        let broken = |error: io::Error| ApiError::malformed(format!("the body is not whole {}: {error}", self.name()));
        let mut source = Source::of(self, body).map_err(broken)?;
        loop {
            let more = source.by_ref().take(STEP).read_to_end(&mut inflated).map_err(broken)?;
            if inflated.len() > limit {
                return Err(ApiError::too_large(format!("a body of at most {limit} bytes, inflated, is taken here")));
            }
            match (more, source.rest()) {
                (0, 0) => return Ok(inflated.into()),
                // Of several streams behind each other there could be millions that say nothing.
                (0, rest) => return Err(broken(io::Error::other(format!("{rest} more bytes come behind its end")))),
                _ => {}
            }
            if let Some(held) = &mut held {
                held.grow(more)?;
            }
            if more as u64 == STEP {
                tokio::task::yield_now().await;
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Deflate => "deflate",
        }
    }
}

/// A body that is being inflated: one stream, and nothing behind it.
enum Source {
    Gzip(GzDecoder<Reader<Bytes>>),
    Zstd(zstd::stream::read::Decoder<'static, Reader<Bytes>>),
    Deflate(Deflated),
}

impl Source {
    fn of(encoding: Encoding, body: Bytes) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip => Self::Gzip(GzDecoder::new(body.reader())),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body.reader())?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            // `deflate` is the zlib format; some have always sent what is inside of it alone.
            Encoding::Deflate => {
                Self::Deflate(Deflated { state: Decompress::new(is_zlib(&body)), rest: body, has_ended: false })
            }
        })
    }

    /// How many bytes have not been read.
    fn rest(&self) -> usize {
        match self {
            Self::Gzip(decoder) => decoder.get_ref().get_ref().len(),
            Self::Zstd(decoder) => decoder.get_ref().get_ref().len(),
            Self::Deflate(deflated) => deflated.rest.len(),
        }
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(decoder) => decoder.read(out),
            Self::Zstd(decoder) => decoder.read(out),
            Self::Deflate(deflated) => deflated.read(out),
        }
    }
}

/// Whether the two bytes that zlib's format begins with are there (RFC 1950, 2.2).
fn is_zlib(body: &[u8]) -> bool {
    let [first, second, ..] = body else { return false };
    first & 0x0f == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0
}

/// Reads deflate, since the library's readers take a stream that breaks off for one that has ended.
struct Deflated {
    state: Decompress,
    rest: Bytes,
    has_ended: bool,
}

impl Read for Deflated {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.has_ended || out.is_empty() {
            return Ok(0);
        }
        loop {
            let (taken, made) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(&self.rest, out, FlushDecompress::None)?;
            let (taken, made) = (self.state.total_in() - taken, self.state.total_out() - made);
            self.rest.advance(usize::try_from(taken).unwrap_or(usize::MAX).min(self.rest.len()));
            if status == Status::StreamEnd {
                self.has_ended = true;
            } else if taken == 0 && made == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if made > 0 || self.has_ended {
                return Ok(usize::try_from(made).unwrap_or(usize::MAX).min(out.len()));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    fn encoding(values: &[&str]) -> Answer<Option<Encoding>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
        }
        Encoding::of(&headers)
    }

    /// A text in every form that is taken.
    fn forms(text: &[u8]) -> Vec<(Encoding, Vec<u8>)> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text).unwrap();
        zlib.write_all(text).unwrap();
        raw.write_all(text).unwrap();
        vec![
            (Encoding::Gzip, gzip.finish().unwrap()),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Deflate, raw.finish().unwrap()),
            (Encoding::Zstd, zstd::encode_all(text, 3).unwrap()),
        ]
    }

    #[test]
    fn an_encoding_is_read_in_any_case_and_identity_is_none() {
        assert_eq!(encoding(&[]).unwrap(), None);
        assert_eq!(encoding(&["identity"]).unwrap(), None);
        assert_eq!(encoding(&["GZIP"]).unwrap(), Some(Encoding::Gzip));
        assert_eq!(encoding(&["x-gzip, identity"]).unwrap(), Some(Encoding::Gzip));
        assert_eq!(encoding(&["identity", "zstd"]).unwrap(), Some(Encoding::Zstd));
        for bad in [&["br"][..], &["gzip, gzip"], &["gzip", "zstd"], &["gzip;q=1"], &["*"]] {
            assert_eq!(encoding(bad).unwrap_err().status(), 415, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn every_form_is_inflated_up_to_the_limit() {
        let long = vec![b'x'; 300_000];
        for text in [&b""[..], b"{}", &long[..]] {
            for (encoding, body) in forms(text) {
                let inflate = |limit| encoding.inflate(body.clone().into(), limit, None);
                assert_eq!(inflate(text.len()).await.unwrap(), text, "{encoding:?}");
                if !text.is_empty() {
                    assert_eq!(inflate(text.len() - 1).await.unwrap_err().status(), 413, "{encoding:?}");
                }
            }
        }
        assert_eq!(Encoding::Gzip.inflate(Bytes::new(), 1, None).await.unwrap(), "");
    }

    #[tokio::test]
    async fn what_is_broken_off_or_followed_by_something_is_refused() {
        for (encoding, body) in forms(b"{\"type\": \"a\", \"payload\": [1, 2, 3]}") {
            let status =
                |body: Vec<u8>| async move { encoding.inflate(body.into(), 1000, None).await.unwrap_err().status() };
            for cut in [1, body.len() / 2, body.len() - 1] {
                assert_eq!(status(body[..cut].to_vec()).await, 400, "{encoding:?} cut at {cut}");
            }
            for more in [&b"more"[..], &body[..]] {
                assert_eq!(status([&body[..], more].concat()).await, 400, "{encoding:?} with more behind it");
            }
            assert_eq!(status(b"{\"type\"}".to_vec()).await, 400, "{encoding:?}");
        }
    }

    #[tokio::test]
    async fn a_frame_that_asks_for_a_window_of_its_own_size_gets_no_more_than_8_mib() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(b"small").unwrap();
        let body = encoder.finish().unwrap();
        assert_eq!(Encoding::Zstd.inflate(body.into(), 1000, None).await.unwrap_err().status(), 400);
    }
}
