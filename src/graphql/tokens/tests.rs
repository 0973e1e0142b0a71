use std::thread;

use async_graphql::{Pos, parser::parse_query};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{Tokens, UnclosedString, count};
use crate::graphql::cost::NESTING_MAX;

/// The stack that a thread of the server has.
const STACK_BYTES: usize = 2 * 1024 * 1024;

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
        ("{ ä }", 4),
        ("{a\u{FEFF}b\u{FEFF}c}", 5),
        ("[1-1-1]", 5),
        ("1.5e3 1e-3", 3),
        (r#""" """"""  "" """#, 4),
        ("\"\"\"\n{\n\\\"\"\"\"\"\"{", 2),
    ] {
        assert_eq!(counted(query).count, tokens, "{query}");
    }
    assert_eq!(counted(&"{".repeat(20_000)), Tokens { count: 20_000, nesting: 20_000 });
}

#[test]
fn nesting_is_that_of_all_brackets() {
    for (query, nesting) in [
        ("", 0),
        ("{ a }", 1),
        ("{ a { b } c { d } }", 2),
        ("{ a(b: [[{ c: 1 }]]) }", 5),
        ("query($a: [[[Int!]!]!]) { b }", 4),
        ("}}}{ a }", 1),
        ("{ a(b: \"{{{{\") } # {{{{", 2),
        ("{ a } # {{{{\r[[", 2),
        ("{ a } # {{{{\u{2028}[[", 1),
    ] {
        assert_eq!(counted(query).nesting, nesting, "{query}");
    }
}

#[test]
fn a_string_that_does_not_end_has_its_place() {
    for (query, line, column) in [
        ("\"never closed { a b", 1, 1),
        ("\"\"\"never closed", 1, 1),
        ("\"\"\"\"[[[[", 1, 1),
        ("\"\"\"\"\"[[[[", 1, 1),
        ("{ a(ä: \"a\nb\") }", 1, 8),
        ("{ a(\r\n b: \"a\rb\") }", 2, 5),
        (r#"{ a(b: "a\"#, 1, 8),
        (r#"{ a(b: """ \""")"#, 1, 8),
    ] {
        assert_eq!(count(query), Err(UnclosedString(Pos { line, column })), "{query}");
    }
}

fn counted(query: &str) -> Tokens {
    count(query).expect("every string ends")
}

/// What strings, comments and brackets are made of.
fn sign() -> impl Strategy<Value = &'static str> {
    let signs = [
        "\"", "\"\"", "\"\"\"", "\\", "\\\"", "\\\"\"\"", "\\u0022", "\\u{22}", "\\\\", "\n", "\r",
        "#", "\u{2028}", "\u{feff}", "\0", "a:", "a", "$a", "{", "}", "[", "]", "(", ")", " ", ",",
        "ä", "1e-", "...", "@a", "=", "!",
    ];
    select(signs.to_vec())
}

/// The same, and brackets that would end a thread in which they are all within each other.
fn part() -> impl Strategy<Value = String> {
    let brackets = ["[", "{a:", "{a", "a(b:[", "{a(b:{c:"];
    let brackets = select(brackets.to_vec());
    let quotes = select(vec!["\"", "\"\"", "\"\"\"", "\"\"\"\"", "\\"]);
    prop_oneof![
        2 => sign().prop_map(str::to_owned),
        2 => quotes.prop_map(str::to_owned),
        1 => brackets.prop_map(|bracket| bracket.repeat(14_000 / bracket.len())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever the parser makes of a query, it has the stack for it.
    #[test]
    fn the_parser_finds_no_bracket_that_is_not_counted(
        head in select(vec!["", "{a(b:", "query($a:", "query($a:Int=", "{a", "{a @b(c:"]),
        parts in vec(part(), 0..12),
    ) {
        let query = head.to_owned() + &parts.concat();
        if count(&query).is_ok_and(|tokens| tokens.nesting <= NESTING_MAX) {
            let parsing = thread::Builder::new().stack_size(STACK_BYTES);
            let parsing = parsing.spawn(move || parse_query(query).is_ok()).expect("a thread");
            parsing.join().expect("the parser does not panic");
        }
    }

    /// What is refused here is refused by the parser.
    #[test]
    fn the_parser_takes_no_string_that_does_not_end(signs in vec(sign(), 0..12)) {
        let query = format!("{{a(b:\"{})}}", signs.concat());
        prop_assert!(count(&query).is_ok() || parse_query(&query).is_err(), "{query}");
    }
}
