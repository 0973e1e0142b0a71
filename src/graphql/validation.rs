//! The library's validation by itself: its strict rules judge a document as it was sent, and what is executed
//! may then differ from it (`absent_variables`).

use std::sync::Arc;

use async_graphql::{
    Request, ServerError, ValidationMode, ValidationResult, Variables,
    extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation},
    parser::types::ExecutableDocument,
};

use super::{TollgateSchema, schema};

/// The schema, to validate against and not to execute.
#[derive(Clone)]
pub struct Validator(TollgateSchema);

impl Default for Validator {
    fn default() -> Self {
        let schema = schema().validation_mode(ValidationMode::Strict);
        Self(schema.extension(StopAfterValidation).finish())
    }
}

impl Validator {
    /// Judges all operations of a document, with the variables of the one that is named.
    pub async fn validate(
        &self,
        document: &ExecutableDocument,
        operation_name: Option<&str>,
        variables: &Variables,
    ) -> Result<(), Vec<ServerError>> {
        let mut request = Request::new("").variables(variables.clone());
        request.operation_name = operation_name.map(str::to_owned);
        request.set_parsed_query(document.clone());
        let errors = self.0.execute(request).await.errors;
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// Ends every request when its validation has ended: with the errors found, or with none.
struct StopAfterValidation;

impl ExtensionFactory for StopAfterValidation {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait::async_trait]
impl Extension for StopAfterValidation {
    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        next.run(ctx).await?;
        Err(Vec::new())
    }
}
