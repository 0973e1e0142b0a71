//! Who is calling: the key in use, and whom it belongs to.

use async_graphql::{Context, Enum, Object, Result, SimpleObject};
use entity::api_key as rows;

use super::{access::ContextExt, account::Account, api_key::ApiKey, team::Team};
use crate::domain;

/// What a key may do.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::Role")]
pub enum Role {
    /// Runs the server: makes teams and tops them up. Belongs to no team.
    Operator,
    /// A team's main account: sends, and manages the sub-accounts.
    MainAccount,
    /// A sub-account: sends, and sees itself.
    SubAccount,
}

/// Whether a key moves money and reaches people.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::Environment")]
pub enum Environment {
    /// Messages are charged and delivered.
    Live,
    /// Messages are checked, cost nothing and are delivered to nobody. They are left out of usage. Each is deleted
    /// 7 days after it was accepted or, if that is later, after its sendAt. An account stores 20,000 of them at
    /// most, and 64 MiB of their texts, subjects, HTML and metadata.
    Test,
}

/// The key in use and whom it belongs to.
#[derive(SimpleObject)]
pub struct Viewer {
    /// The key in use.
    api_key: ApiKey,
    /// The account of the key; null for operator keys.
    account: Option<Account>,
    /// The team of the key; null for operator keys.
    team: Option<Team>,
    /// What the key may do.
    role: Role,
    /// The key's environment; operator keys are LIVE.
    environment: Environment,
}

#[derive(Default)]
pub struct ViewerQuery;

#[Object]
impl ViewerQuery {
    /// Who is calling: the key in use and whom it belongs to.
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
