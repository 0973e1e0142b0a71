//! Access to fields by role. Each field has a guard, and mutations get a caller of the role that the domain requires
//! from their context, so that a missing check does not compile. Fields that a key cannot use are not visible in its
//! introspection or in the schema against which its documents are validated.

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

/// The audience whose part of the schema is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The whole schema. It serves to distinguish hidden fields from nonexistent ones; no request is executed with it.
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

/// Visible to all keys of accounts. TEST keys see the same fields as LIVE keys.
pub fn account(ctx: &Context<'_>) -> bool {
    seen_by(ctx, &[Role::MainAccount, Role::SubAccount])
}

/// Visible to all keys of main accounts. TEST keys see the same fields as LIVE keys.
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

type Loaded<K> = <Rows as Loader<K>>::Value;

/// Access to the request's data for resolvers.
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
    /// Loads rows by id, batched over the request.
    fn rows(&self) -> Result<&DataLoader<Rows>>;
    /// Loads the value of a key, if there is a key and it has a value.
    fn load<K>(&self, key: Option<K>) -> impl Future<Output = Result<Option<Loaded<K>>>> + Send
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        Rows: Loader<K, Error = Arc<Fault>>;
    /// Loads the row with an id, if there is an id and it exists. Each field gets its own copy, and
    /// each copy counts against the memory reservation.
    fn row<K, V>(&self, key: Option<K>) -> impl Future<Output = Result<Option<V>>> + Send
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        V: TextBytes + Clone + Send + Sync + 'static,
        Rows: Loader<K, Value = Arc<V>, Error = Arc<Fault>>;
    /// The memory reservation of the request.
    fn reservation(&self) -> Result<&Arc<Reservation>>;
    /// Counts a text of the response against the memory reservation and returns it.
    fn answer<'t>(&self, text: Option<&'t str>) -> Result<Option<&'t str>>;
    /// The deadline of a query or mutation.
    fn deadline(&self) -> Result<&Deadline, Fault>;
    /// The permit to execute the fields of a query or mutation.
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
        // The row is copied only now, because thousands of fields may have requested it.
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
