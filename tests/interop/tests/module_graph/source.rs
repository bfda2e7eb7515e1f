//! The modules of a crate and their uses of each other, read from its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Item, Meta, UseTree};

/// The path of a module from the root of its crate, which is empty.
pub(crate) type ModulePath = Vec<String>;

/// The production code of a crate.
#[derive(Default)]
pub(crate) struct Crate {
    pub(crate) modules: BTreeMap<ModulePath, Module>,
    pub(crate) uses: Vec<Use>,
    /// The modules of this crate that a module names before `::*`.
    globs: BTreeMap<ModulePath, Vec<ModulePath>>,
}

/// A use of something in another module of the crate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Use {
    pub(crate) from: ModulePath,
    /// The module of what is used, or one that hands it on.
    pub(crate) to: ModulePath,
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    /// The path as it is written.
    pub(crate) written: String,
}

#[derive(Default)]
pub(crate) struct Module {
    file: PathBuf,
    /// The names that `use` brings, and their paths.
    names: BTreeMap<String, Vec<String>>,
    /// The paths before `::*`.
    globs: Vec<Vec<String>>,
    items: BTreeSet<String>,
    paths: Vec<Written>,
}

/// A path in the source.
struct Written {
    segments: Vec<String>,
    line: usize,
}

impl Crate {
    /// Reads the library of a crate, or the program where there is none. Files are named as from `root`.
    pub(crate) fn read(root: &Path, sources: &Path) -> Self {
        let mut read = Self::default();
        let file = ["lib.rs", "main.rs"]
            .map(|name| sources.join(name))
            .into_iter()
            .find(|file| file.exists())
            .unwrap();
        Reader {
            read: &mut read,
            root,
            path: Vec::new(),
            file: file.clone(),
            folder: sources.to_owned(),
        }
        .file();
        read.globs = read.resolve_globs();
        read.uses = read.resolve_all();
        read
    }

    fn resolve_globs(&self) -> BTreeMap<ModulePath, Vec<ModulePath>> {
        let behind = |at: &ModulePath, glob: &Vec<String>| {
            let mut touched = Vec::new();
            self.resolve(at, glob, 0, &mut touched);
            touched.into_iter().next()
        };
        let modules = self.modules.iter();
        modules
            .map(|(at, module)| {
                let globs = module.globs.iter().filter_map(|glob| behind(at, glob));
                (at.clone(), globs.collect())
            })
            .collect()
    }

    fn resolve_all(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (from, module) in &self.modules {
            for path in &module.paths {
                let mut touched = Vec::new();
                self.resolve(from, &path.segments, 0, &mut touched);
                uses.extend(touched.into_iter().map(|to| Use {
                    from: from.clone(),
                    to,
                    file: module.file.clone(),
                    line: path.line,
                    written: path.segments.join("::"),
                }));
            }
        }
        uses
    }

    /// Adds to `touched` each module of this crate through which a path in the module `from` leads.
    /// True when it leads to one.
    fn resolve(
        &self,
        from: &[String],
        path: &[String],
        depth: usize,
        touched: &mut Vec<ModulePath>,
    ) -> bool {
        // Two globs may lead to each other for ever.
        if depth > 30 {
            return false;
        }
        let (mut at, mut rest) = (from.to_vec(), path);
        while let [first, tail @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            rest = tail;
        }
        let mut begun = rest.len() < path.len();
        while let [first, tail @ ..] = rest {
            let module = &self.modules[&at];
            let child = [&at[..], std::slice::from_ref(first)].concat();
            if self.modules.contains_key(&child) {
                at = child;
                rest = tail;
                begun = true;
                continue;
            }
            let onward = match module.names.get(first) {
                // The name of another crate, which stands for itself.
                Some(target) if target.first() == Some(first) => break,
                Some(target) => [target, tail].concat(),
                None if module.items.contains(first) => break,
                None => {
                    let globs = self.globs.get(&at).into_iter().flatten();
                    let Some(behind) = globs
                        .filter(|behind| **behind != at)
                        .find(|behind| self.brings(behind, first))
                    else {
                        break;
                    };
                    [&[String::from("crate")], &behind[..], rest].concat()
                }
            };
            begun |= self.resolve(&at, &onward, depth + 1, touched);
            if at != from {
                touched.push(at);
            }
            return begun;
        }
        if begun {
            touched.push(at);
        }
        begun
    }

    /// True when a glob of the module `path` brings `name` with it.
    fn brings(&self, path: &[String], name: &str) -> bool {
        let module = &self.modules[path];
        let child = [path, &[name.to_owned()]].concat();
        module.items.contains(name)
            || module.names.contains_key(name)
            || self.modules.contains_key(&child)
    }
}

/// Reads one module, and those below it.
struct Reader<'c> {
    read: &'c mut Crate,
    root: &'c Path,
    path: ModulePath,
    file: PathBuf,
    /// The folder of its children.
    folder: PathBuf,
}

impl Reader<'_> {
    fn file(mut self) {
        let text = std::fs::read_to_string(&self.file)
            .unwrap_or_else(|error| panic!("{}: {error}", self.file.display()));
        let file =
            syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", self.file.display()));
        self.items(&file.items);
    }

    fn items(&mut self, items: &[Item]) {
        let file = self.file.strip_prefix(self.root).unwrap().to_owned();
        let module = Module {
            file,
            ..Module::default()
        };
        self.read.modules.insert(self.path.clone(), module);
        for item in items {
            self.visit_item(item);
        }
    }

    fn module(&mut self) -> &mut Module {
        self.read.modules.get_mut(&self.path).unwrap()
    }

    fn write_down(&mut self, segments: Vec<String>, line: usize) {
        self.module().paths.push(Written { segments, line });
    }

    fn use_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        let (name, path, line) = match tree {
            UseTree::Path(path) => return self.use_tree(&path.tree, &with(&path.ident)),
            UseTree::Group(group) => {
                return group
                    .items
                    .iter()
                    .for_each(|tree| self.use_tree(tree, before));
            }
            UseTree::Glob(glob) => {
                self.module().globs.push(before.to_vec());
                let line = glob.star_token.spans[0].start().line;
                return self.write_down(before.to_vec(), line);
            }
            UseTree::Name(name) if name.ident == "self" => {
                let last = before.last().unwrap().clone();
                (last, before.to_vec(), name.ident.span().start().line)
            }
            UseTree::Name(name) => (
                name.ident.to_string(),
                with(&name.ident),
                name.ident.span().start().line,
            ),
            UseTree::Rename(name) => {
                let path = match name.ident == "self" {
                    true => before.to_vec(),
                    false => with(&name.ident),
                };
                (
                    name.rename.to_string(),
                    path,
                    name.ident.span().start().line,
                )
            }
        };
        self.module().names.insert(name, path.clone());
        self.write_down(path, line);
    }

    /// The paths in what only a macro understands.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let (mut colons, mut line) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_of_path(&mut segments, line);
                        line = ident.span().start().line;
                    }
                    segments.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.end_of_path(&mut segments, line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.end_of_path(&mut segments, line);
    }

    fn end_of_path(&mut self, segments: &mut Vec<String>, line: usize) {
        let segments = std::mem::take(segments);
        if segments.len() > 1 {
            self.write_down(segments, line);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_for_tests(item) {
            return;
        }
        if let Some(name) = name(item) {
            self.module().items.insert(name);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        let path = [&self.path[..], std::slice::from_ref(&name)].concat();
        let folder = self.folder.join(&name);
        let files = [
            self.folder.join(format!("{name}.rs")),
            folder.join("mod.rs"),
        ];
        let inline = item.content.as_ref();
        let file = match inline {
            Some(_) => self.file.clone(),
            None => files
                .into_iter()
                .find(|file| file.exists())
                .unwrap_or_else(|| {
                    panic!("{}: the file of mod {name} is missing", self.file.display())
                }),
        };
        let mut reader = Reader {
            read: self.read,
            root: self.root,
            path,
            file,
            folder,
        };
        match inline {
            Some((_, items)) => reader.items(items),
            None => reader.file(),
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 && path.leading_colon.is_none() {
            let segments = path.segments.iter().map(|it| it.ident.to_string());
            let line = path.segments[0].ident.span().start().line;
            self.write_down(segments.collect(), line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let Meta::List(list) = &attribute.meta else {
            return;
        };
        self.tokens(list.tokens.clone());
        // #[serde(with = "module::of::functions")]
        for token in list.tokens.clone() {
            let text = token.to_string();
            let Some(text) = text.strip_prefix('"').and_then(|it| it.strip_suffix('"')) else {
                continue;
            };
            if let Ok(path) = syn::parse_str::<syn::Path>(text) {
                let segments = path.segments.iter().map(|it| it.ident.to_string());
                self.write_down(segments.collect(), token.span().start().line);
            }
        }
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        if !is_for_tests(item) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        if !is_for_tests(item) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !is_for_tests(field) {
            visit::visit_field(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !is_for_tests(variant) {
            visit::visit_variant(self, variant);
        }
    }
}

/// The name that an item brings into its module, where it may be used by its path.
fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// True when `#[cfg(test)]` stands before it.
fn is_for_tests(node: &impl ToTokens) -> bool {
    let mut tokens = node.to_token_stream().into_iter();
    while let Some(TokenTree::Punct(punct)) = tokens.next()
        && punct.as_char() == '#'
        && let Some(TokenTree::Group(group)) = tokens.next()
        && group.delimiter() == Delimiter::Bracket
    {
        if let Ok(Meta::List(list)) = syn::parse2(group.stream())
            && list.path.is_ident("cfg")
            && list.tokens.to_string() == "test"
        {
            return true;
        }
    }
    false
}
