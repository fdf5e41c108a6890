//! A plain file cut into stretches at the borders of its records, so that many processes can read one each.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{BUFFER, Format, InputRange, InputSpec, Source, SourceError, display_name, input};

/// A stretch of an input.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cut {
    /// Where it is.
    pub range: InputRange,
    /// Rows in it.
    pub rows: u64,
    /// The start of the SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// Cuts a file, in bounded memory.
pub struct Cutter {
    source: Source,
    path: PathBuf,
    at: (u64, u64),
    row: u64,
    rows_each: u64,
}

impl Cutter {
    /// For stretches of so many rows.
    ///
    /// # Errors
    /// If the input cannot be read, or not from within: a stream, or what is compressed.
    pub fn open(spec: &InputSpec, rows_each: u64) -> Result<Self, SourceError> {
        let name = spec.input.to_string();
        let failed = |source| SourceError::Open { name: name.clone(), source };
        let Some(path) = spec.input.path() else { return Err(SourceError::NotCuttable { name }) };
        let file = File::open(path).map_err(failed)?;
        let mut head = Vec::new();
        let is_plain = file.metadata().map_err(failed)?.is_file();
        if is_plain {
            file.take(4).read_to_end(&mut head).map_err(failed)?;
        }
        let packed = (2..=head.len()).any(|n| input::Packing::of_content(&head[..n]).is_some());
        if !is_plain || packed || input::Packing::of_name(path).is_some() {
            return Err(SourceError::NotCuttable { name });
        }
        let path = path.to_owned();
        let source = Source::open(&InputSpec { range: None, ..spec.clone() })?;
        let at = source.begin;
        Ok(Self { source, path, at, row: 0, rows_each: rows_each.max(1) })
    }

    /// The format that is being read.
    pub fn format(&self) -> Format {
        self.source.format()
    }

    /// The next stretch.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn next_cut(&mut self) -> Result<Option<Cut>, SourceError> {
        let mut rows = 0;
        while rows < self.rows_each {
            // While one row is kept back, the position is behind that.
            if self.source.next_row()?.is_none() {
                break;
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let (to, line) = self.source.position();
        let range = InputRange { from: self.at.0, to, row: self.row, line: self.at.1 };
        let sha256 = hash_of_range(&self.path, range).map_err(|source| SourceError::Read {
            name: display_name(&self.path),
            line,
            source,
        })?;
        self.at = (to, line);
        self.row += rows;
        Ok(Some(Cut { range, rows, sha256 }))
    }
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutter").field("path", &self.path).field("row", &self.row).finish_non_exhaustive()
    }
}

/// The start of the SHA-256 of a stretch's bytes, in hex: whoever reads it later sees whether they have changed.
///
/// # Errors
/// If the file cannot be read, or ends before.
pub fn hash_of_range(path: &Path, range: InputRange) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(range.from))?;
    let mut rest = range.to.saturating_sub(range.from);
    let mut bytes = BufReader::with_capacity(BUFFER, file);
    let mut digest = Sha256::new();
    let mut chunk = vec![0; BUFFER];
    while rest > 0 {
        let most = usize::try_from(rest).unwrap_or(BUFFER).min(BUFFER);
        let count = bytes.read(&mut chunk[..most])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before"));
        }
        digest.update(&chunk[..count]);
        rest -= count as u64;
    }
    Ok(digest.finalize().iter().take(16).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // a String takes everything
        hex
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Row;

    fn rows(source: &mut Source) -> Vec<Row> {
        std::iter::from_fn(|| source.next_row().unwrap()).collect()
    }

    fn told(rows: &[Row]) -> Vec<String> {
        let told = |row: &Row| format!("{} {} {:?}", row.index, row.line, row.record);
        rows.iter().map(told).collect()
    }

    /// Whatever is in it and however it is cut: the stretches have the rows of the whole, with index and line.
    #[test]
    fn stretches_have_the_rows_of_the_whole() {
        let texts = [
            ("csv", "id,text\r\n1,\"a\r\nb\"\r\n\r\n2,c\r\n3\r\n4,\"d \"\"e\"\r\n"),
            ("csv", "\u{feff}id,text\n1,\"a\n\n\nb\"\n\n\n2,\"c,\n\"\n3,x\n4,\"open\nand never\nclosed\n"),
            ("tsv", "id\ttext\n1\ta\n2\t\"b\tc\"\n"),
            ("txt", "\u{feff}a\r\n\n  \nb\nc\n\u{feff}d\ne"),
            ("jsonl", "{\"a\":1}\n\n[2\n3\n\"\u{e9}\"\n\n"),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (extension, text) in texts {
            let path = folder.path().join(format!("in.{extension}"));
            std::fs::write(&path, text).unwrap();
            let spec = InputSpec::new(&path);
            let whole = rows(&mut Source::open(&spec).unwrap());
            for each in 1..6 {
                let mut cutter = Cutter::open(&spec, each).unwrap();
                let mut found = Vec::new();
                while let Some(cut) = cutter.next_cut().unwrap() {
                    assert_eq!(hash_of_range(&path, cut.range).unwrap(), cut.sha256);
                    let part = InputSpec { range: Some(cut.range), ..spec.clone() };
                    let part = rows(&mut Source::open(&part).unwrap());
                    assert_eq!(part.len() as u64, cut.rows, "{text:?} {cut:?}");
                    found.extend(part);
                }
                assert_eq!(told(&found), told(&whole), "{text:?} by {each}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_from_within_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.txt");
        std::fs::write(&path, [0x1f, 0x8b, 8, 0]).unwrap();
        assert!(matches!(Cutter::open(&InputSpec::new(&path), 1), Err(SourceError::NotCuttable { .. })));
        assert!(matches!(Cutter::open(&InputSpec::new("-"), 1), Err(SourceError::NotCuttable { .. })));
    }
}
