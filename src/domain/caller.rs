//! The authenticated caller, and types that prove its permissions. A domain function that is restricted
//! to a role takes the proof as an argument. Only [`Caller`] can create proofs, so a missing permission
//! check does not compile.

use entity::api_key::{Environment, Role};
use uuid::Uuid;

use super::Fault;
use crate::db::Scope;

const NEEDS_LIVE_KEY: &str = "This needs a LIVE key; TEST keys cannot change settings.";

/// The owner of a valid API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub key_id: Uuid,
    pub environment: Environment,
    owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Operator,
    Account(AccountCaller),
}

/// A caller that belongs to an account: it has the key of a main account or of a sub-account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountCaller {
    pub key_id: Uuid,
    pub team_id: Uuid,
    pub account_id: Uuid,
    pub environment: Environment,
    pub is_sub_account: bool,
}

/// Proof that the caller has a LIVE key of an account and may change the objects that the account owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveAccountCaller(AccountCaller);

/// Proof that the caller is the main account of `team_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MainCaller {
    key_id: Uuid,
    team_id: Uuid,
    account_id: Uuid,
    environment: Environment,
}

/// Proof that the caller is the main account of `team_id` with a LIVE key and may change its team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveMainCaller {
    key_id: Uuid,
    team_id: Uuid,
    account_id: Uuid,
}

/// Proof that the caller may see the money and usage of a whole team. The caller is the team's main account or an
/// operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TeamCaller {
    team_id: Uuid,
    scope: Scope,
}

/// Proof that the caller is an operator: it has an operator's key, or uses the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorCaller {
    key_id: Option<Uuid>,
}

impl Caller {
    /// Creates the caller from the row of its key. Fails if the key belongs to neither an operator nor an account.
    pub(super) fn from_key(key: &entity::api_key::Model) -> Result<Self, Fault> {
        let owner = match (key.role, key.team_id, key.account_id) {
            (Role::Operator, None, None) => Owner::Operator,
            (Role::MainAccount | Role::SubAccount, Some(team_id), Some(account_id)) => {
                Owner::Account(AccountCaller {
                    key_id: key.id,
                    team_id,
                    account_id,
                    environment: key.environment,
                    is_sub_account: key.role == Role::SubAccount,
                })
            }
            _ => return Err(Fault::Broken("a key belongs to an operator or to an account")),
        };
        Ok(Self { key_id: key.id, environment: key.environment, owner })
    }

    pub fn role(&self) -> Role {
        match self.owner {
            Owner::Operator => Role::Operator,
            Owner::Account(account) if account.is_sub_account => Role::SubAccount,
            Owner::Account(_) => Role::MainAccount,
        }
    }

    /// Returns the only team whose rows the caller may see; `None` for operators, because they see all teams.
    pub fn team_scope(&self) -> Option<Uuid> {
        match self.owner {
            Owner::Account(account) => Some(account.team_id),
            Owner::Operator => None,
        }
    }

    /// Returns the account that the key belongs to. Fails for an operator's key, because it has no account.
    pub fn account(&self) -> Result<AccountCaller, Fault> {
        match self.owner {
            Owner::Account(account) => Ok(account),
            Owner::Operator => Err(Fault::Forbidden(
                "This needs an account's key; an operator's key has no account.",
            )),
        }
    }

    pub fn main(&self) -> Result<MainCaller, Fault> {
        match self.owner {
            Owner::Account(AccountCaller {
                is_sub_account: false, team_id, account_id, ..
            }) => Ok(MainCaller {
                key_id: self.key_id,
                team_id,
                account_id,
                environment: self.environment,
            }),
            _ => Err(Fault::Forbidden("This needs a key of the team's main account.")),
        }
    }

    /// Returns the proof that the caller may access a whole team. A main account may access its own team, and an
    /// operator may access any team.
    pub fn team(&self, team_id: Uuid) -> Result<TeamCaller, Fault> {
        match self.owner {
            Owner::Operator => Ok(TeamCaller { team_id, scope: Scope::All }),
            Owner::Account(_) => match self.main()? {
                main if main.team_id == team_id => {
                    Ok(TeamCaller { team_id, scope: Scope::from(&main) })
                }
                _ => Err(Fault::Forbidden("This needs a key of the team's main account.")),
            },
        }
    }

    pub fn operator(&self) -> Result<OperatorCaller, Fault> {
        match self.owner {
            Owner::Operator => Ok(OperatorCaller { key_id: Some(self.key_id) }),
            Owner::Account(_) => Err(Fault::Forbidden("This needs an operator's key.")),
        }
    }
}

impl From<&Caller> for Scope {
    fn from(caller: &Caller) -> Self {
        match &caller.owner {
            Owner::Operator => Self::All,
            Owner::Account(account) => account.into(),
        }
    }
}

impl From<&AccountCaller> for Scope {
    fn from(caller: &AccountCaller) -> Self {
        Self::Account { team_id: caller.team_id, account_id: caller.account_id }
    }
}

impl From<&MainCaller> for Scope {
    fn from(main: &MainCaller) -> Self {
        Self::Account { team_id: main.team_id, account_id: main.account_id }
    }
}

impl From<&LiveMainCaller> for Scope {
    fn from(main: &LiveMainCaller) -> Self {
        Self::Account { team_id: main.team_id(), account_id: main.account_id() }
    }
}

impl From<&OperatorCaller> for Scope {
    fn from(_: &OperatorCaller) -> Self {
        Self::All
    }
}

impl From<&TeamCaller> for Scope {
    fn from(team: &TeamCaller) -> Self {
        team.scope
    }
}

impl AccountCaller {
    /// Returns the proof that the key is LIVE. Both environments share the objects that an account owns, but a TEST key
    /// can only read these objects.
    pub fn live(self) -> Result<LiveAccountCaller, Fault> {
        match self.environment {
            Environment::Live => Ok(LiveAccountCaller(self)),
            Environment::Test => Err(Fault::Forbidden(
                "This needs a LIVE key; TEST keys can read the account's data but not change it.",
            )),
        }
    }
}

impl LiveAccountCaller {
    pub fn account(&self) -> &AccountCaller {
        &self.0
    }

    pub fn key_id(&self) -> Uuid {
        self.0.key_id
    }

    pub fn team_id(&self) -> Uuid {
        self.0.team_id
    }

    pub fn account_id(&self) -> Uuid {
        self.0.account_id
    }
}

impl MainCaller {
    pub fn team_id(&self) -> Uuid {
        self.team_id
    }

    pub fn account_id(&self) -> Uuid {
        self.account_id
    }

    /// Returns the proof that the key is LIVE. A TEST key can read the management fields but cannot change anything.
    pub fn live(&self) -> Result<LiveMainCaller, Fault> {
        match self.environment {
            Environment::Live => {
                let Self { key_id, team_id, account_id, .. } = *self;
                Ok(LiveMainCaller { key_id, team_id, account_id })
            }
            Environment::Test => Err(Fault::Forbidden(NEEDS_LIVE_KEY)),
        }
    }
}

impl LiveMainCaller {
    pub fn key_id(&self) -> Uuid {
        self.key_id
    }

    pub fn team_id(&self) -> Uuid {
        self.team_id
    }

    pub fn account_id(&self) -> Uuid {
        self.account_id
    }
}

impl TeamCaller {
    pub fn team_id(&self) -> Uuid {
        self.team_id
    }
}

impl OperatorCaller {
    /// Returns the proof for the command line. Its user has direct access to the database, and is therefore an
    /// operator.
    pub fn on_the_command_line() -> Self {
        Self { key_id: None }
    }

    /// Returns the id of the operator's key; `None` on the command line.
    pub fn key_id(&self) -> Option<Uuid> {
        self.key_id
    }
}
