//! What a template may refer to, known while it is compiled.

use super::error::{Place, Problem, TemplateError};
use super::reference::{Reference, Target};
use super::{Input, InputKind};

/// Names longer than this get no suggestion: the comparison is quadratic.
const MAX_SUGGEST: usize = 64;

/// The input's columns and the environment, and what of the environment was used.
pub(super) struct Scope<'a> {
    input: Input<'a>,
    env: &'a dyn Fn(&str) -> Option<String>,
    /// What is compiled stands once for all rows of a call: there is no one row.
    joint: bool,
    /// The rows of a call stand somewhere in it.
    pub(super) uses_rows: bool,
    /// Every environment value that a template asked for, once per use, and what was made of it.
    pub(super) secrets: Vec<String>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(input: Input<'a>, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { input, env, joint: false, uses_rows: false, secrets: Vec::new() }
    }

    /// What is compiled is a call of many rows.
    pub(super) fn of_many_rows(self, many: bool) -> Self {
        Self { joint: many, ..self }
    }

    /// Whether there is no one row here.
    pub(super) fn is_joint(&self) -> bool {
        self.joint
    }

    /// What `compile` compiles stands there once for each row of a call.
    pub(super) fn each<T>(&mut self, compile: impl FnOnce(&mut Self) -> T) -> T {
        self.uses_rows = true;
        let outside = std::mem::replace(&mut self.joint, false);
        let compiled = compile(self);
        self.joint = outside;
        compiled
    }

    /// `rows`, or `lines` of a plain list: all that a call carries.
    pub(super) fn rows(&mut self, name: &str) -> Result<(), Problem> {
        self.uses_rows = true;
        if name == "lines" && self.input.kind != InputKind::Lines { Err(Problem::NoLine) } else { Ok(()) }
    }

    /// `index`.
    pub(super) fn index(&self) -> Result<Reference, Problem> {
        self.one_row().map(|()| Reference::new("index", Target::Index))
    }

    fn one_row(&self) -> Result<(), Problem> {
        if self.joint { Err(Problem::ManyRows) } else { Ok(()) }
    }

    /// The value of an environment variable, remembered as a secret.
    pub(super) fn env(&mut self, name: &str, place: &Place) -> Result<String, TemplateError> {
        let name = || name.to_owned();
        let value = (self.env)(&name()).filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| Problem::EnvUnset { name: name() }.at(place))?;
        if value.ends_with('\n') {
            return Err(Problem::EnvNewline { name: name() }.at(place));
        }
        self.secrets.push(value.clone());
        Ok(value)
    }

    /// A column by its name: `{name}`.
    pub(super) fn column(&self, name: &str) -> Result<Reference, Problem> {
        self.path(std::slice::from_ref(&name.to_owned()))
    }

    /// `line`.
    pub(super) fn line(&self) -> Result<Reference, Problem> {
        self.one_row()?;
        match self.input.kind {
            InputKind::Lines => Ok(Reference::new("line", Target::Line)),
            InputKind::Fields | InputKind::Json => Err(Problem::NoLine),
        }
    }

    /// `row`, `row.a`, `row.a.b`, by the names after `row`.
    pub(super) fn path(&self, path: &[String]) -> Result<Reference, Problem> {
        self.one_row()?;
        let Some((first, rest)) = path.split_first() else {
            return Ok(Reference::new("row", Target::Whole));
        };
        if self.input.kind == InputKind::Json {
            return Ok(Reference::new(&path.join("."), Target::Member(path.into())));
        }
        let at = self.position(first)?;
        if !rest.is_empty() {
            return Err(Problem::NestedColumn { name: first.clone() });
        }
        let target = if self.input.kind == InputKind::Lines { Target::Line } else { Target::Column(at) };
        Ok(Reference::new(first, target))
    }

    /// Where a column stands; `None` if the columns are not known yet.
    fn position(&self, name: &str) -> Result<Option<usize>, Problem> {
        let only_line = ["line".to_owned()];
        let columns = match (self.input.kind, self.input.columns) {
            (InputKind::Lines, _) => &only_line,
            (_, Some(columns)) => columns,
            (_, None) => return Ok(None),
        };
        let mut hits = columns.iter().enumerate().filter(|(_, column)| *column == name);
        match (hits.next(), hits.next()) {
            (Some((at, _)), None) => Ok(Some(at)),
            (Some(_), Some(_)) => Err(Problem::AmbiguousColumn { name: name.to_owned() }),
            (None, _) => Err(Problem::UnknownColumn {
                name: name.to_owned(),
                columns: columns.to_vec(),
                similar: similar(name, columns),
            }),
        }
    }
}

/// The column that `name` was probably meant to be: at most a third of it is different.
fn similar(name: &str, columns: &[String]) -> Option<String> {
    let fold = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let name = fold(name);
    if name.len() > MAX_SUGGEST {
        return None;
    }
    let near = columns.iter().filter(|column| column.len() <= MAX_SUGGEST);
    let (distance, best) =
        near.map(|column| (distance(&name, &fold(column)), column)).min_by_key(|(d, _)| *d)?;
    (distance <= name.chars().count().div_ceil(3)).then(|| best.clone())
}

/// Levenshtein's distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("usr_id", "user_id", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let columns = ["user_id".to_owned(), "name".to_owned()];
        assert_eq!(similar("usr_id", &columns).as_deref(), Some("user_id"));
        assert_eq!(similar("User-ID", &columns).as_deref(), Some("user_id"));
        assert_eq!(similar("zip", &columns), None);
    }
}
