//! The pass over an answer's fields: those that are known are kept, all others cost a look at a
//! letter and a length.

use std::cell::Cell;

use super::Ignored;
use super::dialect::{Dialect, Header};

/// Bytes of a value that are looked at.
const MAX_VALUE: usize = 1_024;
/// Fields of one answer that are kept, and complaints about them.
const MAX_FIELDS: usize = 64;
/// Room that suffices for most answers.
const USUAL_FIELDS: usize = 8;
const USUAL_TEXT: usize = 128;
/// Bytes of an HTTP-date in its longest form, and some.
const MAX_DATE: usize = 40;

/// All names that are looked for, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    sorted: Vec<Name>,
    /// By the first letter a bit for each length.
    screen: [u64; 32],
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    text: Box<str>,
    /// A bit for each dialect that it may be of; those beyond the last bit share it.
    dialects: u64,
    /// It tells of a limit, and is no mark only.
    tells: bool,
    may_be_many: Many,
}

/// What several fields of one name are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Many {
    /// A contradiction, unless they say the same.
    Never,
    /// One list (RFC 9110, section 5.3).
    List,
    /// Several, of which the longest counts.
    Several,
}

/// The fields of one answer that are known.
#[derive(Debug, Default)]
pub(super) struct Fields {
    text: String,
    kept: Vec<Kept>,
    dialects: u64,
    tell: bool,
    is_cached: bool,
    date: Option<([u8; MAX_DATE], usize)>,
    ignored: Vec<Ignored>,
}

/// A field by the number of its name, and the place of its value in the text.
#[derive(Debug)]
struct Kept {
    id: u16,
    start: usize,
    end: usize,
    /// Neither contradicted nor read by a dialect before.
    is_usable: Cell<bool>,
}

impl Names {
    /// Gathers the names of all dialects and numbers them.
    pub(super) fn number(dialects: &mut [Dialect]) -> Self {
        let mut sorted: Vec<Name> = Vec::new();
        for (i, dialect) in dialects.iter().enumerate() {
            let of = 1 << i.min(63);
            dialect.each_field(|header| add(&mut sorted, header, of, true, Many::Never));
            dialect.each_list(|header| add(&mut sorted, header, of, true, Many::List));
            dialect.marks.iter().for_each(|mark| add(&mut sorted, mark, of, false, Many::Never));
            let retry_after = dialect.retry_after.iter();
            retry_after.for_each(|(header, _)| add(&mut sorted, header, 0, false, Many::Several));
        }
        sorted.sort_by(|a, b| a.text.cmp(&b.text));
        let mut screen = [0; 32];
        for name in &sorted {
            screen[letter(&name.text)] |= length(&name.text);
        }
        for header in dialects.iter_mut().flat_map(Dialect::every_header) {
            let at = sorted.binary_search_by(|name| (*name.text).cmp(&header.name)).unwrap_or_default();
            header.id = at as u16;
        }
        Self { sorted, screen }
    }

    /// Keeps a field if its name is known.
    pub(super) fn take(&self, name: &str, value: &[u8], fields: &mut Fields) {
        match name {
            "date" => return fields.take_date(value),
            "age" => return fields.is_cached = true,
            _ if self.screen[letter(name)] & length(name) == 0 => return,
            _ => {}
        }
        if let Ok(at) = self.sorted.binary_search_by(|known| (*known.text).cmp(name)) {
            fields.take(&self.sorted[at], at as u16, value);
        }
    }
}

impl Fields {
    fn take_date(&mut self, value: &[u8]) {
        let mut bytes = [0; MAX_DATE];
        if let Some(place) = bytes.get_mut(..value.len()) {
            place.copy_from_slice(value);
            self.date = Some((bytes, value.len()));
        }
    }

    fn take(&mut self, name: &Name, id: u16, value: &[u8]) {
        self.dialects |= name.dialects;
        self.tell |= name.tells;
        if self.kept.len() == MAX_FIELDS {
            return self.ignore(name, "one of too many");
        }
        let text = match plain(value) {
            Ok(text) => text,
            Err(why) => return self.ignore(name, why),
        };
        if self.kept.is_empty() {
            self.kept.reserve(USUAL_FIELDS);
            self.text.reserve(USUAL_TEXT);
        }
        let start = self.text.len();
        if let Some(before) = self.kept.iter_mut().find(|kept| kept.id == id) {
            match name.may_be_many {
                _ if &self.text[before.start..before.end] == text => return,
                Many::Never => {
                    before.is_usable.set(false);
                    return self.ignore(name, "sent twice, with different values");
                }
                Many::List => {
                    let first = self.text[before.start..before.end].to_owned();
                    self.text.extend([&*first, ", ", text]);
                    (before.start, before.end) = (start, self.text.len());
                    return;
                }
                Many::Several => {}
            }
        }
        self.text.push_str(text);
        self.kept.push(Kept { id, start, end: self.text.len(), is_usable: Cell::new(true) });
    }

    fn ignore(&mut self, name: &Name, why: &'static str) {
        if self.ignored.len() < MAX_FIELDS {
            self.ignored.push(Ignored { field: name.text.clone(), why });
        }
    }

    pub(super) fn take_ignored(&mut self) -> Vec<Ignored> {
        std::mem::take(&mut self.ignored)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether any of them tells of a limit.
    pub(super) fn tell(&self) -> bool {
        self.tell
    }

    pub(super) fn is_cached(&self) -> bool {
        self.is_cached
    }

    /// The answer's date, as it was written.
    pub(super) fn date(&self) -> Option<&str> {
        let (bytes, len) = self.date.as_ref()?;
        std::str::from_utf8(&bytes[..*len]).ok().map(str::trim)
    }

    /// Whether there is a name that the dialect of this number has.
    pub(super) fn may_be_of(&self, dialect: usize) -> bool {
        self.dialects >> dialect.min(63) & 1 == 1
    }

    pub(super) fn has(&self, id: u16) -> bool {
        self.kept.iter().any(|kept| kept.id == id)
    }

    /// The value of a field that nobody has claimed.
    pub(super) fn value(&self, id: u16) -> Option<&str> {
        self.all(id).next()
    }

    pub(super) fn all(&self, id: u16) -> impl Iterator<Item = &str> {
        let of = self.kept.iter().filter(move |kept| kept.id == id && kept.is_usable.get());
        of.map(|kept| &self.text[kept.start..kept.end])
    }

    /// The field has been read; no other dialect reads it again.
    pub(super) fn claim(&self, id: u16) {
        self.kept.iter().filter(|kept| kept.id == id).for_each(|kept| kept.is_usable.set(false));
    }
}

fn add(sorted: &mut Vec<Name>, header: &Header, dialects: u64, tells: bool, may_be_many: Many) {
    match sorted.iter_mut().find(|name| *name.text == *header.name) {
        Some(name) => {
            name.dialects |= dialects;
            name.tells |= tells;
            if may_be_many != Many::Never {
                name.may_be_many = may_be_many;
            }
        }
        None => sorted.push(Name { text: (*header.name).into(), dialects, tells, may_be_many }),
    }
}

fn letter(name: &str) -> usize {
    usize::from(name.as_bytes().first().map_or(0, |first| first & 31))
}

fn length(name: &str) -> u64 {
    1 << name.len().min(63)
}

fn plain(value: &[u8]) -> Result<&str, &'static str> {
    if value.len() > MAX_VALUE {
        return Err("longer than 1,024 bytes");
    }
    let text = std::str::from_utf8(value).map_err(|_| "not text")?.trim();
    if text.contains(char::is_control) { Err("control characters") } else { Ok(text) }
}
