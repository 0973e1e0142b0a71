//! From a template's source to what a message says, by minijinja: without a loader, and within
//! bounds, for templates are strangers' programs. What one render may cost is bounded by fuel, by a
//! recursion limit and by the size of what comes out. What compiling may cost is bounded before it
//! begins, on the tokens: the library's compiler goes down a level for each term of a chain, such as
//! a sum or `elif`, and a few thousand of them would end the process. What is left, blocks within each
//! other with deep tags in them, is compiled on a stack of its own, which has room for it.

use std::{collections::BTreeSet, io, sync::LazyLock, thread};

use entity::message::Channel;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value, functions,
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
};
use sea_orm::ActiveEnum as _;

use super::{
    message_content::{Content, EMAIL_BYTES_MAX, Part},
    template::Body,
    template_growth::{NESTING_FILTERS, check_growth},
};

/// Tags (`{{ … }}` and `{% … %}`) of a part at most.
pub const TAGS_MAX: usize = 1_000;
/// Words, values and signs of a tag at most.
pub const TAG_TOKENS_MAX: usize = 100;
/// Bytes of the stack for compiling: the deepest template takes more than 2 MiB without optimisations.
const STACK_BYTES: usize = 32 * 1024 * 1024;
/// Characters of a line at most: the library counts columns with 16 bits, and one of its additions
/// would overflow.
pub const LINE_CHARS_MAX: usize = 65_000;
/// Times that `elif` stands in a part at most.
pub const BRANCHES_MAX: usize = 100;
/// Steps of a part's rendering at most, about. Most templates take some dozens, and these many a millisecond or
/// two.
pub const FUEL: u64 = 10_000;
/// Levels of loops and blocks within each other at most.
pub const LEVELS_MAX: usize = 50;
/// Numbers in a `range` at most.
const RANGE_MAX: usize = 1_000;

/// What every template is rendered with: the library's filters, but [`NESTING_FILTERS`], its tests, and of its
/// functions `range`.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    for global in ["debug", "dict", "namespace"] {
        environment.remove_global(global);
    }
    for filter in NESTING_FILTERS {
        environment.remove_filter(filter);
    }
    environment.add_function("range", range);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_recursion_limit(LEVELS_MAX);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|name| {
        if name.ends_with(part_name(Part::Html)) { AutoEscape::Html } else { AutoEscape::None }
    });
    environment
});

/// The library's `range`, but short, for a step may walk along it.
fn range(lower: isize, upper: Option<isize>, step: Option<isize>) -> Result<Value, Error> {
    let numbers = functions::range(lower, upper, step)?;
    if numbers.len().is_none_or(|count| count > RANGE_MAX) {
        let problem = format!("a range must have at most {RANGE_MAX} numbers");
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    Ok(numbers)
}

/// A template's parts, ready to be rendered.
pub struct Compiled(Environment<'static>);

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
    pub fn new(bodies: &[Body]) -> Result<Self, String> {
        let compile = || {
            let mut environment = ENVIRONMENT.clone();
            for (name, source) in bodies.iter().flat_map(parts) {
                check_tokens(&name, source)?;
                check_growth(&name, source)?;
                environment
                    .add_template_owned(name, source.to_owned())
                    .map_err(|error| explain(&error))?;
            }
            Ok(Self(environment))
        };
        on_deep_stack(compile).unwrap_or_else(|| Err("it cannot be compiled".to_owned()))
    }

    /// The variables that its parts use.
    pub fn variables(&self) -> BTreeSet<String> {
        let find = || {
            let used = self.0.templates().flat_map(|(_, part)| part.undeclared_variables(false));
            used.filter(|name| self.0.globals().all(|(global, _)| global != name)).collect()
        };
        on_deep_stack(find).unwrap_or_default()
    }

    /// What a body says with these variables.
    pub fn render(&self, body: &Body, variables: &Value) -> Result<Content, Unrendered> {
        let mut content = Content::default();
        for (part, _) in sources(body) {
            let text = self.render_part(&full_name(body.channel, part), variables)?;
            match part {
                Part::Subject => content.subject = Some(text),
                Part::Text => content.text = text,
                Part::Html => content.html = Some(text),
            }
        }
        Ok(content)
    }

    fn render_part(&self, name: &str, variables: &Value) -> Result<String, Unrendered> {
        let mut rendered = Bounded(Vec::new());
        let done = self
            .0
            .get_template(name)
            .and_then(|part| part.render_captured_to(variables.clone(), &mut rendered).map(|_| ()));
        match done {
            Ok(()) => Ok(String::from_utf8(rendered.0).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::UndefinedError => {
                Err(Unrendered::VariableMissing(explain(&error)))
            }
            Err(error) => Err(Unrendered::Failed(explain(&error))),
        }
    }
}

/// Works on a stack of [`STACK_BYTES`]; `None` if that broke off, or there is no thread to be had.
fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        worker.ok()?.join().ok()
    })
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

/// Refuses what would take too long or too much stack to compile, and names of filters and tests
/// that there are not.
fn check_tokens(name: &str, source: &str) -> Result<(), String> {
    if source.split('\n').any(|line| line.chars().count() > LINE_CHARS_MAX) {
        return Err(format!("a line must have at most 65000 characters (in {name})"));
    }
    let mut state = ENVIRONMENT.empty_state();
    let (mut tags, mut branches, mut in_tag) = (0, 0, 0);
    let mut before = Word::Other;
    for token in tokenize(source, false, SyntaxConfig::default()) {
        let (token, span) = token.map_err(|error| {
            let (detail, line) = (error.detail().unwrap_or_default(), error.line().unwrap_or(0));
            format!("{}: {detail} (in {name}:{line})", error.kind())
        })?;
        let wrong = |what: String| Err(format!("{what} (in {name}:{})", span.start_line));
        in_tag += 1;
        let word = match &token {
            Token::VariableStart | Token::BlockStart => {
                (tags, in_tag) = (tags + 1, 0);
                Word::Start
            }
            Token::TemplateData(_) | Token::VariableEnd | Token::BlockEnd => {
                in_tag = 0;
                Word::Other
            }
            Token::Pipe => Word::Pipe,
            Token::Dot => Word::Dot,
            Token::Ident("is") if before != Word::Dot => Word::Is,
            Token::Ident("not") if before == Word::Is => Word::Is,
            Token::Ident("filter") if before == Word::Start => Word::Pipe,
            Token::Ident(ident) => {
                branches += usize::from(*ident == "elif" && before == Word::Start);
                if before == Word::Pipe && is_unknown_filter(&mut state, ident) {
                    return wrong(format!("there is no filter {ident}"));
                }
                if before == Word::Is && is_unknown_test(&mut state, ident) {
                    return wrong(format!("there is no test {ident}"));
                }
                Word::Other
            }
            _ => Word::Other,
        };
        before = word;
        if in_tag > TAG_TOKENS_MAX {
            return wrong("a tag must have at most 100 words, values and signs".to_owned());
        }
        if tags > TAGS_MAX {
            return wrong("a part must have at most 1000 tags".to_owned());
        }
        if branches > BRANCHES_MAX {
            return wrong("a part must have at most 100 elif".to_owned());
        }
    }
    Ok(())
}

/// What a token is for the one that follows it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Start,
    Pipe,
    Dot,
    Is,
    Other,
}

fn is_unknown_filter(state: &mut State<'_, '_>, name: &str) -> bool {
    let tried = state.apply_filter(name, &[]);
    tried.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter)
}

fn is_unknown_test(state: &mut State<'_, '_>, name: &str) -> bool {
    let tried = state.perform_test(name, &[]);
    tried.is_err_and(|error| error.kind() == ErrorKind::UnknownTest)
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
mod tests {
    use super::*;

    /// Renders one text that uses no variables.
    fn render(source: &str) -> Result<String, Unrendered> {
        let text = Some(source.to_owned());
        let body = Body { channel: Channel::Sms, subject: None, text, html: None };
        let compiled = Compiled::new(std::slice::from_ref(&body)).expect(source);
        compiled.render(&body, &Value::from(())).map(|content| content.text)
    }

    #[test]
    fn fuel_and_levels_are_bounded_from_both_sides() {
        let turns = |count: usize| {
            let loops = "{% for i in range(1000) %}{% endfor %}".repeat(3);
            format!("{loops}{{% for i in range({count}) %}}{{% endfor %}}ok")
        };
        let levels = |count: usize| {
            let (open, close) = ("{% for i in [1] %}", "{% endfor %}");
            format!("{}ok{}", open.repeat(count), close.repeat(count))
        };

        assert_eq!(render(&turns(328)).as_deref(), Ok("ok"));
        assert_eq!(render(&levels(49)).as_deref(), Ok("ok"));
        for (source, what) in [(turns(329), "steps"), (levels(LEVELS_MAX), "recursion")] {
            let Err(Unrendered::Failed(problem)) = render(&source) else { panic!("{source}") };
            assert!(problem.contains(what), "{problem}");
        }
    }

    /// What these bounds and the library's own bound of nesting let through fits on the stack of a
    /// thread; a level more is refused.
    #[test]
    fn the_deepest_template_compiles() {
        let tags = [
            format!("{{{{ {}1 }}}}", "-".repeat(99)),
            format!("{{{{ {}1{} }}}}", "(".repeat(49), ")".repeat(49)),
            format!("{{{{ 1{} }}}}", "|abs".repeat(49)),
            format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(BRANCHES_MAX)),
        ]
        .concat();
        for (open, close) in [
            ("{% if 1 %}", "{% endif %}"),
            ("{% if 0 %}{% else %}", "{% endif %}"),
            ("{% with a = 1 %}", "{% endwith %}"),
            ("{% filter upper %}", "{% endfilter %}"),
            ("{% set a %}", "{% endset %}"),
        ] {
            let nested = |count: usize| {
                let text = Some(format!("{}{tags}{}", open.repeat(count), close.repeat(count)));
                let body = Body { channel: Channel::Sms, subject: None, text, html: None };
                Compiled::new(&[body])
            };
            let deepest = nested(50).expect(open);
            assert_eq!(deepest.variables(), BTreeSet::new());
            let problem = nested(51).err().expect(open);
            assert!(problem.contains("recursion"), "{problem}");
        }
        // Loops take more, as deep as the library lets them be, by themselves and around deep tags.
        let brackets = format!("{{{{ {}1{} }}}}", "(".repeat(49), ")".repeat(49));
        for (open, close) in [
            ("{% for i in [1] %}", "{% endfor %}"),
            ("{% for i in [1] if 1 %}", "{% endfor %}"),
            ("{% for i in [1] %}{% else %}", "{% endfor %}"),
            ("{% for i in [1] recursive %}", "{% endfor %}"),
            ("{% set a %}", "{% endset %}"),
        ] {
            for tags in ["x", brackets.as_str()] {
                let nested = |count: usize| {
                    let text = Some(format!("{}{tags}{}", open.repeat(count), close.repeat(count)));
                    Compiled::new(&[Body {
                        channel: Channel::Sms,
                        subject: None,
                        text,
                        html: None,
                    }])
                };
                let deepest = (1..=150).rev().find_map(|count| nested(count).ok()).expect(open);
                assert_eq!(deepest.variables(), BTreeSet::new());
            }
        }
    }
}
