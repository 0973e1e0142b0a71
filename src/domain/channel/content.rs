//! The content of a message and its limits on each channel. The same rules apply to content in the input of a call and
//! to content that is rendered from a template.

use entity::message::Channel;

use crate::domain::validate::{is_line, is_visible, is_within};

/// Maximum number of characters in an SMS.
pub const SMS_CHARS_MAX: usize = 1_600;
/// Maximum number of characters in a WhatsApp or Telegram message; both providers have this limit.
pub const CHAT_CHARS_MAX: usize = 4_096;
/// Maximum number of bytes in the text of an e-mail, and in its HTML.
pub const EMAIL_BYTES_MAX: usize = 100 * 1024;
/// Maximum number of characters in the subject of an e-mail (RFC 5322, section 2.1.1).
pub const SUBJECT_CHARS_MAX: usize = 998;

/// The content of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Set only for e-mails.
    pub subject: Option<String>,
    /// The text; empty if an e-mail has only HTML.
    pub text: String,
    /// Set only for e-mails.
    pub html: Option<String>,
}

/// A part of a [`Content`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Subject,
    Text,
    Html,
}

/// The part that is not valid, and the rule that it breaks.
pub type ContentProblem = (Part, &'static str);

impl Content {
    /// Returns the number of bytes of all parts.
    pub fn bytes(&self) -> usize {
        let others = [&self.subject, &self.html].into_iter().flatten();
        self.text.len() + others.map(String::len).sum::<usize>()
    }

    /// Checks the content against the rules of the channel.
    pub fn check(&self, channel: Channel) -> Result<(), ContentProblem> {
        let is_email = channel == Channel::Email;
        if let Some(html) = &self.html {
            check_html(html, is_email).map_err(|rule| (Part::Html, rule))?;
        }
        // An e-mail may have only HTML.
        if !(self.html.is_some() && self.text.is_empty()) {
            check_text(&self.text, channel).map_err(|rule| (Part::Text, rule))?;
        }
        if let Some(subject) = &self.subject {
            let is_subject = is_within(subject, SUBJECT_CHARS_MAX)
                && is_line(subject)
                && (subject.trim().is_empty() || is_visible(subject));
            if !is_email || !is_subject {
                let rule = "The subject is not valid (expected, for e-mails only, one line of at most 998 \
                            characters without control, line-separator or bidirectional control characters).";
                return Err((Part::Subject, rule));
            }
        }
        Ok(())
    }
}

fn check_text(text: &str, channel: Channel) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        return Err("The text must not be blank.");
    }
    let is_too_long = match channel {
        Channel::Sms => !is_within(text, SMS_CHARS_MAX),
        Channel::Whatsapp | Channel::Telegram => !is_within(text, CHAT_CHARS_MAX),
        Channel::Email => text.len() > EMAIL_BYTES_MAX,
    };
    if is_too_long {
        return Err(match channel {
            Channel::Sms => "The text of an SMS must have at most 1600 characters.",
            Channel::Whatsapp | Channel::Telegram => "The text must have at most 4096 characters.",
            Channel::Email => "The text of an e-mail must be at most 100 KiB.",
        });
    }
    if text.contains('\0') {
        return Err("The text must not contain NUL.");
    }
    Ok(())
}

fn check_html(html: &str, is_email: bool) -> Result<(), &'static str> {
    if !is_email {
        return Err("Only e-mails can have HTML.");
    }
    if html.trim().is_empty() {
        return Err("The HTML must not be blank. Omit it instead.");
    }
    if html.len() > EMAIL_BYTES_MAX {
        return Err("The HTML of an e-mail must be at most 100 KiB.");
    }
    if html.contains('\0') {
        return Err("The HTML must not contain NUL.");
    }
    Ok(())
}
