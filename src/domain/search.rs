//! Searching in columns of folded text, the same on every database.

use sea_orm::{
    DbBackend,
    sea_query::{Expr, ExprTrait, Func, SimpleExpr},
};

use super::{
    Fault, bad_input,
    validate::{NAME_CHARS_MAX, is_within, may_be_stored},
};

/// Text in lower case, each character by itself, so that a part folds as it does in the whole.
pub fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Whether folded text holds this one, in upper or lower case; at most 200 characters. Not by `LIKE`: on `SQLite` that
/// takes time for each character of the pattern at each character of the text.
pub fn holds(backend: DbBackend, folded_text: SimpleExpr, text: &str) -> Result<SimpleExpr, Fault> {
    let text = text.trim();
    if !is_within(text, NAME_CHARS_MAX) {
        return Err(bad_input("The search text must have at most 200 characters."));
    }
    Ok(holds_short(backend, folded_text, text))
}

/// The same of text whose length is bounded already.
pub fn holds_short(backend: DbBackend, folded_text: SimpleExpr, text: &str) -> SimpleExpr {
    let text = folded(text);
    if !may_be_stored(&text) {
        return Expr::cust("1 = 0");
    }
    let place = match backend {
        DbBackend::Postgres => "strpos",
        _ => "instr",
    };
    let place = Func::cust(place).arg(folded_text).arg(text);
    SimpleExpr::from(place).gt(0)
}
