//! `tollgate demo`: creates the example data for the guide through real operations, and serves the data.

use std::{
    fs::{DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::Args;
use entity::{account::AccountStatus, api_key::Environment, message::Channel};
use uuid::Uuid;

use super::{connect, ensure_current, explain, http_args, output::print_line, serve};
use crate::{
    app::App,
    carrier::{Carrier, Carriers, sandbox::Sandbox},
    clock::SystemClock,
    db::{lock_for_serving, sqlite_url},
    domain::{
        account::AccountRef,
        api_key::{self, FIRST_KEY_NAME, NewApiKey, authentication},
        billing::{
            self, TopUp,
            price_import::{self, PriceDiff, PriceRow},
        },
        caller::{LiveMainCaller, OperatorCaller},
        page::PageArgs,
        phone_number::inventory_import,
        team::{
            self,
            sub_account::{self, NewSubAccount},
            sub_account_status,
        },
    },
    http,
    money::Micros,
};

mod client;

const OTHER_DATA: &str = "this database was not created by the demo; choose an empty folder with \
                          --data, or serve it with `tollgate serve`";
/// Mode of the data folder. Only its owner can access it, whatever the umask is.
const PRIVATE_FOLDER: u32 = 0o700;
const TEAM_NAME: &str = "Acme";
const KEY_NAME: &str = "Demo";
/// The price of an SMS. It is high enough that a few messages sent by hand reach a credit limit.
const SMS_PRICE: Micros = Micros::from_cents(500);
/// The phone number of Client ABC. Its monthly fee equals the price of one message.
const NUMBER: &str = "+12025550149";
const NUMBER_FEE: Micros = Micros::from_cents(500);
/// The phone number of Client ABC, and other phone numbers that are for sale.
const INVENTORY: &str = "number,country,type,capabilities,upfront_cents,monthly_cents\n\
                     +12025550149,US,LOCAL,SMS,0,500\n\
                     +12025550150,US,LOCAL,SMS,100,200\n\
                     +12025550151,US,LOCAL,SMS WHATSAPP,100,300\n\
                     +18005550152,US,TOLL_FREE,SMS,0,500\n";
/// The team's balance in cents after the example has been created.
const BALANCE_CENTS: i32 = 50_000;

/// A sub-account of the example.
pub struct Client {
    pub name: &'static str,
    pub external_id: &'static str,
    pub messages: i32,
    /// Whether the sub-account has a phone number, contacts and a canceled message.
    pub has_contacts_and_number: bool,
    pub credit_limit: Option<Micros>,
}

/// The sub-accounts of the example. They have spent $45 of $100, including a $5 fee for the phone number; $120 of $200;
/// and $30 without a limit.
pub const CLIENTS: [Client; 3] = [
    Client {
        name: "Client ABC",
        external_id: "client-abc",
        messages: 8,
        has_contacts_and_number: true,
        credit_limit: Some(Micros::from_cents(10_000)),
    },
    Client {
        name: "Client XYZ",
        external_id: "client-xyz",
        messages: 24,
        has_contacts_and_number: false,
        credit_limit: Some(Micros::from_cents(20_000)),
    },
    Client {
        name: "Partner Co",
        external_id: "partner-co",
        messages: 6,
        has_contacts_and_number: false,
        credit_limit: None,
    },
];

#[derive(Args)]
pub struct DemoArgs {
    /// Keep the data in this folder. Without it, the data is deleted when the demo stops.
    #[arg(long, value_name = "DIR", conflicts_with = "database_url")]
    data: Option<PathBuf>,
    /// Use this empty database instead, and migrate it.
    #[arg(long, hide_env_values = true)]
    database_url: Option<String>,
    #[command(flatten)]
    listen: http_args::ListenArgs,
    /// Print the address and the keys as one JSON object.
    #[arg(long)]
    json: bool,
}

/// The keys that the demo prints.
pub struct DemoKeys {
    pub operator: String,
    pub main: String,
    /// The keys of the clients, in the order of [`CLIENTS`].
    pub clients: Vec<String>,
}

pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let listener = args.listen.bind()?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            "The demo listens on {address}, which other machines may reach. Its operator key has all permissions, and \
             keys are sent over this network as plain HTTP. Omit --listen to make the demo available on this \
             machine only"
        );
    }
    // The folder is deleted when this value is dropped, that is, when the server stops.
    let mut temporary = None;
    let url = match (&args.database_url, &args.data) {
        (Some(url), _) => url.clone(),
        (None, Some(folder)) => {
            DirBuilder::new()
                .recursive(true)
                .mode(PRIVATE_FOLDER)
                .create(folder)
                .with_context(|| format!("cannot create the folder {}", folder.display()))?;
            sqlite_url(&folder.join("tollgate.db"))
        }
        (None, None) => {
            let mut folder = tempfile::Builder::new();
            folder.prefix("tollgate-demo-").permissions(Permissions::from_mode(PRIVATE_FOLDER));
            let folder = folder.tempdir()?;
            let url = sqlite_url(&folder.path().join("tollgate.db"));
            temporary = Some(folder);
            url
        }
    };
    let _serving = lock_for_serving(&url)?;
    let db = connect(&url, 8).await?;
    serve::warn_of_exposed_files(&url);
    ensure_current(&db, true).await?;
    let (app, key_uses) = App::new(
        db,
        Arc::new(SystemClock),
        Carriers::all(&(Arc::new(Sandbox) as Arc<dyn Carrier>)),
    );

    let operator = OperatorCaller::on_the_command_line();
    let has_no_team = team::list(&app, &operator, &PageArgs::default()).await?.rows.is_empty();
    if has_no_team && !api_key::list::list_for_operator(&app, &operator, None).await?.is_empty() {
        bail!(OTHER_DATA);
    }
    let (keys, is_new) = build_or_resume(&app).await?;
    if args.json {
        let started = serde_json::json!({
            "url": format!("http://{address}/graphql"),
            "keys": {
                "operator": keys.operator,
                "main": keys.main,
                "clientAbc": keys.clients[0],
                "clientXyz": keys.clients[1],
                "partnerCo": keys.clients[2],
            },
        });
        print_line!("{started}");
    } else {
        print_keys_and_examples(&keys, is_new, &format!("http://{address}"));
        match (&temporary, &args.data) {
            (Some(_), _) => {
                print_line!("The data is deleted when the demo stops; use --data DIR to keep it.");
            }
            (None, Some(folder)) => print_line!("The data is kept in {}.", folder.display()),
            (None, None) => {}
        }
    }
    let settings = http::Settings { has_sandbox: true, ..http::Settings::default() };
    Box::pin(serve::serve_until_stopped(listener, app, settings, key_uses)).await
}

/// Creates the example in an empty database, or creates new keys for an example that already exists. A database with
/// other data is refused. Returns whether the example was created by this call.
pub async fn build_or_resume(app: &App) -> anyhow::Result<(DemoKeys, bool)> {
    let operator = OperatorCaller::on_the_command_line();
    let two = PageArgs { first: Some(2), ..PageArgs::default() };
    let teams = team::list(app, &operator, &two).await?.rows;
    if teams.is_empty() {
        return Ok((build(app, &operator).await?, true));
    }
    let mut is_example = teams.len() == 1;
    let oldest = teams.last().map(|(_, team)| team.id).unwrap_or_default();
    for client in CLIENTS {
        let account = AccountRef::ExternalId(client.external_id.to_owned());
        is_example &= account.find_in(oldest, &app.db.read).await?.is_some();
    }
    if !is_example {
        bail!(OTHER_DATA);
    }
    Ok((renew_keys(app, &operator, oldest).await?, false))
}

async fn build(app: &App, operator: &OperatorCaller) -> anyhow::Result<DemoKeys> {
    let price = PriceRow {
        channel: Channel::Sms,
        prefix: "1".to_owned(),
        country: Some("US".to_owned()),
        price: SMS_PRICE,
    };
    let prices = PriceDiff { changed: vec![(SMS_PRICE, price)], ..PriceDiff::default() };
    price_import::commit(app, operator, prices).await?;
    let numbers = inventory_import::read_csv(INVENTORY.as_bytes()).expect("the CSV is valid");
    let numbers = inventory_import::diff(app, numbers).await?;
    inventory_import::commit(app, operator, numbers).await?;

    let created = team::create(app, operator, TEAM_NAME).await.map_err(explain)?;
    let messages: i32 = CLIENTS.iter().map(|client| client.messages).sum();
    let spent = SMS_PRICE.checked_mul(messages).and_then(|spent| spent.checked_add(NUMBER_FEE));
    let spent = spent.context("the example's spend overflows")?;
    let amount = Micros::from_cents(BALANCE_CENTS).checked_add(spent);
    let top_up = TopUp {
        team_id: Some(created.team.id),
        amount: Ok(amount.context("the example's balance overflows")?),
        idempotency_key: "demo".to_owned(),
        note: Some("Opening balance of the demo".to_owned()),
    };
    billing::top_up(app, operator, top_up).await.map_err(explain)?;

    let main_key = created.plain_key.reveal().to_owned();
    let main = main_caller(app, &main_key).await?;
    let mut clients = Vec::new();
    for client in CLIENTS {
        let new = NewSubAccount {
            name: client.name.to_owned(),
            external_id: Some(client.external_id.to_owned()),
            credit_limit: client.credit_limit.map(Ok),
            metadata: None,
            team_balance_visible: true,
        };
        let (_, _, key) = sub_account::create(app, &main, new).await.map_err(explain)?;
        client::build(app, key.reveal(), &client).await?;
        clients.push(key.reveal().to_owned());
    }
    Ok(DemoKeys { operator: operator_key(app, operator).await?, main: main_key, clients })
}

/// Creates new keys, and then revokes the keys that the demo created earlier.
async fn renew_keys(
    app: &App,
    operator: &OperatorCaller,
    team_id: Uuid,
) -> anyhow::Result<DemoKeys> {
    let mut old = api_key::list::list_for_operator(app, operator, None).await?;
    old.retain(|key| key.name == KEY_NAME);
    old.extend(api_key::list::list_for_operator(app, operator, Some(team_id)).await?);
    let made =
        api_key::create_for_main(app, operator, team_id, demo_key()).await.map_err(explain)?;
    let main_key = made.1.reveal().to_owned();
    let caller = authentication::authenticate(app, &main_key).await?;
    let reader = caller.context("a new key is valid")?.main()?;
    let main = reader.live()?;
    let mut clients = Vec::new();
    for client in CLIENTS {
        let account = AccountRef::ExternalId(client.external_id.to_owned());
        let found = sub_account::find(app, &reader, &account).await?;
        let found = found.context("the example's sub-accounts exist")?;
        if found.status == AccountStatus::Inactive {
            sub_account_status::reactivate(app, &main, &account).await.map_err(explain)?;
        }
        let page = PageArgs { first: Some(100), ..PageArgs::default() };
        let pages = api_key::list::list_many(app, &reader, &[found.id], &page).await?;
        old.extend(pages.into_values().flat_map(|page| page.rows).map(|(_, key)| key));
        let (_, key) = api_key::create(app, &main, &account, demo_key()).await.map_err(explain)?;
        clients.push(key.reveal().to_owned());
    }
    let operator_key = operator_key(app, operator).await?;
    for key in old {
        if key.name == KEY_NAME || key.name == FIRST_KEY_NAME {
            api_key::revocation::revoke_any(app, operator, key.id).await?;
        }
    }
    Ok(DemoKeys { operator: operator_key, main: main_key, clients })
}

fn demo_key() -> NewApiKey {
    NewApiKey { name: KEY_NAME.to_owned(), environment: Environment::Live, expires_at: None }
}

async fn main_caller(app: &App, key: &str) -> anyhow::Result<LiveMainCaller> {
    let caller = authentication::authenticate(app, key).await?.context("a new key is valid")?;
    Ok(caller.main()?.live()?)
}

async fn operator_key(app: &App, operator: &OperatorCaller) -> anyhow::Result<String> {
    let made = api_key::create_for_operator(app, operator, demo_key()).await;
    let (_, key) = made.map_err(explain)?;
    Ok(key.reveal().to_owned())
}

/// Returns the label for a client's key. The amounts are known only if the example is new.
fn label(client: &Client, spent: &str, is_new: bool) -> String {
    let name = format!("sub-account {}", client.name);
    if is_new { format!("{name} ({spent})") } else { name }
}

fn print_keys_and_examples(keys: &DemoKeys, is_new: bool, server: &str) {
    let url = format!("{server}/graphql");
    if is_new {
        print_line!(
            "The demo is ready: team Acme with $500, its main account and three sub-accounts.\n"
        );
    } else {
        print_line!(
            "The demo uses its existing data. These keys are new; the old ones were revoked.\n"
        );
    }
    print_line!("GraphiQL, in the browser: {server}/graphiql");
    print_line!("GraphQL: {url}");
    print_line!("API keys, shown only once:");
    print_line!("  operator                                {}", keys.operator);
    print_line!("  main account Acme                       {}", keys.main);
    let notes = ["$45 of $100", "$120 of $200", "$30, no limit"];
    for ((client, note), key) in CLIENTS.iter().zip(notes).zip(&keys.clients) {
        print_line!("  {:<39} {key}", label(client, note, is_new));
    }
    let curl = |title: &str, key: &str, query: &str| {
        let body = serde_json::json!({ "query": query });
        print_line!("\n# {title}");
        print_line!("curl -s {url} -H 'Authorization: Bearer {key}' \\");
        print_line!("  -H 'Content-Type: application/json' \\\n  -d '{body}'");
    };
    print_line!("\nThree things to try:");
    curl(
        "Client ABC queries its balance",
        &keys.clients[0],
        "{ balance { balance currency isSubAccount totalSpent creditLimit } }",
    );
    curl(
        "Client ABC sends a message ($5 here; try more than eleven)",
        &keys.clients[0],
        "mutation { sendMessage(input: { to: \"+12025550123\", text: \"Hello\" }) \
         { message { id status cost } errors { code message } } }",
    );
    curl(
        "The main account lists its sub-accounts",
        &keys.main,
        "{ subAccounts { nodes { name totalSpent creditLimit isBlocked } } }",
    );
    print_line!("");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_printed_only_for_a_new_example() {
        let [client, ..] = &CLIENTS;
        assert_eq!(label(client, "$45 of $100", true), "sub-account Client ABC ($45 of $100)");
        assert_eq!(label(client, "$45 of $100", false), "sub-account Client ABC");
    }
}
