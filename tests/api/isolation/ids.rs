//! An id that belongs to another account is answered exactly like an id that does not exist.

use db_test::db_test;
use serde_json::json;

use super::{
    House, Things, Walls,
    arguments::{MANAGING, NAMING, document},
    assert_unknown, house, things,
};
use crate::harness::{Apps, NOBODYS_IDS, TestApp, text};

async fn own_key_id(t: &TestApp, key: &str) -> String {
    text(&t.ask(key, "{ viewer { apiKey { id } } }").await.data()["viewer"]["apiKey"]["id"])
}

/// What a key asks with: ids of what is not its own, and other accounts' externalIds.
struct Foreign {
    ids: Vec<String>,
    external_ids: &'static [&'static str],
}

/// Asks every row with all that is foreign to the caller, whose own things stand for `OWN_…`.
async fn assert_all_unknown(
    t: &TestApp,
    key: &str,
    rows: &[(&str, &str)],
    (house, at): (&House, usize),
    foreign: &Foreign,
) {
    let external_ids: Vec<String> =
        foreign.external_ids.iter().map(|id| (*id).to_owned()).collect();
    let own = &house.things[at];
    for (path, call) in rows {
        let query = document(path, call)
            .replace("OWN_CONTACT", &own.contact)
            .replace("OWN_SENDER", &own.sender)
            .replace("OWN_NUMBER", &own.number)
            .replace("OWN_ACCOUNT", &house.subs[0].id);
        let asked = if path.ends_with(".externalId)") { &external_ids } else { &foreign.ids };
        assert_unknown(t, key, &query, asked).await;
    }
}

/// Ids of a house's own kind: of its team, of its main account and first sub-account, and of all that they
/// have.
async fn ids_of(t: &TestApp, house: &House) -> Vec<String> {
    let (team, sub) = (&house.team, &house.subs[0]);
    let mut ids = vec![team.id.clone(), team.main_account_id.clone(), sub.id.clone()];
    ids.extend([sub.key_id.clone(), own_key_id(t, &team.key).await]);
    ids.extend(house.things[..2].iter().flat_map(Things::ids));
    let ledger = t.ask(&team.key, "{ ledger(first: 1) { nodes { id } } }").await;
    ids.push(text(&ledger.data()["ledger"]["nodes"][0]["id"]));
    ids
}

/// Ids of what the account had and deleted.
async fn deleted(t: &TestApp, key: &str) -> Vec<String> {
    let gone = things(t, key, "+12025550129").await;
    t.deliver().await;
    let Things { contact, template, sender, number, .. } = &gone;
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

/// C1, C6, R2, R3: whatever a key names that is not its own is nobody's to it: a sibling's, the main
/// account's, another team's and what is deleted.
#[db_test]
async fn what_is_anothers_is_nobodys(
    apps: &Apps,
    #[values(NAMING, MANAGING)] rows: &[(&str, &str)],
) {
    for walls in Walls::of(apps.database) {
        let t = walls.start(apps).await;
        let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);
        t.deliver().await;
        let deleted = deleted(&t, &own.subs[0].key).await;
        let of_foreign = ids_of(&t, &foreign).await;
        let operators = own_key_id(&t, &t.operator).await;

        let mut of_sub = [of_foreign.clone(), deleted.clone()].concat();
        of_sub.extend([own.team.id.clone(), own.team.main_account_id.clone()]);
        of_sub.extend([own.subs[1].id.clone(), own.subs[1].key_id.clone()]);
        of_sub.extend([0, 2].into_iter().flat_map(|at| own.things[at].ids()));
        let of_sub = Foreign { ids: of_sub, external_ids: &["own-1", "own-2", "foreign-1"] };
        assert_all_unknown(&t, &own.subs[0].key, rows, (&own, 1), &of_sub).await;

        // It manages its sub-accounts, their keys and where their numbers are, and has nothing else of theirs.
        let mut of_main =
            [of_foreign, deleted.clone(), vec![operators, own.team.id.clone()]].concat();
        for Things { message, contact, address, number, template, sender } in &own.things[1..] {
            of_main.extend([message, contact, address, template, sender].map(String::clone));
            if rows == NAMING {
                of_main.push(number.clone());
            }
        }
        let external_ids = &["foreign-1", "foreign-2", "own-3", "OWN-1"];
        let of_main = Foreign { ids: of_main, external_ids };
        assert_all_unknown(&t, &own.team.key, rows, (&own, 0), &of_main).await;

        let of_stranger = [ids_of(&t, &own).await, deleted].concat();
        let of_stranger = Foreign { ids: of_stranger, external_ids: &["own-1", "own-2"] };
        assert_all_unknown(&t, &foreign.team.key, rows, (&foreign, 0), &of_stranger).await;
    }
}

/// A revoked key, and whoever has none, are told nothing of what they name.
#[db_test]
async fn without_a_key_everything_is_nobodys(apps: &Apps) {
    for walls in Walls::of(apps.database) {
        let t = walls.start(apps).await;
        let own = house(&t, "own").await;
        let revoked = t.api_key(&own.team, &own.subs[0].id, "LIVE").await;
        let id = own_key_id(&t, &revoked).await;
        let revoke = "mutation($id: ID!) { revokeApiKey(id: $id) { errors { code } } }";
        assert!(t.ask_with(&own.team.key, revoke, json!({ "id": id })).await.refusals().is_empty());
        let before = t.everything().await;

        for key in [revoked.as_str(), "", "tg_live_sub_nobodys"] {
            // One that has not seen many wrong keys yet.
            let server = t.beside(walls.setup()).await;
            let nobodys = server.ask(key, "{ viewer { role } }").await;
            assert_eq!((nobodys.status.as_u16(), nobodys.codes()), (401, vec!["UNAUTHENTICATED"]));
            let ids = [&own.things[1].contact, &own.subs[0].id, NOBODYS_IDS[0]];
            for ((path, call), id) in NAMING.iter().chain(MANAGING).zip(ids.into_iter().cycle()) {
                let answer = server.ask_with(key, &document(path, call), json!({ "id": id })).await;
                assert_eq!(answer.body, nobodys.body, "{path} with {id:?}");
            }
        }
        assert_eq!(t.everything().await, before);
    }
}
