//! Compiles the sources of a template and renders them with minijinja. Sources must pass [`language::check`] and cannot
//! load other templates. Fuel and the size of the output limit the cost of rendering; the size of the input limits the
//! cost of compiling.

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
    time_limit::{Stop, TimeLimit},
    values::Values,
};
use crate::domain::channel::content::{Content, EMAIL_BYTES_MAX, Part};

/// Approximate maximum number of steps to render a part. Most templates need a few dozen. All 10,000 steps take at
/// most a few milliseconds.
pub const FUEL: u64 = 10_000;
/// Estimated memory in bytes for each compiled part, for each byte of its source, and for each token.
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

/// The compiled parts of a template.
pub struct Compiled {
    environment: Environment<'static>,
    /// The variables that the parts use.
    pub variables: BTreeSet<String>,
    /// Estimated memory of the compiled parts, in bytes.
    pub weight: usize,
}

/// The reason why a body could not be rendered, with the text for the error message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderProblem {
    /// The body uses a variable or an attribute that is not defined.
    VariableMissing(String),
    /// The body exceeds a limit, or an operation fails for the given variables.
    Failed(String),
}

impl Compiled {
    /// Compiles all parts. The inner error describes the problem in the template.
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
        catch_panic(|| {
            let checked = language::check(&name, source)?;
            self.variables.extend(checked.variables);
            self.weight += PART_WEIGHT + BYTE_WEIGHT * source.len() + TOKEN_WEIGHT * checked.tokens;
            let added = self.environment.add_template_owned(name, source.to_owned());
            added.map_err(|error| explain(&error))
        })
    }

    /// Renders a body with these variables.
    pub fn render(&self, body: &Body, values: &Values) -> Result<Content, RenderProblem> {
        let mut content = Content::default();
        for (part, _) in sources(body) {
            let name = full_name(body.channel, part);
            let rendered = catch_panic(|| Ok(self.render_part(&name, values)));
            let text = rendered.map_err(RenderProblem::Failed)??;
            match part {
                Part::Subject => content.subject = Some(text),
                Part::Text => content.text = text,
                Part::Html => content.html = Some(text),
            }
        }
        Ok(content)
    }

    fn render_part(&self, name: &str, values: &Values) -> Result<String, RenderProblem> {
        let mut rendered = LimitedBuffer(Vec::new());
        let part = self.environment.get_template(name);
        let done = part.and_then(|part| part.render_captured_to(values.root(), &mut rendered));
        if values.were_compared() {
            let problem = "it compares lists or maps (expected strings, numbers, booleans or none)";
            return Err(RenderProblem::Failed(format!("{problem} (in {name})")));
        }
        match done {
            Ok(_) => Ok(String::from_utf8(rendered.0).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::UndefinedError => {
                Err(RenderProblem::VariableMissing(explain(&error)))
            }
            Err(error) => Err(RenderProblem::Failed(explain(&error))),
        }
    }
}

/// Converts a panic in the library to an error in this template. No panic is known for the allowed language.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let panicked = |_| Err("the template engine failed".to_owned());
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

/// Returns the parts of a body with their sources.
fn sources(body: &Body) -> impl Iterator<Item = (Part, &str)> {
    let parts =
        [(Part::Subject, &body.subject), (Part::Text, &body.text), (Part::Html, &body.html)];
    parts.into_iter().filter_map(|(part, source)| Some((part, source.as_deref()?)))
}

fn parts(body: &Body) -> impl Iterator<Item = (String, &str)> {
    sources(body).map(|(part, source)| (full_name(body.channel, part), source))
}

/// Returns the name of a part in the library and in error messages, such as "EMAIL html".
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

/// Returns the library's error message with the position of the error. For exceeded limits, returns a message of this
/// program instead.
fn explain(error: &Error) -> String {
    let place = error.name().map(|name| format!(" (in {name}:{})", error.line().unwrap_or(0)));
    let place = place.unwrap_or_default();
    match error.kind() {
        ErrorKind::OutOfFuel => format!("it needs too many steps{place}"),
        ErrorKind::WriteFailure => format!("its result is larger than 100 KiB{place}"),
        _ => error.to_string(),
    }
}

/// A buffer that rejects more than 100 KiB, the maximum size of any part of a message.
struct LimitedBuffer(Vec<u8>);

impl io::Write for LimitedBuffer {
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
