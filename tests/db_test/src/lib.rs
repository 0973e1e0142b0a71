//! [`macro@db_test`]: a test that runs on SQLite and on PostgreSQL. [`macro@needs_postgres`]: a test that is ignored
//! without a PostgreSQL server.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ItemFn, Pat, PatType, PathArguments, Type,
    parse_macro_input, parse_quote, spanned::Spanned as _,
};

/// Shown by `cargo test` beside each ignored test.
const NO_SERVER: &str =
    "no PostgreSQL: TEST_DATABASE_URL is not set, and initdb and postgres were not found";

/// Attributes that are moved to the generated tests. Other attributes stay on the function.
const OF_TEST: [&str; 3] = ["case", "test", "should_panic"];

/// The value that a parameter of a test receives.
enum Parameter {
    /// The database that the test runs on.
    Database,
    /// A fresh app on that database.
    App,
    /// Starts apps with other settings on that database.
    Apps,
    /// A value of `rstest`, from `#[case]` or `#[values]`.
    Value,
}

/// Runs a test on both databases, as `name::sqlite` and `name::postgres`. `#[db_test(sqlite)]` and
/// `#[db_test(postgres)]` run the test on only one database. The PostgreSQL test is ignored if no server was found when
/// the test was compiled.
///
/// The macro supplies parameters of the types `Database`, `&TestApp` and `&Apps`. Other parameters get their values
/// from `rstest`. `harness::run_test` starts the apps and, after the test, checks and closes the apps.
///
/// An async test gets `#[tokio::test]` unless the test already has an attribute whose last segment is `test`.
///
/// ```ignore
/// #[db_test]
/// async fn the_balance_is_shown(t: &TestApp) { … }
/// ```
#[proc_macro_attribute]
pub fn db_test(databases: TokenStream, item: TokenStream) -> TokenStream {
    let test = parse_macro_input!(item as ItemFn);
    let only = parse_macro_input!(databases as Option<Ident>);
    let tests = tests(test, only.as_ref()).unwrap_or_else(Error::into_compile_error);
    tests.into()
}

fn tests(mut test: ItemFn, only: Option<&Ident>) -> syn::Result<proc_macro2::TokenStream> {
    let (mut of_test, of_function): (Vec<Attribute>, Vec<Attribute>) =
        std::mem::take(&mut test.attrs).into_iter().partition(|attribute| {
            // These names also match `#[tokio::test]` and `#[case::name(…)]`.
            let mut names = attribute.path().segments.iter();
            names.any(|segment| OF_TEST.iter().any(|name| segment.ident == name))
        });
    test.attrs = of_function;
    let is_async = test.sig.asyncness;
    let has_runtime = of_test
        .iter()
        .any(|attribute| attribute.path().segments.last().is_some_and(|last| last.ident == "test"));
    if is_async.is_some() && !has_runtime {
        of_test.push(parse_quote!(#[::tokio::test]));
    }

    let (mut parameters, mut arguments) = (Vec::new(), Vec::new());
    let (mut is_of_database, mut has_app, mut has_apps) = (false, false, false);
    for input in &mut test.sig.inputs {
        let FnArg::Typed(input) = input else {
            return Err(Error::new_spanned(input, "a test cannot take self"));
        };
        let name = name_of(input)?;
        let of_type = parameter(&input.ty);
        is_of_database |= !matches!(of_type, Parameter::Value);
        match of_type {
            Parameter::Database => arguments.push(quote!(database)),
            Parameter::App => {
                has_app = true;
                arguments.push(quote!(&app));
            }
            Parameter::Apps => {
                has_apps = true;
                arguments.push(quote!(apps));
            }
            Parameter::Value => {
                arguments.push(quote!(#name));
                parameters.push(input.clone());
            }
        }
        // `#[case]` and `#[values]` are moved to the parameters of the generated tests.
        input.attrs.clear();
    }
    if !is_of_database {
        let message = "expected a parameter of the type Database, &TestApp or &Apps";
        return Err(Error::new(test.sig.inputs.span(), message));
    }

    let name = &test.sig.ident;
    let wait = is_async.map(|_| quote!(.await));
    let call = quote!(super::#name(#(#arguments),*) #wait);
    let start = has_app.then(|| quote!(let app = apps.start().await;));
    let one = |name: &Ident, variant: &str, ignore: Option<Attribute>| {
        let variant = format_ident!("{variant}");
        let body = if has_app || has_apps {
            quote! {
                let database = crate::harness::Database::#variant;
                crate::harness::run_test(database, async |apps: &crate::harness::Apps| {
                    #start
                    #call
                })
                .await
            }
        } else {
            // Only the suites of the release program have `support`: without an app nothing would be reconciled.
            quote! {
                let database = crate::support::Database::#variant;
                #call
            }
        };
        quote! {
            #[::rstest::rstest]
            #(#of_test)*
            #ignore
            #is_async fn #name(#(#parameters),*) {
                #body
            }
        }
    };
    let (sqlite, postgres) = (format_ident!("sqlite"), format_ident!("postgres"));
    if let Some(only) = only.filter(|only| **only != sqlite && **only != postgres) {
        return Err(Error::new_spanned(only, "expected sqlite or postgres"));
    }
    let runs_on = |database: &Ident| only.is_none_or(|only| only == database);
    let on_sqlite = runs_on(&sqlite).then(|| one(&sqlite, "Sqlite", None));
    let on_postgres =
        runs_on(&postgres).then(|| one(&postgres, "Postgres", ignored_without_postgres()));
    Ok(quote! {
        #test
        mod #name {
            use super::*;

            #on_sqlite
            #on_postgres
        }
    })
}

fn ignored_without_postgres() -> Option<Attribute> {
    (!cfg!(postgres)).then(|| parse_quote!(#[ignore = #NO_SERVER]))
}

/// Ignores a test if no PostgreSQL server was found. This attribute must come before the other attributes of the test.
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

fn parameter(of: &Type) -> Parameter {
    match of {
        Type::Reference(reference) => match last_name(&reference.elem).as_deref() {
            Some("TestApp") => Parameter::App,
            Some("Apps") => Parameter::Apps,
            _ => Parameter::Value,
        },
        Type::Path(_) if last_name(of).as_deref() == Some("Database") => Parameter::Database,
        _ => Parameter::Value,
    }
}

/// Returns the name of a type. For an `Arc`, returns the name of the type inside the `Arc`.
fn last_name(of: &Type) -> Option<String> {
    let Type::Path(path) = of else { return None };
    let last = path.path.segments.last()?;
    if let PathArguments::AngleBracketed(content) = &last.arguments
        && last.ident == "Arc"
        && let Some(GenericArgument::Type(content)) = content.args.first()
    {
        return last_name(content);
    }
    Some(last.ident.to_string())
}

/// Expands to a string literal that says whether the tests run on PostgreSQL.
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
