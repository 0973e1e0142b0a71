//! Writes refused calls to the audit log.

use entity::{api_key, audit_entry::AuditAction, team};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::entry::{Actor, Entry};
use crate::{
    app::App,
    db::Readers,
    domain::{Fault, account::AccountRef},
};

/// The target that the arguments of a call name. The target may not exist.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// No target: the call creates something, or concerns the caller's own account.
    Nothing,
    /// An object of the account; `None` if the id is malformed.
    Id(Option<Uuid>),
    /// An account of the team.
    Account(&'a AccountRef),
    /// A key of the team; `None` if the id is malformed.
    Key(Option<Uuid>),
    /// A team; `None` if the id is malformed.
    Team(Option<Uuid>),
}

/// Writes an entry for a call that was refused with this code, or increments the count of a recent entry for the same
/// refusal ([`refusals`](super::refusals)).
pub async fn enter_refusal(
    app: &App,
    by: impl Into<Actor>,
    action: AuditAction,
    code: &str,
    target: Target<'_>,
) -> Result<(), Fault> {
    let by = by.into();
    // The team's read slots are used, so that a flood of refused calls does not delay other teams.
    let entry = entry(&app.read_as(by.scope()), by, action, target).await?.refused(code);
    let first = match by.key_id {
        // A command runs in its own process, so its refusals are not repeated there.
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

/// Creates the entry with its target. The entry concerns the target's account or team if the actor may see it.
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
