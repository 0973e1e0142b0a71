//! Writes audit log entries for refused mutations. `domain::audit_log` writes the entries for
//! completed mutations.

use std::{borrow::Cow, sync::Arc};

use async_graphql::{
    ContainerType, Context, ContextSelectionSet, ObjectType, OutputType, Positioned, ServerResult,
    Value, parser::types::Field, registry::Registry, resolver_utils::resolve_container_serial,
};
use entity::audit_entry::AuditAction;

use super::{
    access::ContextExt,
    errors::{Code, refusal_of},
};
use crate::{
    app::App,
    domain::{
        Failure, Fault,
        audit_log::refused_call::{self, Target},
        caller::Caller,
    },
};

pub mod list;

/// The reason why a call did not succeed.
pub trait CallFailure: From<Fault> {
    /// Returns the code of a refusal, or `None` for other failures.
    fn refusal(&self) -> Option<&'static str>;
}

impl CallFailure for Fault {
    fn refusal(&self) -> Option<&'static str> {
        refusal_of(self).map(Code::as_str)
    }
}

impl<C: Copy + Into<&'static str>> CallFailure for Failure<C> {
    fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.code.into()),
            Self::Fault(fault) => fault.refusal(),
        }
    }
}

/// Executes `act`, which is the action of a mutation. If the mutation is refused, writes an entry
/// to the audit log. `act` must check the caller's permission. The bytes of the arguments are
/// charged to the account's write rate.
pub fn audited<T, F: CallFailure>(
    ctx: &Context<'_>,
    action: AuditAction,
    target: Target<'_>,
    act: impl Future<Output = Result<T, F>>,
) -> impl Future<Output = Result<T, F>> {
    // The future of the action is boxed, because the future of each mutation would otherwise
    // contain it.
    let act = Box::pin(act);
    async move {
        let (app, caller) = (ctx.app()?, ctx.caller()?);
        charge(ctx, app, caller)?;
        let done = act.await;
        if let Some(code) = done.as_ref().err().and_then(F::refusal) {
            enter_refusal(app, caller, action, code, target).await;
        }
        done
    }
}

/// Charges the arguments of a mutation to the account's write rate, because they are stored.
/// Mutations that send messages are charged elsewhere ([`write_rate`](crate::domain::write_rate)),
/// because they store more than their arguments.
fn charge(ctx: &Context<'_>, app: &App, caller: &Caller) -> Result<(), Fault> {
    // An operator has no account.
    let Ok(account) = caller.account() else { return Ok(()) };
    let arguments = ctx.field().arguments().unwrap_or_default();
    let bytes = arguments.iter().map(|(_, value)| bytes_of(value)).sum();
    app.writes.take((&account).into(), bytes)
}

/// Returns the number of bytes of the text in an argument, including the names of object members.
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

/// Writes entries for mutations that were refused before execution, because the role of the caller
/// cannot use them.
pub async fn enter_forbidden(app: &Arc<App>, caller: &Caller, mutations: &[String]) {
    for action in mutations.iter().filter_map(|name| AuditAction::of_mutation(name)) {
        enter_refusal(app, caller, action, Code::Forbidden.as_str(), Target::Nothing).await;
    }
}

/// Writes an entry for a refused mutation. If writing the entry fails, the failure is only logged.
async fn enter_refusal(
    app: &App,
    caller: &Caller,
    action: AuditAction,
    code: &str,
    target: Target<'_>,
) {
    if let Err(fault) = refused_call::enter_refusal(app, caller, action, code, target).await {
        tracing::error!(?action, %fault, "Could not write a refused call to the audit log");
    }
}

/// The root of all mutations. It writes entries for calls with arguments that async-graphql refuses
/// before the calls reach [`audited`].
pub struct Audited<M>(pub M);

impl<M: ObjectType> ContainerType for Audited<M> {
    async fn resolve_field(&self, ctx: &Context<'_>) -> ServerResult<Option<Value>> {
        // The future is boxed, because it is copied for every mutation and is as large as the
        // future of the largest mutation.
        let answer = Box::pin(self.0.resolve_field(ctx)).await;
        if let Err(error) = &answer
            && error.source.is_none()
            && let Some(action) = AuditAction::of_mutation(ctx.field().name())
            && let (Ok(app), Ok(caller)) = (ctx.app(), ctx.caller())
        {
            let code = Code::BadUserInput.as_str();
            enter_refusal(app, caller, action, code, Target::Nothing).await;
        }
        answer
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
