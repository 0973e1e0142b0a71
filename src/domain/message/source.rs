//! Where a message goes and what it says, as its sender gave it: to an address or to a contact, in
//! words or by a template. Input is checked without a look at the database. What it refers to is
//! then read once for all messages of a call; where that gives nothing to send, the reason is
//! judged in its place (`billing::verdict`), for a repeat is answered also when its contact or
//! template is gone.

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
            render::{RenderRefusal, Rendering},
            work::Worker,
        },
        validate::{self, VARIABLES_RULE},
        write_rate::CallBytes,
    },
};

const CONTACT: &[&str] = &["input", "contactId"];
const TEMPLATE: &[&str] = &["input", "templateId"];
const VARIABLES: &[&str] = &["input", "variables"];

/// Where a message goes.
#[derive(Clone, Debug)]
pub(in crate::domain) enum Destination {
    Address(Recipient),
    /// To its primary address of the channel, or of the first channel that fits.
    Contact {
        id: Uuid,
        channel: Option<Channel>,
    },
}

/// What a message says.
#[derive(Clone, Debug)]
pub(in crate::domain) enum Source {
    Words(Content),
    Template { id: Uuid, variables: Map<String, Value> },
}

/// A message whose contact and template are found.
pub(in crate::domain) struct Resolved {
    pub recipient: Recipient,
    pub contact_id: Option<Uuid>,
    pub content: Content,
}

/// Takes the address or the contact of a message; exactly one is given.
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
                "Set either to or contactId, not both."
            } else {
                "Set to or contactId: the message has no recipient."
            };
            Err(refused(SendRefusal::InvalidRecipient, field, rule))
        }
    }
}

/// Takes the words or the template of a message; exactly one is given. Words are checked as far as
/// the channel is known.
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
            let rule = "Only a message from a template has variables.";
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
            content.check(channel).map_err(of_words)?;
        }
        return Ok(Source::Words(content));
    };
    let words = [
        (message.text.is_some(), Part::Text),
        (message.subject.is_some(), Part::Subject),
        (message.html.is_some(), Part::Html),
    ];
    if let Some((_, part)) = words.into_iter().find(|(is_given, _)| *is_given) {
        let rule = "Use either templateId, or text, subject and html.";
        return Err(of_words((part, rule)));
    }
    Ok(Source::Template { id, variables: variables.unwrap_or_default() })
}

/// A message whose contact and template are found, or why there is nothing to send.
pub(in crate::domain) type Resolution = Result<Resolved, Refusal<SendRefusal>>;

/// Finds what each message says and where it goes, in order, or why that gives nothing to send.
/// Messages to addresses in words of their own need no statement, and all others together one for
/// contacts and one for templates. What templates give is added to the words of the call, which are given back.
pub(in crate::domain) async fn resolve(
    app: &App,
    caller: &AccountCaller,
    wanted: Vec<(Destination, Source)>,
    words: CallBytes,
    deadline: &Deadline,
) -> Result<(Vec<Resolution>, CallBytes), Fault> {
    let known = Known::read(app, caller, &wanted).await?;
    if known.templates.is_empty() {
        return resolve_all(&known, wanted, words, None);
    }
    let work = move |worker: &mut Worker| resolve_all(&known, wanted, words, Some(worker));
    app.templates.work(caller.team_id, deadline, work).await?
}

/// Resolves each message. Without a worker there is no template.
fn resolve_all(
    known: &Known,
    wanted: Vec<(Destination, Source)>,
    mut words: CallBytes,
    mut worker: Option<&mut Worker>,
) -> Result<(Vec<Resolution>, CallBytes), Fault> {
    let mut renderings = HashMap::with_capacity(known.templates.len());
    if let Some(worker) = worker.as_deref_mut() {
        for row in &known.templates {
            let rendering = worker.rendering(row).map_err(of_rendering);
            renderings.insert(row.id, split(rendering)?);
        }
    }
    let mut resolved = Vec::with_capacity(wanted.len());
    for (destination, source) in wanted {
        let is_rendered = matches!(source, Source::Template { .. });
        let found = known.resolve(&renderings, destination, source, worker.as_deref_mut());
        let found = split(found)?;
        if let (true, Ok(found)) = (is_rendered, &found) {
            words.add(found.content.bytes())?;
        }
        resolved.push(found);
    }
    Ok((resolved, words))
}

/// The contacts and templates that messages of a call refer to.
#[derive(Default)]
struct Known {
    /// Primary addresses by channel.
    contacts: HashMap<Uuid, BTreeMap<Channel, String>>,
    templates: Vec<rows::Model>,
}

/// Templates that are compiled, or why one is not.
type Renderings = HashMap<Uuid, Result<Arc<Rendering>, Refusal<SendRefusal>>>;

impl Known {
    async fn read(
        app: &App,
        caller: &AccountCaller,
        wanted: &[(Destination, Source)],
    ) -> Result<Self, Fault> {
        let contacts: BTreeSet<Uuid> = wanted
            .iter()
            .filter_map(|(destination, _)| match destination {
                Destination::Contact { id, .. } => Some(*id),
                Destination::Address(_) => None,
            })
            .collect();
        let templates: BTreeSet<Uuid> = wanted
            .iter()
            .filter_map(|(_, source)| match source {
                Source::Template { id, .. } => Some(*id),
                Source::Words(_) => None,
            })
            .collect();
        let mut known = Self::default();
        if !contacts.is_empty() {
            let ids: Vec<Uuid> = contacts.into_iter().collect();
            known.contacts = contact::list::primary_addresses_of(app, caller.into(), &ids).await?;
        }
        if !templates.is_empty() {
            let ids: Vec<Uuid> = templates.into_iter().collect();
            let reservation = app.memory_budget.of(Some(caller.team_id));
            let found = template::list::find_many(app, caller, &ids, &reservation).await?;
            known.templates = found.into_values().collect();
        }
        Ok(known)
    }

    fn resolve(
        &self,
        renderings: &Renderings,
        destination: Destination,
        source: Source,
        worker: Option<&mut Worker>,
    ) -> Result<Resolved, Failure<SendRefusal>> {
        let rendering = match &source {
            Source::Words(_) => None,
            Source::Template { id, .. } => Some(find(renderings, *id)?),
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
                (reach(addresses, channel, rendering)?, Some(id))
            }
        };
        let content = match source {
            Source::Words(content) => {
                // The channel may be known only now.
                content.check(recipient.channel).map_err(of_words)?;
                content
            }
            Source::Template { id, variables } => {
                let worker = worker.ok_or(Fault::Broken("templates are rendered by a worker"))?;
                let said =
                    find(renderings, id)?.render(recipient.channel, &variables, &mut worker.time);
                said.ok_or_else(|| {
                    let message = "The template has no body for the channel.";
                    refused(SendRefusal::TemplateBodyMissing, TEMPLATE, message)
                })?
                .map_err(of_rendering)?
            }
        };
        Ok(Resolved { recipient, contact_id, content })
    }
}

fn find(renderings: &Renderings, id: Uuid) -> Result<&Rendering, Failure<SendRefusal>> {
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

/// The primary address of a contact: of the channel that is asked for, or of the first, in the
/// order of channels, that the contact has an address of and the template, if there is one, a body
/// for.
fn reach(
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
        let message = "The contact has no address of the channel, or of any that the template \
                       has a body for.";
        refused(SendRefusal::ContactUnreachable, CONTACT, message)
    })?;
    // Earlier versions took some addresses that nobody can have.
    recipient::parse(address, Some(*channel)).map_err(|rule| {
        let message = format!("The address of the contact is not valid. {rule}");
        refused(SendRefusal::ContactUnreachable, CONTACT, message)
    })
}

fn of_rendering(failure: Failure<RenderRefusal>) -> Failure<SendRefusal> {
    let unrendered = match failure {
        Failure::Refused(refusal) => refusal,
        Failure::Fault(fault) => return Failure::Fault(fault),
    };
    let (code, field) = match unrendered.code {
        RenderRefusal::VariablesInvalid => (SendRefusal::VariablesInvalid, VARIABLES),
        RenderRefusal::VariableMissing => (SendRefusal::VariableMissing, VARIABLES),
        RenderRefusal::TemplateFailed => (SendRefusal::TemplateFailed, TEMPLATE),
    };
    refused(code, field, unrendered.message)
}

fn of_words((part, rule): ContentProblem) -> Failure<SendRefusal> {
    let field: &'static [&'static str] = match part {
        Part::Subject => &["input", "subject"],
        Part::Text => &["input", "text"],
        Part::Html => &["input", "html"],
    };
    refused(SendRefusal::InvalidContent, field, rule)
}
