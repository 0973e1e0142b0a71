//! Payloads of mutations.

/// Declares the payload of a mutation. The payload is built from the result of the domain:
/// `payload! { NAME, REFUSAL, DONE as PATTERN => { FIELD: TYPE = EXPRESSION, … } }`. The pattern
/// binds the result of a completed mutation. If the mutation was refused, each field has the
/// default value of its type.
macro_rules! payload {
    (
        $(#[$doc:meta])*
        $payload:ident, $refusal:ty, $of:ty as $done:pat => {
            $($(#[$field_doc:meta])* $field:ident: $type:ty = $value:expr,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(async_graphql::SimpleObject)]
        pub struct $payload {
            $($(#[$field_doc])* $field: $type,)+
            /// Reasons why the mutation was refused; empty if it succeeded.
            errors: Vec<$crate::graphql::errors::UserError<$refusal>>,
        }

        impl $payload {
            fn of(
                answer: Result<$of, $crate::domain::Failure<$refusal>>,
            ) -> async_graphql::Result<Option<Self>> {
                Ok(Some(match $crate::domain::split(answer)? {
                    Ok($done) => Self { $($field: $value,)+ errors: vec![] },
                    Err(refusal) => Self {
                        $($field: Default::default(),)+
                        errors: vec![$crate::graphql::errors::UserError::new(refusal)],
                    },
                }))
            }
        }
    };
}

pub(super) use payload;
