//! Introspection, thirty times a request: some kilobytes in, and megabytes out.

use rstest::rstest;
use serde_json::json;

use crate::{
    Database::{self, Postgres, Sqlite},
    requests::{post, thirty},
    scale,
    stage::Stage,
};

const CONNECTIONS: usize = 200;

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn introspection(#[values(Sqlite, Postgres)] database: Database) {
    let Some(mut stage) = Stage::start(database).await else { return };
    let key = stage.sub_account().await.test;
    let schema =
        "__schema{types{name description fields{name description args{name description}}}}";
    let of_type =
        r#"__type(name:"Mutation"){fields{name description args{name description type{name}}}}"#;
    let thirty_types = post(&key, &format!("{{ {} }}", thirty(of_type)), &json!({}));
    let thirty_schemas = post(&key, &format!("{{ {} }}", thirty(schema)), &json!({}));
    let one_schema = post(&key, &format!("{{ {schema} }}"), &json!({}));
    for (what, request) in
        [("one schema", one_schema), ("30 types", thirty_types), ("30 schemas", thirty_schemas)]
            .into_iter()
            .take(scale(2, 3))
    {
        let name = format!("introspection of {what} a request, {CONNECTIONS} connections");
        stage
            .attack(&name, async |attack| {
                attack.repeat(CONNECTIONS, &[request]);
                attack.lasts().await;
            })
            .await;
    }
    stage.finish().await;
}
