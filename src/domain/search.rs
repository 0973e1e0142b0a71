//! Case-insensitive search in columns of folded text, with the same results on every database.

use sea_orm::{
    DbBackend,
    sea_query::{Expr, ExprTrait, Func, SimpleExpr},
};

use super::{
    Fault, bad_input,
    validate::{NAME_CHARS_MAX, is_within, may_be_stored},
};

/// Converts text to lower case. Each character is converted by itself, so that a part of the text has the same form as
/// in the whole text.
pub fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Returns the condition that folded text contains `text`, which must have at most 200 characters. `LIKE` is not used,
/// because on `SQLite` its time is proportional to the product of both lengths.
pub fn holds(backend: DbBackend, folded_text: SimpleExpr, text: &str) -> Result<SimpleExpr, Fault> {
    let text = text.trim();
    if !is_within(text, NAME_CHARS_MAX) {
        return Err(bad_input("The search text must have at most 200 characters."));
    }
    Ok(holds_short(backend, folded_text, text))
}

/// Like [`holds`], for text whose length has already been checked.
pub fn holds_short(backend: DbBackend, folded_text: SimpleExpr, text: &str) -> SimpleExpr {
    let text = folded(text);
    if !may_be_stored(&text) {
        return Expr::cust("1 = 0");
    }
    let function = match backend {
        DbBackend::Postgres => "strpos",
        _ => "instr",
    };
    let index = Func::cust(function).arg(folded_text).arg(text);
    SimpleExpr::from(index).gt(0)
}
