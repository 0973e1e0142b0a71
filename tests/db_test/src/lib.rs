//! Attributes for tests of databases. [`macro@db_test`] runs a test on SQLite and on PostgreSQL,
//! [`macro@needs_postgres`] on PostgreSQL only.

use proc_macro::TokenStream;
use quote::quote;
use syn::{
    Attribute, Error, FnArg, Ident, ItemFn, Pat, PatType, Type, parse_macro_input, parse_quote,
};

/// The reason that `cargo test` shows for ignored tests.
const NO_SERVER: &str =
    "no PostgreSQL: TEST_DATABASE_URL is not set, and initdb and postgres were not found";

/// Attributes that are moved to the generated tests. The others stay on the function.
const OF_TEST: [&str; 3] = ["case", "test", "should_panic"];

/// Generates two tests from a function: `name::sqlite` and `name::postgres`. Its parameter of the type
/// `Database` gets the database. The second test is ignored if PostgreSQL was not found at build time.
///
/// ```ignore
/// #[db_test]
/// #[tokio::test]
/// async fn a_balance_is_shown(database: Database) { … }
/// ```
#[proc_macro_attribute]
pub fn db_test(_: TokenStream, item: TokenStream) -> TokenStream {
    let test = parse_macro_input!(item as ItemFn);
    let tests = twice(test).unwrap_or_else(Error::into_compile_error);
    tests.into()
}

fn twice(mut test: ItemFn) -> syn::Result<proc_macro2::TokenStream> {
    let (of_test, of_function): (Vec<Attribute>, Vec<Attribute>) =
        std::mem::take(&mut test.attrs).into_iter().partition(|attribute| {
            let last = attribute.path().segments.last();
            last.is_some_and(|last| OF_TEST.iter().any(|name| last.ident == name))
        });
    test.attrs = of_function;

    let inputs = test.sig.inputs.clone();
    let mut parameters = Vec::new();
    let mut arguments = Vec::new();
    for input in &mut test.sig.inputs {
        let FnArg::Typed(input) = input else {
            return Err(Error::new_spanned(input, "a test cannot take self"));
        };
        let name = name_of(input)?;
        if is_database(&input.ty) {
            arguments.push(quote!(DATABASE));
        } else {
            parameters.push(input.clone());
            arguments.push(quote!(#name));
        }
        // `#[case]` and `#[values]` belong to the generated tests.
        input.attrs.clear();
    }
    if parameters.len() + 1 != inputs.len() {
        return Err(Error::new_spanned(inputs, "expected one parameter of the type Database"));
    }

    let name = &test.sig.ident;
    let (is_async, wait) = match test.sig.asyncness {
        Some(_) => (quote!(async), quote!(.await)),
        None => (quote!(), quote!()),
    };
    let one = |module: Ident, variant: Ident, ignore: Option<Attribute>| {
        quote! {
            #[::rstest::rstest]
            #(#of_test)*
            #ignore
            #is_async fn #module(#(#parameters),*) {
                const DATABASE: Database = Database::#variant;
                super::#name(#(#arguments),*) #wait
            }
        }
    };
    let ignore = ignored_without_postgres();
    let sqlite = one(parse_quote!(sqlite), parse_quote!(Sqlite), None);
    let postgres = one(parse_quote!(postgres), parse_quote!(Postgres), ignore);
    Ok(quote! {
        #test
        mod #name {
            use super::*;

            #sqlite
            #postgres
        }
    })
}

fn ignored_without_postgres() -> Option<Attribute> {
    (!cfg!(postgres)).then(|| parse_quote!(#[ignore = #NO_SERVER]))
}

/// Marks a test that runs only on PostgreSQL. It must be the first attribute of the test.
#[proc_macro_attribute]
pub fn needs_postgres(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut test = parse_macro_input!(item as ItemFn);
    test.attrs.extend(ignored_without_postgres());
    quote!(#test).into()
}

fn name_of(input: &PatType) -> syn::Result<&Ident> {
    match &*input.pat {
        Pat::Ident(name) => Ok(&name.ident),
        other => Err(Error::new_spanned(other, "expected a name")),
    }
}

fn is_database(of: &Type) -> bool {
    let Type::Path(path) = of else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Database")
}

/// A string literal that says whether the tests run on PostgreSQL.
#[proc_macro]
pub fn postgres_half(_: TokenStream) -> TokenStream {
    let half = match option_env!("POSTGRES_SERVER") {
        Some(server) => format!("run on {server}."),
        None => format!(
            "IGNORED ({NO_SERVER}). Install PostgreSQL or set TEST_DATABASE_URL, and run `cargo clean -p db-test`."
        ),
    };
    quote!(#half).into()
}
