//! The key in use and its owner.

use async_graphql::{Context, Enum, Object, Result, SimpleObject};
use entity::api_key as rows;

use super::{access::ContextExt, account::Account, api_key::ApiKey, team::Team};
use crate::domain;

/// Role of an API key.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::Role")]
pub enum Role {
    /// An operator of the server, who creates teams and tops them up. The key belongs to no team.
    Operator,
    /// The main account of a team, which sends messages and manages the sub-accounts.
    MainAccount,
    /// A sub-account, which sends messages and has access to its own data only.
    SubAccount,
}

/// Environment of an API key and of the messages sent with it.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::Environment")]
pub enum Environment {
    /// Messages are charged and delivered.
    Live,
    /// Messages are validated, but cost nothing, are not delivered and do not count in usage. Each
    /// is deleted 7 days after it was accepted or after its sendAt, whichever is later. An account
    /// can store 20,000 TEST messages and 64 MiB of their texts, subjects, HTML and metadata.
    Test,
}

/// The key in use and its owner.
#[derive(SimpleObject)]
pub struct Viewer {
    /// The key in use.
    api_key: ApiKey,
    /// Account of the key; null for operator keys.
    account: Option<Account>,
    /// Team of the key; null for operator keys.
    team: Option<Team>,
    /// Role of the key.
    role: Role,
    /// Environment of the key. It is LIVE for operator keys.
    environment: Environment,
}

#[derive(Default)]
pub struct ViewerQuery;

#[Object]
impl ViewerQuery {
    /// The key in use and its owner.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Viewer> {
        let (app, caller) = (ctx.app()?, ctx.caller()?);
        let api_key = domain::api_key::list::of_caller(app, caller).await?;
        let (account, team) = match caller.account() {
            Err(_) => (None, None),
            Ok(account) => (
                Some(Account(domain::account::own(app, &account).await?)),
                Some(Team(domain::account::own_team(app, &account).await?)),
            ),
        };
        Ok(Viewer {
            api_key: ApiKey(api_key),
            account,
            team,
            role: caller.role().into(),
            environment: caller.environment.into(),
        })
    }
}
