//! Enters in the audit log that a call was refused.

use entity::{api_key, audit_entry::AuditAction, team};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::entry::{Actor, Entry};
use crate::{
    app::App,
    db::Readers,
    domain::{Fault, account::AccountRef},
};

/// What a call is about, as its arguments say. It need not exist.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Something new, or the caller's own account.
    Nothing,
    /// Something that the account has; `None` where the id is malformed.
    Id(Option<Uuid>),
    /// An account of the team.
    Account(&'a AccountRef),
    /// A key of the team; `None` where the id is malformed.
    Key(Option<Uuid>),
    /// `None` where the id is malformed.
    Team(Option<Uuid>),
}

/// Enters that a call was refused with this code, or counts it in the entry of the call before it that was refused
/// alike ([`refusals`](super::refusals)). Nothing was changed by it.
pub async fn enter_refusal(
    app: &App,
    by: impl Into<Actor>,
    action: AuditAction,
    code: &str,
    target: Target<'_>,
) -> Result<(), Fault> {
    let by = by.into();
    // Within the turns of the team: a flood of refused calls reads like any other.
    let entry = entry(&app.read_as(by.scope()), by, action, target).await?.refused(code);
    let first = match by.key_id {
        // A command is a process of its own: nothing repeats in it.
        None => None,
        Some(key_id) => {
            let target = entry.concerns();
            match app.refusals.count(key_id, action, code, target, app.clock.now()) {
                None => return Ok(()),
                first => first,
            }
        }
    };
    let _turn = app.db.write_slot(by.scope()).await?;
    let id = entry.write(app, by, &app.db.write).await?;
    if let Some(first) = first {
        first.entered(id);
    }
    Ok(())
}

/// An entry about the target, which concerns its account or team if there is one that the actor may see.
async fn entry(
    readers: &Readers,
    by: Actor,
    action: AuditAction,
    target: Target<'_>,
) -> Result<Entry, Fault> {
    Ok(match (target, by.team_id) {
        (Target::Account(account), Some(team_id)) => {
            let entry = Entry::of(action, None);
            match (account.find_in(team_id, readers).await?, account) {
                (Some(found), _) => entry.about(found.id).to(&found),
                (None, AccountRef::Id(id)) => entry.about(*id),
                (None, _) => entry,
            }
        }
        (Target::Key(Some(id)), Some(team_id)) => {
            let key = api_key::Entity::of_team(team_id).filter(api_key::Column::Id.eq(id));
            let entry = Entry::of(action, id);
            match key.one(readers).await? {
                Some(key) => entry.to_key(&key),
                None => entry,
            }
        }
        (Target::Team(Some(id)), None) => {
            let entry = Entry::of(action, id);
            match team::Entity::find_by_id(id).one(readers).await? {
                Some(team) => entry.to_team(team.id),
                None => entry,
            }
        }
        (Target::Id(id) | Target::Key(id) | Target::Team(id), _) => Entry::of(action, id),
        (Target::Nothing | Target::Account(_), _) => Entry::of(action, None),
    })
}
