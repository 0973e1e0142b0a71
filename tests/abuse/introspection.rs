//! Small requests that use introspection thirty times, and have responses of several megabytes.

use db_test::db_test;
use serde_json::json;

use crate::{
    Database::{self},
    fixture::Fixture,
    requests::{post, thirty},
    scale,
};

const CONNECTIONS: usize = 200;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn introspection(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let key = fixture.sub_account().await.test;
    let schema =
        "__schema{types{name description fields{name description args{name description}}}}";
    let of_type =
        r#"__type(name:"Mutation"){fields{name description args{name description type{name}}}}"#;
    let thirty_types = post(&key, &format!("{{ {} }}", thirty(of_type)), &json!({}));
    // A request may have only one `__schema`, but many fields in it.
    let long_schema = format!(
        "{{ __schema {{ {} }} }}",
        (0..10)
            .map(|at| format!("t{at}:types{{name description kind interfaces{{name}}}} "))
            .collect::<String>()
    );
    let long_schema = post(&key, &long_schema, &json!({}));
    let one_schema = post(&key, &format!("{{ {schema} }}"), &json!({}));
    for (what, request) in
        [("one schema", one_schema), ("30 types", thirty_types), ("a long schema", long_schema)]
            .into_iter()
            .take(scale(2, 3))
    {
        let name = format!("introspection of {what} a request, {CONNECTIONS} connections");
        fixture
            .attack(&name, &["200"], async |attack| {
                attack.repeat(CONNECTIONS, &[request]);
                attack.run().await;
            })
            .await;
    }
    fixture.finish().await;
}
