//! Previews of templates.

use async_graphql::{ComplexObject, Context, Enum, ID, Object, Result, SimpleObject};

use crate::{
    domain::{
        channel::content::Content,
        template::{self, preview as domain},
    },
    graphql::{
        access::{self, ContextExt, RoleGuard},
        errors::UserError,
        message::{Channel, SmsEncoding},
        scalars::JsonObject,
        team::sub_account::parse_id,
    },
};

/// Why a template says nothing with these variables.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "template::render::RenderRefusal")]
pub enum TemplatePreviewErrorCode {
    /// The variables are larger than 16 KiB as JSON or 1,000 values.
    VariablesInvalid,
    /// A variable that has no default, or a part of one, is not given.
    VariableMissing,
    /// It takes too many steps, does not fit its variables or compares lists, what comes of it is no
    /// message of the channel, or the templates of the request took more than 200 ms together.
    TemplateFailed,
}

/// Content that a message created from a template would have on one channel. Nothing is stored or
/// charged.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct TemplatePreview {
    /// Channel of the message.
    channel: Channel,
    #[graphql(skip)]
    subject: Option<String>,
    #[graphql(skip)]
    text: Option<String>,
    #[graphql(skip)]
    html: Option<String>,
    /// Number of segments of an SMS, and 1 for other channels. Null if there are errors.
    segments: Option<i32>,
    /// Encoding of an SMS. Null for other channels, and if there are errors.
    encoding: Option<SmsEncoding>,
    /// Reasons why a message from the template would be refused; empty if it can be sent.
    errors: Vec<UserError<TemplatePreviewErrorCode>>,
}

#[ComplexObject]
impl TemplatePreview {
    /// Subject of an e-mail. Null if it has none, for other channels, and if there are errors.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.subject.as_deref())
    }

    /// Text of the message. Null if an e-mail has only HTML, and if there are errors.
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.text.as_deref())
    }

    /// HTML of an e-mail. Null if it has none, for other channels, and if there are errors.
    async fn html(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.html.as_deref())
    }
}

impl From<domain::Preview> for TemplatePreview {
    fn from(preview: domain::Preview) -> Self {
        let domain::Preview { channel, content, segments, encoding } = preview;
        let (content, errors) = match content {
            Ok(content) => (content, vec![]),
            Err(refusal) => (Content::default(), vec![UserError::new(refusal)]),
        };
        Self {
            channel: channel.into(),
            subject: content.subject,
            text: Some(content.text).filter(|text| !text.is_empty()),
            html: content.html,
            segments,
            encoding: encoding.map(SmsEncoding::from),
            errors,
        }
    }
}

#[derive(Default)]
pub struct TemplatePreviewQuery;

#[Object]
impl TemplatePreviewQuery {
    /// Renders a template with variables for each of its channels, in the order SMS, EMAIL,
    /// WHATSAPP, TELEGRAM. The list is empty if the account of the key in use has no such template.
    /// Nothing is stored or charged. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn template_preview(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the template.")] id: ID,
        #[graphql(
            desc = "Values of the template's variables by name, as in sendMessage. If omitted, \
                    no values are set."
        )]
        variables: Option<JsonObject>,
    ) -> Result<Vec<TemplatePreview>> {
        let (app, caller, reservation, deadline) =
            (ctx.app()?, ctx.account()?, ctx.reservation()?, ctx.deadline()?);
        let variables = variables.map(|variables| variables.0).unwrap_or_default();
        let id = parse_id(&id);
        let previews = domain::preview(app, &caller, id, variables, reservation, deadline).await?;
        for content in previews.iter().filter_map(|preview| preview.content.as_ref().ok()) {
            reservation.take(content.bytes())?;
        }
        Ok(previews.into_iter().map(Into::into).collect())
    }
}
