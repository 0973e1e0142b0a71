//! A call to each mutation that leaves entries in the audit log. A mutation without a row here fails
//! `each_mutation_leaves_one_entry_when_done_and_one_when_refused`.

mod account;
mod contact;
mod phone_number;
mod sender;
mod team;

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, TestSubAccount, TestTeam, post, text};

/// A team with two sub-accounts, and the ids of the data that the calls use.
pub struct Stage {
    pub team: TestTeam,
    pub main_key_id: String,
    pub sub: TestSubAccount,
    pub other: TestSubAccount,
    /// The ids of three contacts of `sub`, each with the ids of its addresses. `sub` also has an opt-out.
    pub contacts: [(String, Vec<String>); 3],
    /// The ids of two phone numbers of `sub`. A third number is in stock.
    pub numbers: [String; 2],
    /// The id of a sender of `sub`.
    pub sender: String,
    /// The id of a template of `sub`.
    pub template: String,
}

impl Stage {
    /// Returns a stage that needs no server, because each key and id is a placeholder.
    pub fn of_words() -> Self {
        let word = str::to_owned;
        let contact = || (word("OWN_CONTACT"), vec![word("OWN_ADDRESS"); 2]);
        let account = |id: &str, key: &str| TestSubAccount {
            id: word(id),
            key: word(key),
            key_id: word("OWN_KEY"),
        };
        Self {
            team: TestTeam {
                id: word("OWN_TEAM"),
                main_account_id: word("OWN_MAIN_ACCOUNT"),
                key: word("MAIN"),
            },
            main_key_id: word("OWN_KEY"),
            sub: account("OWN_ACCOUNT", "SUB"),
            other: account("OWN_ACCOUNT", "SUB"),
            contacts: [contact(), contact(), contact()],
            numbers: [word("OWN_NUMBER"), word("OWN_NUMBER")],
            sender: word("OWN_SENDER"),
            template: word("OWN_TEMPLATE"),
        }
    }
}

/// Number of audit log entries that [`staged`] makes for the sub-account's own data: three contacts, an opt-out, two
/// phone numbers, a sender and a template.
pub const STAGED_PRIVATE: usize = 8;

pub async fn staged(t: &TestApp) -> Stage {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({ "externalId": "abc", "creditLimit": 7 })).await;
    let other = t.sub_account(&team, json!({ "name": "Other", "externalId": "other" })).await;
    let contacts = [
        t.contact(&sub.key, &["+12025550171", "one@example.com"]).await,
        t.contact(&sub.key, &["+12025550172"]).await,
        t.contact(&sub.key, &["+12025550173"]).await,
    ];
    t.opt_out(&sub.key, "+12025550170").await;
    // The first two numbers are free of charge.
    t.stock(
        "+12025550181,US,LOCAL,SMS,0,0\n+12025550182,US,LOCAL,SMS,0,0\n\
         +12025550183,US,LOCAL,SMS,0.5,0.25\n",
    )
    .await;
    let mut numbers = [String::new(), String::new()];
    for (id, number) in numbers.iter_mut().zip(["+12025550181", "+12025550182"]) {
        let bought = t.purchase(&sub.key, json!({ "number": number })).await;
        *id = text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]);
    }
    let main_key_id = t.key_id(&team.key).await;
    let sender = t.sender(&sub.key, json!({})).await;
    let bodies = json!([{ "channel": "SMS", "text": "Hello" }]);
    let template = t.template(&sub.key, bodies, json!([])).await;
    Stage { team, main_key_id, sub, other, contacts, numbers, sender, template }
}

/// A call that succeeds, another call to the same mutation that is refused, and the expected audit log entries for
/// both.
pub struct Call<'s> {
    /// The API key that makes the calls. Empty if an operator's key makes them.
    pub key: &'s str,
    pub mutation: &'static str,
    pub accepted: String,
    /// The expected entry for the successful call: account id, target id, values before, and values after. The target
    /// id is `None` if only the response contains it.
    pub entered: (Option<&'s str>, Option<&'s str>, Value, Value),
    pub refused: String,
    pub code: &'static str,
    /// The account id and target id in the expected entry for the refused call.
    pub named: (Option<&'s str>, Option<&'s str>),
    pub variables: Value,
}

/// Returns a call to each mutation that leaves entries, in an order in which all calls succeed.
pub fn calls(stage: &Stage) -> Vec<Call<'_>> {
    [contact::calls, sender::calls, phone_number::calls, account::calls, team::calls]
        .into_iter()
        .flat_map(|calls| calls(stage))
        .collect()
}

impl<'s> Call<'s> {
    fn new(
        key: &'s str,
        mutation: &'static str,
        accepted: &str,
        entered: (Option<&'s str>, Option<&'s str>, Value, Value),
        refused: &str,
        code: &'static str,
        named: (Option<&'s str>, Option<&'s str>),
    ) -> Self {
        let (accepted, refused) = (accepted.to_owned(), refused.to_owned());
        let variables = json!({});
        Self { key, mutation, accepted, entered, refused, code, named, variables }
    }

    /// Calls the mutation with this key and request id. `call` contains the arguments and the selection.
    pub async fn ask(&self, t: &TestApp, key: &str, call: &str, request_id: &str) -> Answer {
        let declared = match call.contains("$two") {
            true => "($two: [AddOptOutInput!]!)",
            false if call.contains("$many") => "($many: [AddOptOutInput!]!)",
            false => "",
        };
        let query = format!("mutation{declared} {{ {}{call} }}", self.mutation);
        let body = json!({ "query": query, "variables": self.variables }).to_string();
        let mut request = post(key, body);
        request.headers_mut().insert("x-request-id", request_id.parse().expect("a header"));
        t.request(request).await
    }

    /// Returns a key that may call the mutation.
    pub fn key<'k>(&'k self, t: &'k TestApp) -> &'k str {
        if self.key.is_empty() { &t.operator } else { self.key }
    }

    pub fn action(&self) -> String {
        let capital = |letter: char| letter.is_ascii_uppercase();
        self.mutation
            .chars()
            .flat_map(|letter| [capital(letter).then_some('_'), Some(letter.to_ascii_uppercase())])
            .flatten()
            .collect()
    }
}
