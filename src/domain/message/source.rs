//! Resolves the recipient of a message (an address or a contact) and its content (given directly or rendered from a
//! template). The input is checked without the database; then the contacts and templates of all messages of a call are
//! read at once. A message that cannot be resolved gets a refusal, which billing reports after checking the idempotency
//! key: a replay succeeds even if its contact or template was deleted.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use entity::{message::Channel, template as rows};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::input::NewMessage;
use crate::{
    app::App,
    domain::{
        Failure, Fault, Refusal,
        caller::AccountCaller,
        channel::{
            content::{Content, ContentProblem, Part},
            recipient::{self, Recipient},
            send_refusal::SendRefusal,
        },
        contact,
        deadline::Deadline,
        refused, split,
        template::{
            self,
            engine::TemplateEngine,
            render::{RenderRefusal, Rendering},
        },
        validate::{self, VARIABLES_RULE},
        write_rate::CallBytes,
    },
};

const CONTACT: &[&str] = &["input", "contactId"];
const TEMPLATE: &[&str] = &["input", "templateId"];
const VARIABLES: &[&str] = &["input", "variables"];

/// The destination of a message, as input.
#[derive(Clone, Debug)]
pub(in crate::domain) enum Destination {
    Address(Recipient),
    /// The contact. The message is sent to the primary address of the channel, or of the first suitable channel if no
    /// channel is given.
    Contact {
        id: Uuid,
        channel: Option<Channel>,
    },
}

/// The content of a message, as input.
#[derive(Clone, Debug)]
pub(in crate::domain) enum Source {
    Content(Content),
    Template { id: Uuid, variables: Map<String, Value> },
}

/// A message with its resolved address and content.
pub(in crate::domain) struct Resolved {
    pub recipient: Recipient,
    pub contact_id: Option<Uuid>,
    pub content: Content,
}

/// Returns the address or the contact of a message. Exactly one of them must be set.
pub(in crate::domain) fn destination(
    message: &NewMessage,
) -> Result<Destination, Failure<SendRefusal>> {
    let field = &["input", "to"];
    match (&message.to, message.contact_id) {
        (Some(to), None) => recipient::parse(to, message.channel)
            .map(Destination::Address)
            .map_err(|rule| refused(SendRefusal::InvalidRecipient, field, rule)),
        (None, Some(id)) => Ok(Destination::Contact { id, channel: message.channel }),
        (to, _) => {
            let rule = if to.is_some() {
                "Set only one of contactId and to."
            } else {
                "The message has no recipient. Set either contactId or to."
            };
            Err(refused(SendRefusal::InvalidRecipient, field, rule))
        }
    }
}

/// Returns the content or the template of a message. Exactly one of them must be set. Content is checked here if the
/// channel is known.
pub(in crate::domain) fn source(
    message: &mut NewMessage,
    destination: &Destination,
) -> Result<Source, Failure<SendRefusal>> {
    let variables = message.variables.take();
    if variables.as_ref().is_some_and(|variables| !validate::are_variables(variables)) {
        return Err(refused(SendRefusal::VariablesInvalid, VARIABLES, VARIABLES_RULE));
    }
    let Some(id) = message.template_id else {
        if variables.is_some() {
            let rule = "The variables can be set only together with templateId.";
            return Err(refused(SendRefusal::VariablesInvalid, VARIABLES, rule));
        }
        let content = Content {
            subject: message.subject.take(),
            text: message.text.take().unwrap_or_default(),
            html: message.html.take(),
        };
        let channel = match destination {
            Destination::Address(recipient) => Some(recipient.channel),
            Destination::Contact { channel, .. } => *channel,
        };
        if let Some(channel) = channel {
            content.check(channel).map_err(content_refusal)?;
        }
        return Ok(Source::Content(content));
    };
    let direct = [
        (message.text.is_some(), Part::Text),
        (message.subject.is_some(), Part::Subject),
        (message.html.is_some(), Part::Html),
    ];
    if let Some((_, part)) = direct.into_iter().find(|(is_set, _)| *is_set) {
        let rule = "Use either templateId, or text, subject and html.";
        return Err(content_refusal((part, rule)));
    }
    Ok(Source::Template { id, variables: variables.unwrap_or_default() })
}

/// A resolved message, or the reason why it cannot be sent.
pub(in crate::domain) type Resolution = Result<Resolved, Refusal<SendRefusal>>;

/// Resolves messages in order. Messages to addresses with direct content need no query. All contacts are read by one
/// query, and so are all templates. The size of rendered content is added to `bytes`, and the result is returned.
pub(in crate::domain) async fn resolve(
    app: &App,
    caller: &AccountCaller,
    messages: Vec<(Destination, Source)>,
    bytes: CallBytes,
    deadline: &Deadline,
) -> Result<(Vec<Resolution>, CallBytes), Fault> {
    let references = References::read(app, caller, &messages).await?;
    if references.templates.is_empty() {
        return resolve_all(&references, messages, bytes, None);
    }
    let resolve =
        move |engine: &mut TemplateEngine| resolve_all(&references, messages, bytes, Some(engine));
    app.templates.run(caller, deadline, resolve).await?
}

/// Resolves each message. The engine is needed only if there are templates.
fn resolve_all(
    references: &References,
    messages: Vec<(Destination, Source)>,
    mut bytes: CallBytes,
    mut engine: Option<&mut TemplateEngine>,
) -> Result<(Vec<Resolution>, CallBytes), Fault> {
    let mut renderings = HashMap::with_capacity(references.templates.len());
    if let Some(engine) = engine.as_deref_mut() {
        for row in &references.templates {
            let rendering = engine.rendering(row).map_err(rendering_refusal);
            renderings.insert(row.id, split(rendering)?);
        }
    }
    let mut resolutions = Vec::with_capacity(messages.len());
    for (destination, source) in messages {
        let is_rendered = matches!(source, Source::Template { .. });
        let resolved = references.resolve(&renderings, destination, source, engine.as_deref_mut());
        let resolution = split(resolved)?;
        if let (true, Ok(resolved)) = (is_rendered, &resolution) {
            bytes.add(resolved.content.bytes())?;
        }
        resolutions.push(resolution);
    }
    Ok((resolutions, bytes))
}

/// The contacts and templates that the messages of a call refer to.
#[derive(Default)]
struct References {
    /// Primary addresses by channel.
    contacts: HashMap<Uuid, BTreeMap<Channel, String>>,
    templates: Vec<rows::Model>,
}

/// The compiled templates, or the reason why one cannot be used.
type Renderings = HashMap<Uuid, Result<Arc<Rendering>, Refusal<SendRefusal>>>;

impl References {
    async fn read(
        app: &App,
        caller: &AccountCaller,
        messages: &[(Destination, Source)],
    ) -> Result<Self, Fault> {
        let contacts: BTreeSet<Uuid> = messages
            .iter()
            .filter_map(|(destination, _)| match destination {
                Destination::Contact { id, .. } => Some(*id),
                Destination::Address(_) => None,
            })
            .collect();
        let templates: BTreeSet<Uuid> = messages
            .iter()
            .filter_map(|(_, source)| match source {
                Source::Template { id, .. } => Some(*id),
                Source::Content(_) => None,
            })
            .collect();
        let mut references = Self::default();
        if !contacts.is_empty() {
            let ids: Vec<Uuid> = contacts.into_iter().collect();
            references.contacts =
                contact::list::primary_addresses_of(app, caller.into(), &ids).await?;
        }
        if !templates.is_empty() {
            let ids: Vec<Uuid> = templates.into_iter().collect();
            let reservation = app.memory_budget.of(Some(caller.team_id));
            let found = template::list::find_many(app, caller, &ids, &reservation).await?;
            references.templates = found.into_values().collect();
        }
        Ok(references)
    }

    fn resolve(
        &self,
        renderings: &Renderings,
        destination: Destination,
        source: Source,
        engine: Option<&mut TemplateEngine>,
    ) -> Result<Resolved, Failure<SendRefusal>> {
        let rendering = match &source {
            Source::Content(_) => None,
            Source::Template { id, .. } => Some(find_rendering(renderings, *id)?),
        };
        let (recipient, contact_id) = match destination {
            Destination::Address(recipient) => (recipient, None),
            Destination::Contact { id, channel } => {
                let addresses = self.contacts.get(&id).ok_or_else(|| {
                    refused(
                        SendRefusal::ContactNotFound,
                        CONTACT,
                        crate::domain::channel::send_refusal::CONTACT_NOT_FOUND,
                    )
                })?;
                (choose_address(addresses, channel, rendering)?, Some(id))
            }
        };
        let content = match source {
            Source::Content(content) => {
                // The content is checked again, because the channel of a message to a contact may be known only now.
                content.check(recipient.channel).map_err(content_refusal)?;
                content
            }
            Source::Template { id, variables } => {
                let engine = engine.ok_or(Fault::Broken("templates are rendered by an engine"))?;
                let rendering = find_rendering(renderings, id)?;
                let content = rendering.render(recipient.channel, &variables, &mut engine.time);
                content
                    .ok_or_else(|| {
                        let message = "The template has no body for the channel.";
                        refused(SendRefusal::TemplateBodyMissing, TEMPLATE, message)
                    })?
                    .map_err(rendering_refusal)?
            }
        };
        Ok(Resolved { recipient, contact_id, content })
    }
}

fn find_rendering(renderings: &Renderings, id: Uuid) -> Result<&Rendering, Failure<SendRefusal>> {
    match renderings.get(&id) {
        None => Err(refused(
            SendRefusal::TemplateNotFound,
            TEMPLATE,
            crate::domain::channel::send_refusal::TEMPLATE_NOT_FOUND,
        )),
        Some(Err(refusal)) => Err(Failure::Refused(refusal.clone())),
        Some(Ok(rendering)) => Ok(rendering),
    }
}

/// Returns the primary address of a contact on the requested channel. If no channel is requested, chooses the first
/// channel on which the contact has an address and, if there is a template, the template has a body.
fn choose_address(
    addresses: &BTreeMap<Channel, String>,
    channel: Option<Channel>,
    rendering: Option<&Rendering>,
) -> Result<Recipient, Failure<SendRefusal>> {
    let fits = |candidate: Channel| match channel {
        Some(channel) => candidate == channel,
        None => rendering.is_none_or(|rendering| rendering.channels().any(|has| has == candidate)),
    };
    let found = addresses.iter().find(|(candidate, _)| fits(**candidate));
    let (channel, address) = found.ok_or_else(|| {
        let message = "The contact has no address on the channel, or on any channel for which the \
                       template has a body.";
        refused(SendRefusal::ContactUnreachable, CONTACT, message)
    })?;
    // Earlier versions stored some addresses that are invalid today.
    recipient::parse(address, Some(*channel)).map_err(|rule| {
        let message = rule.replacen("The recipient", "The contact's address", 1);
        refused(SendRefusal::ContactUnreachable, CONTACT, message)
    })
}

fn rendering_refusal(failure: Failure<RenderRefusal>) -> Failure<SendRefusal> {
    let refusal = match failure {
        Failure::Refused(refusal) => refusal,
        Failure::Fault(fault) => return Failure::Fault(fault),
    };
    let (code, field) = match refusal.code {
        RenderRefusal::VariablesInvalid => (SendRefusal::VariablesInvalid, VARIABLES),
        RenderRefusal::VariableMissing => (SendRefusal::VariableMissing, VARIABLES),
        RenderRefusal::TemplateFailed => (SendRefusal::TemplateFailed, TEMPLATE),
    };
    refused(code, field, refusal.message)
}

fn content_refusal((part, rule): ContentProblem) -> Failure<SendRefusal> {
    let field: &'static [&'static str] = match part {
        Part::Subject => &["input", "subject"],
        Part::Text => &["input", "text"],
        Part::Html => &["input", "html"],
    };
    refused(SendRefusal::InvalidContent, field, rule)
}
