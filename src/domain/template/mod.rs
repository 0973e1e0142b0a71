//! Templates: the content of messages, one body per channel, with declared variables. Any LIVE key of an account can
//! create and change the account's templates, and no other account sees them. Every stored template compiles and uses
//! only declared variables. A message keeps the content that was rendered when it was accepted.

use self::body::{Body, Variable, bodies_of, variables_of};
use crate::domain::channel::send_refusal::TEMPLATE_NOT_FOUND;
use std::collections::BTreeSet;

use entity::{
    audit_entry::AuditAction,
    message::Channel,
    template::{self, Column, Entity},
};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait as _,
    QueryFilter, QuerySelect,
};
use uuid::Uuid;

use self::{engine::TemplateEngine, list::bytes_of};
use super::{
    Failure, Fault,
    api_key::authentication::begin_as_account,
    audit_log::Entry,
    caller::LiveAccountCaller,
    deadline::Deadline,
    refused,
    validate::{self, NAME_RULE},
};
use crate::app::App;

pub mod body;
pub mod compile;
pub mod engine;
pub mod filters;
pub mod language;
pub mod list;
pub mod preview;
pub mod render;
pub mod time_limit;
pub mod values;

/// Maximum number of templates of an account. Simultaneous calls may exceed this number slightly.
pub const TEMPLATES_PER_ACCOUNT_MAX: u64 = 1_000;
/// Maximum total size of a template's sources, in bytes.
pub const SOURCES_BYTES_MAX: usize = 200 * 1024;
/// Maximum number of variables of a template.
pub const VARIABLES_MAX: usize = 50;
/// Maximum length of a variable's name, in characters.
pub const VARIABLE_NAME_CHARS_MAX: usize = 64;
/// Maximum length of a variable's default, in characters.
pub const DEFAULT_CHARS_MAX: usize = 1_000;

const BODIES: &[&str] = &["input", "bodies"];
const VARIABLES: &[&str] = &["input", "variables"];

entity::api_enum! {
    /// Reasons why createTemplate is refused.
    pub enum CreateTemplateRefusal {
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// There are no bodies, or two for the same channel; a body has no text, a blank part, or a part that is not
        /// allowed for its channel; or the bodies are larger than 200 KiB in total.
        BodiesInvalid,
        /// There are more than 50 variables, two with the same name, one with a name that is not valid, or one with a
        /// default that is too long.
        VariablesInvalid,
        /// A part has a syntax error; uses a tag, filter, test or operation that the template language does not have;
        /// or has too many tags, a tag that is too long, or too many nested blocks.
        SyntaxInvalid,
        /// A part uses a variable that is not declared.
        VariableUndeclared,
        /// The account already has 1,000 templates.
        TooManyTemplates,
    }

    /// Reasons why updateTemplate is refused.
    pub enum UpdateTemplateRefusal {
        /// The account has no such template.
        NotFound,
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// There are no bodies, or two for the same channel; a body has no text, a blank part, or a part that is not
        /// allowed for its channel; or the bodies are larger than 200 KiB in total.
        BodiesInvalid,
        /// There are more than 50 variables, two with the same name, one with a name that is not valid, or one with a
        /// default that is too long.
        VariablesInvalid,
        /// A part has a syntax error; uses a tag, filter, test or operation that the template language does not have;
        /// or has too many tags, a tag that is too long, or too many nested blocks.
        SyntaxInvalid,
        /// A part uses a variable that is not declared.
        VariableUndeclared,
    }

    /// Reasons why deleteTemplate is refused.
    pub enum DeleteTemplateRefusal {
        /// The account has no such template.
        NotFound,
    }
}

#[derive(Clone, Debug, Default)]
pub struct NewTemplate {
    pub name: String,
    pub bodies: Vec<Body>,
    pub variables: Vec<Variable>,
}

/// The fields to change. `None` keeps the value.
#[derive(Clone, Debug, Default)]
pub struct TemplateChange {
    pub name: Option<String>,
    /// Replaces all bodies.
    pub bodies: Option<Vec<Body>>,
    /// Replaces all variables.
    pub variables: Option<Vec<Variable>>,
}

/// The invalid part of a template. Each mutation has its own error codes for these parts.
#[derive(Clone, Copy)]
enum Problem {
    Name,
    Bodies,
    Variables,
    Syntax,
    Undeclared,
}

impl From<Problem> for CreateTemplateRefusal {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Name => Self::NameInvalid,
            Problem::Bodies => Self::BodiesInvalid,
            Problem::Variables => Self::VariablesInvalid,
            Problem::Syntax => Self::SyntaxInvalid,
            Problem::Undeclared => Self::VariableUndeclared,
        }
    }
}

impl From<Problem> for UpdateTemplateRefusal {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Name => Self::NameInvalid,
            Problem::Bodies => Self::BodiesInvalid,
            Problem::Variables => Self::VariablesInvalid,
            Problem::Syntax => Self::SyntaxInvalid,
            Problem::Undeclared => Self::VariableUndeclared,
        }
    }
}

pub async fn create(
    app: &App,
    account: &LiveAccountCaller,
    new: NewTemplate,
    deadline: &Deadline,
) -> Result<template::Model, Failure<CreateTemplateRefusal>> {
    let new = checked(app, account, new, deadline).await?;
    let now = app.clock.now();
    let mut row = template::Model {
        id: app.new_id(),
        team_id: account.team_id(),
        account_id: account.account_id(),
        name: String::new(),
        sms_text: None,
        email_subject: None,
        email_text: None,
        email_html: None,
        whatsapp_text: None,
        telegram_text: None,
        variables: String::new(),
        created_at: now,
        updated_at: now,
    };
    fill(&mut row, new);
    let txn = begin_as_account(app, account).await?;
    let others = Entity::owned_by(account.account_id()).count(&*txn).await?;
    if others >= TEMPLATES_PER_ACCOUNT_MAX {
        let message = "The account already has 1,000 templates (the maximum). Delete one first.";
        return Err(refused(CreateTemplateRefusal::TooManyTemplates, &[], message));
    }
    Entity::insert(row.clone().into_active_model()).exec_without_returning(&txn).await?;
    txn.commit(app, Entry::of(AuditAction::CreateTemplate, row.id)).await?;
    Ok(row)
}

/// Changes the given fields and keeps the others. The result is checked like a new template.
pub async fn update(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
    change: TemplateChange,
    deadline: &Deadline,
) -> Result<template::Model, Failure<UpdateTemplateRefusal>> {
    let not_found = || refused(UpdateTemplateRefusal::NotFound, &["id"], TEMPLATE_NOT_FOUND);
    // A malformed id is treated like an unknown one.
    let own = Entity::owned_by(account.account_id()).filter(Column::Id.eq(id.unwrap_or_default()));
    // The template is checked before its row is locked, because compiling takes time. The check is repeated if another
    // call has changed the row in the meantime.
    let (txn, mut row, changed) = loop {
        let found =
            own.clone().one(&app.read_as(account.account())).await?.ok_or_else(not_found)?;
        let change = change.clone();
        let changed = NewTemplate {
            name: change.name.unwrap_or_else(|| found.name.clone()),
            bodies: change.bodies.unwrap_or_else(|| bodies_of(&found)),
            variables: change.variables.map_or_else(|| variables_of(&found), Ok)?,
        };
        let changed = checked::<UpdateTemplateRefusal>(app, account, changed, deadline).await?;
        let txn = begin_as_account(app, account).await?;
        let row = own.clone().lock_exclusive().one(&*txn).await?.ok_or_else(not_found)?;
        if row == found {
            break (txn, row, changed);
        }
    };
    fill(&mut row, changed);
    // The whole row is written. So its full size is charged to the write rate, in addition to the size of the call's
    // arguments.
    app.writes.take(account.into(), bytes_of(&row))?;
    row.updated_at = app.clock.now();
    let to = row.clone().into_active_model().reset_all();
    Entity::update(to).exec(&txn).await?;
    txn.commit(app, Entry::of(AuditAction::UpdateTemplate, row.id)).await?;
    Ok(row)
}

/// Deletes a template and returns its id. Messages that were rendered from it are kept.
pub async fn delete(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<Uuid, Failure<DeleteTemplateRefusal>> {
    let not_found = || refused(DeleteTemplateRefusal::NotFound, &["id"], TEMPLATE_NOT_FOUND);
    // A malformed id is treated like an unknown one.
    let id = id.unwrap_or_default();
    let txn = begin_as_account(app, account).await?;
    let deleted = Entity::delete_many()
        .filter(Column::AccountId.eq(account.account_id()))
        .filter(Column::Id.eq(id))
        .exec(&txn)
        .await?;
    if deleted.rows_affected == 0 {
        return Err(not_found());
    }
    txn.commit(app, Entry::of(AuditAction::DeleteTemplate, id)).await?;
    Ok(id)
}

fn fill(row: &mut template::Model, from: NewTemplate) {
    let mut bodies = from.bodies;
    let mut take = |channel| {
        let at = bodies.iter().position(|body| body.channel == channel)?;
        Some(bodies.swap_remove(at))
    };
    let email = take(Channel::Email);
    row.sms_text = take(Channel::Sms).and_then(|body| body.text);
    row.whatsapp_text = take(Channel::Whatsapp).and_then(|body| body.text);
    row.telegram_text = take(Channel::Telegram).and_then(|body| body.text);
    (row.email_subject, row.email_text, row.email_html) =
        email.map_or((None, None, None), |body| (body.subject, body.text, body.html));
    row.name = from.name;
    row.variables = serde_json::json!(from.variables).to_string();
}

/// Checks and normalizes a template as a whole.
async fn checked<C: From<Problem>>(
    app: &App,
    account: &LiveAccountCaller,
    new: NewTemplate,
    deadline: &Deadline,
) -> Result<NewTemplate, Failure<C>> {
    let name = validate::name(&new.name)
        .ok_or_else(|| refused(Problem::Name.into(), &["input", "name"], NAME_RULE))?;
    check_bodies(&new.bodies).map_err(|rule| refused(Problem::Bodies.into(), BODIES, rule))?;
    check_variables(&new.variables)
        .map_err(|rule| refused(Problem::Variables.into(), VARIABLES, rule))?;
    let bodies = new.bodies.clone();
    let compile = move |engine: &mut TemplateEngine| engine.compile(&bodies);
    let compiled = app.templates.run(account.account(), deadline, compile).await?;
    let compiled = compiled.map_err(Fault::from)?.map_err(|problem| {
        let message = format!("The template is not valid: {problem}.");
        refused(Problem::Syntax.into(), BODIES, message)
    })?;
    let is_declared = |name: &String| new.variables.iter().any(|known| known.name == *name);
    if let Some(name) = compiled.variables.iter().find(|name| !is_declared(name)) {
        let message =
            format!("The template uses {name}, which is not declared. Add it to variables.");
        return Err(refused(Problem::Undeclared.into(), VARIABLES, message));
    }
    Ok(NewTemplate { name, ..new })
}

fn check_bodies(bodies: &[Body]) -> Result<(), &'static str> {
    if bodies.is_empty() {
        return Err("A template must have at least one body.");
    }
    let mut channels = BTreeSet::new();
    if !bodies.iter().all(|body| channels.insert(body.channel)) {
        return Err("A template must not have two bodies for one channel.");
    }
    let mut bytes = 0;
    for body in bodies {
        let is_email = body.channel == Channel::Email;
        if !is_email && (body.subject.is_some() || body.html.is_some()) {
            return Err("Only the EMAIL body can have a subject and HTML.");
        }
        if body.text.is_none() && body.html.is_none() {
            return Err("A body must have text; an EMAIL body can have HTML instead.");
        }
        for source in [&body.subject, &body.text, &body.html].into_iter().flatten() {
            bytes += source.len();
            if source.trim().is_empty() || source.contains('\0') {
                return Err(
                    "The subject, text and HTML of a body must not be blank or contain NUL. Omit an unused part.",
                );
            }
        }
    }
    if bytes > SOURCES_BYTES_MAX {
        return Err("The bodies of a template must be at most 200 KiB in total.");
    }
    Ok(())
}

fn check_variables(variables: &[Variable]) -> Result<(), &'static str> {
    if variables.len() > VARIABLES_MAX {
        return Err("A template must have at most 50 variables.");
    }
    let mut names = BTreeSet::new();
    for Variable { name, default } in variables {
        let has_valid_start =
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.len() > VARIABLE_NAME_CHARS_MAX || !has_valid_start || !is_plain {
            return Err(
                "A variable's name must have 1 to 64 letters (a to z), digits and underscores, and must not begin \
                 with a digit.",
            );
        }
        if !names.insert(name) {
            return Err("A variable must not be declared twice.");
        }
        let default = default.as_deref().unwrap_or_default();
        if !validate::is_within(default, DEFAULT_CHARS_MAX) || default.contains('\0') {
            return Err("A variable's default must have at most 1,000 characters and no NUL.");
        }
    }
    Ok(())
}
