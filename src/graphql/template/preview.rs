//! What a template would say.

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

/// What a template would say on one channel. Nothing was stored or charged.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct TemplatePreview {
    /// The channel.
    channel: Channel,
    #[graphql(skip)]
    subject: Option<String>,
    #[graphql(skip)]
    text: Option<String>,
    #[graphql(skip)]
    html: Option<String>,
    /// How many segments an SMS would have; 1 for other channels. Null where there are errors.
    segments: Option<i32>,
    /// How an SMS would be written; null for other channels and where there are errors.
    encoding: Option<SmsEncoding>,
    /// Why a message from it would be refused; empty if it can be sent.
    errors: Vec<UserError<RenderRefusal>>,
}

#[ComplexObject]
impl TemplatePreview {
    /// The subject of an e-mail; null if it has none, and where there are errors.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.subject.as_deref())
    }

    /// The text; null if an e-mail has HTML alone, and where there are errors.
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.text.as_deref())
    }

    /// The HTML of an e-mail; null if it has none, and where there are errors.
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
    /// What a template of the account of the key in use would say with these variables, on each of
    /// its channels; empty if there is no such template. Nothing is stored or charged.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn template_preview(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The template's id.")] id: ID,
        #[graphql(desc = "Its variables by name, as a send would give them; none if left out.")]
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
