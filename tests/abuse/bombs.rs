//! JSON that is expensive to parse, or that the parser interprets in a special way.

/// Names to which `serde_json` gives a special meaning.
const RAW_VALUE: &str = "$serde_json::private::RawValue";
const NUMBER: &str = "$serde_json::private::Number";

/// JSON that must be refused.
pub struct Bomb {
    pub name: &'static str,
    pub json: String,
}

/// Returns the bombs, starting with small ones. Their sizes differ because not every entry point accepts the same size.
pub fn bombs() -> Vec<Bomb> {
    let bomb = |name, json: String| Bomb { name, json };
    let mut bombs = vec![
        bomb("a reserved name for a number", format!(r#"{{"{NUMBER}":"7"}}"#)),
        bomb("a reserved name for a raw value", format!(r#"{{"{RAW_VALUE}":"7"}}"#)),
        bomb("a reserved name for a huge number", format!(r#"{{"{NUMBER}":"1e999999999"}}"#)),
        bomb("a reserved name for a number with an object", format!(r#"{{"{NUMBER}":{{"a":1}}}}"#)),
        bomb("a reserved name with escapes", format!(r#"{{"\u0024{}":"7"}}"#, &RAW_VALUE[1..])),
        bomb("nested raw values, 8 deep", raw_values(RAW_VALUE, 8, 100)),
        bomb("nested raw values, 14 deep", raw_values(RAW_VALUE, 14, 120)),
        bomb("nested raw values, 24 deep", raw_values(RAW_VALUE, 24, 120)),
        bomb("nested raw values, 30 deep", raw_values(RAW_VALUE, 30, 120)),
        bomb("nested raw values, 40 deep", raw_values(RAW_VALUE, 40, 120)),
        bomb("nested raw values, 60 deep", raw_values(RAW_VALUE, 60, 120)),
        bomb("nested raw values, 120 deep", raw_values(RAW_VALUE, 120, 120)),
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

/// Returns queries with brackets that some parsers may read as part of a string.
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

/// JSON values nested inside one another as strings, each inside nested brackets. A parser that is called again for
/// each string never reaches its own depth limit.
fn raw_values(name: &str, levels: usize, brackets: usize) -> String {
    (0..levels).fold("1".to_owned(), |inner, _| {
        let text = inner.replace('\\', r"\u005c").replace('"', r"\u0022");
        nested("[", &format!(r#"{{"{name}":"{text}"}}"#), "]", brackets)
    })
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

/// Returns a JSON list that repeats a value.
pub fn list(value: &str, count: usize) -> String {
    format!("[{}]", vec![value; count].join(","))
}
