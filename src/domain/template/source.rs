//! From a template's source to what a message says, by minijinja: without a loader, in the language of
//! `template_language` and within bounds. What a render may cost is bounded by fuel and by the size of what comes
//! out; what compiling may cost, by the size of what goes in.

use std::{
    collections::BTreeSet,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
};

use entity::message::Channel;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use sea_orm::ActiveEnum as _;

use super::{
    body::Body,
    filters, language,
    limits::{Stop, TimeLimit},
    values::Values,
};
use crate::domain::channel::content::{Content, EMAIL_BYTES_MAX, Part};

/// Steps of a part's rendering at most, about. Most templates take some dozens; the dearest take a few
/// milliseconds for all of them.
pub const FUEL: u64 = 10_000;
/// What a part takes up once it is compiled, estimated: for itself, for each byte and for each token.
const PART_WEIGHT: usize = 2_048;
const BYTE_WEIGHT: usize = 2;
const TOKEN_WEIGHT: usize = 100;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    filters::add(&mut environment);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|name| {
        if name.ends_with(part_name(Part::Html)) { AutoEscape::Html } else { AutoEscape::None }
    });
    environment
});

/// A template's parts, ready to be rendered.
pub struct Compiled {
    environment: Environment<'static>,
    /// The variables that its parts use.
    pub variables: BTreeSet<String>,
    /// Bytes that it takes up, estimated.
    pub weight: usize,
}

/// Why a body gave no content, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrendered {
    /// It uses something that is not there.
    VariableMissing(String),
    /// It takes too long or becomes too large, or its variables do not fit what it does with them.
    Failed(String),
}

impl Compiled {
    /// Compiles all parts, or says what is wrong with one.
    pub fn new(bodies: &[Body], time: &mut TimeLimit) -> Result<Result<Self, String>, Stop> {
        let environment = ENVIRONMENT.clone();
        let mut compiled = Self { environment, variables: BTreeSet::new(), weight: 0 };
        for (name, source) in bodies.iter().flat_map(parts) {
            time.check()?;
            if let Err(problem) = compiled.add(name, source) {
                return Ok(Err(problem));
            }
        }
        Ok(Ok(compiled))
    }

    fn add(&mut self, name: String, source: &str) -> Result<(), String> {
        contained(|| {
            let checked = language::check(&name, source)?;
            self.variables.extend(checked.variables);
            self.weight += PART_WEIGHT + BYTE_WEIGHT * source.len() + TOKEN_WEIGHT * checked.tokens;
            let added = self.environment.add_template_owned(name, source.to_owned());
            added.map_err(|error| explain(&error))
        })
    }

    /// What a body says with these variables.
    pub fn render(&self, body: &Body, values: &Values) -> Result<Content, Unrendered> {
        let mut content = Content::default();
        for (part, _) in sources(body) {
            let name = full_name(body.channel, part);
            let rendered = contained(|| Ok(self.render_part(&name, values)));
            let text = rendered.map_err(Unrendered::Failed)??;
            match part {
                Part::Subject => content.subject = Some(text),
                Part::Text => content.text = text,
                Part::Html => content.html = Some(text),
            }
        }
        Ok(content)
    }

    fn render_part(&self, name: &str, values: &Values) -> Result<String, Unrendered> {
        let mut rendered = Bounded(Vec::new());
        let part = self.environment.get_template(name);
        let done = part.and_then(|part| part.render_captured_to(values.root(), &mut rendered));
        if values.were_compared() {
            let problem = "it compares lists or maps (only texts, numbers, booleans and none can be compared)";
            return Err(Unrendered::Failed(format!("{problem} (in {name})")));
        }
        match done {
            Ok(_) => Ok(String::from_utf8(rendered.0).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::UndefinedError => {
                Err(Unrendered::VariableMissing(explain(&error)))
            }
            Err(error) => Err(Unrendered::Failed(explain(&error))),
        }
    }
}

/// Keeps a panic of the library within this template. None is known in what the language has.
fn contained<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let broke_off = |_| Err("the template engine broke off".to_owned());
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(broke_off)
}

/// The parts that a body has.
fn sources(body: &Body) -> impl Iterator<Item = (Part, &str)> {
    let parts =
        [(Part::Subject, &body.subject), (Part::Text, &body.text), (Part::Html, &body.html)];
    parts.into_iter().filter_map(|(part, source)| Some((part, source.as_deref()?)))
}

fn parts(body: &Body) -> impl Iterator<Item = (String, &str)> {
    sources(body).map(|(part, source)| (full_name(body.channel, part), source))
}

/// The name by which a part is known, also to people: "EMAIL html".
fn full_name(channel: Channel, part: Part) -> String {
    format!("{} {}", channel.to_value(), part_name(part))
}

fn part_name(part: Part) -> &'static str {
    match part {
        Part::Subject => "subject",
        Part::Text => "text",
        Part::Html => "html",
    }
}

/// What went wrong and where, in the library's words but for what is ours.
fn explain(error: &Error) -> String {
    let place = error.name().map(|name| format!(" (in {name}:{})", error.line().unwrap_or(0)));
    let place = place.unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => format!("it takes too many steps{place}"),
        ErrorKind::WriteFailure => format!("it becomes larger than 100 KiB{place}"),
        _ => error.to_string(),
    }
}

/// Takes 100 KiB at most: no part of any message is larger.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > EMAIL_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
