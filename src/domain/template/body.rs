//! Converts the row of a template to its bodies and variables.

use entity::{message::Channel, template};
use serde::{Deserialize, Serialize};

use crate::domain::Fault;

/// The sources of a message's content on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub channel: Channel,
    pub subject: Option<String>,
    pub text: Option<String>,
    pub html: Option<String>,
}

/// A declared variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    pub name: String,
    /// The value that is used if a send does not set the variable. A variable without a default is required.
    pub default: Option<String>,
}

/// Returns the bodies of a template, in the order of channels.
pub fn bodies_of(row: &template::Model) -> Vec<Body> {
    let plain = |channel, text: &Option<String>| {
        let text = text.clone()?;
        Some(Body { channel, subject: None, text: Some(text), html: None })
    };
    let has_email = row.email_text.is_some() || row.email_html.is_some();
    let email = has_email.then(|| Body {
        channel: Channel::Email,
        subject: row.email_subject.clone(),
        text: row.email_text.clone(),
        html: row.email_html.clone(),
    });
    let bodies = [
        plain(Channel::Sms, &row.sms_text),
        email,
        plain(Channel::Whatsapp, &row.whatsapp_text),
        plain(Channel::Telegram, &row.telegram_text),
    ];
    bodies.into_iter().flatten().collect()
}

/// Returns the declared variables of a template, in order.
pub fn variables_of(row: &template::Model) -> Result<Vec<Variable>, Fault> {
    crate::json::parse(row.variables.as_bytes())
        .map_err(|_| Fault::Broken("the variables of a template are stored as a list"))
}
