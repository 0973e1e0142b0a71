//! How many tokens a query has (section 2.1.6 of the specification), and how deep its brackets are: seen
//! before the parser, whose work and memory grow with the tokens and whose stack grows with the brackets.
//! So the parser may find no bracket that is not counted here.

use async_graphql::Pos;

/// White space to the specification (section 2.1.1) and to the parser.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// What a query is made of. Of a text that is not GraphQL, at least as much as the parser finds of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub count: usize,
    /// Brackets of all kinds within each other.
    pub nesting: usize,
}

/// A string begins here and does not end. The parser would take three quotes for an empty string and another one,
/// and what follows for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnclosedString(pub Pos);

pub fn count(query: &str) -> Result<Tokens, UnclosedString> {
    let bytes = query.as_bytes();
    let (mut at, mut open, mut tokens) = (0, 0_usize, Tokens::default());
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => at += 1,
            _ if bytes[at..].starts_with(BYTE_ORDER_MARK) => at += BYTE_ORDER_MARK.len(),
            b'#' => at += length_while(&bytes[at..], |byte| byte != b'\n' && byte != b'\r'),
            _ => {
                match byte {
                    b'{' | b'[' | b'(' => open += 1,
                    b'}' | b']' | b')' => open = open.saturating_sub(1),
                    _ => {}
                }
                tokens.nesting = tokens.nesting.max(open);
                tokens.count += 1;
                let length = token_length(&bytes[at..]);
                at += length.ok_or_else(|| UnclosedString(position(&query[..at])))?;
            }
        }
    }
    Ok(tokens)
}

/// Where a text ends.
fn position(text: &str) -> Pos {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Pos { line: text.matches('\n').count() + 1, column: last.chars().count() + 1 }
}

/// `None` for a string that does not end.
fn token_length(bytes: &[u8]) -> Option<usize> {
    Some(match bytes {
        [b'"', b'"', b'"', ..] => block_string_length(bytes)?,
        [b'"', ..] => string_length(bytes)?,
        [b'.', b'.', b'.', ..] => 3,
        // The first may be a sign, which else begins the next number.
        [b'0'..=b'9' | b'-', ..] => 1 + length_while(&bytes[1..], is_of_number),
        [first, ..] if is_of_name(*first) => length_while(bytes, is_of_name),
        // What is no token is none of the parser's either, however long it is.
        _ => 1,
    })
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A number with an exponent that has a sign counts as two.
fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'.'
}

fn length_while(bytes: &[u8], is_inside: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !is_inside(*byte)).unwrap_or(bytes.len())
}

/// A string ends on its line. The parser knows fewer escapes, and reads nothing behind one that it does not know.
fn string_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'\n' | b'\r' => return None,
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn block_string_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 3;
    loop {
        match bytes.get(at..)? {
            [] => return None,
            [b'\\', b'"', b'"', b'"', ..] => at += 4,
            [b'"', b'"', b'"', ..] => return Some(at + 3),
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests;
