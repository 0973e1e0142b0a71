//! The response for an id of another account is the same as for an id that does not exist.

use db_test::db_test;
use serde_json::json;

use super::{
    AccountData, Protection, TeamData, account_data,
    arguments::{document, rows},
    assert_unknown, team_data,
};
use crate::harness::{Apps, TestApp, UNKNOWN_IDS, text};

/// Ids and externalIds of objects that do not belong to the caller.
struct Foreign {
    ids: Vec<String>,
    external_ids: &'static [&'static str],
}

/// Makes the call of every row with every foreign id, and asserts that each id is unknown to the caller. `OWN_…` is
/// replaced by the id of an object that belongs to the caller.
async fn assert_all_unknown(
    t: &TestApp,
    key: &str,
    rows: &[(String, String)],
    (own_team, at): (&TeamData, usize),
    foreign: &Foreign,
) {
    let external_ids: Vec<String> =
        foreign.external_ids.iter().map(|id| (*id).to_owned()).collect();
    let own = &own_team.accounts[at];
    for (path, call) in rows {
        let query = document(path, call)
            .replace("OWN_CONTACT", &own.contact)
            .replace("OWN_ADDRESS", &own.address)
            .replace("OWN_SENDER", &own.sender)
            .replace("OWN_NUMBER", &own.number)
            .replace("OWN_ACCOUNT", &own_team.subs[0].id);
        let asked = if path.ends_with(".externalId)") { &external_ids } else { &foreign.ids };
        assert_unknown(t, key, &query, asked).await;
    }
}

/// Returns the ids of the team, its main account, its first sub-account, and all data that belongs to these accounts.
async fn ids_of(t: &TestApp, of: &TeamData) -> Vec<String> {
    let (team, sub) = (&of.team, &of.subs[0]);
    let mut ids = vec![team.id.clone(), team.main_account_id.clone(), sub.id.clone()];
    ids.extend([sub.key_id.clone(), t.key_id(&team.key).await]);
    ids.extend(of.accounts[..2].iter().flat_map(AccountData::ids));
    let ledger = t.ask(&team.key, "{ ledger(first: 1) { nodes { id } } }").await;
    ids.push(text(&ledger.data()["ledger"]["nodes"][0]["id"]));
    ids
}

/// Creates and deletes data of an account, and returns the ids of the deleted data.
async fn deleted(t: &TestApp, key: &str) -> Vec<String> {
    let gone = account_data(t, key, "+12025550129").await;
    t.deliver().await;
    let AccountData { contact, template, sender, number, .. } = &gone;
    let mutation = format!(
        "mutation {{ deleteContact(id: \"{contact}\") {{ errors {{ code }} }} \
         deleteTemplate(id: \"{template}\") {{ errors {{ code }} }} \
         deleteSender(id: \"{sender}\") {{ errors {{ code }} }} \
         releasePhoneNumber(id: \"{number}\") {{ errors {{ code }} }} }}"
    );
    let done = t.ask(key, &mutation).await;
    assert!(done.body["errors"].is_null() && done.refusals().is_empty(), "{}", done.body);
    vec![gone.contact, gone.address, gone.template, gone.sender]
}

/// The test uses ids of a sibling account, of the main account, of another team, and of deleted data.
#[db_test]
async fn ids_of_others_are_answered_like_ids_that_do_not_exist(
    apps: &Apps,
    #[values(false, true)] is_managing: bool,
) {
    let rows = &rows(is_managing);
    for protection in Protection::of(apps.database) {
        let t = protection.start(apps).await;
        let (own, foreign) = (team_data(&t, "own").await, team_data(&t, "foreign").await);
        t.deliver().await;
        let deleted = deleted(&t, &own.subs[0].key).await;
        let of_foreign = ids_of(&t, &foreign).await;
        let operators = t.key_id(&t.operator).await;

        let mut of_sub = [of_foreign.clone(), deleted.clone()].concat();
        of_sub.extend([own.team.id.clone(), own.team.main_account_id.clone()]);
        of_sub.extend([own.subs[1].id.clone(), own.subs[1].key_id.clone()]);
        of_sub.extend([0, 2].into_iter().flat_map(|at| own.accounts[at].ids()));
        let of_sub = Foreign { ids: of_sub, external_ids: &["own-1", "own-2", "foreign-1"] };
        assert_all_unknown(&t, &own.subs[0].key, rows, (&own, 1), &of_sub).await;

        // A main account manages its sub-accounts, their keys, and the assignment of phone numbers to accounts. It sees
        // no other data of its sub-accounts.
        let mut of_main =
            [of_foreign, deleted.clone(), vec![operators, own.team.id.clone()]].concat();
        for AccountData { message, contact, address, number, template, sender } in
            &own.accounts[1..]
        {
            of_main.extend([message, contact, address, template, sender].map(String::clone));
            if !is_managing {
                of_main.push(number.clone());
            }
        }
        let external_ids = &["foreign-1", "foreign-2", "own-3", "OWN-1"];
        let of_main = Foreign { ids: of_main, external_ids };
        assert_all_unknown(&t, &own.team.key, rows, (&own, 0), &of_main).await;

        let of_foreign_key = [ids_of(&t, &own).await, deleted].concat();
        let of_foreign_key = Foreign { ids: of_foreign_key, external_ids: &["own-1", "own-2"] };
        assert_all_unknown(&t, &foreign.team.key, rows, (&foreign, 0), &of_foreign_key).await;
    }
}

#[db_test]
async fn without_a_valid_key_every_id_is_answered_alike(apps: &Apps) {
    for protection in Protection::of(apps.database) {
        let t = protection.start(apps).await;
        let own = team_data(&t, "own").await;
        let revoked = t.api_key(&own.team, &own.subs[0].id, "LIVE").await;
        let id = t.key_id(&revoked).await;
        t.revoke_key(&own.team, &id).await;
        let before = t.everything().await;

        for key in [revoked.as_str(), "", "tg_live_sub_nobodys"] {
            // Each key needs a fresh process, because a process limits the number of invalid keys.
            let server = t.beside(protection.setup()).await;
            let unknown = server.ask(key, "{ viewer { role } }").await;
            assert_eq!((unknown.status.as_u16(), unknown.codes()), (401, vec!["UNAUTHENTICATED"]));
            let ids = [&own.accounts[1].contact, &own.subs[0].id, UNKNOWN_IDS[0]];
            let rows = [false, true].into_iter().flat_map(rows);
            for ((path, call), id) in rows.zip(ids.into_iter().cycle()) {
                let answer =
                    server.ask_with(key, &document(&path, &call), json!({ "id": id })).await;
                assert_eq!(answer.body, unknown.body, "{path} with {id:?}");
            }
        }
        assert_eq!(t.everything().await, before);
    }
}
