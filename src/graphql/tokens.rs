//! How many tokens a query has (section 2.1.6 of the specification): counted before the parser, whose
//! work and memory grow with them.

/// The number of lexical tokens. Of a text that is not GraphQL, some number.
pub fn count(query: &str) -> usize {
    let bytes = query.as_bytes();
    let (mut at, mut tokens) = (0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => at += 1,
            b'#' => at += length_while(&bytes[at..], |byte| byte != b'\n' && byte != b'\r'),
            _ => {
                at += token_length(&bytes[at..]);
                tokens += 1;
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
        [b'0'..=b'9' | b'-', ..] => length_while(bytes, |byte| is_of_word(byte) || byte == b'.'),
        [first, ..] if is_of_word(*first) => length_while(bytes, is_of_word),
        _ => 1,
    }
}

/// Of a name or a number; a sign, which only a number has, does no harm to a name.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+') || !byte.is_ascii()
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
    use super::count;

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
            ("{ ä }", 3),
        ] {
            assert_eq!(count(query), tokens, "{query}");
        }
        assert_eq!(count(&"{".repeat(20_000)), 20_000);
    }
}
