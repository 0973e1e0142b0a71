//! Creates the data of one client in the example, through the same functions as API requests.

use anyhow::{Context, bail};
use chrono::TimeDelta;
use entity::message::Channel;
use tokio::time::Instant;

use super::{Client, NUMBER, explain};
use crate::{
    app::App,
    domain::{
        api_key::authentication,
        caller::AccountCaller,
        channel::schedule::Schedule,
        contact::{self, NewContact, address::NewAddress},
        deadline::Deadline,
        message::{self, NewMessage, Sent},
        phone_number::purchase::{self, Purchase},
        sender::{self, NewSender},
    },
    http,
};

/// Creates the client's data and sends its messages, on behalf of the caller with this key.
pub async fn build(app: &App, key: &str, client: &Client) -> anyhow::Result<()> {
    let caller =
        authentication::authenticate(app, key).await?.context("a new key is valid")?.account()?;
    if client.has_contacts_and_number {
        create_contacts_and_number(app, &caller).await?;
    }
    let messages = (0..client.messages).map(|number| NewMessage {
        to: Some(format!("+12025550{number:03}")),
        text: Some(format!("Hello from {}", client.name)),
        ..NewMessage::default()
    });
    send(app, &caller, messages.collect()).await.map(drop)
}

/// Creates two contacts, a default sender with a phone number, and a scheduled message. The message is then canceled,
/// and its cost is refunded.
async fn create_contacts_and_number(app: &App, caller: &AccountCaller) -> anyhow::Result<()> {
    let account = caller.live()?;
    let mut contacts = Vec::new();
    for (name, channel, address) in [
        ("Ann Example", Channel::Sms, "+12025550171"),
        ("Bob Example", Channel::Email, "bob@example.com"),
    ] {
        let address =
            NewAddress { channel: Some(channel), address: address.to_owned(), label: None };
        let new = NewContact {
            display_name: Some(name.to_owned()),
            tags: vec!["demo".to_owned()],
            addresses: vec![address],
            ..NewContact::default()
        };
        contacts.push(contact::create(app, &account, new).await.map_err(explain)?);
    }
    let purchase = Purchase { number: NUMBER.to_owned(), name: None, idempotency_key: None };
    let bought = purchase::purchase(app, &account, purchase).await.map_err(explain)?;
    let new = NewSender {
        name: "Front desk".to_owned(),
        phone_number_id: Some(bought.number.id),
        email: None,
        email_name: None,
        whatsapp: None,
        telegram: None,
        is_default: true,
    };
    sender::create(app, &account, new).await.map_err(explain)?;

    let tomorrow = app.clock.now() + TimeDelta::days(1);
    let reminder = NewMessage {
        contact_id: contacts.first().map(|contact| contact.id),
        text: Some("See you tomorrow".to_owned()),
        schedule: Schedule { send_at: Some(tomorrow), ..Schedule::default() },
        ..NewMessage::default()
    };
    for message in send(app, caller, vec![reminder]).await? {
        message::cancel::cancel(app, caller, Some(message.id)).await.map_err(explain)?;
    }
    Ok(())
}

async fn send(
    app: &App,
    caller: &AccountCaller,
    messages: Vec<NewMessage>,
) -> anyhow::Result<Vec<entity::message::Model>> {
    let deadline = Deadline::until(Instant::now() + http::REQUEST_DEADLINE);
    let reservation = app.memory_budget.of(Some(caller.team_id));
    let sent = message::send_many(app, caller, messages, &deadline, &reservation).await?;
    let sent = sent.into_iter().map(|sent| match sent {
        Sent::Accepted(message) | Sent::Replayed(message) => Ok(message),
        Sent::Refused(refusal) => bail!("the example cannot be created: {}", refusal.message),
    });
    sent.collect()
}
