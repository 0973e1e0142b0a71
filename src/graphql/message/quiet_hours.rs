//! The quiet hours of the account that the key in use belongs to.

use async_graphql::{Context, InputObject, Object, Result, SimpleObject};
use entity::{account, audit_entry::AuditAction};

use crate::{
    domain::{audit_log::refused_call::Target, message::quiet_hours as domain},
    graphql::{
        access::{self, ContextExt},
        account::Account,
        audit_log::audited,
        payload::payload,
    },
};

/// The part of the day in which an account's messages are not handed over: they wait, SCHEDULED,
/// until its end. It goes by the clock of whom the message goes to: of the contact that has the
/// address, if that has a time zone, or else of the time zone given here.
#[derive(SimpleObject)]
pub struct QuietHours {
    /// When they begin: HH:MM.
    from: String,
    /// When they end, on the next day if that is not later than from: HH:MM.
    to: String,
    /// The time zone of whoever is no contact with one of its own: a name of the IANA time zone
    /// database, such as Europe/Berlin.
    time_zone: String,
}

impl From<domain::QuietHours> for QuietHours {
    fn from(quiet: domain::QuietHours) -> Self {
        Self { from: quiet.from(), to: quiet.to(), time_zone: quiet.time_zone().to_owned() }
    }
}

/// Quiet hours to be set.
#[derive(InputObject)]
pub struct SetQuietHoursInput {
    /// When they begin: HH:MM, from 00:00 to 23:59, by the clock of whom a message goes to.
    from: String,
    /// When they end: HH:MM, from 00:00 to 23:59, and not the same as from. They go past midnight
    /// where it is not later than from.
    to: String,
    /// The time zone of whoever is no contact with one of its own: a name of the IANA time zone
    /// database, such as Europe/Berlin.
    time_zone: String,
}

payload! {
    /// The answer to setQuietHours.
    SetQuietHoursPayload, domain::SetQuietHoursRefusal, account::Model as row => {
        /// The account as it is now; null if refused.
        account: Option<Account> = Some(Account(row)),
    }
}

#[derive(Default)]
pub struct QuietHoursMutation;

#[Object]
impl QuietHoursMutation {
    /// Sets the quiet hours of the account that the key in use belongs to, or takes them away. They
    /// move the moment at which a message is handed over to their end, whatever its sendAt; one
    /// whose validUntil comes first is EXPIRED and refunded. They hold for LIVE and TEST messages.
    /// Messages that earlier quiet hours have put off follow after the answer, which takes a moment
    /// if there are many. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn set_quiet_hours(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The quiet hours; null or left out for none.")] input: Option<
            SetQuietHoursInput,
        >,
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
