//! The filters and tests that templates may use. Filters of texts take what is one, a number, a boolean or none:
//! a list or a map would be written out for less steps than that costs.

use minijinja::{
    Environment, Error, ErrorKind, State, Value, filters, tests,
    value::{Kwargs, StringInput, ValueKind},
};

/// Digits after the point that are rounded to at most.
pub const DIGITS_MAX: usize = 9;
pub const DIGITS_RULE: &str = "round takes a number of digits from 0 to 9";
/// Numbers from here on have no digits after the point that would be worth rounding, and hundreds before it.
const ROUNDED_MAX: f64 = 1e15;

type OfText = fn(StringInput<'_>) -> Value;

/// Adds everything that `template_language` lists.
pub fn add(environment: &mut Environment<'_>) {
    environment.add_filter("abs", filters::abs);
    environment.add_filter("count", filters::length);
    environment.add_filter("d", filters::default);
    environment.add_filter("default", filters::default);
    environment.add_filter("e", escape);
    environment.add_filter("escape", escape);
    environment.add_filter("first", filters::first);
    environment.add_filter("float", filters::float);
    environment.add_filter("int", filters::int);
    environment.add_filter("items", filters::items);
    environment.add_filter("join", join);
    environment.add_filter("last", last);
    environment.add_filter("length", filters::length);
    environment.add_filter("replace", replace);
    environment.add_filter("round", round);
    let of_texts: [(&str, OfText); 7] = [
        ("capitalize", |text| change_case(&text, |before| before.is_none())),
        ("lower", |text| change_case(&text, |_| false)),
        ("safe", |text| Value::from_safe_string(text.as_str().to_owned())),
        ("string", |text| text.preserve_safety(text.as_str().to_owned())),
        ("title", |text| change_case(&text, |before| before.is_none_or(separates_words))),
        ("trim", |text| filters::trim(text, None)),
        ("upper", filters::upper),
    ];
    for (name, change) in of_texts {
        environment
            .add_filter(name, move |state: &State, value: &Value| text(state, value).map(change));
    }
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("defined", tests::is_defined);
    environment.add_test("even", tests::is_even);
    environment.add_test("false", tests::is_false);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("none", tests::is_none);
    environment.add_test("number", tests::is_number);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("string", tests::is_string);
    environment.add_test("true", tests::is_true);
    environment.add_test("undefined", tests::is_undefined);
}

fn text<'v>(state: &State, value: &'v Value) -> Result<StringInput<'v>, Error> {
    refuse_structure(value)?;
    StringInput::new(state, value)
}

fn refuse_structure(value: &Value) -> Result<(), Error> {
    if value.as_object().is_none() {
        return Ok(());
    }
    Err(failed(format!("expected a text or a number, and not a {}", value.kind())))
}

fn failed(problem: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

/// Writes a text in lower case, but for the letters that follow what `begins` says. The standard library, and the
/// template library with it, takes twenty times as long for each capital sigma as for another letter.
fn change_case(text: &StringInput<'_>, begins: impl Fn(Option<char>) -> bool) -> Value {
    let mut changed = String::with_capacity(text.as_str().len());
    let mut before = None;
    let mut letters = text.as_str().chars().peekable();
    while let Some(letter) = letters.next() {
        let begins = begins(before);
        if letter.is_ascii() {
            changed.push(if begins {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            });
        } else if begins {
            changed.extend(letter.to_uppercase());
        } else if letter == 'Σ' {
            // Whether others are letters takes as long.
            let is_last = !is_edge(before) && is_edge(letters.peek().copied());
            changed.push(if is_last { 'ς' } else { 'σ' });
        } else {
            changed.extend(letter.to_lowercase());
        }
        before = Some(letter);
    }
    text.preserve_safety(changed)
}

/// Whether a word ends here.
fn is_edge(letter: Option<char>) -> bool {
    letter.is_none_or(|letter| letter.is_whitespace() || letter.is_ascii_punctuation())
}

fn separates_words(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '-' | '(' | '{' | '[' | '<')
}

fn escape(state: &mut State, value: &Value) -> Result<Value, Error> {
    refuse_structure(value)?;
    filters::escape(state, value)
}

fn replace(state: &mut State, value: &Value, from: &Value, to: &Value) -> Result<Value, Error> {
    let all = [value, from, to];
    all.into_iter().try_for_each(refuse_structure)?;
    let value = StringInput::new(state, value)?;
    let (from, to) = (StringInput::new(state, from)?, StringInput::new(state, to)?);
    filters::replace(state, value, from, to)
}

fn join(state: &mut State, value: &Value, joiner: Option<&Value>) -> Result<Value, Error> {
    if value.kind() == ValueKind::Seq {
        value.try_iter()?.try_for_each(|item| refuse_structure(&item))?;
    } else {
        refuse_structure(value)?;
    }
    let joiner = joiner.map(|joiner| text(state, joiner)).transpose()?;
    filters::join(
        state,
        value,
        joiner,
        None,
        std::iter::empty::<(String, Value)>().collect::<Kwargs>(),
    )
}

/// The library's own goes through the list.
fn last(value: &Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.chars().next_back().map(Value::from).unwrap_or_default());
    }
    match (value.kind(), value.len()) {
        (ValueKind::Seq, Some(0)) => Ok(Value::UNDEFINED),
        (ValueKind::Seq, Some(length)) => value.get_item_by_index(length - 1),
        (kind, _) => Err(failed(format!("a {kind} has no last item"))),
    }
}

/// The library's own writes out hundreds of digits of large numbers.
fn round(value: Value, digits: Option<usize>) -> Result<Value, Error> {
    let digits = digits.unwrap_or(0);
    if digits > DIGITS_MAX {
        return Err(failed(DIGITS_RULE));
    }
    if f64::try_from(value.clone()).is_ok_and(|number| number.abs() >= ROUNDED_MAX) {
        return Ok(value);
    }
    let digits = i32::try_from(digits).unwrap_or_default();
    filters::round(
        value,
        Some(digits),
        None,
        std::iter::empty::<(String, Value)>().collect::<Kwargs>(),
    )
}
