//! The schema as each role sees it.

use async_graphql::{
    Executor, Request, ServerError, ValidationMode, parser::types::ExecutableDocument,
};
use entity::api_key::Role;
use tokio::sync::OnceCell;

use super::{
    schema_index::{INTROSPECTION, SchemaIndex},
    subscription_root::check_subscription_root,
    validation::{Invalid, SchemaValidator},
};
use crate::graphql::{
    access::Audience,
    schema::{TollgateSchema, schema},
};

/// The executable schema, and the part of it that each role sees.
pub struct RoleSchemas {
    pub executable: TollgateSchema,
    pub full: VisibleSchema,
    operator: VisibleSchema,
    main_account: VisibleSchema,
    sub_account: VisibleSchema,
}

/// The part of the schema that one audience sees.
pub struct VisibleSchema {
    pub index: SchemaIndex,
    validator: SchemaValidator,
}

static SCHEMAS: OnceCell<RoleSchemas> = OnceCell::const_new();

impl RoleSchemas {
    /// Returns the schemas of this process. They are built on the first call.
    pub async fn get() -> &'static Self {
        SCHEMAS.get_or_init(Self::build).await
    }

    async fn build() -> Self {
        // `VisibleSchema::validate` replaces the validation of async-graphql.
        let executable = schema().validation_mode(ValidationMode::Fast).finish();
        Self {
            full: VisibleSchema::load(&executable, Audience::Everything).await,
            operator: VisibleSchema::load(&executable, Audience::Role(Role::Operator)).await,
            main_account: VisibleSchema::load(&executable, Audience::Role(Role::MainAccount)).await,
            sub_account: VisibleSchema::load(&executable, Audience::Role(Role::SubAccount)).await,
            executable,
        }
    }

    pub fn visible_to(&self, role: Role) -> &VisibleSchema {
        match role {
            Role::Operator => &self.operator,
            Role::MainAccount => &self.main_account,
            Role::SubAccount => &self.sub_account,
        }
    }
}

impl VisibleSchema {
    /// Executes an introspection to determine which part of the schema an audience sees.
    pub async fn load(schema: &impl Executor, audience: Audience) -> Self {
        let response = schema.execute(Request::new(INTROSPECTION).data(audience)).await;
        let data = response.data.into_json().expect("an introspection is plain JSON");
        let index = SchemaIndex::read(data).expect("the introspection has the requested fields");
        let validator = SchemaValidator::new(&index);
        Self { index, validator }
    }

    /// Validates all operations in a document that `cost::check_cost` has accepted. `self` is the
    /// part of the schema that `role` sees, and `full` is the whole schema.
    pub fn validate(
        &self,
        document: &ExecutableDocument,
        text: &str,
        full: &Self,
        role: Role,
    ) -> Result<(), Invalid> {
        self.validator.validate(text, &full.validator, role)?;
        let mut operations = document.operations.iter();
        operations
            .try_for_each(|(_, operation)| check_subscription_root(document, operation))
            .map_err(|error: ServerError| Invalid::Errors(vec![error]))
    }
}
