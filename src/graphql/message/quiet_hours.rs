//! Quiet hours of an account.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use entity::{account, audit_entry::AuditAction};

use crate::{
    domain::{audit_log::refused_call::Target, message::quiet_hours as domain},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        account::Account,
        audit_log::audited,
        payload::payload,
    },
};

/// Time of day during which an account's messages are not sent. The messages stay SCHEDULED until
/// quiet hours end. Times are in the time zone of the recipient's contact if it has one, otherwise
/// in timeZone.
#[derive(SimpleObject)]
pub struct QuietHours {
    /// Start of quiet hours as HH:MM.
    from: String,
    /// End of quiet hours as HH:MM. If it is earlier than the start, it is on the next day.
    to: String,
    /// IANA time zone, such as Europe/Berlin, for recipients whose contact has no time zone or who
    /// have no contact.
    time_zone: String,
}

impl From<domain::QuietHours> for QuietHours {
    fn from(quiet: domain::QuietHours) -> Self {
        Self { from: quiet.from(), to: quiet.to(), time_zone: quiet.time_zone().to_owned() }
    }
}

/// Quiet hours of an account.
#[derive(InputObject)]
pub struct SetQuietHoursInput {
    /// Start of quiet hours as HH:MM (00:00 to 23:59), in the recipient's local time.
    from: String,
    /// End of quiet hours as HH:MM (00:00 to 23:59). It must differ from the start. If it is
    /// earlier than the start, quiet hours extend past midnight.
    to: String,
    /// IANA time zone, such as Europe/Berlin, for recipients whose contact has no time zone or who
    /// have no contact.
    time_zone: String,
}

payload! {
    /// Result of setQuietHours.
    SetQuietHoursPayload, domain::SetQuietHoursRefusal, account::Model as row => {
        /// The account after the change; null if the mutation was refused.
        account: Option<Account> = Some(Account(row)),
    }
}

#[derive(Default)]
pub struct QuietHoursMutation;

#[Object]
impl QuietHoursMutation {
    /// Sets or removes the quiet hours of your account. LIVE and TEST messages that are due during
    /// quiet hours are sent when quiet hours end, even if they have a sendAt. A message whose
    /// validUntil comes first becomes EXPIRED and is refunded. Messages that are already waiting
    /// are rescheduled after the response, which takes a moment if there are many of them. Requires
    /// a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn set_quiet_hours(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new quiet hours. If null or omitted, the quiet hours are removed.")]
        input: Option<SetQuietHoursInput>,
    ) -> Result<Option<SetQuietHoursPayload>> {
        let new = input.map(|input| domain::NewQuietHours {
            from: input.from,
            to: input.to,
            time_zone: input.time_zone,
        });
        let done = audited(ctx, AuditAction::SetQuietHours, Target::Nothing, async {
            domain::set(ctx.app()?, &ctx.live_account()?, new).await
        });
        SetQuietHoursPayload::of(done.await)
    }
}
