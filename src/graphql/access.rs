//! Who may use which field. Queries have a guard; mutations ask their context for a caller of the role that the domain
//! demands, so that a forgotten check does not compile. Visibility keeps what a key may not use out of its
//! introspection, and of the schema that its documents are validated against.

use std::{hash::Hash, sync::Arc};

use async_graphql::{
    Context, Guard, Result,
    dataloader::{DataLoader, Loader},
};
use entity::api_key::Role;

use super::{
    execution::{field_permits::FieldPermit, text_size::TextBytes},
    loaders::Rows,
};
use crate::{
    app::App,
    domain::{
        Fault,
        caller::{AccountCaller, Caller, LiveAccountCaller, LiveMainCaller, OperatorCaller},
        deadline::Deadline,
    },
    limits::memory_budget::Reservation,
};

/// Whose eyes the schema is looked at with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The whole schema: to tell a hidden field from one that does not exist. No request has it.
    Everything,
    Role(Role),
}

/// What a field asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleGuard {
    /// A key of an account: a main account's or a sub-account's.
    Account,
    /// A key of a main account.
    Main,
    /// A key that may see a whole team: of its main account, or an operator's.
    Team,
    /// An operator's key.
    Operator,
}

impl Guard for RoleGuard {
    async fn check(&self, ctx: &Context<'_>) -> Result<()> {
        let caller = ctx.caller()?;
        match self {
            Self::Account => caller.account().map(|_| ())?,
            Self::Main => caller.main().map(|_| ())?,
            Self::Team if caller.role() == Role::SubAccount => caller.main().map(|_| ())?,
            Self::Team => {}
            Self::Operator => caller.operator().map(|_| ())?,
        }
        Ok(())
    }
}

fn seen_by(ctx: &Context<'_>, roles: &[Role]) -> bool {
    match ctx.data_opt::<Audience>() {
        Some(Audience::Everything) => true,
        Some(Audience::Role(role)) => roles.contains(role),
        None => false,
    }
}

/// Visible to the keys that pass [`RoleGuard::Account`]; TEST keys see what their LIVE siblings may do.
pub fn account(ctx: &Context<'_>) -> bool {
    seen_by(ctx, &[Role::MainAccount, Role::SubAccount])
}

/// Visible to the keys that pass [`RoleGuard::Main`]; TEST keys see what their LIVE siblings may do.
pub fn main(ctx: &Context<'_>) -> bool {
    seen_by(ctx, &[Role::MainAccount])
}

/// Visible to the keys that pass [`RoleGuard::Team`].
pub fn team(ctx: &Context<'_>) -> bool {
    seen_by(ctx, &[Role::MainAccount, Role::Operator])
}

/// Visible to the keys that pass [`RoleGuard::Operator`].
pub fn operator(ctx: &Context<'_>) -> bool {
    seen_by(ctx, &[Role::Operator])
}

/// What a resolver asks its context for.
pub trait ContextExt {
    fn app(&self) -> Result<&Arc<App>, Fault>;
    fn caller(&self) -> Result<&Caller, Fault>;
    /// The caller as an account.
    fn account(&self) -> Result<AccountCaller, Fault> {
        self.caller()?.account()
    }
    /// The caller as an account, with a LIVE key.
    fn live_account(&self) -> Result<LiveAccountCaller, Fault> {
        self.account()?.live()
    }
    /// The caller as a main account, with a LIVE key.
    fn live_main(&self) -> Result<LiveMainCaller, Fault> {
        self.caller()?.main()?.live()
    }
    fn operator(&self) -> Result<OperatorCaller, Fault> {
        self.caller()?.operator()
    }
    /// Rows by id, batched over the request.
    fn rows(&self) -> Result<&DataLoader<Rows>>;
    /// The row of an id, if there is one. Each field that asks gets a copy of it, which counts.
    fn row<K, V>(&self, key: K) -> impl Future<Output = Result<Option<V>>> + Send
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        V: TextBytes + Clone + Send + Sync + 'static,
        Rows: Loader<K, Value = Arc<V>, Error = Arc<Fault>>;
    /// The texts that the request holds.
    fn reservation(&self) -> Result<&Arc<Reservation>>;
    /// A text in the answer that may be long.
    fn answer<'t>(&self, text: Option<&'t str>) -> Result<Option<&'t str>>;
    /// How long a query or a mutation is waited for.
    fn deadline(&self) -> Result<&Deadline, Fault>;
    /// The turn in which the fields of a query or a mutation are executed.
    fn field_permit(&self) -> Result<&FieldPermit>;
}

impl ContextExt for Context<'_> {
    fn app(&self) -> Result<&Arc<App>, Fault> {
        self.data_opt().ok_or(Fault::Broken("every request has the app"))
    }

    fn caller(&self) -> Result<&Caller, Fault> {
        self.data_opt().ok_or(Fault::KeyRevoked)
    }

    fn rows(&self) -> Result<&DataLoader<Rows>> {
        self.data::<DataLoader<Rows>>()
    }

    async fn row<K, V>(&self, key: K) -> Result<Option<V>>
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        V: TextBytes + Clone + Send + Sync + 'static,
        Rows: Loader<K, Value = Arc<V>, Error = Arc<Fault>>,
    {
        let Some(found) = self.rows()?.load_one(key).await? else { return Ok(None) };
        // Thousands of fields may have asked for it, so it is copied only now.
        self.reservation()?.take(found.bytes())?;
        Ok(Some(Arc::unwrap_or_clone(found)))
    }

    fn reservation(&self) -> Result<&Arc<Reservation>> {
        Ok(&self.rows()?.loader().reservation)
    }

    fn answer<'t>(&self, text: Option<&'t str>) -> Result<Option<&'t str>> {
        self.reservation()?.answer(text.unwrap_or_default())?;
        Ok(text)
    }

    fn deadline(&self) -> Result<&Deadline, Fault> {
        self.data_opt().ok_or(Fault::Broken("every query and mutation has a deadline"))
    }

    fn field_permit(&self) -> Result<&FieldPermit> {
        self.data::<FieldPermit>()
    }
}
