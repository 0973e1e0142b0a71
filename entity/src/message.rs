//! A message. The row is also the delivery job of the message: it contains the status, the due time
//! and the lease.

use sea_orm::{entity::prelude::*, sea_query::SimpleExpr};
use serde::Deserialize;

use crate::api_key::Environment;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "message")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    pub account_id: Uuid,
    pub api_key_id: Uuid,
    pub environment: Environment,
    pub channel: Channel,
    pub status: MessageStatus,
    /// The normalized recipient: a phone number in E.164 format, an e-mail address or a chat id.
    /// Empty after the recipient's data has been erased.
    #[sea_orm(column_type = "Text")]
    pub recipient: String,
    /// The country of the recipient's phone number (ISO 3166-1 alpha-2); `None` for other
    /// recipients.
    #[sea_orm(column_type = "Text", nullable)]
    pub country: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub subject: Option<String>,
    /// The text. Empty if an e-mail has only HTML, and after the recipient's data has been erased.
    #[sea_orm(column_type = "Text")]
    pub text: String,
    /// The HTML of an e-mail; `None` for other channels.
    #[sea_orm(column_type = "Text", nullable)]
    pub html: Option<String>,
    /// The contact that the message was sent to. `None` if the message was sent to an address, and
    /// after the recipient's data has been erased.
    pub contact_id: Option<Uuid>,
    pub segments: i32,
    /// The amount charged for the message; 0 in the TEST environment.
    pub cost_micros: i64,
    pub refunded_at: Option<DateTimeUtc>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error_code: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error_message: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub idempotency_key: Option<String>,
    /// SHA-256 of the normalized input. A call with the same idempotency key is a retry only if its
    /// hash is the same. Empty after the recipient's data has been erased.
    pub input_hash: Vec<u8>,
    /// A JSON object as text, because PostgreSQL's JSON types would change or refuse some numbers.
    #[sea_orm(column_type = "Text", nullable)]
    pub metadata: Option<String>,
    /// For a TEST message, the size in bytes of its content and metadata when it was accepted. This
    /// size uses part of the account's storage for TEST messages until the message is deleted. 0
    /// for a LIVE message.
    pub word_bytes: i32,
    /// The sender of the message. The sender may have been deleted in the meantime.
    pub sender_id: Option<Uuid>,
    /// The sender's identity when the message was accepted: a phone number in E.164, a mailbox or a
    /// bot's username, depending on the channel.
    #[sea_orm(column_type = "Text", nullable)]
    pub sent_from: Option<String>,
    /// The message is not submitted to a carrier before this time.
    pub send_at: Option<DateTimeUtc>,
    /// The message is not submitted to a carrier at or after this time.
    pub valid_until: Option<DateTimeUtc>,
    /// When the worker must process the message next. During a lease, this is when the lease
    /// expires.
    pub due_at: Option<DateTimeUtc>,
    /// The id of a worker's lease on the message; `None` if no worker has a lease. Only the worker
    /// with the lease may settle the message.
    pub lease_id: Option<Uuid>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

crate::api_enum! {
    /// Channel of a message.
    #[derive(PartialOrd, Ord, DeriveActiveEnum, Deserialize)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum Channel {
        /// Text message (SMS) to a phone number, priced by segment.
        Sms,
        /// E-mail.
        Email,
        /// WhatsApp message to a phone number.
        Whatsapp,
        /// Telegram message to a chat id.
        Telegram,
    }

    /// Delivery status of a message.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum MessageStatus {
        /// The message is accepted and charged. It is waiting for its sendAt or for the end of
        /// quiet hours.
        Scheduled,
        /// The message is accepted and charged. It is waiting to be submitted to the carrier.
        Queued,
        /// The message is being submitted to the carrier.
        Sending,
        /// The carrier accepted the message.
        Sent,
        /// The message was delivered to the recipient.
        Delivered,
        /// The carrier accepted the message but could not deliver it. It is not refunded.
        Undelivered,
        /// The carrier rejected the message. It is refunded.
        Failed,
        /// The validUntil of the message passed before it was submitted to the carrier. It is
        /// refunded.
        Expired,
        /// The message was canceled before it was submitted to the carrier. It is refunded.
        Canceled,
        /// The carrier did not respond, so the message may have been sent. It is not refunded and
        /// not sent again.
        Unknown,
    }
}

impl MessageStatus {
    /// Returns whether few messages have this status at any time: see [`Entity::has_rare_status`].
    pub fn is_rare(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Sent | Self::Delivered)
    }
}

impl Model {
    /// Returns whether the recipient's data was erased. Every other message has a recipient.
    pub fn is_erased(&self) -> bool {
        self.recipient.is_empty()
    }
}

impl Entity {
    /// Matches messages that are accepted but not settled. Such messages may still be refunded. The
    /// SQL is written as in the partial index `message_waiting`. Otherwise the databases would not
    /// use that index.
    pub fn is_waiting() -> SimpleExpr {
        Expr::cust("status IN ('SCHEDULED', 'QUEUED', 'SENDING')")
    }

    /// Matches messages that are accepted but not claimed by a worker. Such messages can still be
    /// canceled. The SQL is written as in the partial index `message_of_sender_unclaimed`.
    /// Otherwise the databases would not use that index.
    pub fn is_unclaimed() -> SimpleExpr {
        Expr::cust("status IN ('SCHEDULED', 'QUEUED')")
    }

    /// Matches messages that quiet hours postponed beyond their `sendAt`. The SQL is written as in
    /// the partial index `message_put_off`. Otherwise the databases would not use that index.
    pub fn is_put_off() -> SimpleExpr {
        Expr::cust("status = 'SCHEDULED' AND (send_at IS NULL OR send_at <> due_at)")
    }

    /// Matches messages in the TEST environment. The SQL is written as in the partial index
    /// `message_test_kept`. Otherwise the databases would not use that index.
    pub fn is_test() -> SimpleExpr {
        Expr::cust("environment = 'TEST'")
    }

    /// Returns SQL for the time at which the retention period of a TEST message begins. The SQL is
    /// written as in the index `message_test_kept`. Otherwise the databases would not use that
    /// index.
    pub fn test_kept_since() -> SimpleExpr {
        Expr::cust("CASE WHEN send_at > created_at THEN send_at ELSE created_at END")
    }

    /// Matches messages whose status is rare, unlike the statuses that every delivered message
    /// passes through. The SQL is written as in the partial index `message_of_rare_status`.
    /// Otherwise the databases would not use that index.
    pub fn has_rare_status() -> SimpleExpr {
        Expr::cust("status NOT IN ('QUEUED', 'SENDING', 'SENT', 'DELIVERED')")
    }

    /// Selects the messages of one account in one environment. A key may see only these messages.
    pub fn owned_by(account_id: Uuid, environment: Environment) -> Select<Self> {
        Self::find()
            .filter(Column::AccountId.eq(account_id))
            .filter(Column::Environment.eq(environment))
    }
}
