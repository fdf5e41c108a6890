//! Expressions that are more than a bare reference, by minijinja, within limits.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, ObjectExt, ObjectRepr, Value};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior};

use super::MAX_LEAF;
use super::error::{Place, Problem, RenderError, TemplateError};
use super::filters;
use super::names;
use super::reference::Style;
use super::scope::Scope;
use crate::row::Record;

/// Instructions that one rendering may execute: a few milliseconds, whatever the template loops over.
const FUEL: u64 = 200_000;
/// The name of the one template in each environment.
const NAME: &str = "template";

/// What becomes of a printed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// It is text among other text.
    Text(Style),
    /// It is the JSON value itself, its type kept.
    Json,
}

/// A compiled template with an environment of its own, so that none can include another.
pub(super) struct Jinja {
    env: Environment<'static>,
    place: Arc<str>,
}

/// What compiling made of a template.
pub(super) enum Compiled {
    /// It does not depend on the row.
    Constant(String),
    PerRow(Box<Jinja>),
}

impl Jinja {
    pub(super) fn compile(
        source: &str,
        mode: Mode,
        scope: &mut Scope<'_>,
        place: &Place,
    ) -> Result<Compiled, TemplateError> {
        let mut env = environment(mode);
        env.add_template_owned(NAME, source.to_owned())
            .map_err(|error| Problem::Expression { message: message(&error) }.at(place))?;
        if let Some(message) = names::unknown(&env, source) {
            return Err(Problem::Expression { message }.at(place));
        }
        let variables = env.get_template(NAME).map(|template| template.undeclared_variables(true));
        let mut variables: BTreeSet<String> = variables.unwrap_or_default().into_iter().collect();
        for name in ["env", "row"] {
            variables.extend(names::members(source, name).iter().map(|member| format!("{name}.{member}")));
        }

        let mut constant = !names::may_read_row(source);
        let mut secrets = Vec::new();
        for variable in &variables {
            let mut path = variable.split('.');
            match (path.next().unwrap_or_default(), path.next()) {
                ("env", Some(name)) => secrets.push((name.to_owned(), scope.env(name, place)?)),
                ("env", None) => return Err(Problem::EnvWhole.at(place)),
                ("row", column) => {
                    // Deeper names are not checked: the expression may test whether they exist.
                    let path: Vec<_> = column.into_iter().map(str::to_owned).collect();
                    scope.path(&path).map_err(|problem| problem.at(place))?;
                    constant = false;
                }
                ("line", _) => {
                    scope.line().map_err(|problem| problem.at(place))?;
                    constant = false;
                }
                ("index", _) => {
                    scope.index().map_err(|problem| problem.at(place))?;
                    constant = false;
                }
                (name @ ("rows" | "lines"), _) if scope.is_joint() => {
                    scope.rows(name).map_err(|problem| problem.at(place))?;
                    constant = false;
                }
                (name, _) if env.globals().any(|(global, _)| global == name) => {}
                (name, _) => return Err(Problem::UnknownVariable { name: name.to_owned() }.at(place)),
            }
        }
        let uses_env = !secrets.is_empty();
        env.add_global("env", Value::from_pairs(secrets));

        let compiled = Self { env, place: place.to_string().into() };
        if !constant {
            return Ok(Compiled::PerRow(compiled.into()));
        }
        let text = compiled.render(Value::from(())).map_err(|error| match error {
            RenderError::Expression { message, .. } => Problem::Expression { message }.at(place),
            other => Problem::Constant(other).at(place),
        })?;
        if uses_env {
            // Filters may have changed the value: what they made of it is as secret. (The quotes are JSON's.)
            scope.secrets.push(text.trim_matches('"').to_owned());
        }
        Ok(Compiled::Constant(text))
    }

    /// Renders with the variables in `context`.
    pub(super) fn render(&self, context: Value) -> Result<String, RenderError> {
        let failed = |message| RenderError::Expression { place: Arc::clone(&self.place), message };
        let too_large = || RenderError::TooLarge { place: Arc::clone(&self.place), limit: MAX_LEAF };
        let template = self.env.get_template(NAME).map_err(|error| failed(message(&error)))?;
        let mut out = Limited { bytes: Vec::new(), overflow: false };
        let result = template.render_captured_to(context, &mut out).map(drop);
        if out.overflow {
            return Err(too_large());
        }
        result.map_err(|error| failed(message(&error)))?;
        String::from_utf8(out.bytes).map_err(|_| failed("not valid UTF-8".to_owned()))
    }
}

/// The variables `row`, `line` and `index` of one row.
pub(super) fn context(index: u64, record: &Record) -> Value {
    let (row, line) = values(record);
    Value::from_object(Context { index, row, line })
}

/// The variables `rows` and `lines` of a call that carries many.
pub(super) fn context_of_all<'r>(records: impl Iterator<Item = &'r Record>) -> Value {
    let (rows, lines): (Vec<Value>, Vec<Option<Value>>) = records.map(values).unzip();
    let lines: Vec<Value> = lines.into_iter().flatten().collect();
    Value::from_pairs([("rows", Value::from(rows)), ("lines", Value::from(lines))])
}

/// `row`, and `line` if it is one.
fn values(record: &Record) -> (Value, Option<Value>) {
    match record {
        Record::Line(line) => {
            let line = Value::from(line.as_str());
            (Value::from_pairs([("line", line.clone())]), Some(line))
        }
        Record::Fields { columns, values } => {
            let fields = Fields { columns: Arc::clone(columns), values: values.clone() };
            (Value::from_object(fields), None)
        }
        Record::Json(raw) => {
            let row = serde_json::from_str(raw.get());
            (row.unwrap_or_else(|_| bad("the row is not valid Unicode").into()), None)
        }
    }
}

/// Strict, bounded, and without the function that prints all variables.
fn environment(mode: Mode) -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.remove_global("debug");
    filters::guard(&mut env);
    if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
        env.set_syntax(syntax);
    }
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_formatter(move |out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value| {
        print(mode, out, value)
    });
    env
}

/// Prints strings as they are (as JSON in [`Mode::Json`]) and everything else as JSON.
fn print(mode: Mode, out: &mut Output<'_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "the value is undefined"));
    }
    if let Mode::Text(style) = mode {
        if let Some(text) = value.as_str() {
            return out.write_str(text).map_err(Error::from);
        }
        if value.is_none() {
            return Err(bad("the value is none, expected a string, number or boolean"));
        }
        if style == Style::Scalar && value.as_object().is_some() {
            return Err(bad("the value is an object or list, expected a string, number or boolean"));
        }
    }
    // Straight to where the limit is: a list may repeat one long text a million times.
    serde_json::to_writer(Pieces(out), value).map_err(|_| bad("the value cannot be written as JSON"))
}

fn bad(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn message(error: &Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

/// The top-level variables; a name it does not know is looked up among the globals.
#[derive(Debug)]
struct Context {
    index: u64,
    row: Value,
    line: Option<Value>,
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "row" => Some(self.row.clone()),
            "line" => self.line.clone(),
            "index" => Some(self.index.into()),
            _ => None,
        }
    }
}

/// A CSV record as an object, without a map.
#[derive(Debug)]
struct Fields {
    columns: Arc<[String]>,
    values: csv::StringRecord,
}

impl Object for Fields {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let at = self.columns.iter().position(|column| column == key)?;
        self.values.get(at).map(Value::from)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_enumerator(|this| {
            Box::new(this.columns.iter().map(|column| Value::from(column.as_str())))
        })
    }
}

/// JSON on its way out; the serializer writes whole characters.
struct Pieces<'o, 'a>(&'o mut Output<'a>);

impl io::Write for Pieces<'_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(buf).map_err(|_| io::ErrorKind::InvalidData)?;
        self.0.write_str(text).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A buffer that refuses to grow beyond [`MAX_LEAF`].
struct Limited {
    bytes: Vec<u8>,
    overflow: bool,
}

impl io::Write for Limited {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buf.len() > MAX_LEAF {
            self.overflow = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Jinja {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment holds environment values.
        f.debug_struct("Jinja").field("place", &self.place).finish_non_exhaustive()
    }
}
