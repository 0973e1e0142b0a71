//! The root of all mutations, which enters refused calls in the audit log. Successful calls are
//! entered in their own transaction (`domain::audit_log`).

use std::{borrow::Cow, sync::Arc};

use async_graphql::{
    ContainerType, Context, ContextSelectionSet, Name, ObjectType, OutputType, Positioned,
    ServerResult, Value, parser::types::Field, registry::Registry,
    resolver_utils::resolve_container_serial,
};
use entity::audit_entry::AuditAction;
use uuid::Uuid;

use super::{
    access::ContextExt,
    errors::{Code, refusal_of},
};
use crate::{
    app::App,
    domain::{
        Fault,
        account::AccountRef,
        audit_log::{
            action_of,
            request_context::{self as domain, Named},
        },
        caller::Caller,
    },
};

pub mod list;

/// The id of a request.
pub struct RequestId(pub String);

/// Mutations that leave an entry in the audit log, unless they are about messages. In the schema it
/// is the same object as `M`.
pub struct Audited<M>(pub M);

impl<M: ObjectType> ContainerType for Audited<M> {
    async fn resolve_field(&self, ctx: &Context<'_>) -> ServerResult<Option<Value>> {
        let Some(action) = action_of(ctx.field().name()) else {
            return self.0.resolve_field(ctx).await;
        };
        charge(ctx).map_err(|fault| {
            ctx.set_error_path(async_graphql::Error::from(fault).into_server_error(ctx.item.pos))
        })?;
        let request_id = ctx.data::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        // Boxed, because this future has the size of the largest mutation and is moved for each.
        let audited = Box::pin(async {
            let answer = self.0.resolve_field(ctx).await;
            let top_level = answer.as_ref().err().and_then(refusal_of);
            let code =
                top_level.map(|code| code.as_str().to_owned()).or_else(domain::noted_refusal);
            if let (Some(code), Ok(app), Ok(caller)) = (code, ctx.app(), ctx.caller()) {
                enter_refusal(app, caller, action, code, named(ctx)).await;
            }
            answer
        });
        domain::under(request_id, audited).await
    }
}

impl<M: ObjectType> OutputType for Audited<M> {
    fn type_name() -> Cow<'static, str> {
        M::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        M::create_type_info(registry)
    }

    async fn resolve(
        &self,
        ctx: &ContextSelectionSet<'_>,
        _field: &Positioned<Field>,
    ) -> ServerResult<Value> {
        resolve_container_serial(ctx, self).await
    }
}

impl<M: ObjectType> ObjectType for Audited<M> {}

/// Charges the arguments of a mutation to the account's write rate, because they are stored.
/// Mutations of messages are charged elsewhere, because their arguments are not all that they store
/// ([`write_rate`](crate::domain::write_rate)).
fn charge(ctx: &Context<'_>) -> Result<(), Fault> {
    let (Ok(app), Ok(caller)) = (ctx.app(), ctx.caller()) else { return Ok(()) };
    // Operators have no account and no write rate.
    let Ok(account) = caller.account() else { return Ok(()) };
    let arguments = ctx.field().arguments().unwrap_or_default();
    let bytes = arguments.iter().map(|(_, value)| bytes_of(value)).sum();
    app.writes.take((&account).into(), bytes)
}

/// Number of bytes of the text in an argument, including the names of object members.
fn bytes_of(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Number(number) => number.as_str().len(),
        Value::List(values) => values.iter().map(bytes_of).sum(),
        Value::Object(object) => {
            object.iter().map(|(name, value)| name.len() + bytes_of(value)).sum()
        }
        Value::Null | Value::Boolean(_) | Value::Enum(_) | Value::Binary(_) => 0,
    }
}

/// Enters mutations in the audit log that were refused before execution because the caller's role
/// does not have them.
pub async fn enter_forbidden(
    app: &Arc<App>,
    caller: &Caller,
    request_id: &str,
    mutations: &[String],
) {
    let entered = async {
        for action in mutations.iter().filter_map(|name| action_of(name)) {
            let code = Code::Forbidden.as_str().to_owned();
            enter_refusal(app, caller, action, code, Named::default()).await;
        }
    };
    domain::under(request_id.to_owned(), entered).await;
}

/// The caller is refused even if the entry cannot be stored.
async fn enter_refusal(
    app: &Arc<App>,
    caller: &Caller,
    action: AuditAction,
    code: String,
    named: Named,
) {
    let entered = domain::enter_refusal(app, caller, action, code, named).await;
    if let Err(fault) = entered {
        tracing::error!(?action, %fault, "A refusal could not be entered in the audit log");
    }
}

/// The account and the first id that the arguments of a mutation contain. Nothing else of the
/// arguments is entered.
fn named(ctx: &Context<'_>) -> Named {
    let mut named = Named::default();
    for (name, value) in ctx.field().arguments().unwrap_or_default() {
        match (name.as_str(), value) {
            ("account", account) => named.account = account_of(&account),
            ("input", Value::Object(input)) => {
                let first = input.iter().find_map(|(name, value)| id_of(name, value));
                named.id = named.id.or(first);
            }
            (_, value) => named.id = named.id.or(id_of(&name, &value)),
        }
    }
    named
}

fn account_of(account: &Value) -> Option<AccountRef> {
    let Value::Object(account) = account else { return None };
    match (account.get("id"), account.get("externalId")) {
        (Some(Value::String(id)), _) => Uuid::try_parse(id).ok().map(AccountRef::Id),
        (_, Some(Value::String(id))) => Some(AccountRef::ExternalId(id.clone())),
        _ => None,
    }
}

fn id_of(name: &Name, value: &Value) -> Option<Uuid> {
    let is_id = name == "id" || (name.ends_with("Id") && name != "externalId");
    match value {
        Value::String(id) if is_id => Uuid::try_parse(id).ok(),
        _ => None,
    }
}
