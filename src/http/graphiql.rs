//! `/graphiql`: the GraphiQL page and its assets. They are embedded in the program, and the page sends requests to this
//! server only.

use axum::{
    Router,
    http::{HeaderMap, HeaderName, StatusCode, Uri, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use tollgate_ui::Asset;

use super::{response::not_found, state::SharedState};

/// The page contains API keys, so it may only run the embedded scripts and only connect to this server. Inline styles
/// and `data:` images are allowed because GraphiQL's editor uses them.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
/// The policy of the page that explains why GraphiQL is missing.
const POLICY_WITHOUT_SCRIPTS: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Value of `Cache-Control` for the page. The page must be revalidated because it names the assets of this version.
const REVALIDATE: &str = "no-cache";
/// Value of `Cache-Control` for assets. Assets never change because their names contain a hash of their content.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

pub fn routes() -> Router<SharedState> {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/graphiql") }))
        .route("/graphiql", get(index))
        .route("/graphiql/", get(index))
        .route("/graphiql/{*path}", get(asset))
}

async fn index(headers: HeaderMap) -> Response {
    match tollgate_ui::index() {
        Ok(index) => (page_headers(POLICY), respond(&headers, index, REVALIDATE)).into_response(),
        // The status is not 200, so that a check for GraphiQL does not mistake this page for GraphiQL.
        Err(why) => {
            let page = Html(page_without_graphiql(why));
            let caching = [(header::CACHE_CONTROL, REVALIDATE)];
            let status = StatusCode::SERVICE_UNAVAILABLE;
            (status, page_headers(POLICY_WITHOUT_SCRIPTS), caching, page).into_response()
        }
    }
}

async fn asset(uri: Uri, headers: HeaderMap) -> Response {
    let asset = uri.path().strip_prefix("/graphiql/").and_then(tollgate_ui::asset);
    match asset {
        Some(asset) => respond(&headers, asset, IMMUTABLE),
        None => not_found(uri).await,
    }
}

fn page_headers(policy: &'static str) -> [(HeaderName, &'static str); 3] {
    [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ]
}

fn respond(headers: &HeaderMap, asset: &'static Asset, caching: &'static str) -> Response {
    let head = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, caching),
        (header::VARY, "accept-encoding"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if accepts_brotli(headers) {
        (head, [(header::CONTENT_ENCODING, "br")], asset.bytes_brotli).into_response()
    } else {
        (head, asset.bytes()).into_response()
    }
}

/// Returns whether `Accept-Encoding` allows `br`. A weight of 0 excludes `br`.
fn accepts_brotli(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut encodings =
        accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    encodings.any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
        let weight = weight.trim().trim_start_matches(['q', 'Q']).trim_start_matches('=');
        name.trim().eq_ignore_ascii_case("br") && weight.parse() != Ok(0.0)
    })
}

fn page_without_graphiql(why: &str) -> String {
    format!(
        "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>Tollgate – GraphiQL is not included</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }}
</style>
<h1>GraphiQL is not included in this build</h1>
<p>The server works without it. It was left out because {why}.</p>
<p>To include it, install Node.js 20 or newer with npm, run <code>touch ui/build.rs</code> in Tollgate’s
folder, and build again without <code>TOLLGATE_UI=skip</code>.</p>
<p>The API itself is at <code>/graphql</code>, for any GraphQL client.</p>
</html>
"
    )
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header};

    use super::accepts_brotli;

    #[test]
    fn brotli_is_used_only_if_accepted() {
        for (accepted, expected) in [
            (None, false),
            (Some(""), false),
            (Some("gzip, deflate"), false),
            (Some("brr, x-br"), false),
            (Some("gzip, deflate, br, zstd"), true),
            (Some("gzip;q=1.0,BR ; q=0.5"), true),
            (Some("br"), true),
            (Some("br;q=0"), false),
            (Some("br; q=0.000, gzip"), false),
            (Some("*"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            }
            assert_eq!(accepts_brotli(&headers), expected, "{accepted:?}");
        }
    }
}
