//! Finding trees: by name in a folder, or by file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::army::action::Registry;
use crate::army::import;
use crate::army::spec::compile::{Given, compile};
use crate::army::spec::file::{File, read};
use crate::army::spec::node::Node;
use crate::army::spec::program::Program;
use crate::yaml::fault::{Faults, Place, did_you_mean};
use crate::yaml::source::FILE_MAX;

/// Where trees are looked for.
pub const FOLDER: &str = "army";

/// How many files of a folder are looked at.
const FILES_MAX: usize = 1_000;

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{path}: {error}")]
    Unreadable { path: String, error: std::io::Error },
    #[error("{0}")]
    Unknown(String),
    #[error("{}", told(path, faults))]
    Faulty { path: String, faults: Faults },
}

/// Each fault with the file that it is in.
pub fn told(path: &str, faults: &Faults) -> String {
    let lines = faults.sorted().iter().map(|fault| format!("{path}: {fault}")).collect::<Vec<_>>();
    lines.join("\n")
}

/// Loads `NAME`, `FILE` or `FILE#TREE`; gives what is odd about it, too.
pub fn load(
    tree: &str,
    folder: &Path,
    registry: &Registry,
    given: &Given,
) -> Result<(Program, Faults, PathBuf), Unusable> {
    let (path, part) = find(tree, folder)?;
    let shown = path.display().to_string();
    let file = open(&path, part, registry)?;
    let faulty = |faults| Unusable::Faulty { path: shown.clone(), faults };
    let root = match (part.filter(|_| !is_behavior3(&path)), &file.root) {
        (Some(part), _) => Node::subtree(part, Place { line: 1, column: 1 }),
        (None, Some(root)) => root.clone(),
        (None, None) => {
            let what = format!("{shown} has no `root`; its tests are run by `mneme army test`");
            return Err(Unusable::Unknown(what));
        }
    };
    let (program, odd) = compile(&file, &root, registry, given).map_err(faulty)?;
    Ok((program, odd, path))
}

/// Reads a file; one of the visual editor is imported.
pub fn open(path: &Path, part: Option<&str>, registry: &Registry) -> Result<File, Unusable> {
    let shown = path.display().to_string();
    let text = text_of(path)?;
    let faulty = |faults| Unusable::Faulty { path: shown.clone(), faults };
    let folder = path.parent().unwrap_or(Path::new("."));
    if is_behavior3(path) {
        let imported = import::import(&text, part, registry);
        let imported = imported.map_err(|what| Unusable::Unknown(format!("{shown}: {what}")))?;
        if !imported.unmapped.is_empty() {
            return Err(Unusable::Unknown(format!("{shown}: {}", imported.unmapped.join("\n"))));
        }
        return read(&imported.yaml, folder, registry).map_err(faulty);
    }
    read(&text, folder, registry).map_err(faulty)
}

fn text_of(path: &Path) -> Result<String, Unusable> {
    let unreadable = |error| Unusable::Unreadable { path: path.display().to_string(), error };
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_MAX as u64 {
        return Err(Unusable::Unknown(format!("{} has more than {FILE_MAX} bytes", path.display())));
    }
    fs::read_to_string(path).map_err(unreadable)
}

/// Trees of ours may be JSON, too; those of the editor hold trees with nodes by id.
fn is_behavior3(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
        && text_of(path).is_ok_and(|text| import::is_behavior3(&text))
}

/// The file, and which of its trees.
fn find<'a>(tree: &'a str, folder: &Path) -> Result<(PathBuf, Option<&'a str>), Unusable> {
    let (name, part) = match tree.split_once('#') {
        Some((name, part)) => (name, Some(part)),
        None => (tree, None),
    };
    let is_file = name.contains('/') || [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
    if is_file {
        return Ok((PathBuf::from(name), part));
    }
    let files = files(folder)?;
    let by_stem = files.iter().find(|path| path.file_stem().is_some_and(|stem| stem == name));
    if let Some(path) = by_stem {
        return Ok((path.clone(), part));
    }
    let names: Vec<_> = files.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
    let near = did_you_mean(name, names);
    Err(Unusable::Unknown(format!("there is no tree {name} in {}{near}", folder.display())))
}

/// The tree files of a folder, by name.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Unusable> {
    let unreadable = |error| Unusable::Unreadable { path: folder.display().to_string(), error };
    let is_tree = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("yaml" | "yml" | "json"))
    };
    let entries = fs::read_dir(folder).map_err(unreadable)?.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(is_tree).take(FILES_MAX).collect();
    files.sort();
    Ok(files)
}
