//! A baseline for benchmarks of lists: a server with only axum and async-graphql that returns 50 constant objects for
//! `{ list { a b c d } }`. `cargo run --release --example bare_list -- 127.0.0.1:8081`

use async_graphql::{EmptyMutation, EmptySubscription, Object, Schema, SimpleObject};
use async_graphql_axum::GraphQL;
use axum::{Router, routing::post_service};

struct Query;

/// An object whose fields have the same types as the fields that the benchmark of sub-accounts selects.
#[derive(Clone, SimpleObject)]
struct Item {
    a: &'static str,
    b: &'static str,
    c: i32,
    d: &'static str,
}

#[Object]
impl Query {
    async fn list(&self) -> Vec<Item> {
        let item =
            Item { a: "01a20ade-3777-773d-af53-b49c6954b5a0", b: "Sub 1", c: 4500, d: "ACTIVE" };
        vec![item; 50]
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let schema = Schema::new(Query, EmptyMutation, EmptySubscription);
    let router = Router::new().route("/graphql", post_service(GraphQL::new(schema)));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, router).await?;
    Ok(())
}
