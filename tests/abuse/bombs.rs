//! JSON that is made to cost, or to be taken for something else.

/// The names by which the parser's library hands over what it does not take for an object.
const RAW_VALUE: &str = "$serde_json::private::RawValue";
const NUMBER: &str = "$serde_json::private::Number";

/// JSON of a kind that is to be refused.
pub struct Bomb {
    pub name: &'static str,
    pub json: String,
}

/// Bombs for every entry point, small ones first: how much one may take differs.
pub fn bombs() -> Vec<Bomb> {
    let bomb = |name, json: String| Bomb { name, json };
    let mut bombs = vec![
        bomb("a number in disguise", format!(r#"{{"{NUMBER}":"7"}}"#)),
        bomb("a raw value in disguise", format!(r#"{{"{RAW_VALUE}":"7"}}"#)),
        bomb("a huge number in disguise", format!(r#"{{"{NUMBER}":"1e999999999"}}"#)),
        bomb("a number in disguise that is none", format!(r#"{{"{NUMBER}":{{"a":1}}}}"#)),
        bomb("a disguise with escapes", format!(r#"{{"\u0024{}":"7"}}"#, &RAW_VALUE[1..])),
        bomb("raw values within each other, 8 deep", raw_values(RAW_VALUE, 8, 100)),
        bomb("raw values within each other, 14 deep", raw_values(RAW_VALUE, 14, 120)),
        bomb("raw values within each other, 24 deep", raw_values(RAW_VALUE, 24, 120)),
        bomb("raw values within each other, 30 deep", raw_values(RAW_VALUE, 30, 120)),
        bomb("raw values within each other, 40 deep", raw_values(RAW_VALUE, 40, 120)),
        bomb("raw values within each other, 60 deep", raw_values(RAW_VALUE, 60, 120)),
        bomb("raw values within each other, 120 deep", raw_values(RAW_VALUE, 120, 120)),
        bomb("raw values whose names have escapes", {
            let escaped = RAW_VALUE.replace('$', r"\u0024").replace("json", r"\u006as\u006fn");
            raw_values(&escaped, 60, 120)
        }),
        bomb("lists, 65 deep", nested("[", "", "]", 65)),
        bomb("lists, 127 deep", nested("[", "", "]", 127)),
        bomb("lists, 100,000 deep", nested("[", "", "]", 100_000)),
        bomb("objects, 40,000 deep", nested(r#"{"a":"#, "1", "}", 40_000)),
        bomb("lists and objects, 25,000 deep", nested(r#"[{"a":"#, "1", "}]", 25_000)),
        bomb("250 KB of brackets", "[".repeat(250_000)),
        bomb("250 KB of braces", r#"{"":"#.repeat(62_500)),
        bomb("120,000 zeros", list("0", 120_000)),
        bomb("80,000 empty lists", list("[]", 80_000)),
        bomb("80,000 empty texts", list(r#""""#, 80_000)),
    ];
    let names: Vec<String> = (0..22_000).map(|at| format!(r#""{at}":0"#)).collect();
    bombs.push(bomb("22,000 names", format!("{{{}}}", names.join(","))));
    bombs
}

/// Queries whose brackets a parser may take for a part of a string, or not.
pub fn documents() -> Vec<(&'static str, String)> {
    let brackets = "[".repeat(14_900);
    vec![
        ("brackets behind four quotes", format!(r#"{{a(b:[""""{brackets}"#)),
        ("brackets behind five quotes", format!(r#"{{a(b:["""""{brackets}"#)),
        ("brackets behind quotes with an escape", format!(r#"{{a(b:["""\"""{brackets}"#)),
        ("brackets in a default behind four quotes", format!(r#"query($a:Int=[""""{brackets}"#)),
        ("braces behind four quotes", format!(r#"{{a(b:[""""{}"#, "{a:".repeat(4_900))),
    ]
}

/// Each is text in which the one before it stands, below so many brackets: a parser that is called anew for
/// each never meets its own bound of levels.
fn raw_values(name: &str, levels: usize, brackets: usize) -> String {
    (0..levels).fold("1".to_owned(), |inner, _| {
        let text = inner.replace('\\', r"\u005c").replace('"', r"\u0022");
        nested("[", &format!(r#"{{"{name}":"{text}"}}"#), "]", brackets)
    })
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

/// The same value so many times.
pub fn list(value: &str, count: usize) -> String {
    format!("[{}]", vec![value; count].join(","))
}
