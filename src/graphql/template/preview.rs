//! Previews of templates.

use async_graphql::{ComplexObject, Context, ID, Object, Result, SimpleObject};

use crate::{
    domain::{
        channel::content::Content,
        template::{preview as domain, render::RenderRefusal},
    },
    graphql::{
        access::{self, ContextExt, RoleGuard},
        enums::{Channel, SmsEncoding},
        errors::UserError,
        input::{all, parse_id},
        scalars::JsonObject,
    },
};

/// Content that a message created from the template would have on one channel. Nothing is stored or
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
    /// Number of segments of the SMS; 1 for other channels. Null if there are errors.
    segments: Option<i32>,
    /// Encoding of an SMS. Null for other channels, or if there are errors.
    encoding: Option<SmsEncoding>,
    /// Reasons why a message from the template would be refused; empty if it can be sent.
    errors: Vec<UserError<RenderRefusal>>,
}

#[ComplexObject]
impl TemplatePreview {
    /// Subject of an e-mail. Null if it has none, for other channels, or if there are errors.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.subject.as_deref())
    }

    /// Text of the message. Null if the e-mail has only HTML or if there are errors.
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.text.as_deref())
    }

    /// HTML of an e-mail. Null if it has none, for other channels, or if there are errors.
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
    /// Renders a template for each of its channels, in the order SMS, EMAIL, WHATSAPP, TELEGRAM.
    /// The list is empty if your account has no such template. Nothing is stored or charged.
    /// Requires a key of an account.
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
        Ok(all(previews))
    }
}
