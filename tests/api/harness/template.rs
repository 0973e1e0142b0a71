//! Templates.

use serde_json::{Value, json};

use super::{TestApp, text};

impl TestApp {
    /// Creates a template with these bodies and variables. Returns the template's id.
    pub async fn template(&self, key: &str, bodies: Value, variables: Value) -> String {
        let query = "mutation($input: CreateTemplateInput!) { createTemplate(input: $input) \
                     { template { id } errors { code message } } }";
        let input = json!({ "name": "Template", "bodies": bodies, "variables": variables });
        let answer = self.ask_with(key, query, json!({ "input": input })).await;
        assert_eq!(answer.refusals(), [""; 0], "{}", answer.body);
        text(&answer.data()["createTemplate"]["template"]["id"])
    }
}
