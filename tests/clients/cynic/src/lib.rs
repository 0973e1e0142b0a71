//! Queries for a client with cynic. Compiling these queries is the test, because cynic compares each field, argument
//! and type with `schema.graphql`.

use cynic::impl_scalar;
use serde_json::{Map, Value};

#[cynic::schema("tollgate")]
mod schema {}

/// An amount in cents.
pub type Cents = serde_json::Number;
/// A time in RFC 3339 format.
#[derive(cynic::Scalar, Debug, Clone)]
pub struct DateTime(pub String);
/// A date as YYYY-MM-DD.
#[derive(cynic::Scalar, Debug, Clone)]
pub struct Date(pub String);
/// Custom JSON data of a client.
pub type JsonObject = Map<String, Value>;

impl_scalar!(Cents, schema::Cents);
impl_scalar!(JsonObject, schema::JSONObject);

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum AccountStatus {
    Active,
    Suspended,
    Inactive,
}

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum BlockReason {
    Suspended,
    Inactive,
    CreditLimit,
    Balance,
}

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum Role {
    Operator,
    MainAccount,
    SubAccount,
}

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum MessageStatus {
    Scheduled,
    Queued,
    Sending,
    Sent,
    Delivered,
    Undelivered,
    Failed,
    Expired,
    Canceled,
    Unknown,
}

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum Channel {
    Sms,
    Email,
    Whatsapp,
    Telegram,
}

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum UsageDimension {
    Day,
    Month,
    Channel,
    Country,
    Account,
}

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum OrderDirection {
    Asc,
    Desc,
}

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum SubAccountOrderField {
    CreatedAt,
    Name,
    TotalSpent,
}

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum SendMessageErrorCode {
    SenderNotFound,
    SenderUnavailable,
    OptedOut,
    SendAtInvalid,
    ValidUntilInvalid,
    InvalidRecipient,
    InvalidContent,
    VariablesInvalid,
    TemplateNotFound,
    ContactNotFound,
    ContactUnreachable,
    TemplateBodyMissing,
    VariableMissing,
    TemplateFailed,
    MetadataInvalid,
    IdempotencyKeyInvalid,
    IdempotencyConflict,
    AccountSuspended,
    AccountInactive,
    ChannelUnavailable,
    NoPrice,
    CreditLimitReached,
    InsufficientBalance,
    TestStorageFull,
    Overloaded,
}

#[derive(cynic::Enum, Debug, Clone, Copy)]
pub enum UpdateSubAccountErrorCode {
    NotFound,
    NameInvalid,
    ExternalIdInvalid,
    ExternalIdTaken,
    CreditLimitInvalid,
    MetadataInvalid,
}

/// Identifies an account by one of its ids.
#[derive(cynic::InputObject, Debug, Clone)]
pub enum AccountRef {
    Id(cynic::Id),
    ExternalId(String),
}

#[derive(cynic::InputObject, Debug, Clone)]
pub struct MetadataFilter {
    pub key: String,
    pub value: String,
}

#[derive(cynic::InputObject, Debug, Clone)]
pub struct SubAccountFilter {
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<AccountStatus>>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub is_blocked: Option<bool>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataFilter>,
}

#[derive(cynic::InputObject, Debug, Clone)]
pub struct SubAccountOrder {
    pub by: SubAccountOrderField,
    pub direction: OrderDirection,
}

/// `credit_limit` is always sent. `None` is sent as null, which clears the credit limit.
#[derive(cynic::InputObject, Debug, Clone)]
pub struct UpdateSubAccountInput {
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub credit_limit: Option<Cents>,
}

#[derive(cynic::InputObject, Debug, Clone)]
pub struct SendMessageInput {
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    #[cynic(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

#[derive(cynic::InputObject, Debug, Clone)]
pub struct DateRange {
    pub from: Date,
    pub to: Date,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct Account {
    pub id: cynic::Id,
    pub name: String,
    pub external_id: Option<String>,
    pub status: AccountStatus,
    pub credit_limit: Option<Cents>,
    pub total_spent: Option<Cents>,
    pub blocked_by: Vec<BlockReason>,
    pub metadata: Option<JsonObject>,
    pub created_at: DateTime,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct PageInfo {
    pub has_next_page: bool,
    pub end_cursor: Option<String>,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct Viewer {
    pub role: Role,
    pub account: Option<Account>,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct Balance {
    pub balance: Option<Cents>,
    pub currency: String,
    pub total_spent: Option<Cents>,
    pub credit_limit: Option<Cents>,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Query")]
pub struct ViewerQuery {
    pub viewer: Viewer,
    pub balance: Option<Balance>,
}

#[derive(cynic::QueryVariables, Debug)]
pub struct SubAccountsVariables {
    pub filter: Option<SubAccountFilter>,
    pub order_by: Option<SubAccountOrder>,
    pub first: Option<i32>,
    pub after: Option<String>,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct AccountConnection {
    pub nodes: Vec<Account>,
    pub page_info: PageInfo,
    pub total_count: Option<i32>,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Query", variables = "SubAccountsVariables")]
pub struct SubAccountsQuery {
    #[arguments(filter: $filter, orderBy: $order_by, first: $first, after: $after)]
    pub sub_accounts: AccountConnection,
}

#[derive(cynic::QueryVariables, Debug)]
pub struct UsageVariables {
    pub range: Option<DateRange>,
    pub group_by: Option<Vec<UsageDimension>>,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct UsageFigures {
    pub messages: i32,
    pub spent: Cents,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct UsageBucket {
    pub day: Option<Date>,
    pub channel: Option<Channel>,
    pub figures: UsageFigures,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct Usage {
    pub totals: UsageFigures,
    pub buckets: Vec<UsageBucket>,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Team", variables = "UsageVariables")]
pub struct TeamUsage {
    #[arguments(range: $range, groupBy: $group_by)]
    pub usage: Usage,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Query", variables = "UsageVariables")]
pub struct UsageQuery {
    pub team: Option<TeamUsage>,
}

#[derive(cynic::QueryVariables, Debug)]
pub struct UpdateSubAccountVariables {
    pub account: AccountRef,
    pub input: UpdateSubAccountInput,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct UpdateSubAccountError {
    pub code: UpdateSubAccountErrorCode,
    pub message: String,
    pub field: Vec<String>,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct UpdateSubAccountPayload {
    pub account: Option<Account>,
    pub errors: Vec<UpdateSubAccountError>,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Mutation", variables = "UpdateSubAccountVariables")]
pub struct UpdateSubAccount {
    #[arguments(account: $account, input: $input)]
    pub update_sub_account: Option<UpdateSubAccountPayload>,
}

#[derive(cynic::QueryVariables, Debug)]
pub struct SendMessageVariables {
    pub input: SendMessageInput,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct SendMessageError {
    pub code: SendMessageErrorCode,
    pub message: String,
    pub field: Vec<String>,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct Message {
    pub id: cynic::Id,
    pub status: MessageStatus,
    pub cost: Cents,
    pub updated_at: DateTime,
}

#[derive(cynic::QueryFragment, Debug)]
pub struct SendMessagePayload {
    pub message: Option<Message>,
    pub errors: Vec<SendMessageError>,
    pub replayed: bool,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Mutation", variables = "SendMessageVariables")]
pub struct SendMessage {
    #[arguments(input: $input)]
    pub send_message: Option<SendMessagePayload>,
}

#[derive(cynic::QueryVariables, Debug)]
pub struct MessageUpdatedVariables {
    pub id: Option<cynic::Id>,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Subscription", variables = "MessageUpdatedVariables")]
pub struct MessageUpdated {
    #[arguments(id: $id)]
    pub message_updated: Message,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Subscription")]
pub struct BalanceChanged {
    pub balance_changed: Balance,
}

#[derive(cynic::QueryFragment, Debug)]
#[cynic(graphql_type = "Subscription")]
pub struct AccountUpdated {
    pub account_updated: Account,
}
