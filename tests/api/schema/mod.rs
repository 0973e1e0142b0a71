//! Checks that `schema.graphql` is the schema that the program serves, and that the schema follows the rules in `lint`.

mod lint;

use std::path::Path;

use lint::faults;

use crate::layers::rust_files;

#[test]
fn the_committed_schema_is_up_to_date() {
    let committed = include_str!("../../../schema.graphql");
    assert!(
        committed.trim_end() == tollgate::graphql::sdl().trim_end(),
        "schema.graphql is out of date: cargo run -- schema > schema.graphql"
    );
}

#[test]
fn the_schema_breaks_no_rule() {
    assert_eq!(faults(&tollgate::graphql::sdl()), [""; 0]);
}

/// A schema that follows all rules.
const GOOD: &str = r#"
"Asks." type Query {
  "Things." things("How many." first: Int "From." after: String "How many." last: Int "To." before: String): ThingConnection!
}
"Does." type Mutation {
  "Makes." makeThing("What." input: MakeThingInput!): MakeThingPayload
  "Makes." importThings("What." input: [MakeThingInput!]!): [ThingVerdict!]
}
"How it went." type ThingVerdict { "It." made: Thing "Why not." code: MakeThingErrorCode }
"A thing." type Thing { "Its id." id: ID! "Whether." isRed: Boolean! "Tags." tags: [String!]! "When." at: Moment }
"A moment." scalar Moment @specifiedBy(url: "https://example.com")
"A colour." enum Colour { "Red." RED }
"A page." type ThingConnection {
  "Nodes." edges: [ThingEdge!]!
  "Nodes." nodes: [Thing!]!
  "Where." pageInfo: PageInfo!
  "How many." totalCount: Int
}
"A node." type ThingEdge { "Where." cursor: String! "It." node: Thing! }
"Where." type PageInfo { "Whether." hasNextPage: Boolean! }
"What." input MakeThingInput { "Its name." name: String "Its tags." tags: [String!] }
"The answer." type MakeThingPayload { "It." thing: Thing "Why not." errors: [MakeThingError!]! }
"Why not." type MakeThingError { "For programs." code: MakeThingErrorCode! "For people." message: String! "Where." field: [String!]! }
"Why not." enum MakeThingErrorCode { "Taken." TAKEN }
"#;

/// The broken rule is the only fault that is found in the schema.
#[test]
fn each_rule_finds_a_schema_that_breaks_it() {
    assert_eq!(faults(GOOD), [""; 0]);
    for (good, bad, fault) in [
        ("\"Its id.\" id", "id", "Thing.id: has no description"),
        ("\"Red.\" RED", "RED", "Colour.RED: has no description"),
        ("\"A colour.\"", "\"A colour\"", "Colour: its description is not a sentence"),
        ("\"From.\" after", "after", "Query.things(after): has no description"),
        (" @specifiedBy(url: \"https://example.com\")", "", "Moment: has no @specifiedBy"),
        ("isRed: Boolean!", "isRed: Boolean", "Thing.isRed: a Boolean is null"),
        ("tags: [String!]!", "tags: [String!]", "Thing.tags: a list is null"),
        ("tags: [String!]!", "tags: [String]!", "Thing.tags: an entry is null"),
        ("tags: [String!] }", "tags: [String] }", "MakeThingInput.tags: an entry is null"),
        (
            "edges: [ThingEdge!]!",
            "edge: [ThingEdge!]!",
            "ThingConnection: has no edges: [ThingEdge!]!",
        ),
        ("nodes: [Thing!]!", "node: [Thing!]!", "ThingConnection: has no nodes: [Thing!]!"),
        ("pageInfo: PageInfo!", "pageInfo: String!", "ThingConnection: has no pageInfo: PageInfo!"),
        ("totalCount: Int", "totalCount: Int!", "ThingConnection: has no totalCount: Int"),
        ("cursor: String!", "cursor: ID!", "ThingEdge: has no cursor: String!"),
        ("node: Thing!", "node: Thing", "ThingEdge: has no node: Thing!"),
        ("\"From.\" after: String", "", "Query.things: has no argument after: String"),
        ("): ThingConnection!", "): ThingConnection", "Query.things: a connection is null"),
        (
            "input: MakeThingInput!",
            "input: Int!",
            "Mutation.makeThing: its input is not MakeThingInput",
        ),
        (
            "): [ThingVerdict!]",
            "): [Thing!]",
            "Mutation.importThings: its result is not a list of verdicts",
        ),
        (
            "): MakeThingPayload",
            "): Thing",
            "Mutation.makeThing: its result is not MakeThingPayload",
        ),
        (
            "): MakeThingPayload",
            "): MakeThingPayload!",
            "Mutation.makeThing: its answer is never null",
        ),
        (
            "errors: [MakeThingError!]!",
            "errors: [String!]!",
            "MakeThingPayload: has no errors: [MakeThingError!]!",
        ),
        ("thing: Thing ", "thing: Thing! ", "MakeThingPayload.thing: is never null"),
        (
            "code: MakeThingErrorCode!",
            "code: String!",
            "MakeThingError: has no code: MakeThingErrorCode!",
        ),
        ("field: [String!]!", "field: String!", "MakeThingError: has no field: [String!]!"),
        (
            "\"A colour.\" enum Colour { \"Red.\" RED }",
            "\"A colour.\" union Colour = Thing | PageInfo",
            "Colour: the schema has no interfaces and no unions",
        ),
        (
            "\"A colour.\" enum Colour { \"Red.\" RED }",
            "\"A colour.\" interface Colour { \"Its id.\" id: ID! }",
            "Colour: the schema has no interfaces and no unions",
        ),
        ("\"A thing.\"", "\"A `Thing`.\"", "Thing: its description speaks of Rust"),
        ("\"Red.\"", "\"Colour::Red.\"", "Colour.RED: its description speaks of Rust"),
        ("message: String!", "text: String!", "MakeThingError: has no message: String!"),
        (
            "id: ID!",
            "id: ID! @deprecated(reason: \"Use name.\")",
            "Thing.id: is deprecated without a date",
        ),
    ] {
        assert!(GOOD.contains(good), "{good}");
        assert_eq!(faults(&GOOD.replacen(good, bad, 1)), [fault], "{bad}");
    }
    let dated = "id: ID! @deprecated(reason: \"Since 2027-01-31: use name.\")";
    assert_eq!(faults(&GOOD.replacen("id: ID!", dated, 1)), [""; 0]);
}

/// GraphQL's `Int` has 32 bits, but async-graphql serves any Rust integer as `Int`.
#[test]
fn no_field_or_argument_is_an_integer_of_more_than_32_bits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/graphql");
    let mut looked_at = 0;
    for path in rust_files(&folder) {
        let source = std::fs::read_to_string(&path).expect("a source file");
        assert_eq!(wide_integers(&source), [""; 0], "{}", path.display());
        looked_at += source.matches("#[Object").count() + source.matches("SimpleObject)").count();
        looked_at += source.matches("payload! {").count();
    }
    assert!(looked_at > 20, "only {looked_at} types were checked");
    let wide = "#[derive(SimpleObject)]\nstruct A {\n a: i32,\n b: Option<u64>,\n}\n#[Object]\nimpl B {\n \
                async fn c(&self) -> Vec<i64> {\n let d: i64 = 1;\n }\n}\nstruct E { f: i64 }\n";
    assert_eq!(wide_integers(wide), ["b: Option<u64>,", "async fn c(&self) -> Vec<i64> {"]);
}

/// Returns the lines of a source file that declare a field or argument of the schema with an integer type other than
/// `i32`.
fn wide_integers(source: &str) -> Vec<&str> {
    let is_wide = |line: &str| {
        let mut words = line.split(|sign: char| !sign.is_alphanumeric() && sign != '_');
        words.any(|word| ["i64", "u64", "u32", "i128", "u128", "usize", "isize"].contains(&word))
    };
    let (mut is_served, mut is_object, mut is_signature) = (false, false, false);
    let mut found = Vec::new();
    for line in source.lines() {
        if line.starts_with("#[Object") || line.starts_with("#[Subscription") {
            (is_served, is_object) = (true, true);
        } else if line.starts_with("#[derive(") {
            let kinds = ["SimpleObject", "InputObject", "OneofObject"];
            (is_served, is_object) = (kinds.iter().any(|kind| line.contains(kind)), false);
        } else if line == "payload! {" {
            (is_served, is_object) = (true, false);
        } else if line.starts_with('}') {
            is_served = false;
        }
        let line = line.trim();
        is_signature |= line.starts_with("async fn ");
        // The first line of a payload names the type that the domain returns, so it declares no field of the schema.
        let is_of_domain = line.ends_with("=> {");
        if is_served && (is_signature || !is_object) && !is_of_domain && is_wide(line) {
            found.push(line);
        }
        if is_signature && line.ends_with('{') {
            is_signature = false;
        }
    }
    found
}
