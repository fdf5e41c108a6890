//! Decompression of bodies, bounded by what comes out.

use std::io::{self, ErrorKind, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use zstd::stream::raw::{DParameter, Operation as _};

use super::CallFault;

/// What is asked for unless the call names its own.
pub(super) const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("gzip, br, zstd");

/// The most that a zstd frame may ask us to remember: 2^23 bytes, as RFC 9659 has it.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Bytes that a decoder puts out at once.
const STEP: usize = 16 << 10;

/// Decompresses a body as it comes in.
pub(super) struct Decoder {
    coding: &'static str,
    limit: usize,
    machine: Machine,
}

enum Machine {
    Gzip(Box<MultiGzDecoder<Output>>),
    Brotli(Box<DecompressorWriter<Output>>),
    Zstd(Unzstd),
    Deflate(Inflate),
}

impl Decoder {
    /// The decoder that the headers ask for; none for a plain body.
    ///
    /// One coding at most: nobody stacks them, and each level would be one more bomb.
    pub(super) fn for_headers(headers: &HeaderMap, limit: usize) -> Result<Option<Self>, CallFault> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
        let output = Output { bytes: Vec::new(), limit };
        let name = value.as_bytes().trim_ascii();
        let (coding, machine) = if is(name, "gzip") || is(name, "x-gzip") {
            ("gzip", Machine::Gzip(Box::new(MultiGzDecoder::new(output))))
        } else if is(name, "br") {
            ("br", Machine::Brotli(Box::new(DecompressorWriter::new(output, STEP))))
        } else if is(name, "zstd") {
            let decoder = Unzstd::new(output);
            ("zstd", Machine::Zstd(decoder.map_err(|source| CallFault::Coding { coding: "zstd", source })?))
        } else if is(name, "deflate") {
            ("deflate", Machine::Deflate(Inflate { output, machine: None, ended: false }))
        } else if is(name, "identity") || name.is_empty() {
            return Ok(None);
        } else {
            return Err(CallFault::UnknownCoding(String::from_utf8_lossy(name).into_owned()));
        };
        Ok(Some(Self { coding, limit, machine }))
    }

    /// Takes the next part of the compressed body.
    pub(super) fn write(&mut self, part: &[u8]) -> Result<(), CallFault> {
        let result = match &mut self.machine {
            Machine::Gzip(decoder) => decoder.write_all(part),
            Machine::Brotli(decoder) => decoder.write_all(part),
            Machine::Zstd(decoder) => decoder.write(part),
            Machine::Deflate(decoder) => decoder.write(part),
        };
        result.map_err(|error| self.fault(error))
    }

    /// The whole body, once all of it was written.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, CallFault> {
        let result = match &mut self.machine {
            Machine::Gzip(decoder) => decoder.try_finish().map(|()| take(decoder.get_mut())),
            Machine::Brotli(decoder) => decoder.close().map(|()| take(decoder.get_mut())),
            Machine::Zstd(decoder) => decoder.finish(),
            Machine::Deflate(decoder) => decoder.finish(),
        };
        result.map_err(|error| self.fault(error))
    }

    fn fault(&self, error: io::Error) -> CallFault {
        match error.kind() {
            ErrorKind::FileTooLarge => CallFault::TooLarge { limit: self.limit },
            _ => CallFault::Coding { coding: self.coding, source: error },
        }
    }
}

fn is(name: &[u8], coding: &str) -> bool {
    name.eq_ignore_ascii_case(coding.as_bytes())
}

fn take(output: &mut Output) -> Vec<u8> {
    std::mem::take(&mut output.bytes)
}

/// Where decoders write to; an error stops them at the limit.
struct Output {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Output {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if part.len() > self.limit - self.bytes.len() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// zstd, frame after frame. (The crate's own writer takes a frame for incomplete whose end is still
/// inside the decoder.)
struct Unzstd {
    output: Output,
    decoder: zstd::stream::raw::Decoder<'static>,
    ended: bool,
}

impl Unzstd {
    fn new(output: Output) -> io::Result<Self> {
        let mut decoder = zstd::stream::raw::Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
        Ok(Self { output, decoder, ended: false })
    }

    fn write(&mut self, part: &[u8]) -> io::Result<()> {
        let mut buffer = [0; STEP];
        let mut consumed = 0;
        loop {
            let status = self.decoder.run_on_buffers(&part[consumed..], &mut buffer)?;
            consumed += status.bytes_read;
            self.ended = status.remaining == 0;
            self.output.write_all(&buffer[..status.bytes_written])?;
            // A full buffer may have left something behind in the decoder.
            let drained = self.ended || status.bytes_written < STEP;
            if consumed == part.len() && drained {
                return Ok(());
            }
        }
    }

    fn finish(&mut self) -> io::Result<Vec<u8>> {
        if self.ended { Ok(take(&mut self.output)) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

/// `deflate`: zlib by the book, bare deflate by widespread mistake. (flate2's own writer does not
/// tell a stream that was cut short.)
struct Inflate {
    output: Output,
    machine: Option<Decompress>,
    ended: bool,
}

impl Inflate {
    fn write(&mut self, part: &[u8]) -> io::Result<()> {
        let Some(&first) = part.first() else { return Ok(()) };
        // Compression method 8 in the low bits is zlib's; bare deflate would be starting with a
        // stored block that has a bit set in its padding.
        let machine = self.machine.get_or_insert_with(|| Decompress::new(first & 0x0f == 8));
        let start = machine.total_in();
        let mut buffer = [0; STEP];
        while !self.ended {
            let consumed = (machine.total_in() - start) as usize;
            let produced = machine.total_out();
            let status = machine.decompress(&part[consumed..], &mut buffer, FlushDecompress::None)?;
            let produced = (machine.total_out() - produced) as usize;
            self.ended = status == Status::StreamEnd;
            self.output.write_all(&buffer[..produced])?;
            if produced < STEP && (machine.total_in() - start) as usize == part.len() {
                break;
            }
            if produced == 0 && status == Status::BufError {
                return Err(ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<Vec<u8>> {
        if self.ended { Ok(take(&mut self.output)) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}
