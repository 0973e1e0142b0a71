//! Templates: creating, changing and deleting them.

use async_graphql::{
    ComplexObject, Context, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject,
};
use entity::{audit_entry::AuditAction, template as rows};

use super::{
    access::{self, ContextExt, RoleGuard},
    audit_log::audited,
    enums::Channel,
    input::{all, parse_id, patch},
    payload::payload,
    scalars::DateTime,
};
use crate::domain::{
    audit_log::refused_call::Target,
    template::{self, self as domain},
};

pub mod list;
pub mod preview;

/// The GraphQL object `Template`.
pub struct Template(pub rows::Model);

/// Content of messages for one or more channels, with variables that are filled in when a message
/// is sent. LIVE and TEST keys of the account can use it; only LIVE keys can change it. Other
/// accounts, including the main account, cannot see it.
#[Object]
impl Template {
    /// Id of the template.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Name of the template. Several templates can have the same name.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Content of the template for each channel that it supports, in the order SMS, EMAIL,
    /// WHATSAPP, TELEGRAM.
    async fn bodies(&self, ctx: &Context<'_>) -> Result<Vec<TemplateBody>> {
        ctx.reservation()?.take(template::list::bytes_of(&self.0))?;
        Ok(all(domain::body::bodies_of(&self.0)))
    }

    /// Variables of the template, in the order in which they were declared.
    async fn variables(&self, ctx: &Context<'_>) -> Result<Vec<TemplateVariable>> {
        ctx.reservation()?.take(self.0.variables.len())?;
        Ok(all(domain::body::variables_of(&self.0)?))
    }

    /// When the template was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the template last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

/// Content of a template for one channel. Each part is written in a subset of Jinja, with variables
/// such as {{ name }}.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct TemplateBody {
    /// Channel of the content.
    channel: Channel,
    #[graphql(skip)]
    subject: Option<String>,
    #[graphql(skip)]
    text: Option<String>,
    #[graphql(skip)]
    html: Option<String>,
}

#[ComplexObject]
impl TemplateBody {
    /// Subject of an e-mail; null if it has none, or for other channels.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.subject.as_deref())
    }

    /// Text of the message; null if an e-mail has only HTML.
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.text.as_deref())
    }

    /// HTML of an e-mail; null if it has none, or for other channels.
    async fn html(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.html.as_deref())
    }
}

impl From<domain::body::Body> for TemplateBody {
    fn from(body: domain::body::Body) -> Self {
        let domain::body::Body { channel, subject, text, html } = body;
        Self { channel: channel.into(), subject, text, html }
    }
}

/// Variable of a template.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct TemplateVariable {
    /// Name of the variable.
    name: String,
    #[graphql(skip)]
    default: Option<String>,
}

#[ComplexObject]
impl TemplateVariable {
    /// Value that is used if a message does not set the variable. Null if each message must set it.
    async fn default(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.default.as_deref())
    }
}

impl From<domain::body::Variable> for TemplateVariable {
    fn from(variable: domain::body::Variable) -> Self {
        Self { name: variable.name, default: variable.default }
    }
}

/// Content of a template for one channel. Each part is written in a subset of Jinja: variables such
/// as {{ name }}, filters, comparisons, arithmetic, {% if %} and {% for %}. The file
/// docs/guide/templates.md describes the language. The maximum for a part is 1,000 tags, 100 names,
/// values and operators in each tag, 100 elif branches, 10 levels of nested blocks, 2 levels of
/// nested loops, and 65,000 characters in each line. Values of variables are escaped in HTML unless
/// they are marked safe.
#[derive(InputObject)]
pub struct TemplateBodyInput {
    /// Channel of the content. A template has one body for each channel.
    channel: Channel,
    /// Subject of an e-mail. It is optional, and not allowed for other channels.
    subject: Option<String>,
    /// Text of the message. It can be omitted for an e-mail that has HTML.
    text: Option<String>,
    /// HTML of an e-mail. It is not allowed for other channels.
    html: Option<String>,
}

impl From<TemplateBodyInput> for domain::body::Body {
    fn from(input: TemplateBodyInput) -> Self {
        let TemplateBodyInput { channel, subject, text, html } = input;
        Self { channel: channel.0, subject, text, html }
    }
}

/// Variable of a template.
#[derive(InputObject)]
pub struct TemplateVariableInput {
    /// Name of the variable: 1 to 64 letters, digits and underscores. It must not begin with a
    /// digit.
    name: String,
    /// Value that is used if a message does not set the variable (maximum 1,000 characters). If
    /// omitted, each message must set it.
    default: Option<String>,
}

impl From<TemplateVariableInput> for domain::body::Variable {
    fn from(input: TemplateVariableInput) -> Self {
        Self { name: input.name, default: input.default }
    }
}

/// Properties of the new template.
#[derive(InputObject)]
pub struct CreateTemplateInput {
    /// Name of the template (1 to 200 characters).
    name: String,
    /// Content of the template, with one body for each channel (maximum 200 KiB in total).
    bodies: Vec<TemplateBodyInput>,
    /// All variables that the bodies use (maximum 50). If omitted, there are none.
    variables: Option<Vec<TemplateVariableInput>>,
}

/// Properties of the template to change. Omitted properties are not changed.
#[derive(InputObject)]
pub struct UpdateTemplateInput {
    /// Name of the template (1 to 200 characters).
    name: Option<String>,
    /// Bodies that replace all bodies of the template (maximum 200 KiB in total).
    bodies: Option<Vec<TemplateBodyInput>>,
    /// Variables that replace all variables of the template (maximum 50). Null removes all
    /// variables.
    variables: MaybeUndefined<Vec<TemplateVariableInput>>,
}

payload! {
    /// Result of createTemplate.
    CreateTemplatePayload, domain::CreateTemplateRefusal, rows::Model as row => {
        /// The new template; null if the mutation was refused.
        template: Option<Template> = Some(Template(row)),
    }
}

payload! {
    /// Result of updateTemplate.
    UpdateTemplatePayload, domain::UpdateTemplateRefusal, rows::Model as row => {
        /// The template after the change; null if the mutation was refused.
        template: Option<Template> = Some(Template(row)),
    }
}

payload! {
    /// Result of deleteTemplate.
    DeleteTemplatePayload, domain::DeleteTemplateRefusal, uuid::Uuid as id => {
        /// Id of the template that was deleted; null if the mutation was refused.
        template_id: Option<ID> = Some(id.into()),
    }
}

#[derive(Default)]
pub struct TemplateMutation;

#[Object]
impl TemplateMutation {
    /// Creates a template in your account (maximum 1,000 templates per account). Requires a LIVE
    /// key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn create_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Properties of the new template.")] input: CreateTemplateInput,
    ) -> Result<Option<CreateTemplatePayload>> {
        let new = domain::NewTemplate {
            name: input.name,
            bodies: all(input.bodies),
            variables: all(input.variables.unwrap_or_default()),
        };
        let done = audited(ctx, AuditAction::CreateTemplate, Target::Nothing, async {
            domain::create(ctx.app()?, &ctx.live_account()?, new, ctx.deadline()?).await
        });
        CreateTemplatePayload::of(done.await)
    }

    /// Changes a template of your account. Messages that have already been created from it are not
    /// changed. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn update_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the template.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdateTemplateInput,
    ) -> Result<Option<UpdateTemplatePayload>> {
        let id = parse_id(&id);
        let change = domain::TemplateChange {
            name: input.name,
            bodies: input.bodies.map(all),
            variables: patch(input.variables).map(|variables| all(variables.unwrap_or_default())),
        };
        let (app, deadline) = (ctx.app()?, ctx.deadline()?);
        let done = audited(ctx, AuditAction::UpdateTemplate, Target::Id(id), async {
            domain::update(app, &ctx.live_account()?, id, change, deadline).await
        });
        UpdateTemplatePayload::of(done.await)
    }

    /// Deletes a template of your account permanently. Messages that have already been created from
    /// it are not changed. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn delete_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the template.")] id: ID,
    ) -> Result<Option<DeleteTemplatePayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::DeleteTemplate, Target::Id(id), async {
            domain::delete(ctx.app()?, &ctx.live_account()?, id).await
        });
        DeleteTemplatePayload::of(done.await)
    }
}
