//! Builds GraphiQL from `web` where npm is to be had, and writes a table of what came of it. It never
//! fails the build and writes to its own folder only: without GraphiQL, the table says why.

use std::{
    env,
    fmt::{Display, Write as _},
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// What GraphiQL is built from; nothing else in `web` is looked at.
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
/// How much is shown of what a failed command said.
const DETAILS_LINES_MAX: usize = 10;

/// Runs no package's own commands, and gives up soon where there is no registry.
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
/// How long npm may take: far more than it needs, on a slow machine too.
const NPM_DEADLINE: Duration = Duration::from_mins(5);
const NPM_LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Why GraphiQL is left out.
struct LeftOut {
    /// For everybody who opens its page: nothing about the machine that built it.
    why: &'static str,
    /// For who builds it.
    details: String,
}

fn main() {
    println!("cargo:rerun-if-env-changed=TOLLGATE_UI");
    for source in SOURCES {
        println!("cargo:rerun-if-changed=web/{source}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    let table = build(&out).unwrap_or_else(|LeftOut { why, details }| {
        println!("cargo:warning=GraphiQL is left out of the program: {why}.");
        for line in details.lines() {
            println!("cargo:warning=  {line}");
        }
        format!(
            "pub static INDEX: Result<Asset, &str> = Err({why:?});\n\
             pub static ASSETS: [(&str, Asset); 0] = [];\n"
        )
    });
    fs::write(out.join("table.rs"), table).expect("cargo's folder can be written to");
}

/// Builds GraphiQL into `out` and gives the table of its files.
fn build(out: &Path) -> Result<String, LeftOut> {
    if env::var_os("TOLLGATE_UI").is_some_and(|ui| ui == "skip") {
        let why = "the program was built with TOLLGATE_UI=skip";
        return Err(LeftOut { why, details: String::new() });
    }
    let web = out.join("web");
    let built = out.join("graphiql");
    copy_sources(&web, &built).map_err(left_out("its sources could not be copied"))?;

    let failed = "npm could not install what it is made of";
    npm(&web, &NPM_CI, failed)?;
    let failed = "it could not be bundled";
    npm(&web, &["run", "build"], failed)?;
    fs::rename(web.join("compressed"), &built).map_err(left_out(failed))?;
    let table = table(&built).map_err(left_out(failed))?;

    // A quarter of a gigabyte that nobody needs any more, and no reason to fail.
    let _ = fs::remove_dir_all(web);
    Ok(table)
}

/// Makes `web` anew from the sources, and room for what is built of them.
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

fn npm(web: &Path, arguments: &[&str], failed: &'static str) -> Result<(), LeftOut> {
    let log = web.join("npm.log");
    let file = fs::File::create(&log).map_err(left_out(failed))?;
    let mut npm = Command::new("npm");
    npm.args(arguments).current_dir(web).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
    npm.env("NODE_ENV", "production")
        .env("NO_COLOR", "1")
        .env("npm_config_cache", web.join(".npm"));
    let how = "Install Node.js 20 or newer with npm, `touch ui/build.rs`, and build again.";
    let missing =
        |_| LeftOut { why: "npm was not found when it was built", details: how.to_owned() };
    let mut npm = npm.spawn().map_err(missing)?;

    let until = Instant::now() + NPM_DEADLINE;
    let status = loop {
        match npm.try_wait().map_err(left_out(failed))? {
            Some(status) => break Some(status),
            None if Instant::now() > until => break None,
            None => sleep(NPM_LOOK_PAUSE),
        }
    };
    match status {
        Some(status) if status.success() => return Ok(()),
        Some(_) => {}
        // Whether it has just ended does not matter.
        None => drop(npm.kill()),
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("npm warn")).collect();
    let last = &lines[lines.len().saturating_sub(DETAILS_LINES_MAX)..];
    Err(LeftOut { why: failed, details: last.join("\n") })
}

/// Rust code that names every file.
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
    let index = index.ok_or_else(|| io::Error::other("there is no page"))?;
    Ok(format!(
        "use std::sync::OnceLock;\n\
         pub static INDEX: Result<Asset, &str> = Ok({index});\n\
         pub static ASSETS: [(&str, Asset); {count}] = [\n{assets}];\n"
    ))
}

/// The files of a folder and of those in it, as paths in URLs.
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
        _ => Err(io::Error::other(format!("{path} is of an unknown type"))),
    }
}

fn left_out<E: Display>(why: &'static str) -> impl Fn(E) -> LeftOut {
    move |error| LeftOut { why, details: error.to_string() }
}
