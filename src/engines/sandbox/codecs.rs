//! Compression in both directions, a chunk at a time.

use std::io::{self, Write};

use brotli::{CompressorWriter, DecompressorWriter};
use bytes::Bytes;
use flate2::{
    Compression,
    write::{DeflateDecoder, DeflateEncoder, GzEncoder, MultiGzDecoder, ZlibDecoder, ZlibEncoder},
};
use serde::Deserialize;

use super::{frame::unpack, services::ServiceError, state::State};

/// Output of one chunk: a bomb ends here, not in the memory of the host.
const MAX_OUTPUT: usize = 256 << 20;
/// Host memory all open codecs of an instance may take, in MiB as [`Codec::weight`] reckons.
const MAX_WEIGHT: usize = 128;
/// Brotli's best qualities take seconds for a megabyte; the guest gets the best of the quick ones.
const MAX_BROTLI_QUALITY: u32 = 9;
/// Window of brotli: four megabytes, which is what its tools take by themselves.
const BROTLI_WINDOW: u32 = 22;
const BROTLI_BUFFER: usize = 16 * 1024;

/// Collects output up to a limit.
#[derive(Default)]
pub(super) struct Sink(Vec<u8>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("the output is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) enum Codec {
    Gzip(GzEncoder<Sink>),
    Deflate(ZlibEncoder<Sink>),
    DeflateRaw(DeflateEncoder<Sink>),
    Gunzip(MultiGzDecoder<Sink>),
    Inflate(ZlibDecoder<Sink>),
    InflateRaw(DeflateDecoder<Sink>),
    /// Ends by giving its sink back, so it is taken out for that.
    Brotli(Option<Box<CompressorWriter<Sink>>>),
    Unbrotli(Box<DecompressorWriter<Sink>>),
    /// gzip or zlib, by the first bytes.
    Unzip(Vec<u8>),
}

macro_rules! flate {
    ($codec:expr, $inner:ident => $body:expr, $($other:tt)*) => {
        match $codec {
            Codec::Gzip($inner) => $body,
            Codec::Deflate($inner) => $body,
            Codec::DeflateRaw($inner) => $body,
            Codec::Gunzip($inner) => $body,
            Codec::Inflate($inner) => $body,
            Codec::InflateRaw($inner) => $body,
            $($other)*
        }
    };
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    More,
    Flush,
    Finish,
}

/// A chunk for a codec.
pub(super) struct Input {
    mode: Mode,
    bytes: Bytes,
}

#[derive(Deserialize)]
struct Open {
    kind: String,
    level: i32,
}

pub(super) fn open(state: &mut State, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let (Open { kind, level }, _) = unpack(payload)?;
    let quality = u32::try_from(level).unwrap_or(6).min(MAX_BROTLI_QUALITY);
    let level = Compression::new(quality);
    let codec = match kind.as_str() {
        "gzip" => Codec::Gzip(GzEncoder::new(Sink::default(), level)),
        "deflate" => Codec::Deflate(ZlibEncoder::new(Sink::default(), level)),
        "deflate-raw" => Codec::DeflateRaw(DeflateEncoder::new(Sink::default(), level)),
        "gunzip" => Codec::Gunzip(MultiGzDecoder::new(Sink::default())),
        "inflate" => Codec::Inflate(ZlibDecoder::new(Sink::default())),
        "inflate-raw" => Codec::InflateRaw(DeflateDecoder::new(Sink::default())),
        "brotli" => {
            let encoder = CompressorWriter::new(Sink::default(), BROTLI_BUFFER, quality, BROTLI_WINDOW);
            Codec::Brotli(Some(Box::new(encoder)))
        }
        "unbrotli" => Codec::Unbrotli(Box::new(DecompressorWriter::new(Sink::default(), BROTLI_BUFFER))),
        "unzip" => Codec::Unzip(Vec::new()),
        _ => return Err(ServiceError::named("TypeError", "unknown compression format")),
    };
    let open: usize = state.codecs.values().map(Codec::weight).sum();
    if open + codec.weight() > MAX_WEIGHT {
        return Err(ServiceError::new("too many compression streams are open: finish some before starting others"));
    }
    Ok(state.codecs.insert(codec)?.to_le_bytes().to_vec())
}

#[derive(Deserialize)]
struct Chunk {
    handle: i32,
    mode: Mode,
}

/// Takes the codec a chunk is for out of the table, so that it can work elsewhere.
pub(super) fn take(state: &mut State, payload: Vec<u8>) -> Result<(Codec, i32, Input), ServiceError> {
    let (Chunk { handle, mode }, parts) = unpack(payload)?;
    let codec = state.codecs.remove(handle).ok_or_else(|| ServiceError::new("the stream is closed"))?;
    Ok((codec, handle, Input { mode, bytes: parts.into_iter().next().unwrap_or_default() }))
}

pub(super) fn put_back(state: &mut State, codec: Codec, handle: i32, input: &Input) {
    if input.mode != Mode::Finish {
        state.codecs.put_back(handle, codec);
    }
}

impl Codec {
    /// Host memory it may come to take, in MiB.
    fn weight(&self) -> usize {
        match self {
            Self::Brotli(_) => 16,
            Self::Unbrotli(_) => 8,
            _ => 1,
        }
    }

    pub(super) fn write(&mut self, input: &Input) -> Result<Vec<u8>, ServiceError> {
        self.run(input).map_err(|error| {
            ServiceError::named("TypeError", format!("The compressed data was not valid: {error}"))
                .with_code("Z_DATA_ERROR")
        })
    }

    fn run(&mut self, input: &Input) -> io::Result<Vec<u8>> {
        if let Self::Unzip(held) = self {
            held.extend_from_slice(&input.bytes);
            if held.len() < 2 && input.mode != Mode::Finish {
                return Ok(Vec::new());
            }
            let held = Bytes::from(std::mem::take(held));
            *self = if held.starts_with(&[0x1f, 0x8b]) {
                Self::Gunzip(MultiGzDecoder::new(Sink::default()))
            } else {
                Self::Inflate(ZlibDecoder::new(Sink::default()))
            };
            return self.run(&Input { mode: input.mode, bytes: held });
        }
        flate!(self, codec => {
            codec.write_all(&input.bytes)?;
            match input.mode {
                Mode::More => {}
                Mode::Flush => codec.flush()?,
                Mode::Finish => codec.try_finish()?,
            }
            Ok(std::mem::take(&mut codec.get_mut().0))
        },
        Self::Brotli(held) => {
            let mut codec = held.take().ok_or_else(|| io::Error::other("the stream has ended"))?;
            codec.write_all(&input.bytes)?;
            if input.mode == Mode::Finish {
                return Ok(codec.into_inner().0);
            }
            if input.mode == Mode::Flush {
                codec.flush()?;
            }
            let output = std::mem::take(&mut codec.get_mut().0);
            *held = Some(codec);
            Ok(output)
        }
        Self::Unbrotli(codec) => {
            codec.write_all(&input.bytes)?;
            if input.mode == Mode::Finish {
                codec.close()?;
            }
            Ok(std::mem::take(&mut codec.get_mut().0))
        }
        Self::Unzip(_) => Ok(Vec::new()),)
    }
}
