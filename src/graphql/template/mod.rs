//! Templates: what they are, made, changed and deleted. Any LIVE key of an account does so for its
//! own.

use async_graphql::{
    ComplexObject, Context, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject,
};
use entity::{audit_entry::AuditAction, template as rows};

use super::{
    access::{self, ContextExt},
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

/// GraphQL's `Template`, described there.
pub struct Template(pub rows::Model);

/// What messages of the account say, by channel, with variables to be filled in when one is sent.
/// It belongs to the account in both environments: LIVE and TEST keys send from it, and LIVE keys
/// change it. Nobody else sees it, the main account neither.
#[Object]
impl Template {
    /// The template's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Your own name for it; several may have the same.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// What it says on each channel that it serves: SMS, EMAIL, WHATSAPP, TELEGRAM, in this order.
    async fn bodies(&self, ctx: &Context<'_>) -> Result<Vec<TemplateBody>> {
        ctx.reservation()?.take(template::list::bytes_of(&self.0))?;
        Ok(all(domain::body::bodies_of(&self.0)))
    }

    /// The variables that a send fills in, in the order in which they were declared.
    async fn variables(&self, ctx: &Context<'_>) -> Result<Vec<TemplateVariable>> {
        ctx.reservation()?.take(self.0.variables.len())?;
        Ok(all(domain::body::variables_of(&self.0)?))
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

/// What a template says on one channel. Each part is a text in the language Jinja: a variable
/// stands in it as {{ name }}.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct TemplateBody {
    /// The channel.
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
    /// The subject of an e-mail; null if it has none.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.subject.as_deref())
    }

    /// The text; null if an e-mail has HTML alone.
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.text.as_deref())
    }

    /// The HTML of an e-mail; null if it has none.
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

/// A variable of a template.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct TemplateVariable {
    /// Its name.
    name: String,
    #[graphql(skip)]
    default: Option<String>,
}

#[ComplexObject]
impl TemplateVariable {
    /// What it is where a send does not say; null if a send must.
    async fn default(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.default.as_deref())
    }
}

impl From<domain::body::Variable> for TemplateVariable {
    fn from(variable: domain::body::Variable) -> Self {
        Self { name: variable.name, default: variable.default }
    }
}

/// What a template is to say on one channel. Each part is a text in a small part of the language
/// Jinja: variables such as {{ name }}, filters, comparisons, arithmetic, {% if %} and {% for %}; the
/// guide docs/guide/templates.md lists all of it. A part has at most 1,000 tags of at most 100 words, values and signs each,
/// 100 elif, 10 blocks within each other of which 2 are loops, and 65,000 characters a line. What a
/// variable brings into the HTML is escaped, unless it is marked safe.
#[derive(InputObject)]
pub struct TemplateBodyInput {
    /// The channel, which has one body at most.
    channel: Channel,
    /// The subject of an e-mail. Optional; not allowed for other channels.
    subject: Option<String>,
    /// The text. It can be left out of an e-mail that has HTML.
    text: Option<String>,
    /// The HTML of an e-mail. Other channels have none.
    html: Option<String>,
}

impl From<TemplateBodyInput> for domain::body::Body {
    fn from(input: TemplateBodyInput) -> Self {
        let TemplateBodyInput { channel, subject, text, html } = input;
        Self { channel: channel.0, subject, text, html }
    }
}

/// A variable that a template may use.
#[derive(InputObject)]
pub struct TemplateVariableInput {
    /// 1 to 64 letters, digits and underscores, not beginning with a digit.
    name: String,
    /// What it is where a send does not say, at most 1,000 characters. Left out: a send must say.
    default: Option<String>,
}

impl From<TemplateVariableInput> for domain::body::Variable {
    fn from(input: TemplateVariableInput) -> Self {
        Self { name: input.name, default: input.default }
    }
}

/// A template to be made.
#[derive(InputObject)]
pub struct CreateTemplateInput {
    /// 1 to 200 characters.
    name: String,
    /// What it says: one body for each channel that it serves, at most 200 KiB together.
    bodies: Vec<TemplateBodyInput>,
    /// All variables that its bodies use, at most 50. None if left out.
    variables: Option<Vec<TemplateVariableInput>>,
}

/// What to change of a template. What is left out is kept.
#[derive(InputObject)]
pub struct UpdateTemplateInput {
    /// 1 to 200 characters.
    name: Option<String>,
    /// All bodies that it is to have, at most 200 KiB together.
    bodies: Option<Vec<TemplateBodyInput>>,
    /// All variables that it is to have, at most 50. Null: none.
    variables: MaybeUndefined<Vec<TemplateVariableInput>>,
}

payload! {
    /// The answer to createTemplate.
    CreateTemplatePayload, domain::CreateTemplateRefusal, rows::Model as row => {
        /// The new template; null if refused.
        template: Option<Template> = Some(Template(row)),
    }
}

payload! {
    /// The answer to updateTemplate.
    UpdateTemplatePayload, domain::UpdateTemplateRefusal, rows::Model as row => {
        /// The template as it is now; null if refused.
        template: Option<Template> = Some(Template(row)),
    }
}

payload! {
    /// The answer to deleteTemplate.
    DeleteTemplatePayload, domain::DeleteTemplateRefusal, uuid::Uuid as id => {
        /// The id of the template that was deleted; null if refused.
        template_id: Option<ID> = Some(id.into()),
    }
}

#[derive(Default)]
pub struct TemplateMutation;

#[Object]
impl TemplateMutation {
    /// Makes a template of the account of the key in use. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn create_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The template to be made.")] input: CreateTemplateInput,
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

    /// Changes a template of the account of the key in use. Messages that were sent from it stay as
    /// they are. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn update_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The template's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateTemplateInput,
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

    /// Deletes a template of the account of the key in use, for good. Messages that were sent from
    /// it stay as they are. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn delete_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The template's id.")] id: ID,
    ) -> Result<Option<DeleteTemplatePayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::DeleteTemplate, Target::Id(id), async {
            domain::delete(ctx.app()?, &ctx.live_account()?, id).await
        });
        DeleteTemplatePayload::of(done.await)
    }
}
