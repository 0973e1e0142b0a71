//! The API key of the request and its owner.

use async_graphql::{Context, Object, Result, SimpleObject};

use super::{
    access::ContextExt,
    account::Account,
    api_key::ApiKey,
    enums::{Environment, Role},
    team::Team,
};
use crate::domain;

/// Your key, with its account, team, role and environment.
#[derive(SimpleObject)]
pub struct Viewer {
    /// Your key: the API key of the request.
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
    /// Your key, with its account, team, role and environment.
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
