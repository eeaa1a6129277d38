//! `mneme army ..`: what was typed, and what comes of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::army::action::Registry;
use crate::army::metrics::document::Document;
use crate::army::spec::compile::{self, Given};
use crate::army::{command, custom, import, library, list, report, show};
use crate::yaml::fault::Faults;

/// Bad usage or a bad tree: nothing was started.
pub const UNUSABLE: i32 = 2;

/// The army itself failed.
pub const FAILED: i32 = 1;

/// Simulated people with behaviour trees: load tests and integration tests of a bot.
#[derive(Debug, Args)]
pub struct Army {
    #[command(subcommand)]
    pub act: Act,
    /// What is logged on the error output, the bot under test included: error, warn, info, debug, or a filter
    #[arg(long, global = true, default_value = "warn")]
    pub log: String,
}

#[derive(Debug, Subcommand)]
pub enum Act {
    /// Run a load test
    Run(Box<command::Run>),
    /// One bot, once through the tree; the exit code tells how it went
    Once(Box<command::Once>),
    /// Run integration tests
    Test(command::Test),
    /// Serve the HTTP API
    Serve(command::Serve),
    /// Check tree files: names, arguments, unreachable nodes, endless loops, thresholds
    Check {
        /// Tree files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Show a tree as it will be run
    Show {
        #[command(flatten)]
        tree: Tree,
        /// As lines of text, as a Mermaid diagram, or as a picture
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// List the trees of a folder, or what trees are made of
    List {
        /// What to list
        #[arg(value_enum)]
        what: Listable,
        /// For programs
        #[arg(long)]
        json: bool,
        /// Put the actions into this file of the behavior3 editor, as its custom nodes
        #[arg(long, value_name = "FILE")]
        behavior3: Option<PathBuf>,
        /// The folder of the trees
        #[arg(long, value_name = "DIR", default_value = library::FOLDER)]
        trees: PathBuf,
    },
    /// Print a file of the behavior3 editor as a tree file
    Import {
        /// The editor's file
        file: PathBuf,
        /// The title of the tree
        #[arg(long, value_name = "TITLE")]
        tree: Option<String>,
        /// Print it also if something has no counterpart here; a node that fails takes its place
        #[arg(long)]
        partial: bool,
    },
    /// Make an HTML report of the metrics that `--json` wrote
    Report {
        /// The metrics
        run: PathBuf,
        /// Where the report goes
        #[arg(long, value_name = "FILE")]
        html: PathBuf,
        /// The metrics of an earlier run, to compare with
        #[arg(long, value_name = "FILE")]
        baseline: Option<PathBuf>,
    },
}

/// Which tree, and what it is given.
#[derive(Clone, Debug, Args)]
pub struct Tree {
    /// A tree of the folder by its name, or a file; with #TREE one of its `trees`
    #[arg(long, value_name = "NAME|FILE[#TREE]")]
    pub tree: String,
    /// The folder of the trees
    #[arg(long, value_name = "DIR", default_value = library::FOLDER)]
    pub trees: PathBuf,
    /// What the tree is given: JSON, YAML mapping, key=value pairs, @file or Elixir literal
    #[arg(long, value_name = "TEXT")]
    pub custom: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Mermaid,
    Svg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Listable {
    Trees,
    Actions,
}

/// What is to be printed, and the exit code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub out: String,
    pub err: String,
    pub code: i32,
}

impl Told {
    pub fn out(out: impl Into<String>) -> Self {
        Self { out: out.into(), ..Self::default() }
    }

    pub fn unusable(err: impl Into<String>) -> Self {
        Self { err: err.into() + "\n", code: UNUSABLE, ..Self::default() }
    }

    fn failed(path: &Path, error: &io::Error) -> Self {
        Self { err: format!("{}: {error}\n", path.display()), code: FAILED, ..Self::default() }
    }
}

/// Does what needs no Discord.
pub fn start(act: &Act) -> Told {
    let registry = Registry::new();
    match act {
        Act::Run(_) | Act::Once(_) | Act::Test(_) | Act::Serve(_) => {
            Told::unusable("this needs a Discord: it is started elsewhere")
        }
        Act::Check { files } => check(files, &registry),
        Act::Show { tree, format } => show_tree(tree, *format, &registry),
        Act::List { what: Listable::Trees, json, trees, .. } => list_trees(trees, *json, &registry),
        Act::List { behavior3: Some(file), .. } => fill_editor(file, &registry),
        Act::List { json: true, .. } => Told::out(format!("{:#}\n", list::actions_json(&registry))),
        Act::List { .. } => Told::out(list::actions(&registry)),
        Act::Import { file, tree, partial } => import_file(file, tree.as_deref(), *partial, &registry),
        Act::Report { run, html, baseline } => write_report(run, html, baseline.as_deref()),
    }
}

/// Every file, with all its faults.
fn check(files: &[PathBuf], registry: &Registry) -> Told {
    let mut told = Told::default();
    for path in files {
        let shown = path.display().to_string();
        let faults = match library::open(path, None, registry) {
            Ok(file) => compile::check(&file, registry),
            Err(library::Unusable::Faulty { faults, .. }) => faults,
            Err(other) => {
                told.err.push_str(&format!("{other}\n"));
                told.code = UNUSABLE;
                continue;
            }
        };
        if faults.are_fatal() {
            told.code = UNUSABLE;
        } else {
            told.out.push_str(&format!("{shown}: ok\n"));
        }
        if !faults.is_empty() {
            told.err.push_str(&format!("{}\n", library::told(&shown, &faults)));
        }
    }
    told
}

impl Tree {
    /// What the tree is given.
    pub fn given(&self) -> Result<Given, Told> {
        match &self.custom {
            Some(text) => Ok(Given::complete(custom::read(text).map_err(Told::unusable)?)),
            None => Ok(Given::default()),
        }
    }
}

fn show_tree(tree: &Tree, format: Format, registry: &Registry) -> Told {
    let given = match tree.given() {
        Ok(given) => given,
        Err(told) => return told,
    };
    match library::load(&tree.tree, &tree.trees, registry, &given) {
        Ok((program, odd, path)) => {
            let out = match format {
                Format::Text => show::text(&program),
                Format::Mermaid => show::mermaid(&program),
                Format::Svg => show::svg(&program),
            };
            Told { err: warnings(&path, &odd), ..Told::out(out) }
        }
        Err(error) => Told::unusable(error.to_string()),
    }
}

fn warnings(path: &Path, odd: &Faults) -> String {
    if odd.is_empty() { String::new() } else { library::told(&path.display().to_string(), odd) + "\n" }
}

fn list_trees(folder: &Path, json: bool, registry: &Registry) -> Told {
    match list::trees(folder, registry) {
        Ok(trees) if json => Told::out(format!("{:#}\n", serde_json::json!(trees))),
        Ok(trees) => Told::out(list::trees_text(&trees)),
        Err(error) => Told::unusable(error.to_string()),
    }
}

fn fill_editor(file: &Path, registry: &Registry) -> Told {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Told::failed(file, &error),
    };
    match import::with_custom_nodes(&text, registry) {
        Ok(text) => match replace(file, &text) {
            Ok(()) => Told::out(format!("{} knows {} actions\n", file.display(), registry.all().count())),
            Err(error) => Told::failed(file, &error),
        },
        Err(what) => Told::unusable(format!("{}: {what}", file.display())),
    }
}

/// Whole or not at all: somebody may have hours of work in that file.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, file)
}

fn import_file(file: &Path, tree: Option<&str>, partial: bool, registry: &Registry) -> Told {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return Told::unusable(format!("{}: {error}", file.display())),
    };
    match import::import(&text, tree, registry) {
        Ok(imported) => {
            let lines = imported.unmapped.iter().map(|line| format!("{}: {line}\n", file.display()));
            let err: String = lines.collect();
            match err.is_empty() || partial {
                true => Told { err, ..Told::out(imported.yaml) },
                false => Told { err, code: UNUSABLE, ..Told::default() },
            }
        }
        Err(what) => Told::unusable(format!("{}: {what}", file.display())),
    }
}

fn write_report(run: &Path, html: &Path, baseline: Option<&Path>) -> Told {
    let read = |path: &Path| -> Result<Document, Told> {
        let told = |what: String| Told::unusable(format!("{}: {what}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
        serde_json::from_str(&text)
            .map_err(|error| told(format!("these are no metrics of the army: {error}")))
    };
    let documents = read(run).and_then(|run| Ok((run, baseline.map(read).transpose()?)));
    match documents {
        Ok((document, baseline)) => {
            let page = report::html(&document, baseline.as_ref());
            match fs::write(html, page) {
                Ok(()) => Told::out(format!("{}\n", html.display())),
                Err(error) => Told::failed(html, &error),
            }
        }
        Err(told) => told,
    }
}

#[cfg(test)]
mod tests;
