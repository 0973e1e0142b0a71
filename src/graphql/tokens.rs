//! How many tokens a query has (section 2.1.6 of the specification), and how deep its brackets are: seen
//! before the parser, whose work and memory grow with the tokens and whose stack grows with the brackets.

/// White space to the specification (section 2.1.1) and to the parser.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// What a query is made of. Of a text that is not GraphQL, some numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub count: usize,
    /// Brackets of all kinds within each other.
    pub nesting: usize,
}

pub fn count(query: &str) -> Tokens {
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
                at += token_length(&bytes[at..]);
            }
        }
    }
    tokens
}

fn token_length(bytes: &[u8]) -> usize {
    match bytes {
        [b'"', b'"', b'"', ..] => block_string_length(bytes),
        [b'"', ..] => string_length(bytes),
        [b'.', b'.', b'.', ..] => 3,
        // The first may be a sign, which else begins the next number.
        [b'0'..=b'9' | b'-', ..] => 1 + length_while(&bytes[1..], is_of_number),
        [first, ..] if is_of_name(*first) => length_while(bytes, is_of_name),
        // What is no token is none of the parser's either, however long it is.
        _ => 1,
    }
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

fn string_length(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn block_string_length(bytes: &[u8]) -> usize {
    let mut at = 3;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'\\', b'"', b'"', b'"', ..] => at += 4,
            [b'"', b'"', b'"', ..] => return at + 3,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::{Tokens, count};

    #[test]
    fn tokens_are_counted_as_the_specification_has_them() {
        for (query, tokens) in [
            ("", 0),
            (" ,\n\t# { a b c }\n", 0),
            ("{ a }", 3),
            ("{a,b}#", 4),
            ("query A($a: [Int!] = [1, -2]) { b(c: $a) @d }", 27),
            ("{ ...F ... on T { a } }", 10),
            (r#"{ a(b: "x \" { y", c: """ d " \""" { """) }"#, 11),
            ("\"never closed { a b", 1),
            ("\"\"\"never closed", 1),
            ("{ ä }", 4),
            ("{a\u{FEFF}b\u{FEFF}c}", 5),
            ("[1-1-1]", 5),
            ("1.5e3 1e-3", 3),
        ] {
            assert_eq!(count(query).count, tokens, "{query}");
        }
        assert_eq!(count(&"{".repeat(20_000)), Tokens { count: 20_000, nesting: 20_000 });
    }

    #[test]
    fn nesting_is_that_of_all_brackets() {
        for (query, nesting) in [
            ("", 0),
            ("{ a }", 1),
            ("{ a { b } c { d } }", 2),
            ("{ a(b: [[{ c: 1 }]]) }", 5),
            ("}}}{ a }", 1),
            ("{ a(b: \"{{{{\") } # {{{{", 2),
        ] {
            assert_eq!(count(query).nesting, nesting, "{query}");
        }
    }
}
