//! The filters and tests that templates may use. Text filters accept strings, numbers, booleans and none. They refuse
//! lists and maps, because converting them to text costs more than the steps that are counted for it.

use minijinja::{
    Environment, Error, ErrorKind, State, Value, filters, tests,
    value::{Kwargs, StringInput, ValueKind},
};

/// Maximum number of decimal places for the filter `round`.
pub const DIGITS_MAX: usize = 9;
pub const DIGITS_RULE: &str = "the argument of round must be a number from 0 to 9";
/// Larger numbers are not rounded: a double of this size has no decimal places.
const ROUNDED_MAX: f64 = 1e15;

type TextFilter = fn(StringInput<'_>) -> Value;

/// Adds all filters and tests that [`language`](super::language) lists.
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
    let text_filters: [(&str, TextFilter); 7] = [
        ("capitalize", |text| change_case(&text, |before| before.is_none())),
        ("lower", |text| change_case(&text, |_| false)),
        ("safe", |text| Value::from_safe_string(text.as_str().to_owned())),
        ("string", |text| text.preserve_safety(text.as_str().to_owned())),
        ("title", |text| change_case(&text, |before| before.is_none_or(separates_words))),
        ("trim", |text| filters::trim(text, None)),
        ("upper", filters::upper),
    ];
    for (name, change) in text_filters {
        environment.add_filter(name, move |state: &State, value: &Value| {
            as_text(state, value).map(change)
        });
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

fn as_text<'v>(state: &State, value: &'v Value) -> Result<StringInput<'v>, Error> {
    refuse_list_or_map(value)?;
    StringInput::new(state, value)
}

fn refuse_list_or_map(value: &Value) -> Result<(), Error> {
    if value.as_object().is_none() {
        return Ok(());
    }
    Err(failed(format!("a {} is not valid here (expected a string or a number)", value.kind())))
}

fn failed(problem: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem)
}

/// Converts text to lower case, except for the letters for which `is_upper` returns true. `is_upper` receives the
/// letter before. The standard library is not used because it takes twenty times as long for a capital sigma as for
/// another letter.
fn change_case(text: &StringInput<'_>, is_upper: impl Fn(Option<char>) -> bool) -> Value {
    let mut changed = String::with_capacity(text.as_str().len());
    let mut before = None;
    let mut letters = text.as_str().chars().peekable();
    while let Some(letter) = letters.next() {
        let is_upper = is_upper(before);
        if letter.is_ascii() {
            changed.push(if is_upper {
                letter.to_ascii_uppercase()
            } else {
                letter.to_ascii_lowercase()
            });
        } else if is_upper {
            changed.extend(letter.to_uppercase());
        } else if letter == 'Σ' {
            // A sigma at the end of a word has its own form. Only its neighbours are checked, to keep this fast.
            let is_last = !is_edge(before) && is_edge(letters.peek().copied());
            changed.push(if is_last { 'ς' } else { 'σ' });
        } else {
            changed.extend(letter.to_lowercase());
        }
        before = Some(letter);
    }
    text.preserve_safety(changed)
}

/// Returns whether this is a boundary of a word: the end of the text, a space or punctuation.
fn is_edge(letter: Option<char>) -> bool {
    letter.is_none_or(|letter| letter.is_whitespace() || letter.is_ascii_punctuation())
}

fn separates_words(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '-' | '(' | '{' | '[' | '<')
}

fn escape(state: &mut State, value: &Value) -> Result<Value, Error> {
    refuse_list_or_map(value)?;
    filters::escape(state, value)
}

fn replace(state: &mut State, value: &Value, from: &Value, to: &Value) -> Result<Value, Error> {
    let all = [value, from, to];
    all.into_iter().try_for_each(refuse_list_or_map)?;
    let value = StringInput::new(state, value)?;
    let (from, to) = (StringInput::new(state, from)?, StringInput::new(state, to)?);
    filters::replace(state, value, from, to)
}

fn join(state: &mut State, value: &Value, joiner: Option<&Value>) -> Result<Value, Error> {
    if value.kind() == ValueKind::Seq {
        value.try_iter()?.try_for_each(|item| refuse_list_or_map(&item))?;
    } else {
        refuse_list_or_map(value)?;
    }
    let joiner = joiner.map(|joiner| as_text(state, joiner)).transpose()?;
    filters::join(
        state,
        value,
        joiner,
        None,
        std::iter::empty::<(String, Value)>().collect::<Kwargs>(),
    )
}

/// Replaces the library's filter `last`, because that filter iterates over the whole list.
fn last(value: &Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.chars().next_back().map(Value::from).unwrap_or_default());
    }
    match (value.kind(), value.len()) {
        (ValueKind::Seq, Some(0)) => Ok(Value::UNDEFINED),
        (ValueKind::Seq, Some(length)) => value.get_item_by_index(length - 1),
        (kind, _) => Err(failed(format!("the filter last cannot be used with a {kind}"))),
    }
}

/// Replaces the library's filter `round`, because that filter writes hundreds of digits for large numbers.
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
