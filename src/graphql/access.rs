//! Access to fields by role. Each field has a guard. Mutations get their caller from the context,
//! as a caller of the role that the domain requires. A mutation without this check therefore does
//! not compile. Fields that a key cannot use are not visible in the key's introspection or in the
//! schema against which the key's documents are validated.

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

/// The audience that sees a part of the schema. It determines which fields and types are visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Sees the whole schema. This audience is used to distinguish hidden fields from fields that
    /// do not exist. No request is executed for it.
    Everything,
    Role(Role),
}

/// The key that a field requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleGuard {
    /// A key of an account: the main account or a sub-account.
    Account,
    /// A key of the main account.
    Main,
    /// A key that can read a whole team: a key of its main account or of an operator.
    Team,
    /// A key of an operator.
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

/// Returns whether a field for all keys of accounts is visible. TEST keys see the same fields as
/// LIVE keys.
pub fn account(ctx: &Context<'_>) -> bool {
    seen_by(ctx, &[Role::MainAccount, Role::SubAccount])
}

/// Returns whether a field for all keys of main accounts is visible. TEST keys see the same fields
/// as LIVE keys.
pub fn main(ctx: &Context<'_>) -> bool {
    seen_by(ctx, &[Role::MainAccount])
}

/// Returns whether a field for the keys that pass [`RoleGuard::Team`] is visible.
pub fn team(ctx: &Context<'_>) -> bool {
    seen_by(ctx, &[Role::MainAccount, Role::Operator])
}

/// Returns whether a field for the keys that pass [`RoleGuard::Operator`] is visible.
pub fn operator(ctx: &Context<'_>) -> bool {
    seen_by(ctx, &[Role::Operator])
}

type Loaded<K> = <Rows as Loader<K>>::Value;

/// Access to the request's data for resolvers.
pub trait ContextExt {
    fn app(&self) -> Result<&Arc<App>, Fault>;
    fn caller(&self) -> Result<&Caller, Fault>;
    /// Returns the caller as an account. Fails for an operator.
    fn account(&self) -> Result<AccountCaller, Fault> {
        self.caller()?.account()
    }
    /// Returns the caller as an account with a LIVE key. Fails for other callers.
    fn live_account(&self) -> Result<LiveAccountCaller, Fault> {
        self.account()?.live()
    }
    /// Returns the caller as a main account with a LIVE key. Fails for other callers.
    fn live_main(&self) -> Result<LiveMainCaller, Fault> {
        self.caller()?.main()?.live()
    }
    fn operator(&self) -> Result<OperatorCaller, Fault> {
        self.caller()?.operator()
    }
    /// Returns the loader for rows by id. It loads the rows of a request in batches.
    fn rows(&self) -> Result<&DataLoader<Rows>>;
    /// Loads the value for a key. Returns `None` if there is no key or no value.
    fn load<K>(&self, key: Option<K>) -> impl Future<Output = Result<Option<Loaded<K>>>> + Send
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        Rows: Loader<K, Error = Arc<Fault>>;
    /// Loads the row with an id. Returns `None` if there is no id or no row. Each field gets its
    /// own copy of the row, and each copy is counted against the memory reservation.
    fn row<K, V>(&self, key: Option<K>) -> impl Future<Output = Result<Option<V>>> + Send
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        V: TextBytes + Clone + Send + Sync + 'static,
        Rows: Loader<K, Value = Arc<V>, Error = Arc<Fault>>;
    /// Returns the memory reservation of the request.
    fn reservation(&self) -> Result<&Arc<Reservation>>;
    /// Counts a string of the response against the memory reservation, and returns the string.
    fn answer<'t>(&self, text: Option<&'t str>) -> Result<Option<&'t str>>;
    /// Returns the deadline of a query or mutation.
    fn deadline(&self) -> Result<&Deadline, Fault>;
    /// Returns the permit for executing the fields of a query or mutation.
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

    async fn load<K>(&self, key: Option<K>) -> Result<Option<Loaded<K>>>
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        Rows: Loader<K, Error = Arc<Fault>>,
    {
        match key {
            Some(key) => Ok(self.rows()?.load_one(key).await?),
            None => Ok(None),
        }
    }

    async fn row<K, V>(&self, key: Option<K>) -> Result<Option<V>>
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        V: TextBytes + Clone + Send + Sync + 'static,
        Rows: Loader<K, Value = Arc<V>, Error = Arc<Fault>>,
    {
        let Some(found) = self.load(key).await? else { return Ok(None) };
        // The row is copied only after its memory is reserved, because thousands of fields may have
        // requested it.
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
