//! Templates: creating, changing and deleting them.

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

/// The GraphQL object `Template`.
pub struct Template(pub rows::Model);

/// Content of messages for one or more channels, with variables that are filled in when a message
/// is sent. LIVE and TEST keys of the account can use it; only LIVE keys change it. Other accounts,
/// including the main account, cannot see it.
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
        Ok(domain::body::bodies_of(&self.0).into_iter().map(Into::into).collect())
    }

    /// Variables of the template, in the order in which they were declared.
    async fn variables(&self, ctx: &Context<'_>) -> Result<Vec<TemplateVariable>> {
        ctx.reservation()?.take(self.0.variables.len())?;
        Ok(domain::body::variables_of(&self.0)?.into_iter().map(Into::into).collect())
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
    /// Subject of an e-mail; null if it has none, and for other channels.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.subject.as_deref())
    }

    /// Text of the message; null if an e-mail has only HTML.
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.text.as_deref())
    }

    /// HTML of an e-mail; null if it has none, and for other channels.
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
/// as {{ name }}, filters, comparisons, arithmetic, {% if %} and {% for %}; docs/guide/templates.md
/// describes the language. A part can have 1,000 tags, each with up to 100 words, values and
/// operators; 100 elif; 10 nested blocks, 2 of them loops; and lines of 65,000 characters. Values
/// of variables are escaped in HTML unless they are marked safe.
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
        Self { channel: channel.into(), subject, text, html }
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
    /// Content of the template, with one body for each channel (maximum 200 KiB together).
    bodies: Vec<TemplateBodyInput>,
    /// All variables that the bodies use (maximum 50). If omitted, there are none.
    variables: Option<Vec<TemplateVariableInput>>,
}

/// Properties of the template to change. Omitted properties are not changed.
#[derive(InputObject)]
pub struct UpdateTemplateInput {
    /// Name of the template (1 to 200 characters).
    name: Option<String>,
    /// Bodies that replace all bodies of the template (maximum 200 KiB together).
    bodies: Option<Vec<TemplateBodyInput>>,
    /// Variables that replace all variables of the template (maximum 50). Null removes all
    /// variables.
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
    /// Creates a template in the account of the key in use (maximum 1,000 templates per account).
    /// Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn create_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Properties of the new template.")] input: CreateTemplateInput,
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

    /// Changes a template of the account of the key in use. Messages that were already created from
    /// it are not changed. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn update_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the template.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdateTemplateInput,
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

    /// Deletes a template of the account of the key in use permanently. Messages that were already
    /// created from it are not changed. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn delete_template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the template.")] id: ID,
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
