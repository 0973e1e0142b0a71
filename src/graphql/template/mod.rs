//! Templates: what they are, made, changed and deleted. Any LIVE key of an account does so for its
//! own.

use async_graphql::{
    ComplexObject, Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject,
};
use entity::template as rows;

use super::{
    access::{self, ContextExt, RoleGuard},
    errors::{UserError, outcome},
    message::Channel,
    scalars::DateTime,
    team::sub_account::{parse_id, patch},
};
use crate::domain::{template as domain, template};

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
        Ok(domain::body::bodies_of(&self.0).into_iter().map(Into::into).collect())
    }

    /// The variables that a send fills in, in the order in which they were declared.
    async fn variables(&self, ctx: &Context<'_>) -> Result<Vec<TemplateVariable>> {
        ctx.reservation()?.take(self.0.variables.len())?;
        Ok(domain::body::variables_of(&self.0)?.into_iter().map(Into::into).collect())
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
        Self { channel: channel.into(), subject, text, html }
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

/// Why a template was not made.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::CreateTemplateRefusal")]
pub enum CreateTemplateErrorCode {
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
    /// There is no body, or two of a channel; one has no text, an empty part, or a part that is not
    /// of its channel; or they have more than 200 KiB.
    BodiesInvalid,
    /// There are more than 50 variables, two of a name, or one with a malformed name or too long a
    /// default.
    VariablesInvalid,
    /// A part cannot be read, uses a tag, a filter, a test or an operation that the language of
    /// templates does not have, or has too many tags, too long a tag or too many blocks within each
    /// other.
    SyntaxInvalid,
    /// A part uses a variable that is not declared.
    VariableUndeclared,
    /// The account has 1000 templates already.
    TooManyTemplates,
}

/// Why a template was not changed.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::UpdateTemplateRefusal")]
pub enum UpdateTemplateErrorCode {
    /// The account has no such template.
    NotFound,
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
    /// There is no body, or two of a channel; one has no text, an empty part, or a part that is not
    /// of its channel; or they have more than 200 KiB.
    BodiesInvalid,
    /// There are more than 50 variables, two of a name, or one with a malformed name or too long a
    /// default.
    VariablesInvalid,
    /// A part cannot be read, uses a tag, a filter, a test or an operation that the language of
    /// templates does not have, or has too many tags, too long a tag or too many blocks within each
    /// other.
    SyntaxInvalid,
    /// A part uses a variable that is not declared.
    VariableUndeclared,
}

/// Why a template was not deleted.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::DeleteTemplateRefusal")]
pub enum DeleteTemplateErrorCode {
    /// The account has no such template.
    NotFound,
}

/// The answer to createTemplate.
#[derive(SimpleObject)]
pub struct CreateTemplatePayload {
    /// The new template; null if refused.
    template: Option<Template>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<CreateTemplateErrorCode>>,
}

/// The answer to updateTemplate.
#[derive(SimpleObject)]
pub struct UpdateTemplatePayload {
    /// The template as it is now; null if refused.
    template: Option<Template>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<UpdateTemplateErrorCode>>,
}

/// The answer to deleteTemplate.
#[derive(SimpleObject)]
pub struct DeleteTemplatePayload {
    /// The id of the template that was deleted; null if refused.
    template_id: Option<ID>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<DeleteTemplateErrorCode>>,
}

#[derive(Default)]
pub struct TemplateMutation;

#[Object]
impl TemplateMutation {
    /// Makes a template of the account of the key in use. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn create_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The template to be made.")] input: CreateTemplateInput,
    ) -> Result<Option<CreateTemplatePayload>> {
        let account = ctx.account()?.live()?;
        let new = domain::NewTemplate {
            name: input.name,
            bodies: all(input.bodies),
            variables: all(input.variables.unwrap_or_default()),
        };
        let done = domain::create(ctx.app()?, &account, new, ctx.deadline()?).await;
        Ok(Some(match outcome(done)? {
            Ok(row) => CreateTemplatePayload { template: Some(Template(row)), errors: vec![] },
            Err(errors) => CreateTemplatePayload { template: None, errors },
        }))
    }

    /// Changes a template of the account of the key in use. Messages that were sent from it stay as
    /// they are. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn update_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The template's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateTemplateInput,
    ) -> Result<Option<UpdateTemplatePayload>> {
        let account = ctx.account()?.live()?;
        let change = domain::TemplateChange {
            name: input.name,
            bodies: input.bodies.map(all),
            variables: patch(input.variables).map(|variables| all(variables.unwrap_or_default())),
        };
        let (app, deadline) = (ctx.app()?, ctx.deadline()?);
        let done = domain::update(app, &account, parse_id(&id), change, deadline).await;
        Ok(Some(match outcome(done)? {
            Ok(row) => UpdateTemplatePayload { template: Some(Template(row)), errors: vec![] },
            Err(errors) => UpdateTemplatePayload { template: None, errors },
        }))
    }

    /// Deletes a template of the account of the key in use, for good. Messages that were sent from
    /// it stay as they are. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn delete_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The template's id.")] id: ID,
    ) -> Result<Option<DeleteTemplatePayload>> {
        let account = ctx.account()?.live()?;
        let done = domain::delete(ctx.app()?, &account, parse_id(&id)).await;
        Ok(Some(match outcome(done)? {
            Ok(id) => DeleteTemplatePayload { template_id: Some(id.into()), errors: vec![] },
            Err(errors) => DeleteTemplatePayload { template_id: None, errors },
        }))
    }
}

fn all<A, B: From<A>>(given: Vec<A>) -> Vec<B> {
    given.into_iter().map(B::from).collect()
}
