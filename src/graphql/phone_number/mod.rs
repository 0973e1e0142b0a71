//! Phone numbers of the caller's account: buying, naming and releasing them.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use entity::{audit_entry::AuditAction, phone_number as rows};

use super::{
    access::{self, ContextExt, RoleGuard},
    audit_log::audited,
    enums::{Channel, PhoneNumberStatus, PhoneNumberType},
    input::{all, parse_id, patch},
    loaders::SenderOf,
    payload::payload,
    scalars::{Cents, DateTime},
    sender::Sender,
};
use crate::domain::{
    audit_log::refused_call::Target,
    phone_number::{self as domain, renewal::releases_at},
};
use crate::money::Micros;

pub mod list;
pub mod transfer;

/// The GraphQL object `PhoneNumber`.
pub struct PhoneNumber(pub rows::Model);

/// A phone number that the account bought, or that was transferred to it.
#[Object]
impl PhoneNumber {
    /// Id of the phone number. If the same number is bought again, it gets a different id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Phone number in E.164 format.
    async fn number(&self) -> &str {
        &self.0.number
    }

    /// Country of the number as an ISO 3166-1 alpha-2 code.
    async fn country(&self) -> &str {
        &self.0.country
    }

    /// Type of the number.
    #[graphql(name = "type")]
    async fn number_type(&self) -> PhoneNumberType {
        self.0.number_type.into()
    }

    /// Channels that the number can be used on: SMS, WHATSAPP, or both.
    async fn capabilities(&self) -> Vec<Channel> {
        all(self.0.capabilities())
    }

    /// Name that the account gave the number; null if it has none.
    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Status of the number.
    async fn status(&self) -> PhoneNumberStatus {
        self.0.status.into()
    }

    /// One-time price in cents that was charged at purchase.
    async fn upfront_price(&self) -> Cents {
        Micros::from_db(self.0.upfront_price_micros).into()
    }

    /// Monthly price in cents. It is fixed at the time of the purchase.
    async fn monthly_price(&self) -> Cents {
        Micros::from_db(self.0.monthly_price_micros).into()
    }

    /// When the next month begins and is charged. For a SUSPENDED or RELEASED number, it is the end
    /// of the last paid month.
    async fn renews_at(&self) -> DateTime {
        DateTime(self.0.renews_at)
    }

    /// When a SUSPENDED number will be released if its fee has not been paid by then; null for
    /// other statuses.
    async fn releases_at(&self) -> Option<DateTime> {
        releases_at(&self.0).map(DateTime)
    }

    /// When the number was released; null if it has not been released.
    async fn released_at(&self) -> Option<DateTime> {
        self.0.released_at.map(DateTime)
    }

    /// Sender that uses the number; null if there is none.
    async fn sender(&self, ctx: &Context<'_>) -> Result<Option<Sender>> {
        Ok(ctx.load(Some(SenderOf(self.0.id))).await?.map(Sender))
    }

    /// When the number was bought.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the number last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

/// Phone number to buy.
#[derive(InputObject)]
pub struct PurchasePhoneNumberInput {
    /// Phone number in E.164 format, as listed by availablePhoneNumbers.
    number: String,
    /// Name for the number (1 to 200 characters). If omitted, it has none.
    name: Option<String>,
    /// Key of your choice (1 to 255 characters), unique per account. A repeat with the same input
    /// returns the number that was bought first and charges nothing. A repeat with a different
    /// input is refused. Only a completed purchase uses up its key.
    idempotency_key: Option<String>,
}

/// Properties of the phone number to change. Omitted properties are not changed.
#[derive(InputObject)]
pub struct UpdatePhoneNumberInput {
    /// Name of the number (1 to 200 characters). Null removes it.
    name: MaybeUndefined<String>,
}

payload! {
    /// Result of purchasePhoneNumber.
    PurchasePhoneNumberPayload, domain::purchase::PurchasePhoneNumberRefusal,
    domain::purchase::Purchased as purchased => {
        /// The phone number that was bought; null if the mutation was refused.
        phone_number: Option<PhoneNumber> = Some(PhoneNumber(purchased.number)),
        /// Whether the number had already been bought with the same idempotencyKey, so this call
        /// charged nothing.
        replayed: bool = purchased.is_replay,
    }
}

payload! {
    /// Result of updatePhoneNumber.
    UpdatePhoneNumberPayload, domain::UpdatePhoneNumberRefusal, rows::Model as number => {
        /// The phone number after the change; null if the mutation was refused.
        phone_number: Option<PhoneNumber> = Some(PhoneNumber(number)),
    }
}

payload! {
    /// Result of releasePhoneNumber.
    ReleasePhoneNumberPayload, domain::ReleasePhoneNumberRefusal, rows::Model as number => {
        /// The phone number, which is now RELEASED; null if the mutation was refused.
        phone_number: Option<PhoneNumber> = Some(PhoneNumber(number)),
    }
}

#[derive(Default)]
pub struct PhoneNumberMutation;

#[Object]
impl PhoneNumberMutation {
    /// Buys a phone number for your account (maximum 1,000 numbers per account). The upfront price
    /// and the first monthly price are charged in one step and, like the cost of a message, checked
    /// against creditLimit and balance. Each further month is charged when it begins, regardless of
    /// the creditLimit. Use an idempotencyKey so that the call can be repeated safely. Requires a
    /// LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn purchase_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Phone number to buy.")] input: PurchasePhoneNumberInput,
    ) -> Result<Option<PurchasePhoneNumberPayload>> {
        let PurchasePhoneNumberInput { number, name, idempotency_key } = input;
        let purchase = domain::purchase::Purchase { number, name, idempotency_key };
        let done = audited(ctx, AuditAction::PurchasePhoneNumber, Target::Nothing, async {
            domain::purchase::purchase(ctx.app()?, &ctx.live_account()?, purchase).await
        });
        PurchasePhoneNumberPayload::of(done.await)
    }

    /// Changes the name of a phone number of your account. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn update_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the phone number.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdatePhoneNumberInput,
    ) -> Result<Option<UpdatePhoneNumberPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::UpdatePhoneNumber, Target::Id(id), async {
            domain::update(ctx.app()?, &ctx.live_account()?, id, patch(input.name)).await
        });
        UpdatePhoneNumberPayload::of(done.await)
    }

    /// Releases a phone number of your account immediately and permanently. Any account can then
    /// buy it. The rest of the current month is not refunded. Releasing a RELEASED number changes
    /// nothing. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn release_phone_number(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the phone number.")] id: ID,
    ) -> Result<Option<ReleasePhoneNumberPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::ReleasePhoneNumber, Target::Id(id), async {
            domain::release(ctx.app()?, &ctx.live_account()?, id).await
        });
        ReleasePhoneNumberPayload::of(done.await)
    }
}
