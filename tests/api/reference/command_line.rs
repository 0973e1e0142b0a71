//! Generates the reference page about the program's commands from the definitions that clap reads.

use clap::{Arg, Command, CommandFactory as _};
use tollgate::cli::Cli;

use super::page::Page;

/// A command without subcommands.
pub struct Leaf {
    /// The name as typed, such as `team create`.
    pub name: String,
    command: Command,
    pub options: Vec<Opt>,
}

/// An option or an argument of a command.
#[derive(Clone, PartialEq, Eq)]
pub struct Opt {
    /// The option as typed, with the name of its value.
    pub syntax: String,
    pub long: Option<String>,
    pub variable: Option<String>,
    pub default: String,
    pub meaning: String,
    pub is_global: bool,
    pub is_switch: bool,
}

pub fn page() -> Page {
    let mut page = Page::new("Command line");
    let leaves = leaves();
    let common = common(&leaves);
    page.text(
        "Every command prints its own help with `--help`. Results go to standard output, logs to standard error. \
         The exit code is 0 if the command succeeded, 1 if `reconcile` found a difference, and 2 for every other \
         failure. Many options can also be set by [environment variables](settings.md). \
         [Administration](../operations/administration.md) shows the commands in use.",
    );

    page.heading("Options of every command");
    table(&mut page, leaves[0].options.iter().filter(|option| option.is_global));

    page.heading("Options of the database");
    let others = leaves.iter().filter(|leaf| !leaf.has_all(&common));
    let others: Vec<_> = others.map(|leaf| format!("`{}`", leaf.name)).collect();
    page.text(&format!("All commands except {} have these options.", others.join(" and ")));
    table(&mut page, common.iter());

    for leaf in &leaves {
        page.heading(&format!("tollgate {}", leaf.name));
        page.text(&in_one_line(leaf.command.get_long_about().or(leaf.command.get_about())));
        let usage = leaf.command.clone().render_usage().to_string();
        page.text(&format!("```\n{}\n```", usage.trim_start_matches("Usage: ")));
        let is_common = |option: &Opt| leaf.has_all(&common) && common.contains(option);
        let own = leaf.options.iter().filter(|option| !option.is_global && !is_common(option));
        table(&mut page, own);
    }
    page
}

fn table<'o>(page: &mut Page, options: impl Iterator<Item = &'o Opt>) {
    let rows: Vec<[String; 4]> = options
        .map(|option| {
            let syntax = format!("`{}`", option.syntax);
            let default = if option.is_switch { String::new() } else { code(&option.default) };
            let variable = code(option.variable.as_deref().unwrap_or_default());
            [syntax, default, variable, option.meaning.clone()]
        })
        .collect();
    if !rows.is_empty() {
        page.table_of(["Argument", "Default", "Environment variable", "Meaning"], rows);
    }
}

/// Returns all commands without subcommands, in the order of `--help`.
pub fn leaves() -> Vec<Leaf> {
    let mut program = Cli::command();
    program.build();
    let mut leaves = Vec::new();
    add_leaves(&program, "", &mut leaves);
    leaves
}

fn add_leaves(command: &Command, name: &str, leaves: &mut Vec<Leaf>) {
    let shown = |inner: &&Command| inner.get_name() != "help" && !inner.is_hide_set();
    for inner in command.get_subcommands().filter(shown) {
        let name = format!("{name} {}", inner.get_name()).trim_start().to_owned();
        if inner.has_subcommands() {
            add_leaves(inner, &name, leaves);
            continue;
        }
        let named = |arg: &&Arg| {
            !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
        };
        let options = inner.get_arguments().filter(named).map(Opt::of).collect();
        leaves.push(Leaf { name, command: inner.clone(), options });
    }
}

/// Returns the options that more than half of the commands have with the same meaning.
pub fn common(leaves: &[Leaf]) -> Vec<Opt> {
    let of_most = |option: &&Opt| {
        let count = leaves.iter().filter(|leaf| leaf.options.contains(option)).count();
        count > leaves.len() / 2 && !option.is_global
    };
    let mut common: Vec<Opt> = Vec::new();
    for option in leaves.iter().flat_map(|leaf| &leaf.options).filter(of_most) {
        if !common.contains(option) {
            common.push(option.clone());
        }
    }
    common
}

impl Leaf {
    pub fn has_all(&self, options: &[Opt]) -> bool {
        options.iter().all(|option| self.options.contains(option))
    }
}

impl Opt {
    fn of(arg: &Arg) -> Self {
        let help = in_one_line(arg.get_long_help().or(arg.get_help()));
        // If a default value is supplied by the code, and not by clap, the help text ends with this value.
        let (mut meaning, default) = if let Some((before, default)) = help.split_once(" [default: ")
        {
            (ended(before), default.trim_end_matches(']').to_owned())
        } else {
            let values = arg.get_default_values().iter();
            let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            (help, values.join(","))
        };
        let is_switch = !arg.get_action().takes_values();
        for value in arg.get_possible_values().iter().filter(|_| !is_switch) {
            let of_value = in_one_line(value.get_help());
            meaning = format!("{meaning} `{}`: {of_value}", value.get_name());
        }
        let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
        Self {
            syntax: format!("{short}{arg}"),
            long: arg.get_long().map(|long| format!("--{long}")),
            variable: arg.get_env().map(|variable| variable.to_string_lossy().into()),
            default,
            meaning,
            is_global: arg.is_global_set(),
            is_switch,
        }
    }
}

/// Formats text as code. Empty text stays empty.
pub fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

fn in_one_line(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    ended(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Appends the full stop that clap removes from the end of a help text.
fn ended(text: &str) -> String {
    let has_end = text.is_empty() || text.ends_with(['.', ']', ':']);
    format!("{text}{}", if has_end { "" } else { "." })
}
