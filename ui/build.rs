//! Builds GraphiQL from `web` with npm, and generates a table of its files. An error never fails the build: the table
//! then contains the reason for the error instead of the files. Nothing is written outside of `OUT_DIR`.

use std::{
    env,
    fmt::{Display, Write as _},
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The files in `web` from which GraphiQL is built. Other files are ignored.
const SOURCES: [&str; 10] = [
    "compress.mjs",
    "fetcher.js",
    "index.html",
    "key.js",
    "main.css",
    "main.jsx",
    "package-lock.json",
    "package.json",
    "tabs.js",
    "vite.config.js",
];
const INDEX: &str = "index.html";
/// Maximum number of lines of a failed command's output that are shown.
const DETAIL_LINES_MAX: usize = 10;

/// The arguments of `npm ci`. The install scripts of the packages are not run, and npm retries only a few times if it
/// cannot reach the registry.
const NPM_CI: [&str; 8] = [
    "ci",
    "--no-audit",
    "--no-fund",
    "--ignore-scripts",
    "--include=dev",
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=1000",
];
const NPM_TIMEOUT: Duration = Duration::from_mins(5);
const NPM_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The reason why GraphiQL is not included.
struct NotBuilt {
    /// The reason that the page at `/graphiql` shows. It contains nothing about the build machine.
    reason: &'static str,
    /// The details that the output of the build shows.
    details: String,
}

fn main() {
    println!("cargo:rerun-if-env-changed=TOLLGATE_UI");
    for source in SOURCES {
        println!("cargo:rerun-if-changed=web/{source}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let table = build(&out).unwrap_or_else(|NotBuilt { reason, details }| {
        println!("cargo:warning=GraphiQL is left out of the program: {reason}.");
        for line in details.lines() {
            println!("cargo:warning=  {line}");
        }
        format!(
            "pub static INDEX: Result<Asset, &str> = Err({reason:?});\n\
             pub static ASSETS: [(&str, Asset); 0] = [];\n"
        )
    });
    fs::write(out.join("table.rs"), table).expect("OUT_DIR is writable");
}

/// Builds GraphiQL in `out`. Returns the source of a Rust table that includes the built files.
fn build(out: &Path) -> Result<String, NotBuilt> {
    if env::var_os("TOLLGATE_UI").is_some_and(|ui| ui == "skip") {
        let reason = "the program was built with TOLLGATE_UI=skip";
        return Err(NotBuilt { reason, details: String::new() });
    }
    let web = out.join("web");
    let built = out.join("graphiql");
    copy_sources(&web, &built).map_err(not_built("its sources could not be copied"))?;

    let failed = "npm could not install its dependencies";
    npm(&web, &NPM_CI, failed)?;
    let failed = "it could not be bundled";
    npm(&web, &["run", "build"], failed)?;
    fs::rename(web.join("compressed"), &built).map_err(not_built(failed))?;
    let table = table(&built).map_err(not_built(failed))?;

    // The folder has about 250 MB and is no longer needed. An error does not matter.
    let _ = fs::remove_dir_all(web);
    Ok(table)
}

/// Copies the sources to an empty `web`, and removes the result of an earlier build.
fn copy_sources(web: &Path, built: &Path) -> io::Result<()> {
    for folder in [web, built] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    fs::create_dir_all(web)?;
    for source in SOURCES {
        fs::copy(Path::new("web").join(source), web.join(source))?;
    }
    Ok(())
}

fn npm(web: &Path, arguments: &[&str], failed: &'static str) -> Result<(), NotBuilt> {
    let log = web.join("npm.log");
    let file = fs::File::create(&log).map_err(not_built(failed))?;
    let mut npm = Command::new("npm");
    npm.args(arguments).current_dir(web).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    npm.env("NODE_ENV", "production")
        .env("NO_COLOR", "1")
        .env("npm_config_cache", web.join(".npm"));
    let hint = "Install Node.js 20 or newer with npm, run `touch ui/build.rs`, and build again.";
    let missing =
        |_| NotBuilt { reason: "npm was not found when it was built", details: hint.to_owned() };
    let mut npm = npm.spawn().map_err(missing)?;

    let until = Instant::now() + NPM_TIMEOUT;
    let status = loop {
        match npm.try_wait().map_err(not_built(failed))? {
            Some(status) => break Some(status),
            None if Instant::now() > until => break None,
            None => sleep(NPM_POLL_INTERVAL),
        }
    };
    match status {
        Some(status) if status.success() => return Ok(()),
        Some(_) => {}
        // Killing npm can fail because npm has just ended. This does not matter.
        None => drop(npm.kill()),
    }
    let output = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = output.lines().filter(|line| !line.starts_with("npm warn")).collect();
    let last = &lines[lines.len().saturating_sub(DETAIL_LINES_MAX)..];
    Err(NotBuilt { reason: failed, details: last.join("\n") })
}

/// Returns the source of a Rust table that includes every file.
fn table(built: &Path) -> io::Result<String> {
    let mut paths = Vec::new();
    list(built, "", &mut paths)?;
    paths.sort();
    let count = paths.iter().filter(|path| *path != INDEX).count();
    let mut index = None;
    let mut assets = String::new();
    for path in paths {
        let asset = format!(
            "Asset {{ content_type: {:?}, bytes_brotli: include_bytes!(concat!(env!(\"OUT_DIR\"), {:?})), \
             bytes: OnceLock::new() }}",
            content_type(&path)?,
            format!("/graphiql/{path}"),
        );
        if path == INDEX {
            index = Some(asset);
        } else {
            writeln!(assets, "    ({path:?}, {asset}),").map_err(io::Error::other)?;
        }
    }
    let index = index.ok_or_else(|| io::Error::other("index.html is missing"))?;
    Ok(format!(
        "use std::sync::OnceLock;\n\
         pub static INDEX: Result<Asset, &str> = Ok({index});\n\
         pub static ASSETS: [(&str, Asset); {count}] = [\n{assets}];\n"
    ))
}

/// Lists the files in a folder and its subfolders as URL paths.
fn list(folder: &Path, prefix: &str, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &format!("{path}/"), paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

fn content_type(path: &str) -> io::Result<&'static str> {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("html") => Ok("text/html; charset=utf-8"),
        Some("js") => Ok("text/javascript; charset=utf-8"),
        Some("svg") => Ok("image/svg+xml"),
        Some("ttf") => Ok("font/ttf"),
        Some("woff2") => Ok("font/woff2"),
        _ => Err(io::Error::other(format!("the file type of {path} is unknown"))),
    }
}

fn not_built<E: Display>(reason: &'static str) -> impl Fn(E) -> NotBuilt {
    move |error| NotBuilt { reason, details: error.to_string() }
}
