//! The module graph of the program, read from its source. A module uses the modules whose paths appear in its `use`
//! declarations, code and macros. It also uses the module that defines the type of each field of `App` that it reads.
//! Unit tests are ignored.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, ExprField, File, Item, Macro, Member, UseTree,
    visit::{self, Visit},
};

use super::rust_files;

/// The segments of a path that begins at the root of this crate, such as `crate::domain::account`, or of another crate.
type Segments = Vec<String>;

/// The text of each source file by its module, such as `crate::domain::account`.
#[derive(Clone)]
pub struct Sources(pub BTreeMap<String, String>);

impl Sources {
    /// Reads the files of a source folder. The module of the root file is `crate`.
    pub fn read(folder: &Path) -> Self {
        let files = rust_files(folder).into_iter().filter_map(|path| {
            let relative = path.strip_prefix(folder).expect("a file of the folder");
            let names: Vec<String> = relative
                .with_extension("")
                .iter()
                .map(|name| name.to_string_lossy().into())
                .collect();
            if names.last().is_some_and(|name| name == "tests" || name == "specification") {
                return None;
            }
            let names = names.into_iter().filter(|name| !["mod", "lib"].contains(&name.as_str()));
            let module = std::iter::once("crate".to_owned()).chain(names).collect::<Vec<_>>();
            let text = std::fs::read_to_string(&path).expect("a source file");
            Some((module.join("::"), text))
        });
        Self(files.collect())
    }
}

/// The modules of this crate and the external crates that each module uses.
pub struct Graph(pub BTreeMap<String, BTreeSet<String>>);

struct Module {
    syntax: File,
    /// The names that `use` declarations import, with their paths.
    imports: HashMap<String, Segments>,
    /// The names in `imports` that other modules can use, with their paths.
    exports: HashMap<String, Segments>,
}

impl Graph {
    pub fn of(sources: &Sources) -> Self {
        let mut modules = BTreeMap::new();
        for (name, text) in &sources.0 {
            let mut syntax = syn::parse_file(text).expect("the source compiles");
            syntax.items.retain(|item| !is_for_tests(item));
            modules.insert(
                name.clone(),
                Module { syntax, imports: HashMap::new(), exports: HashMap::new() },
            );
        }
        let names: BTreeSet<String> = modules.keys().cloned().collect();
        for (name, module) in &mut modules {
            for item in &module.syntax.items {
                let Item::Use(declaration) = item else { continue };
                let mut found = Vec::new();
                flatten(&declaration.tree, &mut Vec::new(), &mut found);
                for (alias, path) in found {
                    let path = absolute(&path, name, &HashMap::new(), &names);
                    if !matches!(declaration.vis, syn::Visibility::Inherited) {
                        module.exports.insert(alias.clone(), path.clone());
                    }
                    module.imports.insert(alias, path);
                }
            }
        }
        let fields = fields_of_app(&modules, &names);
        let graph = modules.iter().map(|(name, module)| {
            let mut paths = Paths { found: Vec::new(), fields: BTreeSet::new() };
            paths.visit_file(&module.syntax);
            paths.found.extend(
                module
                    .imports
                    .iter()
                    .filter(|(name, _)| !module.exports.contains_key(*name))
                    .map(|(_, path)| path.clone()),
            );
            let mut uses: BTreeSet<String> = paths
                .found
                .iter()
                .map(|path| absolute(path, name, &module.imports, &names))
                .filter_map(|path| owner(&path, &modules, 0))
                .collect();
            let of_fields = paths.fields.iter().filter_map(|field| fields.get(field));
            uses.extend(of_fields.flatten().cloned());
            uses.remove(name);
            (name.clone(), uses)
        });
        Self(graph.collect())
    }

    /// Returns the dependency cycles, each as the set of its modules.
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<&String, BTreeSet<&String>> = self
            .0
            .keys()
            .map(|start| {
                let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
                while let Some(module) = next.pop() {
                    for used in self.0.get(module).into_iter().flatten() {
                        if self.0.contains_key(used) && seen.insert(used) {
                            next.push(used);
                        }
                    }
                }
                (start, seen)
            })
            .collect();
        let mut circles = BTreeSet::new();
        for (module, seen) in &reach {
            let together = seen.iter().filter(|other| reach[**other].contains(module));
            let circle: BTreeSet<String> = together.map(|name| (*name).clone()).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }
}

/// Returns the modules that define the types of each field of `App`.
fn fields_of_app(
    modules: &BTreeMap<String, Module>,
    names: &BTreeSet<String>,
) -> HashMap<String, BTreeSet<String>> {
    let Some(app) = modules.get("crate::app") else { return HashMap::new() };
    let mut fields = HashMap::new();
    for item in &app.syntax.items {
        let Item::Struct(item) = item else { continue };
        for field in &item.fields {
            let mut paths = Paths { found: Vec::new(), fields: BTreeSet::new() };
            paths.visit_type(&field.ty);
            let owners = paths
                .found
                .iter()
                .map(|path| absolute(path, "crate::app", &app.imports, names))
                .filter_map(|path| owner(&path, modules, 0));
            let name = field.ident.as_ref().expect("the fields are named").to_string();
            fields.insert(name, owners.filter(|owner| owner.starts_with("crate::")).collect());
        }
    }
    fields
}

/// The paths in a file, and the fields of `App` that the file reads.
struct Paths {
    found: Vec<Segments>,
    fields: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        if !matches!(item, Item::Use(_)) && !is_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.found.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_expr_field(&mut self, field: &'ast ExprField) {
        if let (Some("app"), Member::Named(name)) =
            (last_name(&field.base).as_deref(), &field.member)
        {
            self.fields.insert(name.to_string());
        }
        visit::visit_expr_field(self, field);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.visit_tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

impl Paths {
    /// Collects paths and fields of `App` from tokens, because the arguments of macros have no syntax tree.
    fn visit_tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut separators) = (Segments::new(), String::new());
        let mut before = String::new();
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if separators == "." && before == "app" {
                        self.fields.insert(name.to_string());
                    }
                    if separators != "::" && !path.is_empty() {
                        self.found.push(std::mem::take(&mut path));
                    }
                    before = name.to_string();
                    path.push(name.to_string());
                    separators.clear();
                }
                TokenTree::Punct(mark) => separators.push(mark.as_char()),
                TokenTree::Group(group) => {
                    if separators != "::" && !path.is_empty() {
                        self.found.push(std::mem::take(&mut path));
                    }
                    separators.clear();
                    before.clear();
                    self.visit_tokens(group.stream());
                }
                TokenTree::Literal(_) => before.clear(),
            }
        }
        if !path.is_empty() {
            self.found.push(path);
        }
    }
}

/// Returns the last name of an expression, such as `app` for `app`, `self.app` and `shared.app`.
fn last_name(expression: &syn::Expr) -> Option<String> {
    match expression {
        syn::Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
        syn::Expr::Field(field) => match &field.member {
            Member::Named(name) => Some(name.to_string()),
            Member::Unnamed(_) => None,
        },
        syn::Expr::Reference(reference) => last_name(&reference.expr),
        _ => None,
    }
}

fn is_for_tests(item: &Item) -> bool {
    let attributes = match item {
        Item::Mod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

fn flatten(tree: &UseTree, before: &mut Segments, found: &mut Vec<(String, Segments)>) {
    let with = |name: &syn::Ident, before: &Segments| {
        let mut path = before.clone();
        if name != "self" {
            path.push(name.to_string());
        }
        path
    };
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) => {
            let path = with(&name.ident, before);
            found.push((path.last().expect("a path has a name").clone(), path));
        }
        UseTree::Rename(name) => found.push((name.rename.to_string(), with(&name.ident, before))),
        UseTree::Glob(_) => found.push((format!("{}::*", before.join("::")), before.clone())),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, found);
            }
        }
    }
}

/// Resolves a path in `module` to a path from the crate's root. The path may begin with `self::`, `super::`, an
/// imported name or a local name.
fn absolute(
    path: &[String],
    module: &str,
    imports: &HashMap<String, Segments>,
    names: &BTreeSet<String>,
) -> Segments {
    let of_module: Segments = module.split("::").map(str::to_owned).collect();
    let join = |begin: &[String], rest: &[String]| [begin, rest].concat();
    match path[0].as_str() {
        "crate" => path.to_vec(),
        "self" => join(&of_module, &path[1..]),
        "super" => {
            let up = path.iter().take_while(|name| *name == "super").count();
            join(&of_module[..of_module.len() - up], &path[up..])
        }
        first if imports.contains_key(first) => join(&imports[first], &path[1..]),
        first if names.contains(&format!("{module}::{first}")) => join(&of_module, path),
        _ => path.to_vec(),
    }
}

/// Returns the module of this crate that defines the item at this path, or the name of the external crate. Returns
/// `None` for a built-in name or an item of the same module.
fn owner(path: &[String], modules: &BTreeMap<String, Module>, depth: usize) -> Option<String> {
    if path[0] != "crate" {
        let is_crate = path.len() > 1 && path[0].starts_with(|first: char| first.is_lowercase());
        return is_crate.then(|| path[0].clone());
    }
    assert!(depth < 8, "{path:?} is exported in a cycle");
    for length in (1..=path.len()).rev() {
        let Some(module) = modules.get(&path[..length].join("::")) else { continue };
        if let Some(exported) = path.get(length).and_then(|name| module.exports.get(name)) {
            return owner(&[exported, &path[length + 1..]].concat(), modules, depth + 1);
        }
        return Some(path[..length].join("::"));
    }
    None
}
