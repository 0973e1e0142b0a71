//! Passes a list of ids as one parameter. The SQL text of a statement then does not depend on the number of ids, and
//! its prepared plan can be reused.

use sea_orm::{
    DbBackend, Value,
    sea_query::{Expr, SimpleExpr},
};
use uuid::Uuid;

/// Returns the condition that the `id` of a row is in the list.
pub fn has_id(backend: DbBackend, ids: impl IntoIterator<Item = Uuid>) -> SimpleExpr {
    let ids = id_list(backend, ids);
    match backend {
        DbBackend::Postgres => Expr::cust_with_values("id = ANY($1)", [ids]),
        _ => Expr::cust_with_values("id IN (SELECT unhex(value) FROM json_each(?))", [ids]),
    }
}

/// Returns ids as one parameter: an array on PostgreSQL, a JSON array of hexadecimal strings on `SQLite`.
pub fn id_list(backend: DbBackend, ids: impl IntoIterator<Item = Uuid>) -> Value {
    let ids = ids.into_iter();
    if backend == DbBackend::Postgres {
        return ids.collect::<Vec<_>>().into();
    }
    let ids: Vec<String> = ids.map(|id| id.simple().to_string()).collect();
    serde_json::json!(ids).to_string().into()
}
