//! The reasons why a message is not accepted, each with its error message and the argument at fault.

use entity::message::Channel;

use crate::domain::validate::{IDEMPOTENCY_KEY_RULE, METADATA_RULE, VARIABLES_RULE};

pub(super) const SEND_AT_RULE: &str = "The sendAt must be at most 30 days ahead.";
pub const SENDER_NOT_FOUND: &str = "There is no such sender.";
pub const TEMPLATE_NOT_FOUND: &str = "There is no such template.";

entity::api_enum! {
    /// Reasons why a message is refused. If several apply, the first in the order of these values is returned.
    /// Nothing is charged.
    pub enum SendRefusal as "SendMessageErrorCode" {
        /// The recipient is not valid for the channel, or not exactly one of the fields to and contactId is set.
        InvalidRecipient,
        /// The text is missing; the text, subject or HTML is too long or not allowed for the channel; or content is
        /// set together with a templateId.
        InvalidContent,
        /// The variables are larger than 16 KiB as JSON, have more than 1,000 values or 32 levels of
        /// nesting, or are set without a templateId.
        VariablesInvalid,
        /// The metadata is larger than 16 KiB as JSON, or has more than 1,000 values or 32 levels of nesting.
        MetadataInvalid,
        /// The idempotencyKey is empty, longer than 255 characters, or contains control characters.
        IdempotencyKeyInvalid,
        /// The sendAt is more than 30 days ahead.
        SendAtInvalid,
        /// The idempotencyKey was already used for a message with a different input.
        IdempotencyConflict,
        /// The validUntil is not in the future, or not after sendAt.
        ValidUntilInvalid,
        /// The account has no such template.
        TemplateNotFound,
        /// The account has no such contact.
        ContactNotFound,
        /// The contact has no address on the channel.
        ContactUnreachable,
        /// The template has no body for the channel.
        TemplateBodyMissing,
        /// A variable without a default is not set, or its value lacks a part that the template uses.
        VariableMissing,
        /// The template uses a variable in a way that its type does not allow, compares lists,
        /// exceeds the maximum number of steps, or results in content that is not allowed for the
        /// channel; or rendering the templates of the request took more than 200 ms in total.
        TemplateFailed,
        /// The account has no such sender.
        SenderNotFound,
        /// The sender cannot currently send on the channel: it has no identity for the channel, or
        /// its phone number is SUSPENDED.
        SenderUnavailable,
        /// The account is SUSPENDED.
        AccountSuspended,
        /// The account is INACTIVE.
        AccountInactive,
        /// The recipient has opted out of the account's messages on this channel.
        OptedOut,
        /// This server has no carrier for the channel.
        ChannelUnavailable,
        /// There is no price for the destination.
        NoPrice,
        /// The totalSpent of the account has reached its creditLimit.
        CreditLimitReached,
        /// The balance of the team is lower than the cost of the message.
        InsufficientBalance,
        /// The account has reached the limit of 20,000 stored TEST messages, or of 64 MiB for their
        /// text, subjects, HTML and metadata. TEST messages are deleted after 7 days.
        TestStorageFull,
        /// The server is too busy to process this message of a sendMessages call. Nothing was
        /// charged for it. If other messages of the call were accepted, this one was accepted by an
        /// earlier call and cannot be returned right now; otherwise no message of the call was processed.
        /// Repeat it after one second with the same idempotencyKey.
        Overloaded,
    }
}

impl SendRefusal {
    /// Returns a human-readable explanation of the refusal and how to resolve it. The check of an input replaces this
    /// explanation with a more exact message.
    pub fn message(self, channel: Option<Channel>) -> &'static str {
        match self {
            Self::IdempotencyConflict => {
                "This idempotencyKey was already used for another message, or for one whose recipient has since \
                 been erased. Use a new key for a new message."
            }
            Self::SenderNotFound => SENDER_NOT_FOUND,
            Self::SenderUnavailable => {
                "The sender cannot currently send on this channel. Its `channels` field lists the channels that it can send on."
            }
            Self::AccountSuspended => {
                "The account is suspended. The team's main account can reactivate it."
            }
            Self::AccountInactive => {
                "The account is inactive. The team's main account can reactivate it."
            }
            Self::OptedOut => {
                "The recipient has opted out of the account's messages on this channel."
            }
            Self::ChannelUnavailable => match channel {
                Some(Channel::Sms) => {
                    "This server has no carrier for SMS; contact the server's operator."
                }
                Some(Channel::Email) => {
                    "This server has no carrier for EMAIL; contact the server's operator."
                }
                Some(Channel::Whatsapp) => {
                    "This server has no carrier for WHATSAPP; contact the server's operator."
                }
                Some(Channel::Telegram) => {
                    "This server has no carrier for TELEGRAM; contact the server's operator."
                }
                None => {
                    "This server has no carrier for the channel; contact the server's operator."
                }
            },
            Self::NoPrice => {
                "This destination has no price. The server's operator can add one with `tollgate price import`."
            }
            Self::CreditLimitReached => {
                "The account's totalSpent has reached its creditLimit. The team's main account can raise the \
                 creditLimit."
            }
            Self::InsufficientBalance => "The team's balance is lower than the message's cost.",
            Self::TestStorageFull => {
                "The account's storage for TEST messages is full (20,000 messages, or 64 MiB of text, subjects, \
                 HTML and metadata). A message is deleted 7 days after it was accepted or, if that is later, 7 days \
                 after its sendAt. Try again later, or send with a LIVE key."
            }
            Self::Overloaded => {
                "The server is too busy to accept all messages of this call; nothing was charged. Try \
                 again in a second with the same idempotency keys."
            }
            Self::SendAtInvalid => SEND_AT_RULE,
            Self::ValidUntilInvalid => "The validUntil must be in the future and after sendAt.",
            Self::InvalidRecipient => "The recipient is not valid.",
            Self::InvalidContent => "The content is not valid.",
            Self::VariablesInvalid => VARIABLES_RULE,
            Self::TemplateNotFound => TEMPLATE_NOT_FOUND,
            Self::ContactNotFound => CONTACT_NOT_FOUND,
            Self::ContactUnreachable => "The contact has no address for the channel.",
            Self::TemplateBodyMissing => "The template has no body for the channel.",
            Self::VariableMissing => "A variable of the template is missing.",
            Self::TemplateFailed => "The template cannot be rendered.",
            Self::MetadataInvalid => METADATA_RULE,
            Self::IdempotencyKeyInvalid => IDEMPOTENCY_KEY_RULE,
        }
    }

    /// Returns the argument at fault, for a message to a contact or to an address.
    pub fn field(self, is_to_contact: bool) -> &'static [&'static str] {
        match self {
            Self::ContactNotFound | Self::ContactUnreachable => &["input", "contactId"],
            Self::OptedOut | Self::NoPrice if is_to_contact => &["input", "contactId"],
            Self::InvalidRecipient | Self::OptedOut | Self::NoPrice => &["input", "to"],
            Self::InvalidContent => &["input", "text"],
            Self::VariablesInvalid | Self::VariableMissing => &["input", "variables"],
            Self::TemplateNotFound | Self::TemplateBodyMissing | Self::TemplateFailed => {
                &["input", "templateId"]
            }
            Self::MetadataInvalid => &["input", "metadata"],
            Self::IdempotencyKeyInvalid | Self::IdempotencyConflict => &["input", "idempotencyKey"],
            Self::SendAtInvalid => &["input", "sendAt"],
            Self::ValidUntilInvalid => &["input", "validUntil"],
            Self::SenderNotFound | Self::SenderUnavailable => &["input", "senderId"],
            Self::ChannelUnavailable => &["input", "channel"],
            Self::AccountSuspended
            | Self::AccountInactive
            | Self::CreditLimitReached
            | Self::InsufficientBalance
            | Self::TestStorageFull
            | Self::Overloaded => &[],
        }
    }
}

pub const CONTACT_NOT_FOUND: &str = "There is no such contact.";
