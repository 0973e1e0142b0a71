//! A message, which is its own delivery job: status, due time and lease say what is to be done next.

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
    /// Normalised: E.164, an e-mail address, or a chat id, by channel. Empty once it was erased.
    #[sea_orm(column_type = "Text")]
    pub recipient: String,
    /// ISO 3166-1 alpha-2 of a phone number; `None` where the channel has no country.
    #[sea_orm(column_type = "Text", nullable)]
    pub country: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub subject: Option<String>,
    /// Empty where an e-mail has HTML alone, and once it was erased.
    #[sea_orm(column_type = "Text")]
    pub text: String,
    /// Of an e-mail.
    #[sea_orm(column_type = "Text", nullable)]
    pub html: Option<String>,
    /// The contact that it was sent to, as long as there is one; `None` if an address was given.
    pub contact_id: Option<Uuid>,
    pub segments: i32,
    /// What was charged; 0 in the TEST environment.
    pub cost_micros: i64,
    pub refunded_at: Option<DateTimeUtc>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error_code: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub error_message: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub idempotency_key: Option<String>,
    /// SHA-256 of the normalised input: tells a repeat from a conflict. Empty once the message was erased.
    pub input_hash: Vec<u8>,
    /// A JSON object as text, for PostgreSQL's own types would change or refuse its numbers.
    #[sea_orm(column_type = "Text", nullable)]
    pub metadata: Option<String>,
    /// Of a TEST message, the bytes of its words when it was accepted, which count until it is deleted; 0 of a
    /// LIVE one.
    pub word_bytes: i32,
    /// The sender that it goes out by; it may have been deleted since.
    pub sender_id: Option<Uuid>,
    /// The identity that it goes out under, as it was when the message was accepted: a phone number in
    /// E.164, a mailbox, or a bot's username, by channel.
    #[sea_orm(column_type = "Text", nullable)]
    pub sent_from: Option<String>,
    /// The moment before which it is not handed over, as given.
    pub send_at: Option<DateTimeUtc>,
    /// The moment from which on it is not handed over any more.
    pub valid_until: Option<DateTimeUtc>,
    /// When the worker has to look at it next; while it is leased, when the lease runs out.
    pub due_at: Option<DateTimeUtc>,
    /// Set while a worker has it: only the worker that holds the lease may settle the message.
    pub lease_id: Option<Uuid>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

crate::api_enum! {
    /// The way a message travels.
    #[derive(PartialOrd, Ord, DeriveActiveEnum, Deserialize)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum Channel {
        /// A text message to a phone, priced by segment.
        Sms,
        /// An e-mail.
        Email,
        /// A WhatsApp message to a phone number.
        Whatsapp,
        /// A Telegram message to a chat id.
        Telegram,
    }

    /// Where a message is on its way.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum MessageStatus {
        /// Accepted and charged; waits for its sendAt or for the end of the account's quiet hours.
        Scheduled,
        /// Accepted and charged; waits to be handed over.
        Queued,
        /// Being handed over to the carrier.
        Sending,
        /// The carrier took it.
        Sent,
        /// It arrived.
        Delivered,
        /// The carrier took it and could not deliver it. It stays charged.
        Undelivered,
        /// The carrier refused it. It was refunded.
        Failed,
        /// Its validUntil passed before it was handed over. It was refunded.
        Expired,
        /// It was canceled before it was handed over, and refunded.
        Canceled,
        /// The carrier gave no answer: it may have gone out. It stays charged and is not sent again.
        Unknown,
    }
}

impl MessageStatus {
    /// Whether few messages have it for long: see [`Entity::has_rare_status`].
    pub fn is_rare(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending | Self::Sent | Self::Delivered)
    }
}

impl Model {
    /// Whether the person was erased from it: only such a message has no recipient.
    pub fn is_erased(&self) -> bool {
        self.recipient.is_empty()
    }
}

impl Entity {
    /// Accepted and not settled by a carrier: what may still be refunded. Written as the partial
    /// index `message_waiting` has it, so that both databases use that.
    pub fn is_waiting() -> SimpleExpr {
        Expr::cust("status IN ('SCHEDULED', 'QUEUED', 'SENDING')")
    }

    /// Accepted, and claimed by no worker yet: what can still be canceled. Written as the partial index
    /// `message_of_sender_unclaimed` has it, so that both databases use that.
    pub fn is_unclaimed() -> SimpleExpr {
        Expr::cust("status IN ('SCHEDULED', 'QUEUED')")
    }

    /// Put off by quiet hours: it waits for longer than its `sendAt` has it. Written as the partial index
    /// `message_put_off` has it, so that both databases use that.
    pub fn is_put_off() -> SimpleExpr {
        Expr::cust("status = 'SCHEDULED' AND (send_at IS NULL OR send_at <> due_at)")
    }

    /// Of the TEST environment. Written as the partial index `message_test_kept` has it, so that both databases
    /// use that.
    pub fn is_test() -> SimpleExpr {
        Expr::cust("environment = 'TEST'")
    }

    /// From when the time counts for which a TEST message is kept. Written as the index `message_test_kept` has it.
    pub fn test_kept_since() -> SimpleExpr {
        Expr::cust("CASE WHEN send_at > created_at THEN send_at ELSE created_at END")
    }

    /// Whether the status is none that an ordinary message passes through. Written as the partial index
    /// `message_of_rare_status` has it, so that both databases use that.
    pub fn has_rare_status() -> SimpleExpr {
        Expr::cust("status NOT IN ('QUEUED', 'SENDING', 'SENT', 'DELIVERED')")
    }

    /// The messages of one account in one environment: what a key may see.
    pub fn owned_by(account_id: Uuid, environment: Environment) -> Select<Self> {
        Self::find()
            .filter(Column::AccountId.eq(account_id))
            .filter(Column::Environment.eq(environment))
    }
}
